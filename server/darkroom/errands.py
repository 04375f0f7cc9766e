"""From files and settings to calls: which tool with which arguments, and where each result goes."""

import glob
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from darkroom.words import Source, as_source

__all__ = ["BATCH", "Errand", "Results", "image_arguments", "plan_errands", "without_results"]

BATCH = 200
"""Images that one call may hold."""

PIPELINE = "run_pipeline"


@dataclass(frozen=True, slots=True)
class Results:
    """Where results go.

    Attributes:
        out: Their folder; beside each file if None.
        overwrite: Replace files that exist.
        skip_existing: Do nothing for files that have a result already.
        zip: One ZIP of all of them instead.
    """

    out: Path | None = None
    overwrite: bool = False
    skip_existing: bool = False
    zip: Path | None = None


@dataclass(frozen=True, slots=True)
class Errand:
    """One call.

    Attributes:
        tool: What to call.
        arguments: Its arguments.
        sources: What results and messages are named after: one for each item of a batch, else one.
        places: For each source the file that its results go to, without the extension.
        zip: Where the ZIP of all results goes instead.
        rest: The arguments for the items from that number on, for what the library answers in pages.
    """

    tool: str
    arguments: Mapping[str, Any]
    sources: Sequence[Source]
    places: Sequence[Path]
    zip: Path | None = None
    rest: Callable[[int], Mapping[str, Any]] | None = None


def image_arguments(schema: Mapping[str, Any]) -> dict[str, bool]:
    """The arguments that are images, and whether each takes several."""
    from darkroom_tools.base import IMAGE_HELP, SAME_FORMS

    return {
        name: "items" in prop
        for name, prop in schema["properties"].items()
        # What the author of a workflow says of an image comes first.
        if (prop.get("items") or prop).get("description", "").rpartition(". ")[2].startswith((IMAGE_HELP, SAME_FORMS))
    }


def without_results(sources: Sequence[Source], label: str, out: Path | None) -> list[Source]:
    """The files whose result is not there yet, in whatever format it would be."""
    places = _places(sources, label, out)
    return [source for source in sources if not _exists(places[source.value])]


def plan_errands(
    tool: str,
    label: str,
    schema: Mapping[str, Any],
    sources: Sequence[Source],
    settings: Mapping[str, Any],
    to: Results,
) -> list[Errand]:
    """One call for up to 200 files, with all of them where the tool takes several.

    Args:
        tool: MCP name.
        label: What results are named after, beside their file.
        schema: Its input schema.
        sources: The files.
        settings: The other arguments.
        to: Where results go.

    Raises:
        ValueError: The tool wants files and got none, or others than it takes.
    """
    images = image_arguments(schema)
    lacks = [name for name in schema.get("required", []) if name in images and name not in settings]
    each = tool == PIPELINE or (len(lacks) == 1 and not images[lacks[0]])
    example = " ".join(["darkroom run", tool.replace("_", "-"), *(f"{name}.jpg" for name in lacks)])
    if to.zip and not each:
        raise ValueError(f"--zip is for tools that make something of each image; {label} does not.")
    if (each or lacks) and not sources:
        raise ValueError(f"Which file? Write {example}")
    places = _places(sources, label, to.out)
    if tool == PIPELINE or (each and (len(sources) > 1 or to.zip)):
        return _batches(tool, sources, settings, places, to)
    if not lacks:
        if sources:
            raise ValueError(f"{label} takes no more files.")
        return [_without_files(tool, label, images, settings, to)]
    values = [source.value for source in sources]
    if images[lacks[0]]:
        given: dict[str, Any] = {lacks[0]: values}
    elif len(values) == len(lacks):
        given = dict(zip(lacks, values, strict=True))
    else:
        raise ValueError(f"{label} takes {len(lacks)} files: {example}")
    return [Errand(tool, {**given, **settings}, sources[:1], [places[values[0]]])]


def _batches(
    tool: str, sources: Sequence[Source], settings: Mapping[str, Any], places: Mapping[str, Path], to: Results
) -> list[Errand]:
    errands = []
    work = settings if tool == PIPELINE else {"steps": [{"tool": tool, "settings": settings}]}
    for start in range(0, len(sources), BATCH):
        part = sources[start : start + BATCH]
        target = to.zip
        if target and start:
            target = target.with_stem(f"{target.stem}-{start // BATCH + 1}")
        images = [source.value for source in part]
        arguments = {**work, "images": images, **({"zip": True} if target else {})}
        rest = partial(_rest, work, images)
        errands.append(Errand(PIPELINE, arguments, part, [places[source.value] for source in part], target, rest))
    return errands


def _rest(work: Mapping[str, Any], images: Sequence[str], start: int) -> dict[str, Any]:
    return {**work, "images": images[start:]}


def _without_files(
    tool: str, label: str, images: Mapping[str, bool], settings: Mapping[str, Any], to: Results
) -> Errand:
    """A call whose images, if it has any, are all given by name."""
    given = [value for name, value in settings.items() if name in images]
    if not given:
        folder = to.out.absolute() if to.out else Path.cwd()
        return Errand(tool, settings, [Source(label, folder / label)], [folder / label])
    source = as_source(given[0][0] if isinstance(given[0], list) else given[0])
    return Errand(tool, settings, [source], [_places([source], label, to.out)[source.value]])


def _places(sources: Sequence[Source], label: str, out: Path | None) -> dict[str, Path]:
    """Where the results of each file go, without the extension: `photo-resize` beside `photo.jpg`.

    Where two files of one folder differ in nothing but their ending, it becomes part of the name.
    """
    folders = [out.absolute() / source.below if out else source.file.parent for source in sources]
    names = Counter((folder, source.file.stem.casefold()) for folder, source in zip(folders, sources, strict=True))
    places = {}
    for folder, source in zip(folders, sources, strict=True):
        alike = names[folder, source.file.stem.casefold()] > 1
        stem = source.file.name.replace(".", "-") if alike else source.file.stem
        places[source.value] = folder / f"{stem}-{label}"
    return places


def _exists(place: Path) -> bool:
    names = glob.escape(place.name)
    return any(place.parent.glob(f"{names}.*")) or any(place.parent.glob(f"{names}-1.*"))
