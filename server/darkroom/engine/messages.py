"""What a pixel worker may say to the server, checked word by word: the worker itself is not trusted."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from darkroom.engine.channel import BadMessage
from darkroom.engine.outcome import Picture
from darkroom.engine.sandbox import Level
from darkroom.errors import DarkroomError  # with the server's own errors, which a worker may pass on

__all__ = [
    "MAX_ANSWER",
    "Answer",
    "Asked",
    "Done",
    "Dropped",
    "Failed",
    "Moved",
    "PictureFacts",
    "Ready",
    "Written",
    "check",
    "failure",
]

MAX_ANSWER = 256 * 1024
"""Bytes of the largest message from a worker, facts and report included."""

MAX_OUTPUTS = 500


def _clean(limit: int) -> AfterValidator:
    return AfterValidator(lambda text: "".join(c for c in text if c.isprintable())[:limit])


Line = Annotated[str, _clean(120)]
Words = Annotated[str, _clean(2_000)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,63}$")]


class Message(BaseModel):
    """Base of all messages."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PictureFacts(Message):
    """A `Picture` on the wire."""

    format: Annotated[str, Field(pattern=r"^[a-z0-9]{1,16}$")]
    media_type: Annotated[str, Field(pattern=r"^[a-z]+/[a-z0-9.+-]{1,60}$")]
    bytes: Annotated[int, Field(ge=0)]
    width: Annotated[int, Field(ge=1)] | None = None
    height: Annotated[int, Field(ge=1)] | None = None
    frames: Annotated[int, Field(ge=1)] = 1

    def picture(self, size: int | None = None) -> Picture:
        """As a `Picture`, with the size that the server saw where it is known."""
        size = self.bytes if size is None else size
        return Picture(self.format, self.media_type, size, self.width, self.height, self.frames)


class Written(Message):
    """A result file, by its name in the worker's output folder."""

    name: Name
    picture: PictureFacts


class Ready(Message):
    """The worker has started and confined itself."""

    type: Literal["ready"]
    sandbox: Level
    missing: list[Line]


class Moved(Message):
    """Progress."""

    type: Literal["progress"]
    fraction: Annotated[float, Field(ge=0, le=1)]
    message: Line = ""


class Asked(Message):
    """Run a model; one descriptor per input array travels with it."""

    type: Literal["infer"]
    id: Annotated[int, Field(ge=0)]
    request: dict[str, JsonValue]


class Dropped(Message):
    """The answer to a request for a model is not wanted any more."""

    type: Literal["drop"]
    id: Annotated[int, Field(ge=0)]


class Done(Message):
    """The plan is done."""

    type: Literal["done"]
    inputs: list[PictureFacts]
    outputs: Annotated[list[Written], Field(max_length=MAX_OUTPUTS)] = []
    report: dict[str, JsonValue] | None = None
    facts: dict[str, JsonValue] = {}
    kept: list[Line] = []
    removed: list[Line] = []
    warnings: list[Words] = []


class Failed(Message):
    """The plan failed; `kind` is the code of the error's class, `code` its own."""

    type: Literal["failed"]
    kind: Line
    code: Annotated[str, Field(pattern=r"^[A-Z][A-Z_]{1,39}$")]
    error: Words
    details: dict[str, JsonValue] = {}

    def exception(self) -> DarkroomError:
        """The error that the worker met."""
        kind = DarkroomError.by_code.get(self.kind, DarkroomError)
        error = kind(self.error, code=self.code)
        error.details = dict(self.details)
        return error


Answer = Ready | Moved | Asked | Dropped | Done | Failed

_ANSWER: TypeAdapter[Answer] = TypeAdapter(Annotated[Answer, Field(discriminator="type")])


def check(message: dict[str, Any]) -> Answer:
    """The message, validated.

    Raises:
        BadMessage: It is none of ours.
    """
    try:
        return _ANSWER.validate_python(message)
    except (ValidationError, RecursionError) as error:
        raise BadMessage("the worker sent something else than an answer") from error


def failure(error: DarkroomError) -> dict[str, Any]:
    """An error as `Failed` reads it."""
    return {"type": "failed", "kind": type(error).code, **error.to_wire()}
