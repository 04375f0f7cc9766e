"""What goes over the wire to and from clients of autoRetouch."""

from typing import Annotated, Any, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from darkroom_tools.settings import Settings

__all__ = [
    "Author",
    "Component",
    "CreateBody",
    "CreateQuery",
    "ErrorBody",
    "Execution",
    "ExecutionPage",
    "ExecutionsQuery",
    "FeedbackBody",
    "Health",
    "Member",
    "Organised",
    "Organization",
    "OrganizationPage",
    "Paged",
    "StoredQuery",
    "UploadBody",
    "Uploaded",
    "Webhook",
    "Workflow",
    "WorkflowPage",
    "WorkflowQuery",
]

MOST_OFFSET = 10**9
MOST_URLS = 50

Text = Annotated[str, Field(max_length=200)]
Hash = Annotated[str, Field(pattern=r"^[0-9A-Fa-f]{64}$")]


class ErrorBody(TypedDict):
    """An error, as Spring writes it."""

    timestamp: str
    status: int
    error: str
    message: str
    path: str


class Organised(Settings):
    """Whose things are meant."""

    organization: Text | None = None
    """Id of an organization of yours; your own if left out."""


class Paged(Organised):
    """A part of a list."""

    limit: Annotated[int, Field(ge=1)] = 50
    """At most so many; over 100 count as 100."""

    offset: Annotated[int, Field(ge=0, le=MOST_OFFSET)] = 0
    """How many are passed over."""


class WorkflowQuery(Organised):
    """Which state of a workflow."""

    version: Text | None = None
    """The newest one if left out."""


class ExecutionsQuery(Paged):
    """Which executions."""

    workflow: Text | None = None
    """Only those of this workflow, in any version."""


class CreateQuery(WorkflowQuery):
    """What to run."""

    workflow: Text
    """Id of a workflow."""


class StoredQuery(Organised):
    """Which picture."""

    content_hash: Hash
    """SHA-256 of its bytes, in hexadecimal."""


class UploadBody(Settings):
    """Pictures to be fetched."""

    urls: Annotated[dict[Text, Annotated[str, Field(max_length=2_048)]], Field(min_length=1, max_length=MOST_URLS)]
    """Web addresses by file name."""


class ImageBody(Settings):
    """A picture that was handed in."""

    name: Text = ""
    """What the file is called."""

    content_hash: Hash
    """What the upload answered."""

    content_type: Text | None = None
    """Has no effect: the bytes say what they are."""


class Webhook(Settings):
    """Who hears of the end of one execution."""

    url: Annotated[str, Field(max_length=2_048)]
    """Where the signed event is posted."""

    secret: Text = ""
    """`whsec_…`, with which it is signed; that of the server if empty."""


class CreateBody(Settings):
    """One execution."""

    image: ImageBody | None = None
    """What is worked on; for workflows that take no picture it is left out."""

    labels: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Your own words on it."""

    settings: dict[str, Any] = Field(default_factory=dict)
    """By name what else the workflow asks for, also under `input`; further pictures by content hash, handle or https URL."""

    webhooks: list[str | Webhook] = Field(default_factory=list)
    """Addresses that hear of its end."""


class FeedbackBody(Settings):
    """What you think of a result."""

    thumbs_up: bool
    """Whether it is good."""

    expected_images: list[Hash] = Field(default_factory=list)
    """Content hashes of pictures as the result should have been."""


class Author(TypedDict):
    """Who made something."""

    id: str
    firstName: str | None
    lastName: str | None
    email: str | None


class Component(TypedDict):
    """A step of a workflow."""

    type: str
    label: str
    settings: dict[str, Any]


class Workflow(TypedDict):
    """How pictures are processed."""

    id: str
    version: str
    name: str
    date: str
    author: Author
    workflowComponents: list[Component]
    executionPrice: int


class WorkflowPage(TypedDict):
    """Some workflows, and how many there are."""

    entries: list[Workflow]
    total: int


class Execution(TypedDict):
    """One run of a workflow."""

    id: str
    workflow: str
    workflowVersion: str
    workflowName: str
    organizationId: str
    status: str
    userId: str
    createdAt: str
    startedAt: str | None
    finishedAt: str | None
    inputFileName: str
    inputContentHash: str
    resultContentHash: str | None
    resultContentType: str | None
    resultFileName: str | None
    resultPath: str | None
    labels: dict[str, str]
    chargedCredits: int
    error: NotRequired[str]


class ExecutionPage(TypedDict):
    """Some executions, and how many there are."""

    entries: list[Execution]
    total: int


class Member(TypedDict):
    """Somebody of an organization."""

    id: str
    givenName: str | None
    familyName: str | None
    email: str | None
    picture: str | None
    roles: list[str]


class Organization(TypedDict):
    """Users that belong together."""

    id: str
    name: str
    version: str
    members: list[Member]


class OrganizationPage(TypedDict):
    """Some organizations, and how many there are."""

    entries: list[Organization]
    total: int


class Uploaded(TypedDict):
    """What came of the addresses."""

    urls: dict[str, str]


class Health(TypedDict):
    """Whether the server answers."""

    status: str
