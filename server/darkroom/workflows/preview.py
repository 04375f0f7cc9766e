"""What a plan will make and need, worked out from sizes alone: no pixel is read."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from darkroom.engine.limits import Limits
from darkroom.workflows.estimates import (
    AROUND,
    FEWEST_BYTES,
    OTHER_MACHINES,
    Range,
    Weight,
    file_bytes,
    reading_seconds,
    tool_seconds,
    writing_seconds,
)
from darkroom_tools.base import Tool
from darkroom_tools.errors import DarkroomError
from darkroom_tools.kit.format_rules import OPAQUE
from darkroom_tools.models import cards_for, missing
from darkroom_tools.plan import Plan, Step, step_ref
from darkroom_tools.shape import Prediction, Shape, predict

__all__ = ["NOMINAL", "Forecast", "Given", "Outlook", "forecast"]

NOMINAL: Final = Shape(4000, 3000)
"""The photo that stands for one that nobody has seen: 12 megapixels, as phones take them."""

NOMINAL_BYTES: Final = 4_000_000

KEEP_SCALE: Final = frozenset({"crop", "border", "rotate", "stitch", "collage", "split"})
"""Tools that change the size of a picture without making its detail finer or coarser."""

PLAIN_AREAS: Final = frozenset({"collage", "stitch", "border", "compose"})
"""Tools that may fill much of a picture with one colour."""

PLAIN_SHARE: Final = 0.4
"""Of the bytes of a photograph what a picture of the same size may have that is plain for a large part."""

FITTING: Final = frozenset({"resize", "smart-crop", "collage"})
"""Tools that may have to make a picture larger to fit it into a size."""

REWRITING: Final = frozenset({"strip-metadata", "edit-metadata"})
"""Tools that leave every byte of the pixels as it is."""

FAMILIES: Final = {"gfpgan": "gfpgan-", "ddcolor": "ddcolor", "opencv": "colorization-", "realesrgan": "realesrgan-"}
"""Names that stand for any of several models, and how the ids of those begin."""

NEEDS_MODEL: Final = {"enhance-faces": "face-restore", "colorize": "colorize", "ocr": "ocr"}
"""Tools that do nothing without a model, by its task."""

KILOBYTE: Final = 1024


@dataclass(frozen=True, slots=True)
class Given:
    """A picture that goes in.

    Attributes:
        shape: Its size and format; a guess if it is not `seen`.
        bytes: Of its file; None if it is not `seen`.
        seen: Whether its size and format are known. Whether it has transparency is not kept anywhere: `alpha` of a
            format that can hold it is a guess in any case.
    """

    shape: Shape = NOMINAL
    bytes: int | None = None
    seen: bool = False


@dataclass(frozen=True, slots=True)
class Outlook:
    """One result.

    Attributes:
        shape: Its size and format; without a size if it is no picture.
        exact: Whether size, frames and format are certain.
        bytes: Of its file; None if nobody can say.
    """

    shape: Shape
    exact: bool
    bytes: Range | None = None


@dataclass(frozen=True, slots=True)
class Forecast:
    """What one item will come to.

    Attributes:
        results: What is made; empty for a report, and where something is wrong.
        count: How many results, None where the content decides.
        exact: Whether everything about them is certain.
        seconds: Of work on one CPU.
        problems: Why it will fail, whatever the pictures show; the id of the step and the error.
        warnings: Sentences for the caller.
    """

    results: tuple[Outlook, ...]
    count: int | None
    exact: bool
    seconds: Range
    problems: tuple[tuple[str, DarkroomError], ...] = ()
    warnings: tuple[str, ...] = ()


def forecast(
    plan: Plan,
    given: Sequence[Given],
    tools: Mapping[str, Tool],
    limits: Limits,
    *,
    installed: frozenset[str] = frozenset(),
    measured: frozenset[str] = frozenset(),
    engine: DarkroomError | None = None,
) -> Forecast:
    """What a plan makes of some pictures.

    Args:
        plan: At least one step.
        given: The inputs in the order of the plan's references.
        tools: By id.
        limits: Of results, and of the time that a plan may take.
        installed: Models that are here and can run.
        measured: Those of them with which the tools were measured.
        engine: Why generative steps cannot run, None if they can.
    """
    most = {"most_side": limits.output_side, "most_pixels": limits.output_pixels}
    shapes = [each.shape for each in given]
    expected = predict(plan, shapes, tools, **most)
    others = [predict(plan, variant, tools, **most) for variant in _variants(given, limits)]
    certain, doubtful = _divided(expected, others)
    # What fails makes nothing that could differ.
    exact = expected.exact and all(_same(expected, other) for other in others if not other.problems)
    results = [
        Outlook(shape, exact and shape.exact, _bytes(plan, shape, given, expected, tools)) for shape in expected.results
    ]
    problems = [*((each.step, each.error) for each in certain), *_lacking(plan, tools, installed, engine)]
    return Forecast(
        tuple(results),
        expected.count,
        exact and not problems,
        _seconds(plan, shapes, expected, tools, limits, installed - measured),
        tuple(problems),
        (*doubtful, *_warnings(plan, given, expected)),
    )


def _variants(given: Sequence[Given], limits: Limits) -> Iterator[list[Shape]]:
    """Other inputs that what is not known may turn out to be."""
    if any(not each.seen for each in given):
        side = limits.output_side
        unseen = (
            Shape(side, side, exact=False),
            Shape(3, 2),
            replace(NOMINAL, format="png", alpha=True),
            replace(NOMINAL, format="gif", frames=10),
            Shape(0, 0, format="svg"),
            Shape(0, 0, format="pdf"),
        )
        for shape in unseen:
            yield [each.shape if each.seen else shape for each in given]
    if any(each.seen and _may_have_alpha(each.shape) for each in given):
        yield [each.shape.with_alpha(False) for each in given]


def _may_have_alpha(shape: Shape) -> bool:
    return shape.width > 0 and shape.format not in OPAQUE


def _divided(expected: Prediction, others: Sequence[Prediction]) -> tuple[list[Any], list[str]]:
    """The problems if every input has some, else in words what the expected one would meet."""
    if all(other.problems for other in others):
        return list(expected.problems), []
    photo = f"With a photo of {NOMINAL.width}×{NOMINAL.height} it would fail"
    return [], [f"{photo}: {each.error.message}" for each in expected.problems]


def _same(one: Prediction, other: Prediction) -> bool:
    """Whether two predictions come to the same files."""

    def told(prediction: Prediction) -> list[Any]:
        return [(each.width, each.height, each.frames, each.format, each.formats) for each in prediction.results]

    return other.exact and one.count == other.count and told(one) == told(other)


def _lacking(
    plan: Plan, tools: Mapping[str, Tool], installed: frozenset[str], engine: DarkroomError | None
) -> Iterator[tuple[str, DarkroomError]]:
    """Models and engines that a step cannot do without and that are not here."""
    for step in plan.steps:
        tool = tools[step.tool]
        if tool.generative and engine is not None:
            yield step.id, engine
            engine = None
        if not tool.models:
            continue
        named = str(tool.settings.parse(step.settings).model_dump().get("model", "auto"))
        begins = FAMILIES.get(named)
        able = [model for model in tool.models if model == named or (begins and model.startswith(begins))]
        if named == "auto" and step.tool in NEEDS_MODEL:
            task = NEEDS_MODEL[step.tool]
            able = [card.id for card in cards_for(task) if card.commercial and card.id in tool.models]
        if able and not installed.intersection(able):
            yield step.id, missing(able[0])


def _held(step: Step, shapes: Sequence[Shape], expected: Prediction) -> list[Shape]:
    """What goes into a step."""
    found: list[Shape] = []
    for ref in (ref for refs in step.images.values() for ref in refs):
        kind, _, name = ref.partition(":")
        found += [shapes[int(name)]] if kind == "input" else expected.steps.get(name, ())
    return found


def _megapixels(shapes: Sequence[Shape]) -> float:
    return sum(each.width * each.height * each.frames for each in shapes) / 1e6


def _between(held: Sequence[Shape], made: Sequence[Shape]) -> tuple[float, float]:
    """Megapixels of what goes into a step or comes out of it, whichever are more: at least, and at most."""
    certain = [[each for each in shapes if each.exact] for shapes in (held, made)]
    return max(map(_megapixels, certain)), max(_megapixels(held), _megapixels(made))


def _seconds(
    plan: Plan,
    shapes: Sequence[Shape],
    expected: Prediction,
    tools: Mapping[str, Tool],
    limits: Limits,
    unmeasured: frozenset[str],
) -> Range:
    """Reading, every step, and writing; never more than the clock allows."""
    total = Range()
    for shape in shapes:
        total += reading_seconds(shape.format, _megapixels([shape]))
    for step in plan.steps:
        held, made = _held(step, shapes, expected), expected.steps.get(step.id, ())
        least, most = (tool_seconds(step.tool, n) for n in _between(held, made))
        unsure = unmeasured.intersection(tools[step.tool].models)
        total += Range(least.low, math.inf if unsure else most.high)
    for shape in expected.results:
        written = writing_seconds(shape.format, _megapixels([shape]))
        total += Range(written.low if shape.exact else 0.0, written.high)
    total = total.widened(*OTHER_MACHINES) + Range(*AROUND)
    if any(tools[step.tool].generative for step in plan.steps):
        return total
    wall = limits.model_seconds if any(tools[step.tool].models for step in plan.steps) else limits.tool_seconds
    wall += limits.further_input_seconds * max(0, len(shapes) - 1)
    return Range(min(total.low, wall), min(total.high, wall))


def _bytes(
    plan: Plan, shape: Shape, given: Sequence[Given], expected: Prediction, tools: Mapping[str, Tool]
) -> Range | None:
    """Bytes of a result's file."""
    if not shape.width:
        return None
    source = _weight(given)
    if source is not None and source.format == shape.format and all(step.tool in REWRITING for step in plan.steps):
        return Range(0.7 * source.bytes, 1.05 * source.bytes)
    quality, target = _wanted(plan, tools)
    scale = _scale(plan, [each.shape for each in given], expected)
    ranges = [
        file_bytes(format, shape.width * shape.height, frames=shape.frames, quality=quality, source=source, scale=scale)
        for format in shape.formats or (shape.format,)
    ]
    known = [each for each in ranges if each is not None]
    if not known:
        return None
    # What is drawn and not photographed may be next to nothing.
    least = min(each.low for each in known) if shape.exact and given else float(FEWEST_BYTES)
    if any(step.tool in PLAIN_AREAS for step in plan.steps):
        least *= PLAIN_SHARE
    smallest = Range(least, min(each.high for each in known))
    return Range(min(smallest.low, 0.7 * target), target) if target else smallest


def _weight(given: Sequence[Given]) -> Weight | None:
    """What the pictures that go in weigh together, None if nobody knows."""
    pictures = [each for each in given if each.shape.width]
    if not pictures or any(not each.seen for each in pictures):
        return None
    formats = {each.shape.format for each in pictures}
    pixels = sum(each.shape.width * each.shape.height * each.shape.frames for each in pictures)
    return Weight(formats.pop() if len(formats) == 1 else "", sum(each.bytes or 0 for each in pictures), pixels)


def _wanted(plan: Plan, tools: Mapping[str, Tool]) -> tuple[int | None, int | None]:
    """Quality and largest size in bytes that the last step with a word on it asks for."""
    for step in reversed(plan.steps):
        settings = tools[step.tool].settings.parse(step.settings).model_dump(by_alias=True)
        target, quality = settings.get("targetSizeKB"), settings.get("quality")
        if target and settings.get("mode") != "quality":
            return None, int(target * KILOBYTE)
        if isinstance(quality, int) and not isinstance(quality, bool):
            return quality, None
    return None, None


def _scale(plan: Plan, shapes: Sequence[Shape], expected: Prediction) -> float:
    """By how much the sides of a picture are scaled on the way."""
    scale = 1.0
    for step in plan.steps:
        held, made = _held(step, shapes, expected), expected.steps.get(step.id, ())
        if step.tool in KEEP_SCALE or len(made) != 1 or not held or not held[0].width:
            continue
        scale *= math.sqrt(made[0].width * made[0].height / (held[0].width * held[0].height))
    return scale


def _warnings(plan: Plan, given: Sequence[Given], expected: Prediction) -> Iterator[str]:
    """What a caller may not have meant."""
    shapes = [each.shape for each in given]
    for result in expected.results[:1]:
        for step in plan.steps:
            held, made = _held(step, shapes, expected), expected.steps.get(step.id, ())
            if not held or len(made) != 1:
                continue
            yield from _losses(held, made[0], result, sure=step_ref(step.id) in _cut_out(plan))
        yield from _enlarged(plan, shapes, expected)


def _cut_out(plan: Plan) -> set[str]:
    """Everything a step makes out of what another step made: there transparency is meant."""
    return {
        step_ref(step.id)
        for step in plan.steps
        if any(ref.startswith("step:") for refs in step.images.values() for ref in refs)
    }


def _losses(held: Sequence[Shape], made: Shape, result: Shape, *, sure: bool) -> Iterator[str]:
    """Transparency and frames that a step loses for good."""
    if any(each.alpha for each in held[:1]) and not made.alpha and result.format in OPAQUE:
        where = "Transparent parts" if sure else "Transparent parts, if there are any,"
        yield f"{where} become opaque: {result.format.upper()} has no transparency. PNG or WebP keeps it."
    frames = max(each.frames for each in held)
    if frames > 1 and made.width and made.frames == 1 and result.frames == 1:
        yield f"Of the animation's {frames} frames only one is kept. GIF and WebP keep them all."


def _enlarged(plan: Plan, shapes: Sequence[Shape], expected: Prediction) -> Iterator[str]:
    """Pictures that become larger than they are."""
    for step in plan.steps:
        held, made = _held(step, shapes, expected), expected.steps.get(step.id, ())
        if step.tool not in FITTING or len(held) != 1 or len(made) != 1:
            continue
        before, after = held[0], made[0]
        if after.exact and (after.width > before.width or after.height > before.height):
            yield (
                f"{step.tool} enlarges {before.width}×{before.height} to {after.width}×{after.height}, which adds no "
                "detail. The tool upscale does."
            )
