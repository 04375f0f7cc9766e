"""Pipelines: steps that run one after the other, saved as workflows."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from typing_extensions import TypedDict

from darkroom.app import Darkroom
from darkroom.errors import NotFound
from darkroom.faces.rest.common import find_workflow, timestamp
from darkroom.faces.rest.snapotter.answers import Accepted, Made
from darkroom.faces.rest.snapotter.batches import BATCH_FIELDS, BATCH_SAYS, FURTHER_FILES, answer_batch
from darkroom.faces.rest.snapotter.orders import RUN_FIELDS, Order, json_of, place_files, read_order
from darkroom.faces.rest.snapotter.runs import Runs
from darkroom.faces.rest.snapotter.shapes import Done, done
from darkroom.faces.rest.snapotter.steps import (
    MOST_STEPS,
    StepAnswer,
    StepBody,
    StepsBody,
    blamed,
    can_be_step,
    checked,
    compiled,
    document_of,
    steps_of,
)
from darkroom.faces.rest.snapotter.tools import HEADERS
from darkroom.forms import MOST_FILES
from darkroom.principal import Principal
from darkroom.routing import Door, Says, principal_of, read_json
from darkroom.store.ids import from_uuid
from darkroom.workflows.service import Saved
from darkroom_tools.base import Tool
from darkroom_tools.errors import DarkroomError, InvalidSettings
from darkroom_tools.settings import Settings

__all__ = ["pipeline_routes"]

PIPELINE: Final[Mapping[str, Mapping[str, Any]]] = {
    "pipeline": {
        "type": "string",
        "contentMediaType": "application/json",
        "description": 'The steps: [{"toolId": "resize", "settings": {"width": 800}}, …], or an object with them as "steps"',
    },
    "pipelineId": {"type": "string", "description": "A saved pipeline, instead of steps"},
}


class NewPipeline(Settings):
    """A pipeline to save; one of that name gets a new version."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    """For people"""

    description: Annotated[str, Field(max_length=500)] = ""
    """What it is for"""

    steps: Annotated[list[StepBody], Field(max_length=MOST_STEPS)]
    """In order"""


class PipelineAnswer(TypedDict):
    """A saved pipeline."""

    id: str
    name: str
    description: str
    steps: list[StepAnswer]
    userId: str
    createdAt: str
    updatedAt: str


class PipelinesAnswer(TypedDict):
    """Saved pipelines."""

    pipelines: list[PipelineAnswer]


class StepToolsAnswer(TypedDict):
    """Tools that can be a step."""

    toolIds: list[str]


class MadePipeline(Made):
    """What a pipeline made."""

    stepsCompleted: int
    steps: list[dict[str, Any]]


def pipeline_routes(runs: Runs) -> Sequence[Door]:
    """`/api/v1/pipeline/…`."""
    return [*_running(runs), *_keeping(runs.room)]


def _running(runs: Runs) -> Sequence[Door]:
    room = runs.room

    async def execute(request: Request) -> Response:
        async with read_order(request, room) as order:
            tool, steps = await _wanted(room, principal_of(request), order)
            owner = await runs.owner_of(principal_of(request), order)
            job = await runs.accept(request, owner, tool, place_files(tool, order), order)
        numbered = [{"step": number, "toolId": step["toolId"]} for number, step in enumerate(steps, 1)]
        more = {"stepsCompleted": len(steps), "steps": numbered}
        try:
            return await runs.answer(request, owner, job, order, more=more)
        except DarkroomError as error:
            raise blamed(error, steps) from error

    async def batch(request: Request) -> Response:
        async with read_order(request, room, MOST_FILES + FURTHER_FILES) as order:
            tool, _ = await _wanted(room, principal_of(request), order)
            return await answer_batch(request, runs, tool, order)

    return [
        Door(
            "/api/v1/pipeline/execute",
            execute,
            needs="tools:run",
            methods=["POST"],
            says=Says(
                "Run several tools on a file, one after the other.",
                form={**RUN_FIELDS, **PIPELINE},
                answer=["application/octet-stream", "image/*", "application/pdf", "application/zip", MadePipeline],
                more={202: Accepted},
                headers=HEADERS,
                inferred="`pipelineId` runs a saved pipeline; all steps are checked before the first one runs.",
            ),
        ),
        Door(
            "/api/v1/pipeline/batch",
            batch,
            needs="tools:run",
            methods=["POST"],
            says=Says(
                "Run several tools on up to 200 files.",
                form={**BATCH_FIELDS, **PIPELINE},
                required=["files"],
                **BATCH_SAYS,
            ),
        ),
    ]


def _keeping(room: Darkroom) -> Sequence[Door]:
    async def save(request: Request) -> Response:
        new = await read_json(request, NewPipeline)
        steps = checked(new.steps)
        compiled(steps, room.catalog)
        saved = await room.workflows.save(principal_of(request), document_of(new.name, new.description, steps))
        return JSONResponse(_show(saved, steps_of(saved.document) or []), 201)

    async def show_all(request: Request) -> Response:
        rows = [
            _show(saved, steps)
            for owner in await _owners(room, principal_of(request))
            for saved in await _saved_by(room, owner)
            if (steps := steps_of(saved.document)) is not None
        ]
        answer: PipelinesAnswer = {"pipelines": rows}
        return JSONResponse(answer)

    async def delete(request: Request) -> Response:
        saved = await _found(room, principal_of(request), request.path_params["id"])
        await room.workflows.delete(Principal(saved.owner), saved.id)
        return done()

    async def show_tools(_request: Request) -> Response:
        answer: StepToolsAnswer = {"toolIds": [name for name in room.catalog.builtin if can_be_step(name)]}
        return JSONResponse(answer)

    return [
        Door(
            "/api/v1/pipeline/save",
            save,
            needs="workflows:write",
            methods=["POST"],
            says=Says("Save a pipeline.", body=NewPipeline, answer=PipelineAnswer, status=201),
        ),
        Door(
            "/api/v1/pipeline/list",
            show_all,
            needs="workflows:read",
            methods=["GET"],
            says=Says("List saved pipelines: one's own, all for an admin.", answer=PipelinesAnswer),
        ),
        Door(
            "/api/v1/pipeline/tools",
            show_tools,
            needs="workflows:read",
            methods=["GET"],
            says=Says("List the tools that can be a step.", answer=StepToolsAnswer),
        ),
        Door(
            "/api/v1/pipeline/{id}",
            delete,
            needs="workflows:write",
            methods=["DELETE"],
            says=Says("Delete a saved pipeline.", answer=Done),
        ),
    ]


async def _wanted(room: Darkroom, principal: Principal, order: Order) -> tuple[Tool, Sequence[Mapping[str, Any]]]:
    """The tool that the pipeline of a form is, and its steps as they were written.

    Raises:
        InvalidSettings: There is none, or a step is wrong.
        NotFound: No such saved pipeline of the principal.
    """
    chosen, written = order.text("pipelineId"), order.text("pipeline")
    if bool(chosen) == bool(written):
        raise InvalidSettings("Give either 'pipeline' with the steps, or 'pipelineId'.", field="pipeline")
    if chosen:
        saved = await find_workflow(room, principal, chosen)
        return saved.runnable(), steps_of(saved.document) or []
    steps = StepsBody.parse(json_of(written, "pipeline", listed="steps")).parsed()
    if order.settings:
        raise InvalidSettings("The settings of steps stand in 'pipeline', not in 'settings'.", field="settings")
    shown = [{"toolId": step.tool.replace("_", "-"), "settings": step.settings} for step in steps]
    return compiled(steps, room.catalog), shown


async def _owners(room: Darkroom, principal: Principal) -> Sequence[Principal]:
    """Those whose pipelines the principal may see: themselves first."""
    if not principal.may("workflows:all"):
        return [principal]
    others = await room.workflows.owners()
    return [principal, *(Principal(owner) for owner in others if owner != principal.id)]


async def _found(room: Darkroom, principal: Principal, text: str) -> Saved:
    """The pipeline of that id among those that the principal may see.

    Raises:
        NotFound: There is none.
    """
    identifier = from_uuid(text, "wf") or text
    for owner in await _owners(room, principal):
        for saved in await _saved_by(room, owner):
            if saved.id == identifier:
                return saved
    raise NotFound("There is no such pipeline.")


async def _saved_by(room: Darkroom, owner: Principal) -> Sequence[Saved]:
    await room.workflows.refresh(owner)
    return room.workflows.list(owner)


def _show(saved: Saved, steps: list[StepAnswer]) -> PipelineAnswer:
    return {
        "id": saved.id,
        "name": saved.name,
        "description": saved.document.description,
        "steps": steps,
        "userId": saved.owner,
        "createdAt": timestamp(saved.created_at),
        "updatedAt": timestamp(saved.updated_at),
    }
