"""The site: settings, the logo, and what anybody may ask before signing in."""

import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from pydantic import WithJsonSchema
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from typing_extensions import TypedDict

from darkroom.accounts.site import LOGO_BYTES, SiteSettings, Stored
from darkroom.app import Darkroom
from darkroom.errors import NotFound
from darkroom.faces.rest.common import timestamp
from darkroom.faces.rest.snapotter.shapes import Done, done
from darkroom.forms import read_form
from darkroom.routing import FILE, PUBLIC, Door, Says, parse_json, read_json
from darkroom_tools.errors import InvalidSettings, LimitExceeded
from darkroom_tools.kit.clean import clean_text
from darkroom_tools.settings import Settings

__all__ = ["site_routes"]

FORM_BYTES = 16 * 1024
"""What a form may hold beside its one file."""

Switch = Literal["true", "false"]


class ValueBody(Settings):
    """The value of a setting."""

    value: Annotated[
        Any, WithJsonSchema({"type": ["array", "string", "boolean", "integer"], "items": {"type": "string"}})
    ]
    """For disabledTools an array of tool ids, or its JSON text"""


class SettingsValues(TypedDict):
    """All settings."""

    disabledTools: list[str]
    enableExperimentalTools: Switch
    loginAttemptLimit: int
    customLogo: Switch


class SettingsAnswer(TypedDict):
    """All settings."""

    settings: SettingsValues


class SettingAnswer(TypedDict):
    """A setting; without a time for one that nobody changed."""

    key: str
    value: list[str] | str | int
    updatedAt: str | None


class SavedSettings(TypedDict):
    """How many settings were set."""

    ok: bool
    updatedCount: int


class Health(TypedDict):
    """Whether the server serves."""

    status: Literal["healthy", "unhealthy"]
    version: str


class AuthConfig(TypedDict):
    """Whether callers have to sign in."""

    authEnabled: bool


def site_routes(room: Darkroom) -> list[Door]:
    """`/api/v1/settings`, `/api/v1/branding/logo`, `/api/v1/health` and `/api/v1/config/auth`."""
    site = _Site(room)
    return [*_setting_doors(site), *_logo_doors(site), *_open_doors(site)]


class _Site:
    """Answers for the site."""

    def __init__(self, room: Darkroom) -> None:
        self._room = room

    async def settings(self, _request: Request) -> Response:
        return JSONResponse({"settings": _values(await self._room.site.settings())})

    async def setting(self, request: Request) -> Response:
        every = await self._room.site.settings()
        wanted = request.path_params["key"]
        found = next((stored for stored in every if stored.key == wanted), None)
        if found is None:
            known = ", ".join(stored.key for stored in every)
            raise NotFound(f"There is no setting {clean_text(wanted, 60)!r}. There are: {known}.")
        return JSONResponse(_setting(found))

    async def set_one(self, request: Request) -> Response:
        body = await read_json(request, ValueBody)
        [stored] = await self._room.site.change({request.path_params["key"]: body.value})
        return JSONResponse(_setting(stored))

    async def set_many(self, request: Request) -> Response:
        changes = parse_json(await request.body())
        stored = await self._room.site.change(changes)
        answer: SavedSettings = {"ok": True, "updatedCount": len(stored)}
        return JSONResponse(answer)

    async def set_logo(self, request: Request) -> Response:
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > LOGO_BYTES + FORM_BYTES:
            raise LimitExceeded(
                f"A logo may have {LOGO_BYTES // 1024} KB. Make it smaller.", code="FILE_TOO_LARGE", limit=LOGO_BYTES
            )
        async with read_form(request, self._room.intake, self._room.library.discard, most_files=1) as form:
            parts = form.parts()
            if not parts:
                raise InvalidSettings("Send the picture as the part 'file' of a form.", field="file")
            await self._room.site.set_logo(parts[0].file)
        return done()

    async def logo(self, _request: Request) -> Response:
        headers = {"cache-control": "no-cache"}  # it may change at any time, under the same address
        return Response(await self._room.site.logo(), media_type="image/png", headers=headers)

    async def remove_logo(self, _request: Request) -> Response:
        await self._room.site.remove_logo()
        return done()

    async def health(self, _request: Request) -> Response:
        facts = self._room.health()
        healthy = facts["status"] == "ok"
        answer: Health = {"status": "healthy" if healthy else "unhealthy", "version": facts["version"]}
        return JSONResponse(answer, 200 if healthy else 503)

    async def config(self, _request: Request) -> Response:
        answer: AuthConfig = {"authEnabled": self._room.config.auth == "on"}
        return JSONResponse(answer)


def _values(every: Iterable[Stored]) -> dict[str, Any]:
    return {stored.key: _shown(stored.value) for stored in every}


def _setting(stored: Stored) -> SettingAnswer:
    at = timestamp(stored.updated_at) if stored.updated_at is not None else None
    return {"key": stored.key, "value": _shown(stored.value), "updatedAt": at}


def _shown(value: Any) -> Any:
    """Switches are text in this dialect."""
    return json.dumps(value) if isinstance(value, bool) else value


def _setting_doors(site: _Site) -> Sequence[Door]:
    one = "/api/v1/settings/{key}"
    return [
        Door(
            "/api/v1/settings",
            site.settings,
            needs="settings:read",
            says=Says("All settings.", answer=SettingsAnswer, inferred="The answer."),
        ),
        Door(
            "/api/v1/settings",
            site.set_many,
            needs="settings:write",
            methods=["PUT"],
            says=Says(
                "Set several settings, all or none.", body=SiteSettings, answer=SavedSettings, inferred="This address."
            ),
        ),
        Door(
            one,
            site.setting,
            needs="settings:read",
            says=Says("One setting.", answer=SettingAnswer, inferred="This address."),
        ),
        Door(
            one,
            site.set_one,
            needs="settings:write",
            methods=["PUT"],
            says=Says(
                "Set disabledTools, enableExperimentalTools or loginAttemptLimit; customLogo follows the logo. No tool is "
                "experimental at present, so enableExperimentalTools is stored and changes nothing.",
                body=ValueBody,
                answer=SettingAnswer,
                inferred="The body and the answer.",
            ),
        ),
    ]


def _logo_doors(site: _Site) -> Sequence[Door]:
    path = "/api/v1/branding/logo"
    return [
        Door(
            path,
            site.set_logo,
            needs="branding:manage",
            methods=["POST"],
            says=Says(
                "Make a logo of a picture of at most 500 KB: 128 x 128 pixels, PNG, what is left over transparent.",
                form={"file": FILE},
                required=["file"],
                answer=Done,
                inferred="The answer.",
            ),
        ),
        Door(path, site.logo, needs=PUBLIC, says=Says("The logo; 404 where there is none.", answer="image/png")),
        Door(
            path,
            site.remove_logo,
            needs="branding:manage",
            methods=["DELETE"],
            says=Says("Have no logo of one's own any more.", answer=Done, inferred="The answer."),
        ),
    ]


def _open_doors(site: _Site) -> Sequence[Door]:
    said = "This address."
    return [
        Door(
            "/api/v1/health",
            site.health,
            needs=PUBLIC,
            says=Says("Whether the server serves.", answer=Health, more={503: Health}, inferred=said),
        ),
        Door(
            "/api/v1/config/auth",
            site.config,
            needs=PUBLIC,
            says=Says("Whether callers have to sign in.", answer=AuthConfig, inferred=said),
        ),
    ]
