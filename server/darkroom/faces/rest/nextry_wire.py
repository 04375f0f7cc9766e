"""What Nextry's addresses take and answer."""

from typing import Annotated, Any, Final, Literal, NotRequired
from uuid import UUID

from pydantic import BeforeValidator, Field, StrictBool
from typing_extensions import TypedDict

from darkroom.faces.rest.common import workflow_uuid
from darkroom.workflows.described import Field as Asked
from darkroom.workflows.described import fields_of, pictures_of
from darkroom.workflows.service import Saved
from darkroom_tools.settings import Settings

__all__ = [
    "ErrorBody",
    "Feedback",
    "Generated",
    "GenerationType",
    "HistoryItem",
    "HistoryPage",
    "HistoryQuery",
    "ProductRow",
    "Shown",
    "TypesQuery",
    "type_of",
]

MOST_LISTED: Final = 100
LAST_PAGE: Final = 10_000_000

Shown = Literal["pending", "complete", "error"]
"""The states of a generation."""


class Complaint(TypedDict):
    """What is wrong with one value."""

    loc: list[str]
    msg: str
    type: str


class ErrorBody(TypedDict):
    """Every error: a sentence, or of values that are not as they should be one entry each."""

    detail: str | list[Complaint]
    code: str
    request_id: str
    retry_after: NotRequired[int]
    history_item_id: NotRequired[str]


class ProductRow(TypedDict):
    """A tool: a feature that pictures are made for."""

    group_tool: str
    tool: str
    title: str


class TypePicture(TypedDict):
    """A picture that a type takes: sent under its name, or under its role."""

    name: str
    role: str
    title: str
    description: str
    required: bool
    many: bool


class TypeField(TypedDict):
    """Anything else that a type takes."""

    name: str
    title: str
    description: str
    kind: str
    required: bool
    multiple: bool
    default: NotRequired[Any]
    options: NotRequired[list[str]]


class GenerationType(TypedDict):
    """A way in which a tool makes pictures."""

    id: str
    tool: str
    title: str
    description: str
    images: list[TypePicture]
    fields: list[TypeField]


class Generated(TypedDict):
    """A generation; without pictures as long as it is not done."""

    preview_image: str | None
    stock_image: str | None
    history_item_id: str


class HistoryItem(TypedDict):
    """A generation in the history."""

    id: str
    generation_type: str
    status: Shown
    created_at: str
    preview_url: str | None
    stock_url: str | None
    like: bool | None
    error: NotRequired[str]


class HistoryPage(TypedDict):
    """A page of the history, the newest first."""

    page: int
    count: int
    total_count: int
    pages: int
    items: list[HistoryItem]


class TypesQuery(Settings):
    """Whose types are wanted."""

    tool: Annotated[str, Field(max_length=60)] | None = None
    """Id of a tool; all types without it."""


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


class HistoryQuery(Settings):
    """Which generations are wanted."""

    page: Annotated[int, Field(ge=1, le=LAST_PAGE)] = 1
    """Which page, from 1."""

    limit: Annotated[int, Field(ge=1, le=MOST_LISTED)] = 20
    """How many a page has."""

    status: Annotated[list[Shown], BeforeValidator(_listed)] = Field(default_factory=list)
    """Only in these states; may be given several times."""

    generation_type: Annotated[UUID | None, Field(alias="generation_type")] = None
    """Only of this generation type."""


class Feedback(Settings):
    """What a user says of a generation."""

    like: StrictBool | None
    """True or false; null takes it back."""


def type_of(tool: str, saved: Saved) -> GenerationType:
    """A workflow as a generation type."""
    images = [
        TypePicture(
            name=each.id,
            role=each.role,
            title=each.title,
            description=each.description,
            required=each.required,
            many=each.many,
        )
        for each in pictures_of(saved)
    ]
    return GenerationType(
        id=workflow_uuid(saved),
        tool=tool,
        title=saved.name,
        description=saved.document.description,
        images=images,
        fields=[_field(each) for each in fields_of(saved)],
    )


def _field(asked: Asked) -> TypeField:
    shown = TypeField(
        name=asked.id,
        title=asked.title,
        description=asked.description,
        kind=asked.kind,
        required=asked.required,
        multiple=asked.multiple,
    )
    if asked.default is not None:
        shown["default"] = asked.default
    if asked.choices:
        shown["options"] = [choice.id for choice in asked.choices]
    return shown
