"""From a request to create an execution to its job."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from starlette.requests import Request

from darkroom.app import Darkroom
from darkroom.faces.rest.autoretouch.dialect import check_organization
from darkroom.faces.rest.autoretouch.storage import FORM
from darkroom.faces.rest.autoretouch.wire import CreateBody, CreateQuery, ImageBody, Webhook
from darkroom.faces.rest.autoretouch.workflows import INPUT, find_version
from darkroom.faces.rest.common import run_terms
from darkroom.forms import Form, read_form
from darkroom.intake import Resolved
from darkroom.jobs.record import Job
from darkroom.jobs.terms import Hook
from darkroom.principal import Principal
from darkroom.routing import parse_json, principal_of, read_json
from darkroom.workflows.described import argument_of, fields_of, pictures_of
from darkroom.workflows.service import Saved
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.kit.clean import clean_name
from darkroom_tools.settings import nearest

__all__ = ["accepted"]

LABEL: Final = re.compile(r"labels?\[(.*)\]", re.DOTALL)
HASH: Final = re.compile(r"[0-9a-fA-F]{64}")
FIELDS: Final = ("settings", "webhooks")


async def accepted(room: Darkroom, request: Request) -> Job:
    """The job that a request to create an execution makes.

    Raises:
        NotFound: No such workflow, version, organization or picture of the caller.
        InvalidSettings: Something of it cannot be.
        DarkroomError: What `Jobs.accept` says.
    """
    principal = principal_of(request)
    query = {key: value for key, value in request.query_params.items() if not LABEL.fullmatch(key)}
    asked = CreateQuery.parse(query)
    labels = dict(_labels(request.query_params.multi_items()))
    check_organization(principal, asked.organization)
    saved = await find_version(room, principal, asked.workflow, asked.version)
    if not request.headers.get("content-type", "").lower().startswith(FORM):
        body = await read_json(request, CreateBody)
        images = [await _stored(room, principal, body.image)] if body.image is not None else []
        arguments = await _arguments(room, principal, saved, images, body.settings)
        return await _run(room, request, saved, arguments, labels | body.labels, body.webhooks)
    async with read_form(request, room.intake, room.library.discard) as form:
        _refuse_unknown(form, saved)
        settings = parse_json(form.text("settings", "{}"))
        files = await _received(room, principal, form)
        images = files.pop("file", [])
        many = {each.id for each in pictures_of(saved) if each.many}
        further = {name: came if name in many else came[-1] for name, came in files.items()}
        arguments = await _arguments(room, principal, saved, images, {**settings, **further})
        labels |= dict(_labels((name, values[-1]) for name, values in form.fields.items()))
        return await _run(room, request, saved, arguments, labels, form.fields.get("webhooks", ()))


async def _run(
    room: Darkroom,
    request: Request,
    saved: Saved,
    arguments: Mapping[str, Any],
    labels: Mapping[str, Any],
    webhooks: Sequence[str | Webhook],
) -> Job:
    hooks = tuple(Hook(each) if isinstance(each, str) else Hook(each.url, each.secret) for each in webhooks)
    terms = run_terms(request, labels=dict(labels), webhooks=hooks)
    return await room.jobs.accept(principal_of(request), saved.runnable(), arguments, terms=terms)


def _labels(pairs: Any) -> Iterator[tuple[str, str]]:
    """Names and values of `label[name]=value`; some clients write `labels[name]`."""
    for key, value in pairs:
        if (found := LABEL.fullmatch(key)) is not None:
            yield found[1], value


async def _stored(room: Darkroom, principal: Principal, image: ImageBody) -> Resolved:
    """The picture of that content hash, under the name that it has here."""
    record = await room.files.by_digest(principal, image.content_hash.lower())
    return Resolved(record.sha256, record.format, record.bytes, clean_name(image.name, record.name), record.id)


async def _received(room: Darkroom, principal: Principal, form: Form) -> dict[str, list[Resolved]]:
    """The files of a form by field, each kept, so that it can be asked for by its content hash and tried again."""
    kept: dict[str, list[Resolved]] = {}
    for part in form.files:
        record = await room.files.receive(principal, part.file)
        came = Resolved(record.sha256, record.format, record.bytes, part.file.name, record.id)
        kept.setdefault(part.field, []).append(came)
    return kept


def _refuse_unknown(form: Form, saved: Saved) -> None:
    pictures = [each.id for each in pictures_of(saved)[1:]]
    known = [*FIELDS, "file", "label[name]", *pictures]
    for name in (*form.fields, *(part.field for part in form.files)):
        if name not in (*FIELDS, "file", *pictures) and not LABEL.fullmatch(name):
            shown = name[:60]
            near = nearest(shown, known)
            hint = f" Did you mean {near!r}?" if near else ""
            raise InvalidSettings(
                f"The form has no field {shown!r}.{hint} Allowed: {', '.join(known)}.", field=shown, nearest=near
            )


async def _arguments(
    room: Darkroom, principal: Principal, saved: Saved, images: Sequence[Resolved], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """What the workflow is called with: its first picture is the execution's, all else stands in its settings."""
    pictures = {each.id: each for each in pictures_of(saved)}
    fields = {each.id: each for each in fields_of(saved)}
    arguments: dict[str, Any] = {}
    for name, value in _flat(settings, known={*pictures, *fields}).items():
        if name in pictures:
            arguments[name] = await _picture(room, principal, value)
        else:
            arguments[name] = argument_of(fields[name], value) if name in fields else value
    if images:
        first = next(iter(pictures.values()), None)
        if first is None:
            raise InvalidSettings(f"The workflow {saved.name!r} takes no picture. Leave 'image' out.", field="image")
        if first.id in arguments:
            raise InvalidSettings(f"{first.id!r} came twice: as the image, and in the settings.", field=first.id)
        if len(images) > 1 and not first.many:
            raise InvalidSettings(f"{len(images)} files came; an execution has one picture.", field="file")
        arguments[first.id] = list(images) if first.many else images[0]
    return arguments


def _flat(settings: Mapping[str, Any], known: Collection[str]) -> Mapping[str, Any]:
    """Settings by name, also where they stand under the component `input`, which shows them."""
    inside = settings.get(INPUT)
    if INPUT in known or not isinstance(inside, Mapping):
        return settings
    return {**inside, **{name: value for name, value in settings.items() if name != INPUT}}


async def _picture(room: Darkroom, principal: Principal, value: Any) -> Any:
    """A picture in the settings; a content hash stands for the caller's picture of it."""
    if isinstance(value, list):
        return [await _picture(room, principal, each) for each in value]
    if isinstance(value, str) and HASH.fullmatch(value.strip()):
        return (await room.files.by_digest(principal, value.strip().lower())).id
    return value
