"""What clients of Solo Works send and get: models of bodies, and the forms of answers."""

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from darkroom_tools.generation import AspectRatio, ImageSize
from darkroom_tools.settings import Settings

__all__ = [
    "Balance",
    "CreditCost",
    "Detail",
    "Execute",
    "Execution",
    "Failure",
    "ImageField",
    "Inputs",
    "Listing",
    "Option",
    "Result",
    "Started",
    "State",
    "Summary",
    "SwitchField",
    "Tag",
    "TextField",
    "Trouble",
]

State = Literal["running", "completed", "failed"]


class Tag(Settings):
    """The query of the list."""

    tag: str | None = None
    """Only workflows with this tag, upper or lower case"""


class Overrides(Settings):
    """What a call may ask of the result beside the inputs."""

    aspect_ratio: AspectRatio | None = None
    """Width to height"""

    image_size: ImageSize | None = None
    """1K or 2K: 1024 or 2048 pixels on the longer side"""


class Execute(Settings):
    """The body of an execution."""

    images: dict[str, str | list[str]] | None = None
    """By fieldId an http(s) URL, a base64 data URL or a handle img_…; a list where the field takes several"""

    texts: dict[str, str | int | float] | None = None
    """By fieldId an optionId where the field has presetOptions, else free text"""

    switch_selections: dict[str, list[str]] | None = None
    """By switchFieldId the optionIds that are chosen"""

    global_overrides: Overrides | None = None
    """Shape and size of the result"""


class CreditCost(TypedDict):
    """The least and the most that one run costs."""

    min: int
    max: int


class Summary(TypedDict):
    """A workflow in the list."""

    id: str
    name: str
    description: str
    tags: list[str]
    creditCost: CreditCost
    previewImage: str | None


class Listing(TypedDict):
    """All workflows that may be executed."""

    workflows: list[Summary]
    total: int


class Option(TypedDict):
    """A value that may be chosen: what is sent, and what people read."""

    optionId: str
    label: str


class ImageField(TypedDict):
    """A picture that is handed in."""

    fieldId: str
    title: str
    description: str
    required: bool
    multiple: bool


class TextField(TypedDict):
    """A text, number, colour or choice; always sent as a text."""

    fieldId: str
    title: str
    description: str
    type: Literal["text", "number", "color", "choice"]
    required: bool
    default: NotRequired[str]
    maxLength: NotRequired[int]
    minimum: NotRequired[float]
    maximum: NotRequired[float]
    presetOptions: NotRequired[list[Option]]


class SwitchField(TypedDict):
    """What is switched: one option, or several where it is multiple."""

    switchFieldId: str
    title: str
    description: str
    required: bool
    multiple: bool
    options: list[Option]
    default: NotRequired[list[str]]


class Inputs(TypedDict):
    """All that a workflow takes."""

    isBatchMode: bool
    imageFields: list[ImageField]
    textFields: list[TextField]
    switchFields: list[SwitchField]


class Detail(Summary):
    """A workflow with its inputs."""

    inputs: Inputs


class Started(TypedDict):
    """That an execution was taken on."""

    executionId: str
    id: str
    status: Literal["running"]


class Result(TypedDict):
    """One thing that was made.

    `url` is the file itself. What cannot be drawn, such as a ZIP, has no JPG and no PNG; a report has no file at all.
    """

    jpgUrl: str | None
    pngUrl: str | None
    url: str | None
    mediaType: str | None
    report: NotRequired[dict[str, Any]]


class Trouble(TypedDict):
    """Why an execution failed."""

    code: str
    message: str


class Execution(TypedDict):
    """How an execution stands."""

    id: str
    executionId: str
    workflowId: str
    status: State
    progress: int
    results: list[Result]
    jpgUrl: str | None
    pngUrl: str | None
    error: Trouble | None
    creditsUsed: int
    createdAt: str
    completedAt: str | None


class WebCredits(TypedDict):
    """Credits by where they come from."""

    free: int
    purchased: int
    refund: int
    total: int


class Balance(TypedDict):
    """The credits of the caller's organisation."""

    apiCredits: int
    webCredits: WebCredits


class Refusal(TypedDict):
    """What is said of an error."""

    code: str
    message: str
    details: dict[str, Any]
    requestId: str


class Failure(TypedDict):
    """The body of every error."""

    error: Refusal
