"""Runs a plan inside a pixel worker: decode once, the steps on lazy images, encode once."""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from inspect import signature
from pathlib import Path
from typing import Any

import pyvips

from darkroom.engine import codec
from darkroom.engine.failures import explain
from darkroom.engine.flow import Flow
from darkroom.engine.limits import MEGA, Limits
from darkroom.engine.outcome import Outcome, Output, Picture
from darkroom.engine.work import Stage, Work
from darkroom_tools.base import Archive, File, Image, Original, Report, Source, Tool
from darkroom_tools.errors import (
    DarkroomError,
    InvalidSettings,
    OutputTooLarge,
    ProcessingFailed,
    UnsupportedFormat,
)
from darkroom_tools.kit.archive import write_zip
from darkroom_tools.plan import Plan, Step, input_ref

__all__ = ["run_plan"]

log = logging.getLogger(__name__)

ENCODE_WEIGHT = 6.0
RUN_WEIGHT = 3.0
MODEL_WEIGHT = 30.0
"""Shares of the progress, beside 1 for a step that is lazy: what may run a network takes nearly all of the time."""

SHOWN_FILES = 20
"""Names of an archive's files that the facts list."""


@dataclass
class _Gathered:
    """Results beside the pictures, collected over all steps."""

    facts: dict[str, Any] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, facts: Mapping[str, Any], warnings: Iterable[str]) -> None:
        self.facts |= facts
        self.warnings += [text for text in warnings if text not in self.warnings]

    def tell(self, kept: Iterable[str], removed: Iterable[str]) -> None:
        self.kept += [name for name in kept if name not in self.kept]
        self.removed += [name for name in removed if name not in self.removed]


def run_plan(
    plan: Plan,
    paths: Sequence[Path],
    out_dir: Path,
    limits: Limits,
    work: Work,
    tools: Mapping[str, Tool],
    names: Sequence[str] = (),
) -> Outcome:
    """Run all steps and write the results into `out_dir`; a plan without steps only describes its inputs.

    Args:
        plan: Steps whose references point backwards.
        paths: The input files; `input:0` is the first.
        out_dir: An empty folder for the results.
        limits: Of inputs and results.
        work: Takes progress, answers for models, and stops the work when it is cancelled.
        tools: By id.
        names: File names of the inputs, where a tool of the plan is `named`.

    Raises:
        DarkroomError: The only kind of exception that leaves; anything else became ProcessingFailed or OutOfMemory.
    """
    flow = Flow(plan, tools, work)
    opened: list[Source] = []
    with _public_errors(work, opened):
        if not plan.steps:
            return Outcome([codec.inspect_file(path, limits) for path in paths])
        inputs: list[Picture] = []
        gathered = _Gathered()
        for number, path in enumerate(paths):
            ref, name = input_ref(number), names[number] if names else ""
            flow.held[ref] = given = codec.open_file(path, limits, sequential=flow.streams, name=name)
            if isinstance(given, Image):
                opened.append(replace(given.source, pixels=None))
                work.stop_on_cancel(given.pixels)
            inputs.append(codec.describe(given))
            del given
        work.encode = _encoder(out_dir, limits, work, gathered)
        *shares, (start, _, end) = _shares(plan, tools, flow)
        result: Any = None
        for number, (step, (low, middle, high)) in enumerate(zip(plan.steps, shares, strict=True)):
            work.within = f"Step {number + 1} of {len(plan.steps)}" if len(plan.steps) > 1 else ""
            work.progress(low) if number else work.check()
            with _naming(step):
                result = _run_step(tools[step.tool], step, flow.held, work.stage(low, middle))
                _note(result, gathered, limits, work)
            if not flow.is_last(step):
                made = work.encode(result) if step.written and isinstance(result, Image) else result
                if isinstance(made, File) and _is_picture(made):
                    result = _opened_again(made, out_dir, f"step-{number}", limits)
                elif isinstance(result, Image):
                    result = flow.render(step, result, middle, high, tools[step.tool].title)
                flow.hold(step, result)
            work.progress(high)
        work.within = ""
        outputs = _write(_list(result), out_dir, limits, work, gathered, (start, end))
        report = result.model_dump(mode="json", by_alias=True) if isinstance(result, Report) else None
        gathered.add(_told_of_models(plan, tools, work), work.notes)
    return Outcome(inputs, outputs, report, gathered.facts, gathered.kept, gathered.removed, gathered.warnings)


@contextmanager
def _naming(step: Step) -> Iterator[None]:
    """Errors say at which step they came up, for those who wrote several."""
    try:
        yield
    except DarkroomError as error:
        if step.id != step.tool:
            error.details.setdefault("step", step.id)
        raise


def _note(result: Any, gathered: _Gathered, limits: Limits, work: Work) -> None:
    """Hold what a step made against the limits, and gather what it says beside it."""
    for made in _list(result):
        if isinstance(made, Image):
            _check_size(made, limits)
            work.stop_on_cancel(made.pixels)
        if not isinstance(made, Report):
            gathered.add(made.facts, made.warnings)


def _told_of_models(plan: Plan, tools: Mapping[str, Tool], work: Work) -> dict[str, Any]:
    """What ran the models of a plan that can use some, such as `cuda, cpu`; `cpu` where none ran."""
    if not any(tools[step.tool].models for step in plan.steps):
        return {}
    return {"device": ", ".join(sorted(work.devices, key=lambda name: (name == "cpu", name))) or "cpu"}


def _shares(plan: Plan, tools: Mapping[str, Tool], flow: Flow) -> list[tuple[float, float, float]]:
    """The parts of the progress for each step and for the encode, where the last step does its work if it is lazy.

    Of each its beginning, where the tool is done and only its result is left to compute, and its end.
    """
    weights = [(_weight(tools[step.tool]), 0.0 if flow.is_last(step) else RUN_WEIGHT) for step in plan.steps]
    weights.append((ENCODE_WEIGHT, 0.0))
    total = sum(tool + rest for tool, rest in weights)
    low, shares = 0.0, []
    for tool, rest in weights:
        shares.append((low, low + tool / total, low + (tool + rest) / total))
        low = shares[-1][2]
    return shares


def _weight(tool: Tool) -> float:
    return MODEL_WEIGHT if tool.models else RUN_WEIGHT if tool.wants_run else 1.0


def _run_step(tool: Tool, step: Step, images: Mapping[str, Any], stage: Stage) -> Any:
    if tool.function is None:
        raise InvalidSettings(f"{tool.id!r} is a workflow; its steps must be given instead.", field="tool")
    if tool.generative:
        raise InvalidSettings(f"{tool.id!r} is made by an image engine, not by a worker.", field="tool")
    arguments: dict[str, Any] = {}
    for wanted in tool.inputs:
        refs = step.images.get(wanted.name, ())
        given = [_one_file(images, ref, tool) if wanted.as_file else _one_image(images, ref, tool) for ref in refs]
        if given or wanted.required:
            arguments[wanted.parameter] = given if wanted.many else given[0]
    settings = tool.settings.parse(step.settings)
    if "settings" in signature(tool.function).parameters:
        arguments["settings"] = settings
    if tool.wants_run:
        arguments["run"] = stage
    return tool.function(**arguments)


def _one_image(images: Mapping[str, Any], ref: str, tool: Tool) -> Image:
    image = images.get(ref)
    if isinstance(image, File | Archive):
        raise InvalidSettings("The step before makes a file that is no picture, so it must be the last.", field="steps")
    if isinstance(image, Original):
        raise UnsupportedFormat(
            f"{tool.name} takes pictures, but the file is {image.format.upper()}. {_MADE_FOR[image.format]}",
            got=image.format,
        )
    if not isinstance(image, Image):
        raise InvalidSettings(f"{ref!r} is no image that a step can take.", field="images", got=ref)
    return image


_MADE_FOR = {"svg": "Make a picture of it with svg_to_raster first.", "pdf": "Make pictures with pdf_to_image first."}


def _one_file(images: Mapping[str, Any], ref: str, tool: Tool) -> Original:
    held = images.get(ref)
    original = held.source.original if isinstance(held, Image) else held
    if not isinstance(original, Original):
        raise InvalidSettings(f"{ref!r} is no file that a step can take.", field="images", got=ref)
    if tool.reads and original.format not in tool.reads:
        reads = " or ".join(format.upper() for format in tool.reads)
        raise UnsupportedFormat(
            f"{tool.name} reads {reads}, but the file is {original.format.upper()}.",
            got=original.format,
            allowed=list(tool.reads),
        )
    return original


def _is_picture(file: File) -> bool:
    return file.media_type.startswith("image/") and file.extension != "svg"


def _opened_again(file: File, out_dir: Path, stem: str, limits: Limits) -> Image:
    """What a step wrote, such as a GIF with another speed that it never decoded, as a picture for the next step."""
    path = out_dir / f"{stem}.{file.extension}"
    path.write_bytes(file.data)
    return codec.open_image(path, limits, sequential=False)


def _encoder(out_dir: Path, limits: Limits, work: Work, gathered: _Gathered) -> Callable[[Image], File]:
    """What `Run.encode` does: through a file that goes at once."""

    def encode(image: Image) -> File:
        watched: list[pyvips.Image] = []

        def watch(pixels: pyvips.Image) -> None:
            watched.append(pixels)
            work.stop_on_cancel(pixels)

        encoded = codec.encode_image(image, out_dir, "part", limits, watch)
        path = encoded.output.path
        try:
            data = path.read_bytes()
        finally:
            path.unlink()
            for pixels in watched:
                work.let_go(pixels)
        gathered.add({}, encoded.warnings)
        gathered.tell(encoded.kept, encoded.removed)
        return File(data, encoded.output.picture.media_type, path.suffix.lstrip("."), encoded.facts)

    return encode


def _list(result: Any) -> list[Any]:
    return result if isinstance(result, list) else [result]


def _check_size(image: Image, limits: Limits) -> None:
    pixels = image.width * image.height * image.frames
    side = max(image.width, image.height)
    if pixels > limits.output_pixels or side > limits.output_side:
        raise OutputTooLarge(
            f"The result would be {image.width} x {image.height} pixels"
            + (f" in {image.frames} frames" if image.frames > 1 else "")
            + f"; the limits are {limits.output_pixels / MEGA:g} megapixels and {limits.output_side} pixels a side. "
            "Ask for a smaller size.",
            width=image.width,
            height=image.height,
            frames=image.frames,
            limit=limits.output_pixels,
        )


def _write(
    results: list[Any], out_dir: Path, limits: Limits, work: Work, gathered: _Gathered, share: tuple[float, float]
) -> list[Output]:
    """Write the pictures and files of the last step, each under a name of ours."""
    outputs: list[Output] = []
    low, high = share
    width = (high - low) / max(1, len(results))
    for number, result in enumerate(results):
        work.check()
        start = low + number * width
        if isinstance(result, Image):

            def watch(pixels: pyvips.Image, start: float = start) -> None:
                work.watch(pixels, start, start + width, "Encoding")

            encoded = codec.encode_image(result, out_dir, f"result-{number}", limits, watch)
            outputs.append(encoded.output)
            gathered.add(encoded.facts, encoded.warnings)
            gathered.tell(encoded.kept, encoded.removed)
        elif isinstance(result, File):
            outputs.append(_write_file(result, out_dir, f"result-{number}", limits))
            gathered.tell(result.kept, result.removed)
        elif isinstance(result, Archive):
            outputs.append(_write_archive(result, out_dir, f"result-{number}", gathered))
            gathered.tell(result.kept, result.removed)
    return outputs


def _write_file(file: File, out_dir: Path, stem: str, limits: Limits) -> Output:
    if not re.fullmatch(r"[a-z0-9]{1,8}", file.extension):
        raise ValueError(f"a tool made a file with the extension {file.extension!r}")
    path = out_dir / f"{stem}.{file.extension}"
    path.write_bytes(file.data)
    plain = Picture(file.extension, file.media_type, len(file.data))
    if not _is_picture(file):
        return Output(path, plain)
    try:
        return Output(path, codec.describe(codec.open_image(path, limits, sequential=True)))
    except DarkroomError:  # a picture of a type that this build writes but does not read
        return Output(path, plain)


def _write_archive(archive: Archive, out_dir: Path, stem: str, gathered: _Gathered) -> Output:
    path = out_dir / f"{stem}.zip"
    with path.open("xb") as target:
        names = write_zip(target, archive.entries)
    gathered.add({"files": names[:SHOWN_FILES], "fileCount": len(names)}, ())
    return Output(path, Picture("zip", "application/zip", path.stat().st_size))


@contextmanager
def _public_errors(work: Work, opened: Sequence[Source]) -> Iterator[None]:
    """Let only errors out that may be shown; the rest goes to the log."""
    try:
        yield
    except ProcessingFailed as error:
        if isinstance(error.__cause__, pyvips.Error):  # of the encoder, which knows the main image only
            raise explain(error.__cause__, opened) from error
        raise
    except DarkroomError:
        raise
    except (pyvips.Error, MemoryError) as error:
        work.check()
        log.warning("libvips or memory failed", exc_info=error)
        raise explain(error, opened) from error
    except Exception as error:
        work.check()
        log.exception("a tool failed")
        raise ProcessingFailed("The operation failed on this image. Try other settings, or another image.") from error
    finally:
        work.forget()
