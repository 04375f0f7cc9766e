"""Workflows as autoRetouch's clients know them: components from `input` to `export`, and a price."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID, uuid5

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from darkroom.app import Darkroom
from darkroom.errors import NotFound
from darkroom.faces.rest.autoretouch.dialect import MOST_LISTED, check_organization
from darkroom.faces.rest.autoretouch.wire import Author, Component, Paged, Workflow, WorkflowPage, WorkflowQuery
from darkroom.faces.rest.common import find_workflow, timestamp, uuid_of, workflows_for
from darkroom.principal import Principal
from darkroom.routing import Door, Says, principal_of, read_query
from darkroom.store.ids import as_uuid, from_uuid
from darkroom.workflows.described import fields_of, pictures_of
from darkroom.workflows.service import Saved

__all__ = ["INPUT", "find_version", "version_uuid", "workflow_routes"]

INPUT: Final = "input"
EXPORT: Final = "export"


def workflow_routes(room: Darkroom) -> Sequence[Door]:
    """The list of workflows, and each of them."""

    async def many(request: Request) -> Response:
        asked = read_query(request, Paged)
        principal = principal_of(request)
        check_organization(principal, asked.organization)
        every = await workflows_for(room, principal)
        chosen = every[asked.offset : asked.offset + min(asked.limit, MOST_LISTED)]
        return JSONResponse(WorkflowPage(entries=[_shown(room, saved) for saved in chosen], total=len(every)))

    async def one(request: Request) -> Response:
        asked = read_query(request, WorkflowQuery)
        principal = principal_of(request)
        check_organization(principal, asked.organization)
        saved = await find_version(room, principal, request.path_params["workflow"], asked.version)
        return JSONResponse(_shown(room, saved))

    return [
        Door(
            "/v1/workflow",
            many,
            needs="workflows:read",
            says=Says("Workflows that you can run.", query=Paged, answer=WorkflowPage),
        ),
        Door(
            "/v1/workflow/{workflow}",
            one,
            needs="workflows:read",
            says=Says(
                "A workflow with its components.",
                query=WorkflowQuery,
                answer=Workflow,
                inferred="`version` of the query.",
            ),
        ),
    ]


async def find_version(room: Darkroom, principal: Principal, workflow: str, version: str | None) -> Saved:
    """A workflow in the version asked for, or in its newest.

    Raises:
        NotFound: No such workflow of the caller or of Darkroom, or no such version of it.
    """
    saved = await find_workflow(room, principal, workflow)
    if version is None or version.lower() in (saved.version, version_uuid(saved.id, saved.version)):
        return saved
    older = from_uuid(version, "wfv") or version
    if older.startswith("wfv_"):
        found = await room.workflows.get(principal, older)
        if found.id == saved.id:
            return found
    raise NotFound("There is no such version of this workflow.")


def version_uuid(workflow: str, version: str) -> str:
    """The UUID of a version, which stands for a release of Darkroom where the workflow came with it."""
    return as_uuid(version) if version.startswith("wfv_") else str(uuid5(UUID(uuid_of(workflow)), version))


def _shown(room: Darkroom, saved: Saved) -> Workflow:
    return Workflow(
        id=uuid_of(saved.id),
        version=version_uuid(saved.id, saved.version),
        name=saved.name,
        date=timestamp(saved.updated_at),
        author=_author(saved),
        workflowComponents=_components(saved),
        executionPrice=room.credits.price_of(saved) or 0,
    )


def _author(saved: Saved) -> Author:
    named = saved.author if saved.author not in ("", saved.owner) else None
    return Author(id=saved.owner or "darkroom", firstName=named, lastName=None, email=None)


def _components(saved: Saved) -> list[Component]:
    """The document's components between an input and an export, also where it has neither."""
    shown = [
        Component(type=each.type, label=each.label or each.type, settings=dict(each.settings))
        for each in saved.document.components
    ]
    inputs = [each for each in shown if each["type"] == INPUT]
    last = shown.pop() if shown and shown[-1]["type"] == EXPORT else Component(type=EXPORT, label=EXPORT, settings={})
    first = inputs[0] if inputs else Component(type=INPUT, label=INPUT, settings={})
    between = [each for each in shown if each is not first]
    exported = {"targetFormat": "AUTO", **last["settings"]}
    return [{**first, "settings": _asks(saved) | first["settings"]}, *between, {**last, "settings": exported}]


def _asks(saved: Saved) -> dict[str, Any]:
    """What a workflow wants beside one picture, under the names that an execution's `settings` have."""
    pictures, fields = pictures_of(saved), fields_of(saved)
    further = [
        {
            "name": each.id,
            "title": each.title,
            "description": each.description,
            "required": each.required,
            "many": each.many,
        }
        for each in pictures[1:]
    ]
    settings = [
        {
            "name": each.id,
            "title": each.title,
            "type": each.kind,
            "required": each.required,
            "default": each.default,
            "options": [{"id": choice.id, "label": choice.label} for choice in each.choices],
        }
        for each in fields
    ]
    return {**({"images": further} if further else {}), **({"settings": settings} if settings else {})}
