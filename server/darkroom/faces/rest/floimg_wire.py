"""What FloImg's addresses take and answer, and how workflows and projects look there."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, NotRequired

from pydantic import Field, StrictBool
from typing_extensions import TypedDict

from darkroom.faces.rest.common import timestamp, workflow_uuid
from darkroom.library.projects import LONGEST_DESCRIPTION, LONGEST_NAME, Project
from darkroom.store.ids import from_uuid, is_id
from darkroom.workflows.described import Field as Asked
from darkroom.workflows.described import argument_of, fields_of, pictures_of
from darkroom.workflows.service import Saved
from darkroom_tools.settings import Settings

__all__ = [
    "Completed",
    "Deleted",
    "ErrorBody",
    "ErrorFacts",
    "Execute",
    "Execution",
    "Failure",
    "ImageDetails",
    "ImagePage",
    "ImageRow",
    "NewProject",
    "Output",
    "Paging",
    "Parameter",
    "Pending",
    "Picture",
    "ProjectPage",
    "ProjectPaging",
    "ProjectRow",
    "UploadFields",
    "WorkflowDetails",
    "WorkflowPage",
    "WorkflowRow",
    "has_more",
    "parameters_of",
    "project_row",
    "workflow_id_of",
    "workflow_row",
]

MOST_LISTED: Final = 100
MOST_OFFSET: Final = 1_000_000_000
TYPES: Final = {"text": "string", "color": "string", "number": "number", "boolean": "boolean"}


class ErrorFacts(TypedDict):
    """What is said of an error."""

    code: str
    message: str
    details: dict[str, Any]
    retryAfter: NotRequired[int]


class ErrorBody(TypedDict):
    """Every error."""

    error: ErrorFacts


class Picture(TypedDict):
    """A picture or file that a workflow made; what is no picture has no width."""

    url: str
    width: int | None
    height: int | None
    format: str


class Output(TypedDict):
    """What a workflow made first: a picture or file, or a report."""

    url: NotRequired[str]
    width: NotRequired[int | None]
    height: NotRequired[int | None]
    format: NotRequired[str]
    report: NotRequired[dict[str, Any]]


class Completed(TypedDict):
    """A run that its client waited for."""

    executionId: str
    status: str
    output: Output
    outputs: NotRequired[list[Picture]]
    duration: int


class Pending(TypedDict):
    """A run to ask for."""

    executionId: str
    status: str


class Failure(TypedDict):
    """Why an execution failed."""

    code: str
    message: str


class Execution(TypedDict):
    """How a run stands."""

    executionId: str
    workflowId: str
    status: str
    output: NotRequired[Output]
    outputs: NotRequired[list[Picture]]
    error: NotRequired[Failure]
    startedAt: NotRequired[str]
    completedAt: NotRequired[str]


class WorkflowRow(TypedDict):
    """A workflow in the list."""

    id: str
    name: str
    projectId: str | None
    createdAt: str
    updatedAt: str


class WorkflowPage(TypedDict):
    """Some workflows."""

    workflows: list[WorkflowRow]
    total: int
    hasMore: bool


class Parameter(TypedDict):
    """What a run of a workflow may or must be given."""

    name: str
    type: str
    required: NotRequired[bool]
    default: NotRequired[Any]
    enum: NotRequired[list[str | float]]
    items: NotRequired[dict[str, Any]]
    min: NotRequired[float]
    max: NotRequired[float]
    maxLength: NotRequired[int]
    title: str
    description: NotRequired[str]


class WorkflowDetails(WorkflowRow):
    """A workflow with what it takes."""

    description: str
    parameters: list[Parameter]


class ImageRow(TypedDict):
    """A picture in the list."""

    id: str
    url: str
    name: str
    size: int
    createdAt: str


class ImageDetails(ImageRow):
    """A picture."""

    format: str
    width: int | None
    height: int | None


class ImagePage(TypedDict):
    """Some pictures."""

    images: list[ImageRow]
    total: int
    hasMore: bool


class Deleted(TypedDict):
    """That something is gone."""

    deleted: bool


class ProjectRow(TypedDict):
    """A project."""

    id: str
    name: str
    description: str
    createdAt: str
    updatedAt: str


class ProjectPage(TypedDict):
    """Some projects."""

    projects: list[ProjectRow]
    total: int
    hasMore: bool


class Execute(Settings):
    """Body of a run."""

    workflow_id: Annotated[str, Field(min_length=1, max_length=200)]
    """Which workflow."""

    parameters: dict[str, Any] = Field(default_factory=dict)
    """What the workflow is given, by name."""

    at_once: StrictBool = Field(False, alias="async")
    """Whether to answer at once with an id to ask for."""


class Paging(Settings):
    """Which part of a list."""

    limit: Annotated[int, Field(ge=1, le=MOST_LISTED)] = 20
    """At most so many."""

    offset: Annotated[int, Field(ge=0, le=MOST_OFFSET)] = 0
    """How many to skip."""


class ProjectPaging(Paging):
    """Which part of a list, and of which project."""

    project_id: Annotated[str, Field(max_length=100)] | None = None
    """Only what is in this project."""


class UploadFields(Settings):
    """What a form says of its file."""

    project_id: Annotated[str, Field(max_length=100)] = ""
    """Project to store it in."""

    name: Annotated[str, Field(max_length=200)] = ""
    """Its file name."""


class NewProject(Settings):
    """Body of a new project."""

    name: Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
    """For people."""

    description: Annotated[str, Field(max_length=LONGEST_DESCRIPTION)] = ""
    """What it is for."""


def workflow_id_of(uuid: str) -> str:
    """`wf_…` of the workflow with that UUID."""
    return from_uuid(uuid, "wf") or uuid


def parameters_of(saved: Saved) -> list[Parameter]:
    """Pictures first, then the rest, as a workflow declares them."""
    pictures = [
        _parameter(each.id, "array" if each.many else "string", each.title, each.description or each.role)
        for each in pictures_of(saved)
    ]
    for shown, picture in zip(pictures, pictures_of(saved), strict=True):
        shown["required"] = picture.required
        if picture.many:
            shown["items"] = {"type": "string"}
    return [*pictures, *(_setting(field) for field in fields_of(saved))]


def _setting(field: Asked) -> Parameter:
    values = [choice.value for choice in field.choices]
    one = (
        "number" if values and not any(isinstance(value, str) for value in values) else TYPES.get(field.kind, "string")
    )
    shown = _parameter(field.id, "array" if field.multiple else one, field.title, field.description)
    if field.required:
        shown["required"] = True
    if field.default is not None:
        shown["default"] = argument_of(field, field.default)
    if field.multiple:
        shown["items"] = {"type": one, "enum": values}
    elif values:
        shown["enum"] = values
    if field.minimum is not None:
        shown["min"] = field.minimum
    if field.maximum is not None:
        shown["max"] = field.maximum
    if field.max_length is not None:
        shown["maxLength"] = field.max_length
    return shown


def _parameter(name: str, kind: str, title: str, description: str) -> Parameter:
    shown = Parameter(name=name, type=kind, title=title)
    if description:
        shown["description"] = description
    return shown


def workflow_row(saved: Saved, projects: Mapping[str, str]) -> WorkflowRow:
    """A workflow as lists show it; projects are ids by name, for one that names its project."""
    project = saved.document.project
    return WorkflowRow(
        id=workflow_id_of(workflow_uuid(saved)),
        name=saved.name,
        projectId=project if is_id(project, "proj") else projects.get(project),
        createdAt=timestamp(saved.created_at),
        updatedAt=timestamp(saved.updated_at),
    )


def project_row(project: Project) -> ProjectRow:
    """A project as it is shown."""
    return ProjectRow(
        id=project.id,
        name=project.name,
        description=project.description,
        createdAt=timestamp(project.created_at),
        updatedAt=timestamp(project.updated_at),
    )


def has_more(asked: Paging, total: int) -> bool:
    """Whether there is something after this part of a list."""
    return asked.offset + asked.limit < total
