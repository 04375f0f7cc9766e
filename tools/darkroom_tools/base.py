"""What a tool is: a settings model plus a plain function over images. Everything else is derived from it."""

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, Literal, Protocol, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from darkroom_tools.errors import InvalidSettings
from darkroom_tools.generation import Attachment, Generation
from darkroom_tools.image import Archive, Encoding, Entry, File, Format, Image, Original, Source
from darkroom_tools.native import np
from darkroom_tools.plan import Plan, Step
from darkroom_tools.schema import compact_schema
from darkroom_tools.settings import Settings, explain

__all__ = [
    "Archive",
    "Attachment",
    "Encoding",
    "Entry",
    "File",
    "Format",
    "Generation",
    "Image",
    "ImageInput",
    "Inference",
    "Original",
    "Output",
    "Report",
    "Run",
    "Settings",
    "Source",
    "Tool",
    "tool",
]

Output = Literal["image", "images", "file", "files", "report"]
Worker = Literal["pixels", "vector"]

IMAGE_HELP = "Handle img_…, file path, https URL or data URI"
SAME_FORMS = "Same forms as "


class Report(BaseModel):
    """Base of results that are facts instead of a picture; camelCase on the wire.

    Text that was found inside a picture (metadata, OCR, QR) goes into `untrusted_text` only: it is data, never
    instructions.
    """

    model_config = ConfigDict(
        frozen=True, alias_generator=to_camel, validate_by_name=True, use_attribute_docstrings=True
    )


@dataclass(frozen=True, slots=True)
class Inference:
    """What a model answered.

    Attributes:
        outputs: The output arrays in the model's order.
        device: What ran it, such as `cpu` or `cuda`; the engine tells the caller by itself.
        notes: Sentences for the caller about how it ran, which the engine adds to the warnings by itself.
    """

    outputs: "Sequence[np.ndarray]"
    device: str
    notes: Sequence[str] = ()


class Run(Protocol):
    """What a running tool may ask of its surroundings; tools that need none of it take no `run`."""

    def progress(self, fraction: float, message: str = "") -> None:
        """Report how much of this step is done, 0..1, never falling.

        Raises:
            Cancelled: The caller gave up; let it pass.
        """

    def installed(self, model: str) -> bool:
        """Whether the model's file is on this machine and ONNX Runtime is there to run it."""

    def encode(self, image: Image) -> File:
        """Encode a picture now, by its `encoding`, for a tool that puts the bytes into a file of its own.

        What the encoding kept, removed and warned of reaches the caller by itself.

        Raises:
            OutputTooLarge: It is over the limits, or the format cannot hold it.
            Cancelled: The caller gave up.
        """

    def infer(self, model: str, inputs: "Sequence[np.ndarray]") -> Inference:
        """Run a model on input arrays in its own order.

        Raises:
            ModelNotInstalled: No file of that model here.
            RuntimeNotInstalled: ONNX Runtime is missing.
            OutOfMemory: No device has the memory for this input; a smaller one may do.
            Cancelled: The caller gave up.
        """

    def infer_each(self, model: str, requests: "Iterable[Sequence[np.ndarray]]") -> "Iterator[Inference]":
        """Run a model on many inputs, such as tiles: answers come in the order of the requests.

        Several requests are under way at once, so that the engine can run them together; the next one is drawn from
        `requests` only when there is room. Errors are those of `infer`.
        """


@dataclass(frozen=True, slots=True)
class ImageInput:
    """An image parameter of a tool.

    Attributes:
        name: Wire name, camelCase.
        parameter: Name in the function's signature.
        many: Whether it takes a list.
        required: False where the signature has a default.
        as_file: Whether the tool takes the file as it came (`Original`) instead of a decoded picture.
        least: How many images a list must have.
        most: How many it may have at most, None for no limit of its own.
        description: What it shows, where the name does not say it; of a workflow in its author's words.
    """

    name: str
    parameter: str
    many: bool = False
    required: bool = True
    as_file: bool = False
    least: int = 1
    most: int | None = None
    description: str = ""


@dataclass(frozen=True)
class Tool:
    """An operation that every face can publish.

    Attributes:
        id: kebab-case, such as `watermark-text`.
        title: For people.
        category: Display name of its folder.
        summary: One sentence: the first line of the docstring.
        description: The whole docstring.
        settings: The settings model.
        inputs: Image parameters in order.
        output: What comes back.
        report: The report model where `output` is `report`.
        function: The implementation; None for a compiled workflow, which runs the steps of `expand`.
        wants_run: Whether the function takes `run`.
        sequential: Whether it reads its input pixels once, from top to bottom; then a large file streams through.
        models: Ids of the models it can use.
        named: Whether the result depends on the names of the input files, such as the members of a ZIP.
        reads: Formats that its `Original` inputs may have; empty for all that are known.
        worker: `vector` where it needs the workers that may parse SVG and PDF.
        generative: Whether it only says what an image engine is to make (`Generation`); then no worker runs it.
        aliases: Other ids it answers to.
        example: Settings of an example call that works on any photo.
        shape: What the result will be, from the settings and the shapes of the images by wire name; None where it is
            of the same shape as the first image.
        expand: For a compiled workflow: from settings and image references to the steps.
        workflow: Of a saved workflow its id.
        version: Of a saved workflow the id of the version that this is.
        price: Of a saved workflow the credits that its document asks for; None for what its steps cost.
    """

    id: str
    title: str
    category: str
    summary: str
    description: str
    settings: type[Settings]
    inputs: tuple[ImageInput, ...]
    output: Output
    report: type[Report] | None = None
    function: Callable[..., Any] | None = None
    wants_run: bool = False
    sequential: bool = False
    models: tuple[str, ...] = ()
    named: bool = False
    reads: tuple[str, ...] = ()
    worker: Worker = "pixels"
    generative: bool = False
    aliases: tuple[str, ...] = ()
    example: Mapping[str, Any] = field(default_factory=dict)
    shape: Callable[..., Any] | None = None
    expand: Callable[[Settings, Mapping[str, Sequence[str]]], Plan] | None = None
    workflow: str = ""
    version: str = ""
    price: int | None = None

    @property
    def name(self) -> str:
        """The MCP name: the id in snake_case."""
        return self.id.replace("-", "_")

    @property
    def read_only(self) -> bool:
        """True for tools that answer with facts and make no picture."""
        return self.output == "report"

    @property
    def pipeline_step(self) -> bool:
        """Whether it can stand in a pipeline: one image in, and one image or file out; a file only at the end."""
        required = [i for i in self.inputs if i.required]
        return self.output in ("image", "file") and [(i.many, i.as_file) for i in required] == [(False, False)]

    def input_schema(self) -> dict[str, Any]:
        """JSON Schema of a call: the image parameters, then the settings."""
        schema = compact_schema(self.settings)
        images: dict[str, Any] = {}
        for image in self.inputs:
            first = self.inputs[0]
            forms = IMAGE_HELP if image is first else f"{SAME_FORMS}{first.name}"
            said = f"{image.description}. {forms}" if image.description else forms
            one = {"type": "string", "description": said}
            images[image.name] = _list_of(one, image) if image.many else one
        required = [i.name for i in self.inputs if i.required] + schema.get("required", [])
        return {
            "type": "object",
            "properties": {**images, **schema.get("properties", {})},
            **({"required": required} if required else {}),
            "additionalProperties": False,
        }

    def parse(self, arguments: Mapping[str, Any]) -> tuple[dict[str, list[Any]], Settings]:
        """Split and validate a call's arguments: image values by wire name, and the settings.

        Raises:
            InvalidSettings: An image is missing, or a setting is unknown, missing or out of range.
        """
        values = dict(arguments)
        images: dict[str, list[Any]] = {}
        for image in self.inputs:
            value = values.pop(image.name, values.pop(image.parameter, None))
            if value is None or (value == [] and not image.required):
                if image.required:
                    raise InvalidSettings(f"{image.name!r} is required: {IMAGE_HELP}.", field=image.name)
                continue
            if isinstance(value, list) and not image.many:
                raise InvalidSettings(f"{image.name!r} takes one image, but got a list.", field=image.name)
            images[image.name] = value if isinstance(value, list) else [value]
            if len(images[image.name]) < image.least:
                few = "one image" if image.least == 1 else f"{image.least} images"
                raise InvalidSettings(f"{image.name!r} needs at least {few}.", field=image.name)
            if image.most is not None and len(images[image.name]) > image.most:
                got = len(images[image.name])
                raise InvalidSettings(
                    f"{image.name!r} takes at most {image.most} images, but got {got}.",
                    field=image.name,
                    got=got,
                    limit=image.most,
                )
        try:
            return images, self.settings.model_validate(values)
        except ValidationError as error:
            raise explain(error, self.settings, extra_names=tuple(i.name for i in self.inputs)) from error

    def plan(self, settings: Settings, images: Mapping[str, Sequence[str]]) -> Plan:
        """The steps of a call; `images` gives the references (`input:0`) by wire name."""
        if self.expand is not None:
            return self.expand(settings, images)
        return Plan((Step(self.id, self.id, settings.to_wire(), {k: tuple(v) for k, v in images.items()}),))


def _list_of(one: Mapping[str, Any], image: ImageInput) -> dict[str, Any]:
    """The schema of a list of images."""
    fewest = {"minItems": image.least} if image.required else {}
    return {"type": "array", "items": one, **fewest, **({"maxItems": image.most} if image.most else {})}


def _category(module: str) -> str:
    """The display name of a category folder: the first line of its package's docstring."""
    package = sys.modules.get(module.rpartition(".")[0])
    return ((package.__doc__ if package else None) or "Other").split("\n", 1)[0].rstrip(".")


_OUTPUTS: dict[Any, Output] = {
    Image: "image",
    list[Image]: "images",
    File: "file",
    Archive: "file",
    list[File]: "files",
    Generation: "image",
}


def _output(result: Any) -> Output:
    """What a function's return annotation promises; of several kinds a picture comes first."""
    if get_origin(result) in (Union, UnionType):
        kinds = [_OUTPUTS[kind] for kind in get_args(result)]
        return "image" if "image" in kinds else kinds[0]
    return _OUTPUTS[result]


def _image_input(parameter: inspect.Parameter, kind: Any, least: int, most: int | None) -> ImageInput | None:
    """The image parameter that an annotation declares, None if it is something else."""
    kinds = {kind, *get_args(kind)}
    held = kinds | {inner for each in kinds for inner in get_args(each)}
    if not held & {Image, Original, Attachment}:
        return None
    many = any(get_origin(each) is list for each in kinds)
    return ImageInput(
        to_camel(parameter.name),
        parameter.name,
        many=many,
        required=parameter.default is inspect.Parameter.empty,
        as_file=Original in held,
        least=least if many else 1,
        most=most if many else None,
    )


def tool(  # noqa: PLR0913 - what a tool says of itself
    *,
    title: str,
    sequential: bool = False,
    models: tuple[str, ...] = (),
    named: bool = False,
    reads: tuple[str, ...] = (),
    worker: Worker = "pixels",
    aliases: tuple[str, ...] = (),
    least: int = 1,
    most: int | None = None,
    example: Mapping[str, Any] | None = None,
    shape: Callable[..., Any] | None = None,
) -> Callable[[Callable[..., Any]], Tool]:
    """Make a tool of a plain function.

    Inputs come from the signature: `image: Image`, `watermark: Image`, `images: list[Image]`,
    `background_image: Image | None = None`, `pdf: Original` (the file, not decoded), then `settings: <Settings>` and,
    where needed, `run: Run`. A tool that answers with a `Generation` takes `Attachment` instead of `Image`. `least` and
    `most` are how many images a list has; the other arguments are those of `Tool`.
    """

    def register(function: Callable[..., Any]) -> Tool:
        hints = get_type_hints(function)
        result = hints.pop("return")
        parameters = inspect.signature(function).parameters
        found = [_image_input(parameters[name], kind, least, most) for name, kind in hints.items()]
        models_of_settings = [k for k in hints.values() if isinstance(k, type) and issubclass(k, Settings)]
        is_report = isinstance(result, type) and issubclass(result, Report)
        description = inspect.getdoc(function) or ""
        identifier = function.__name__.replace("_", "-")
        if not re.fullmatch(r"[a-z][a-z0-9-]{1,39}", identifier):
            raise ValueError(f"{identifier!r} is no tool id")
        return Tool(
            id=identifier,
            title=title,
            category=_category(function.__module__),
            summary=description.split("\n", 1)[0],
            description=description,
            settings=models_of_settings[0] if models_of_settings else Settings,
            inputs=tuple(image for image in found if image is not None),
            output="report" if is_report else _output(result),
            report=result if is_report else None,
            function=function,
            wants_run="run" in hints,
            sequential=sequential,
            models=models,
            named=named,
            reads=reads,
            worker=worker,
            generative=result is Generation,
            aliases=aliases,
            example=example or {},
            shape=shape,
        )

    return register
