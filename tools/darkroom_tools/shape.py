"""What a call's result will be: size, frames and format of every step, worked out without a pixel.

Pure Python, so that the server can ask before it accepts work: no codec, no array, no file. A tool whose result differs
from its first image says how in `Tool.shape`, with the same arithmetic that its function uses.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from darkroom_tools.errors import DarkroomError, InvalidSettings, OutputTooLarge, UnsupportedFormat
from darkroom_tools.kit.format_rules import ANIMATED, LONGEST_SIDE, OPAQUE, can_hold, kept_format
from darkroom_tools.kit.geometry import MAX_PIXELS, MAX_SIDE
from darkroom_tools.plan import Plan, Step, input_ref, step_ref
from darkroom_tools.settings import Settings

if TYPE_CHECKING:
    from darkroom_tools.base import Tool

__all__ = ["Prediction", "Problem", "Shape", "Shapes", "predict", "still"]

MEGA: Final = 1_000_000
GENERATED: Final = ("png", "jpeg", "webp")
"""What image engines answer with; which of them, and how large, they decide themselves."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What is known of a picture, or of another file, before anybody looks at its pixels.

    Attributes:
        width: Pixels across, of an upright frame; 0 for a file that is no picture.
        height: Pixels down.
        frames: Number of frames; 1 for a still.
        format: Of the file that it is or comes from, such as `jpeg`, `heic`, `pdf` or `zip`.
        alpha: Whether it surely has transparency.
        exact: Whether width and height are certain. If not, the content decides, and they are the most it can be.
        wanted: The format in which it was asked for; None keeps its own.
        formats: Formats of which the content decides, such as those of which the smallest file is taken; none where
            the format is certain.
        files: How many files an archive holds; 0 for other files, and where the content decides.
    """

    width: int
    height: int
    frames: int = 1
    format: str = "jpeg"
    alpha: bool = False
    exact: bool = True
    wanted: str | None = None
    formats: tuple[str, ...] = ()
    files: int = 0

    @property
    def written(self) -> str:
        """The format in which it was asked for, or else its own, even if that is only read."""
        return self.wanted or self.format

    @property
    def takes_alpha(self) -> bool:
        """Whether the format in which it will be written can hold alpha."""
        return self.written not in OPAQUE

    def sized(self, width: int, height: int) -> "Shape":
        """The same with another size."""
        return replace(self, width=width, height=height)

    def with_alpha(self, alpha: bool = True) -> "Shape":
        """The same with or without transparency."""
        return replace(self, alpha=alpha)

    def encoded_as(self, format: str) -> "Shape":
        """The same in another format; `auto` and `original` keep its own."""
        return self if format in ("auto", "original") else replace(self, wanted=format, formats=())

    def settled(self) -> "Shape":
        """What the file will be if this is the end: the rules of the one final encode.

        Several `formats` are left where the smallest file decides; then `format` is the first of them.
        """
        if not self.width:
            return self
        able = tuple(format for format in self.formats if self._fits(format)) or self.formats[:1]
        format = able[0] if able else self.wanted or kept_format(self.format, self.frames)
        left = tuple(dict.fromkeys(able)) if len(able) > 1 else ()
        frames = self.frames if format in ANIMATED else 1
        return replace(
            self,
            frames=frames,
            format=format,
            alpha=self.alpha and format not in OPAQUE,
            wanted=None,
            formats=left,
        )

    def _fits(self, format: str) -> bool:
        return can_hold(format, self.width, self.height, self.frames, alpha=self.alpha)


Shapes = Mapping[str, Sequence[Shape]]
"""The images of a call by wire name of their parameter."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What will stop a call, whatever its pictures show.

    Attributes:
        step: Id of the step.
        error: What the call would answer.
    """

    step: str
    error: DarkroomError


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a plan will make.

    Attributes:
        steps: For each step, by id, its results as they would be written if they were the end. A step that fails, or
            needs what a failed one makes, is missing.
        results: Those of the last step.
        count: How many results there will be, 0 for a report; None where the content decides, or it fails.
        problems: Why it will fail; in the order of the steps.
    """

    steps: Mapping[str, tuple[Shape, ...]]
    results: tuple[Shape, ...]
    count: int | None
    problems: tuple[Problem, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether number, sizes and formats of the results are all certain."""
        return self.count is not None and all(one.exact and not one.formats for one in self.results)


def still(_: Settings, shapes: Shapes) -> Shape:
    """The shape of what takes the first frame of its first image and keeps its size."""
    return replace(next(iter(shapes.values()))[0], frames=1)


def predict(
    plan: Plan,
    inputs: Sequence[Shape],
    tools: "Mapping[str, Tool]",
    *,
    most_side: int = MAX_SIDE,
    most_pixels: int = MAX_PIXELS,
) -> Prediction:
    """What a plan will make, step by step, and why it cannot.

    Args:
        plan: Steps whose references point backwards; at least one.
        inputs: The input files; `input:0` is the first. A document has no size (0).
        tools: By id.
        most_side: The engine's limit of a result's side in pixels.
        most_pixels: The engine's limit of width × height × frames of a result.
    """
    limits = _Limits(most_side, most_pixels)
    asks = any(tools[step.tool].generative for step in plan.steps if step.tool in tools)
    possible = [_predicted(plan, inputs, tools, limits, format) for format in (GENERATED if asks else GENERATED[:1])]
    return possible[0] if len(possible) == 1 else _merged(plan, possible)


def _predicted(
    plan: Plan, inputs: Sequence[Shape], tools: "Mapping[str, Tool]", limits: "_Limits", generated: str
) -> Prediction:
    """The prediction if image engines answer in the format `generated`."""
    known: dict[str, list[Shape] | None] = {input_ref(n): [shape] for n, shape in enumerate(inputs)}
    unknown = Shape(limits.side, limits.side, format=generated, exact=False)
    problems: list[Problem] = []
    for step in plan.steps:
        if not all(ref in known for refs in step.images.values() for ref in refs):
            continue
        try:
            made = _made(step, known, tools, limits, unknown)
            if step is plan.steps[-1]:
                limits.check(made and [shape.settled() for shape in made], written=True)
            known[step_ref(step.id)] = made
        except DarkroomError as error:
            problems.append(Problem(step.id, error))
    steps = {step.id: known[step_ref(step.id)] for step in plan.steps if step_ref(step.id) in known}
    settled = {name: tuple(shape.settled() for shape in made or ()) for name, made in steps.items()}
    return _prediction(plan, settled, problems, countless=steps.get(plan.steps[-1].id) is None)


def _prediction(
    plan: Plan, steps: Mapping[str, tuple[Shape, ...]], problems: Sequence[Problem], *, countless: bool
) -> Prediction:
    results = steps.get(plan.steps[-1].id, ())
    return Prediction(steps, results, None if countless else len(results), tuple(problems))


def _merged(plan: Plan, possible: Sequence[Prediction]) -> Prediction:
    """What holds whichever of several predictions comes true."""
    steps = {
        name: tuple(_either(alike) for alike in zip(*(each.steps[name] for each in possible), strict=True))
        for name in possible[0].steps
        if all(name in each.steps for each in possible)
    }
    failed = [{problem.step for problem in each.problems} for each in possible]
    problems = [problem for problem in possible[0].problems if all(problem.step in stopped for stopped in failed)]
    return _prediction(plan, steps, problems, countless=any(each.count is None for each in possible))


def _either(shapes: Sequence[Shape]) -> Shape:
    """One of several shapes that differ in format, and in whether it has transparency."""
    formats = tuple(dict.fromkeys(format for shape in shapes for format in shape.formats or (shape.format,)))
    return replace(shapes[0], alpha=any(shape.alpha for shape in shapes), formats=formats if len(formats) > 1 else ())


@dataclass(frozen=True, slots=True)
class _Limits:
    """The engine's limits of a result."""

    side: int
    pixels: int

    def check(self, made: Sequence[Shape] | None, *, written: bool) -> None:
        """Refuse results that are certainly too large; `written` if each is now put into a file of its format.

        Raises:
            OutputTooLarge: One is.
        """
        for shape in made or ():
            own = LONGEST_SIDE.get(shape.format, self.side) if written and not shape.formats else self.side
            if shape.exact and (
                max(shape.width, shape.height) > min(own, self.side)
                or shape.width * shape.height * shape.frames > self.pixels
            ):
                raise self._refused(shape, min(own, self.side))

    def widest(self, shape: Shape) -> Shape:
        """The shape, as large as is made at all unless it is certain."""
        return shape if shape.exact else shape.sized(self.side, self.side)

    def _refused(self, shape: Shape, side: int) -> OutputTooLarge:
        many = f" in {shape.frames} frames" if shape.frames > 1 else ""
        return OutputTooLarge(
            f"The result would be {shape.width}×{shape.height} pixels{many}; the limits are {side} a side and "
            f"{self.pixels / MEGA:g} megapixels in all. Ask for a smaller size.",
            width=shape.width,
            height=shape.height,
            limit={"side": side, "pixels": self.pixels},
        )


def _made(
    step: Step,
    known: Mapping[str, list[Shape] | None],
    tools: "Mapping[str, Tool]",
    limits: _Limits,
    unknown: Shape,
) -> list[Shape] | None:
    """The results of a step, `unknown` if an engine makes them; None where even their number depends on the content."""
    tool = tools.get(step.tool)
    if tool is None:
        raise InvalidSettings(f"There is no tool {step.tool!r}.", field="tool", got=step.tool)
    settings = tool.settings.parse(step.settings)
    shapes = {
        wanted.name: [_taken(tool, ref, known[ref], as_file=wanted.as_file) for ref in step.images[wanted.name]]
        for wanted in tool.inputs
        if step.images.get(wanted.name)
    }
    if tool.output == "report":
        return []
    if tool.generative:
        return [unknown]
    if all(shape.exact for held in shapes.values() for shape in held):
        made = _asked(tool, settings, shapes, limits)
    else:
        made = _bounded(tool, settings, shapes, limits)
    return made and [
        one if one.exact else one.sized(min(one.width, limits.side), min(one.height, limits.side)) for one in made
    ]


def _taken(tool: "Tool", ref: str, held: Sequence[Shape] | None, *, as_file: bool) -> Shape:
    """An image as a tool takes it.

    Raises:
        InvalidSettings: A step made it, and it is no single picture.
        UnsupportedFormat: It came in and is no picture, and the tool takes pictures or files of another kind.
    """
    if held is None or len(held) != 1 or (not held[0].width and ref.startswith(step_ref(""))):
        raise InvalidSettings("The step before makes no single picture, so it must be the last.", field="steps")
    (shape,) = held
    if as_file and tool.reads and shape.format not in tool.reads:
        reads = " or ".join(format.upper() for format in tool.reads)
        raise UnsupportedFormat(
            f"{tool.name} reads {reads}, but the file is {shape.format.upper()}.",
            got=shape.format,
            allowed=list(tool.reads),
        )
    if not as_file and not shape.width:
        raise UnsupportedFormat(
            f"{tool.name} takes pictures, but the file is {shape.format.upper()}. Make a picture of it first.",
            got=shape.format,
        )
    return shape


def _asked(tool: "Tool", settings: Settings, shapes: Shapes, limits: _Limits) -> list[Shape] | None:
    """What the tool itself says.

    Raises:
        DarkroomError: It cannot be done with these sizes, or the results are too large.
    """
    function: Callable[..., Any] | None = tool.shape
    made = next(iter(shapes.values()))[0] if function is None else function(settings, shapes)
    results = [made] if isinstance(made, Shape) else made
    limits.check(results, written=False)
    return results


def _bounded(tool: "Tool", settings: Settings, shapes: Shapes, limits: _Limits) -> list[Shape] | None:
    """The results where the size of an image is not certain: by the extremes that it can have.

    Sizes only grow or only fall with a side of the image. So where all extremes that work lead to one result, it is
    certain; otherwise the largest of them bound it.

    Raises:
        DarkroomError: What the largest image would answer, where no size could do.
    """
    answers: list[list[Shape] | DarkroomError | None] = []
    for wide, high in ((True, True), (True, False), (False, True), (False, False)):
        extreme = {name: [_extreme(shape, wide, high) for shape in held] for name, held in shapes.items()}
        try:
            answers.append(_asked(tool, settings, extreme, limits))
        except DarkroomError as error:
            answers.append(error)
    if None in answers:
        return None
    worked = [answer for answer in answers if isinstance(answer, list)]
    if not worked:
        raise next(answer for answer in answers if isinstance(answer, DarkroomError))
    results = [_bound(shapes, sure=worked[0] is answers[0]) for shapes in zip(*worked, strict=False)]
    # What is too large for the extremes may still be made of a picture between them.
    return results if len(worked) == len(answers) else [limits.widest(one) for one in results]


def _bound(shapes: Sequence[Shape], *, sure: bool) -> Shape:
    """One shape for several: certain if they agree and `sure` is set, else the smallest that none of them exceeds."""
    first = replace(shapes[0], alpha=all(shape.alpha for shape in shapes))
    if sure and all(replace(shape, alpha=first.alpha) == first for shape in shapes):
        return first
    if not first.width:
        return replace(first, files=0)
    width, height = (max(getattr(shape, side) for shape in shapes) for side in ("width", "height"))
    return replace(first, width=width, height=height, exact=False)


def _extreme(shape: Shape, wide: bool, high: bool) -> Shape:
    """The largest or smallest picture of a shape that is not certain; a certain one stays."""
    if shape.exact:
        return shape
    return replace(shape, width=shape.width if wide else 1, height=shape.height if high else 1, exact=True)
