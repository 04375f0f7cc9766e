"""The steps of a pipeline: as they are written, which tools can be one, and which step failed."""

import functools
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field
from typing_extensions import TypedDict

from darkroom.catalog import Catalog
from darkroom.workflows.compile import compile_pipeline, pipeline_problems, refuse_references
from darkroom.workflows.document import Component, PipelineStep, WorkflowDocument
from darkroom.workflows.references import places
from darkroom_tools.base import Tool
from darkroom_tools.errors import DarkroomError, InvalidSettings, ProcessingFailed
from darkroom_tools.registry import builtin_tools
from darkroom_tools.settings import Settings

__all__ = [
    "MOST_STEPS",
    "StepAnswer",
    "Steps",
    "StepsBody",
    "blamed",
    "can_be_step",
    "compiled",
    "document_of",
    "steps_of",
]

MOST_STEPS: Final = 20
INPUTS_OWN: Final = 500
"""From this status on an error is the server's, and keeps its status."""


class StepBody(Settings):
    """One step."""

    aliases: ClassVar = {"tool": "toolId"}

    tool_id: Annotated[str, Field(max_length=80)]
    """Id of a tool"""

    settings: dict[str, Any] = Field(default_factory=dict)
    """Its settings"""


Steps = Sequence[PipelineStep]


class StepsBody(Settings):
    """A pipeline that is not saved."""

    steps: list[StepBody]
    """In order"""

    def parsed(self) -> Steps:
        """The steps as they run.

        Raises:
            InvalidSettings: There is none, or over 20.
        """
        return checked(self.steps)


class StepAnswer(TypedDict):
    """One step."""

    toolId: str
    settings: dict[str, Any]


def checked(steps: Sequence[StepBody]) -> Steps:
    """The steps as they run.

    Raises:
        InvalidSettings: There is none, or over 20.
    """
    if not steps:
        raise InvalidSettings("A pipeline has 1 to 20 steps, but none came.", field="steps")
    if len(steps) > MOST_STEPS:
        raise InvalidSettings(
            f"A pipeline has 1 to {MOST_STEPS} steps, but {len(steps)} came.",
            code="TOO_MANY_STEPS",
            field="steps",
            got=len(steps),
            limit=MOST_STEPS,
        )
    return [PipelineStep(tool=step.tool_id, settings=step.settings) for step in steps]


def compiled(steps: Steps, catalog: Catalog) -> Tool:
    """The tool that the steps are; all of them are checked.

    Raises:
        InvalidSettings: One is wrong; `details["problems"]` tells of all that are.
    """
    refuse_references(steps)
    try:
        return compile_pipeline(steps, catalog.builtin)
    except InvalidSettings as error:
        problems = [
            {"field": problem.details.get("field"), "error": problem.message}
            for problem in pipeline_problems(steps, catalog.builtin)
        ]
        error.details["problems"] = problems
        raise


def document_of(name: str, description: str, steps: Steps) -> WorkflowDocument:
    """The workflow that a saved pipeline is.

    Raises:
        InvalidSettings: The name or the description is too long.
    """
    components = [{"type": step.tool, "settings": dict(step.settings)} for step in steps]
    return WorkflowDocument.parse({"name": name, "description": description, "components": components})


def steps_of(document: WorkflowDocument) -> list[StepAnswer] | None:
    """The steps of a workflow that is a plain pipeline; None of one that has inputs, branches or further pictures."""
    if document.inputs or not all(map(_is_plain, document.components)):
        return None
    return [{"toolId": each.type.replace("_", "-"), "settings": dict(each.settings)} for each in document.components]


def _is_plain(component: Component) -> bool:
    tool = builtin_tools().get(component.type.replace("_", "-"))
    if tool is None or any(True for _ in places(component.settings)):
        return False
    return not {name for image in tool.inputs for name in (image.name, image.parameter)} & set(component.settings)


@functools.cache
def can_be_step(tool_id: str) -> bool:
    """Whether a tool can work on what a step before it made: by the check that every run goes through."""
    tool = builtin_tools().get(tool_id)
    if tool is None or not tool.inputs:
        return False
    steps = [PipelineStep(tool="rotate"), PipelineStep(tool=tool_id, settings=dict(tool.example))]
    return not pipeline_problems(steps, builtin_tools())


def blamed(error: DarkroomError, steps: Sequence[Mapping[str, Any]]) -> DarkroomError:
    """What is said of a pipeline that failed: which step, and why; of what is wrong with the file itself, only that.

    Args:
        error: Of the job.
        steps: As they were written.
    """
    where = str(error.details.get("step", "s1" if len(steps) == 1 and isinstance(error, ProcessingFailed) else ""))
    number = int(where[1:]) if where.startswith("s") and where[1:].isdecimal() else 0
    if not 0 < number <= len(steps):
        return error
    said = f"Step {number} ({steps[number - 1]['toolId']}): {error.message}"
    details = {**error.details, "step": number, "completedSteps": number - 1}
    told = ProcessingFailed(said, code=error.code, **details)
    if error.status >= INPUTS_OWN:
        told.status = error.status
    return told
