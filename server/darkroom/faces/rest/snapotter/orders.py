"""What a request asks for: settings and ids from its form or body, and which file goes where."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.requests import Request

from darkroom.app import Darkroom
from darkroom.faces.rest.snapotter.names import chosen_id
from darkroom.forms import MOST_FILES, Form, Part, read_form
from darkroom.intake import Resolved
from darkroom.routing import FILE, parse_json
from darkroom.store.ids import from_uuid
from darkroom_tools.base import Tool
from darkroom_tools.errors import DarkroomError, InvalidSettings
from darkroom_tools.settings import wire_names

__all__ = ["RUN_FIELDS", "Order", "handle_of", "json_of", "place_batch", "place_files", "read_order"]

LONGEST_ID: Final = 80

RUN_FIELDS: Final[Mapping[str, Mapping[str, Any]]] = {
    "file": FILE,
    "settings": {"type": "string", "contentMediaType": "application/json", "description": "The tool's settings"},
    "fileId": {"type": "string", "description": "File of the library that the result is a new version of"},
    "clientJobId": {
        "type": "string",
        "pattern": "^([0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12})?$",
        "description": "UUID under which progress can be followed at once",
    },
}
"""Fields of a form that runs something."""


@dataclass(frozen=True, slots=True)
class Order:
    """What stands in a request.

    Attributes:
        settings: Of the tool.
        file_id: Handle of a file of the library; empty for none.
        client_id: UUID that the client chose for the job; empty for none.
        form: Everything else; None for a request without a form.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    file_id: str = ""
    client_id: str = ""
    form: Form | None = None

    @property
    def files(self) -> Sequence[Part]:
        """The files, in the order in which they came."""
        return self.form.files if self.form is not None else ()

    @property
    def bytes(self) -> int:
        """Of the files together."""
        return sum(part.came.bytes for part in self.files if isinstance(part.came, Resolved))

    @property
    def name(self) -> str:
        """Of the first file that came in."""
        return next((part.came.name for part in self.files if isinstance(part.came, Resolved)), "")

    def text(self, name: str) -> str:
        """A field of the form."""
        return self.form.text(name).strip() if self.form is not None else ""


@asynccontextmanager
async def read_order(request: Request, room: Darkroom, most_files: int = MOST_FILES) -> AsyncIterator[Order]:
    """The order in a form, or in a JSON body, which is the settings; files that no job needs go at the end of the block.

    Raises:
        InvalidSettings: It is neither, or damaged.
    """
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        async with read_form(request, room.intake, room.library.discard, most_files=most_files) as form:
            settings = json_of(form.text("settings"), "settings")
            yield _order(settings, form.text("fileId"), form.text("clientJobId"), form)
        return
    body = parse_json(await request.body())
    nested = body.get("settings")
    chosen, file_id = str(body.pop("clientJobId", None) or ""), str(body.get("fileId") or "")
    yield _order(nested if isinstance(nested, Mapping) else body, file_id, chosen, None)


def json_of(text: str, name: str, *, listed: str = "") -> dict[str, Any]:
    """The JSON object in a field of a form; nothing is an empty one.

    Args:
        text: As it came.
        name: Of the field.
        listed: What a bare array is called in the object; such arrays are refused if empty.

    Raises:
        InvalidSettings: It is no JSON object.
    """
    array = bool(listed) and text.lstrip().startswith("[")
    try:
        return parse_json(f'{{"{listed}": {text}}}' if array else text)
    except InvalidSettings as error:
        said = error.message.replace("The body", f"The field {name!r}")
        raise InvalidSettings(said, **{**error.details, "field": name}) from error


def _order(settings: Mapping[str, Any], file_id: str, client_id: str, form: Form | None) -> Order:
    others = {key: value for key, value in settings.items() if key != "fileId"}
    wanted = file_id.strip() or str(settings.get("fileId") or "").strip()
    chosen = chosen_id(client_id.strip())
    if client_id.strip() and not chosen:
        text = "'clientJobId' should be a UUID, such as crypto.randomUUID() makes."
        raise InvalidSettings(text, field="clientJobId")
    return Order(others, handle_of(wanted[:LONGEST_ID]) if wanted else "", chosen, form)


def handle_of(file_id: str) -> str:
    """The handle that a file's id is, also where it is written as a UUID."""
    return from_uuid(file_id, "img") or file_id


def place_files(tool: Tool, order: Order) -> dict[str, Any]:
    """The arguments of a call: each file under the image parameter that its field names, all others in order.

    Where the file that the tool works on is not there, the file of the library takes its place.

    Raises:
        InvalidSettings: MISSING_FILE, or TOO_MANY_FILES.
    """
    _refuse_loose(tool, order)
    given, rest = _by_name(tool, order.files)
    first = next((image for image in tool.inputs if image.required), None)
    library: dict[str, list[Any]] = {}
    if order.file_id and first is not None and not rest and first.name not in given:
        library[first.name] = [order.file_id]
    for image in tool.inputs:
        if image.name not in given and rest:
            given[image.name] = rest if image.many else rest[:1]
            rest = [] if image.many else rest[1:]
    single = {image.name for image in tool.inputs if not image.many}
    if rest or any(len(given.get(name, ())) > 1 for name in single):
        raise InvalidSettings(
            f"{len(order.files)} files came, but {tool.id} takes fewer. {_takes(tool)}",
            code="TOO_MANY_FILES",
            field="file",
        )
    named = {**library, **given}
    arguments = {**order.settings, **{name: each[0] if name in single else each for name, each in named.items()}}
    _refuse_missing(tool, arguments)
    return arguments


def place_batch(tool: Tool, order: Order) -> tuple[str, dict[str, Any]]:
    """The image parameter that a batch goes over, and the arguments of the call.

    Files whose field names a further image of the tool, such as `watermark`, go with every file of the batch.

    Raises:
        InvalidSettings: The tool takes no batch, or a file is missing.
    """
    _refuse_loose(tool, order)
    each = next((image for image in tool.inputs if image.required), None)
    if each is None or each.many:
        why = "takes no file" if each is None else "takes all its files at once"
        raise InvalidSettings(f"{tool.id} {why}, so it runs over no batch. Call it alone.", field="toolId", got=tool.id)
    given, rest = _by_name(tool, order.files)
    rest = [*given.pop(each.name, ()), *rest]
    if not rest:
        raise InvalidSettings(
            "A batch needs files: send each as the form field 'files'.", code="MISSING_FILE", field="files"
        )
    single = {image.name for image in tool.inputs if not image.many}
    arguments = {**order.settings, **{name: found[0] if name in single else found for name, found in given.items()}}
    arguments[each.name] = rest
    _refuse_missing(tool, arguments)
    return each.name, arguments


def _by_name(tool: Tool, parts: Sequence[Part]) -> tuple[dict[str, list[Resolved | DarkroomError]], list[Any]]:
    """The files whose fields are image parameters of the tool, and the others."""
    known = {name: image.name for image in tool.inputs for name in (image.name, image.parameter)}
    given: dict[str, list[Resolved | DarkroomError]] = {}
    rest: list[Resolved | DarkroomError] = []
    for part in parts:
        (given.setdefault(known[part.field], []) if part.field in known else rest).append(part.came)
    return given, rest


def _refuse_loose(tool: Tool, order: Order) -> None:
    """Refuse settings that came as fields of their own, which would have no effect."""
    loose = set(wire_names(tool.settings)) & set(order.form.fields if order.form is not None else ())
    for name in sorted(loose):
        text = f"{name!r} came as a form field of its own. Settings are JSON in the field 'settings'."
        raise InvalidSettings(text, field=name)


def _refuse_missing(tool: Tool, arguments: Mapping[str, Any]) -> None:
    for image in tool.inputs:
        if image.required and image.name not in arguments and image.parameter not in arguments:
            raise InvalidSettings(f"A file is missing. {_takes(tool)}", code="MISSING_FILE", field=image.name)


def _takes(tool: Tool) -> str:
    """Which files a tool takes, as a sentence."""
    if not tool.inputs:
        return f"{tool.id} takes no file."
    first, *further = tool.inputs
    named = [f"'{image.name}'" + ("" if image.required else " if wanted") for image in further]
    fields = "'file', once or more often" if first.many else "'file'"
    return f"{tool.id} takes the form field {' and '.join([fields, *named])}."
