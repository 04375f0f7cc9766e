"""The site: settings that admins change while the server runs, and its logo."""

import asyncio
import base64
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import sqlalchemy as sa
from pydantic import BeforeValidator, Field, WithJsonSchema

from darkroom.accounts.throttle import TRIES
from darkroom.catalog import builtin_names, find_builtin
from darkroom.engine.sniff import DOCUMENTS
from darkroom.errors import Forbidden, NotFound
from darkroom.executors.segments import Executor
from darkroom.intake import Resolved
from darkroom.store.database import Database
from darkroom.store.schema import settings as table
from darkroom_tools.errors import DarkroomError, InvalidSettings, LimitExceeded, UnsupportedFormat
from darkroom_tools.kit.clean import clean_text
from darkroom_tools.plan import Plan, Step, input_ref, step_ref
from darkroom_tools.settings import Settings, nearest, wire_names

__all__ = ["LOGO", "LOGO_BYTES", "LOGO_SIDE", "Site", "SiteSettings", "Stored"]

log = logging.getLogger(__name__)

LOGO: Final = "customLogo"
LOGO_BYTES: Final = 500 * 1024
LOGO_SIDE: Final = 128
MOST_ATTEMPTS: Final = 1000
REFRESH_SECONDS: Final = 1.0


def _listed(value: Any) -> Any:
    """A list, also from its JSON text, with each tool under its id."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise ValueError("'disabledTools' should be a JSON array of tool ids, such as [\"ocr\"].") from error
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise ValueError("'disabledTools' should be an array of tool ids, such as [\"ocr\"].")
    return sorted({_tool_id(name) for name in value})


def _tool_id(name: str) -> str:
    if (tool := find_builtin(name)) is not None:
        return tool.id
    near = nearest(name[:60], list(builtin_names()))
    hint = f" Did you mean {near!r}?" if near else ""
    raise ValueError(f"'disabledTools': there is no tool {clean_text(name, 60)!r}.{hint}")


def _switched(value: Any) -> Any:
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


def _counted(value: Any) -> Any:
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= len(str(MOST_ATTEMPTS)):
        return int(value)
    if isinstance(value, bool | str):
        raise ValueError(f"'loginAttemptLimit' should be a whole number from 1 to {MOST_ATTEMPTS}.")  # noqa: TRY004
    return value


class SiteSettings(Settings):
    """What an admin may change while the server runs; of each a text of it is understood too."""

    disabled_tools: Annotated[
        tuple[str, ...],
        BeforeValidator(_listed),
        WithJsonSchema({"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}]}),
    ] = ()
    """Ids of tools that are switched off everywhere; names and aliases are understood"""

    enable_experimental_tools: Annotated[
        bool,
        Field(strict=True),
        BeforeValidator(_switched),
        WithJsonSchema({"anyOf": [{"type": "boolean"}, {"enum": ["true", "false"]}]}),
    ] = False
    """Stored and told; no tool is experimental at present, so it changes nothing"""

    login_attempt_limit: Annotated[
        int,
        Field(ge=1, le=MOST_ATTEMPTS),
        BeforeValidator(_counted),
        WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1, "maximum": MOST_ATTEMPTS}, {"type": "string"}]}),
    ] = TRIES
    """Passwords that may be tried at once for an account from an address, before it is one a minute"""


@dataclass(frozen=True, slots=True)
class Stored:
    """A setting as it is now.

    Attributes:
        key: Its name on the wire.
        value: A list, a boolean or a number.
        updated_at: Seconds since the epoch, None for one that nobody changed.
    """

    key: str
    value: Any
    updated_at: float | None


class Site:
    """Keeps the settings in memory, and looks every second at what other processes changed.

    Args:
        database: At the newest schema.
        executor: Makes the logo; its workers alone read what was sent.
        clock: Seconds since the epoch.
    """

    def __init__(self, database: Database, executor: Executor, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._executor = executor
        self._clock = clock
        self._settings = SiteSettings()
        self._disabled: frozenset[str] = frozenset()
        self._listeners: list[Callable[[], None]] = []

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever other tools are switched off than before."""
        self._listeners.append(listener)

    def disabled(self) -> frozenset[str]:
        """Ids of the tools that are switched off."""
        return self._disabled

    async def login_attempts(self) -> int:
        """Passwords that may be tried at once, before it is one a minute."""
        return self._settings.login_attempt_limit

    def check(self, plan: Plan) -> None:
        """Refuse a plan with a tool that is switched off, such as one of a workflow that was saved before.

        Raises:
            Forbidden: It has one.
        """
        for step in plan.steps:
            if step.tool in self._disabled:
                name = step.tool.replace("-", "_")
                raise Forbidden(
                    f"This uses the tool {name!r}, which is switched off on this server. Do it without that step, or "
                    "ask an admin to take the tool out of disabledTools.",
                    tool=name,
                )

    async def run(self) -> None:
        """See every second what other processes changed; never returns."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await self.refresh()
            except DarkroomError as error:
                log.warning("the settings may be old: %s", error.message)

    async def refresh(self) -> None:
        """See what other processes changed."""
        self._take(await self._database.read(_load))

    async def settings(self) -> Sequence[Stored]:
        """All settings, the changed ones with their time; `customLogo` says whether there is a logo."""
        rows = await self._database.read(_load)
        now = self._take(rows).model_dump(mode="json", by_alias=True)
        now[LOGO] = LOGO in rows
        return [Stored(key, value, rows[key][1] if key in rows else None) for key, value in now.items()]

    async def change(self, changes: Mapping[str, Any]) -> Sequence[Stored]:
        """Set these, all or none; as they are now.

        Raises:
            InvalidSettings: A key is unknown, or its value does not fit.
        """
        if LOGO in changes:
            raise InvalidSettings("'customLogo' follows the logo. Send one, or delete it.", field=LOGO)
        parsed = SiteSettings.parse(changes)
        written = parsed.model_dump(mode="json", by_alias=True, include=parsed.model_fields_set)
        at = self._clock()

        def work(connection: sa.Connection) -> Mapping[str, tuple[Any, float]]:
            for key, value in written.items():
                _store(connection, key, value, at)
            return _load(connection)

        self._take(await self._database.write(work))
        return [Stored(key, value, at) for key, value in written.items()]

    async def logo(self) -> bytes:
        """The logo: PNG, 128 pixels a side.

        Raises:
            NotFound: There is none.
        """
        wanted = sa.select(table.c.value).where(table.c.key == LOGO)
        found = await self._database.read(lambda connection: connection.scalar(wanted))
        if found is None:
            raise NotFound("There is no custom logo.")
        return base64.b64decode(found["png"])

    async def set_logo(self, file: Resolved) -> None:
        """Make a logo of a picture that lies in the store: fitted into the square, what is left of it transparent.

        Raises:
            LimitExceeded: It is over 500 KB.
            UnsupportedFormat: It is a drawing or document, and no picture of pixels.
            DarkroomError: It is damaged, or over a limit of pictures.
        """
        if file.bytes > LOGO_BYTES:
            raise LimitExceeded(
                f"A logo may have {LOGO_BYTES // 1024} KB, but this file has {file.bytes // 1024:,} KB. Make it smaller.",
                code="FILE_TOO_LARGE",
                limit=LOGO_BYTES,
            )
        if file.format in DOCUMENTS:
            raise UnsupportedFormat(
                f"A logo is a picture of pixels, such as PNG or JPEG, but this is {file.format.upper()}.",
                got=file.format,
            )
        png, _ = await self._executor.render(_LOGO, [file.sha256])
        value = {"png": base64.b64encode(png).decode()}
        at = self._clock()
        await self._database.write(lambda connection: _store(connection, LOGO, value, at))

    async def remove_logo(self) -> None:
        """Have no logo any more."""
        gone = table.delete().where(table.c.key == LOGO)
        await self._database.write(lambda connection: connection.execute(gone))

    def _take(self, rows: Mapping[str, tuple[Any, float]]) -> SiteSettings:
        values = {key: value for key, (value, _) in rows.items() if key in wire_names(SiteSettings)}
        if "disabledTools" in values:  # one that another version of Darkroom has must not bring the others back
            values["disabledTools"] = [name for name in values["disabledTools"] if find_builtin(name)]
        try:
            found = SiteSettings.parse(values)
        except InvalidSettings as error:
            log.warning("the stored settings do not fit, so the ones before stay: %s", error.message)
            return self._settings
        self._settings = found
        before, self._disabled = self._disabled, frozenset(found.disabled_tools)
        if before != self._disabled:
            for listener in self._listeners:
                listener()
        return found


def _load(connection: sa.Connection) -> Mapping[str, tuple[Any, float]]:
    """Values and times by key; of the logo only that it is there."""
    value = sa.case((table.c.key != LOGO, table.c.value))
    rows = connection.execute(sa.select(table.c.key, value.label("value"), table.c.updated_at))
    return {key: (value, updated_at) for key, value, updated_at in rows}


def _store(connection: sa.Connection, key: str, value: Any, at: float) -> None:
    changed = connection.execute(table.update().where(table.c.key == key).values(value=value, updated_at=at))
    if not changed.rowcount:
        connection.execute(table.insert().values(key=key, value=value, updated_at=at))


def _logo_plan() -> Plan:
    """Small first, so that nothing large is drawn; then with transparency, which the padding needs."""
    box = {"width": LOGO_SIDE, "height": LOGO_SIDE}
    steps: Sequence[tuple[str, Mapping[str, Any]]] = [
        ("resize", {**box, "fit": "inside", "withoutEnlargement": True}),
        ("convert", {"format": "png", "mode": "RGBA"}),
        ("resize", {**box, "fit": "contain"}),
        ("strip-metadata", {}),
    ]
    refs = [input_ref(0), *(step_ref(f"s{number}") for number in range(len(steps) - 1))]
    return Plan(
        tuple(
            Step(f"s{number}", tool, settings, {"image": [ref]})
            for number, ((tool, settings), ref) in enumerate(zip(steps, refs, strict=True))
        )
    )


_LOGO: Final = _logo_plan()
