"""Find Duplicates."""

import hashlib
from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from darkroom_tools.base import Image, Report, Run, Settings, tool
from darkroom_tools.kit.clean import clean_name
from darkroom_tools.kit.hashing import BITS, distance, fingerprint


class FindDuplicates(Settings):
    """How alike is alike."""

    threshold: Annotated[int, Field(ge=0, le=20)] = 8
    """Most differing bits of a 128-bit hash; 0 finds near-exact copies"""


class Row(BaseModel):
    """A part of the report; camelCase on the wire."""

    model_config = ConfigDict(
        frozen=True, alias_generator=to_camel, validate_by_name=True, use_attribute_docstrings=True
    )


class Duplicate(Row):
    """One picture of a group."""

    index: int
    """Its place among the inputs, from 1"""
    filename: str
    similarity: float
    """Percent of hash bits that are those of the best"""
    identical: bool
    """Byte for byte the same file as the best"""
    width: int
    height: int
    file_size: int
    """Bytes"""
    format: str
    is_best: bool
    """Most pixels, then largest file"""


class Group(Row):
    """Pictures that look alike: the best, then those within the threshold of it."""

    group_id: int
    files: list[Duplicate]


class Duplicates(Report):
    """Groups of pictures that look alike."""

    total_images: int
    duplicate_groups: list[Group]
    unique_images: int
    """Pictures in no group"""
    space_saveable: int
    """Bytes of all but the best of each group"""


@tool(title="Find Duplicates", sequential=True, named=True, least=2)
def find_duplicates(images: list[Image], settings: FindDuplicates, run: Run) -> Duplicates:
    """Find pictures that look alike, though scaled, recompressed or lightly edited; not crops, flips or turns."""
    prints = []
    for number, image in enumerate(images, 1):
        run.progress((number - 1) / len(images), f"Looking at image {number} of {len(images)}")
        prints.append(fingerprint(image))
    # From the best on, each takes what is within the threshold of it: nothing in a group is further from the one
    # that would be kept, which chains of small differences could not promise.
    left = sorted(range(len(images)), key=lambda index: _rank(images[index], index))
    groups, spare = [], 0
    while left:
        best, *others = left
        apart = {index: distance(prints[best], prints[index]) for index in others}
        members = [index for index in others if apart[index] <= settings.threshold]
        left = [index for index in others if index not in members]
        if members:
            groups.append(_group(images, best, {index: apart[index] for index in members}))
            spare += sum(images[index].source.bytes for index in members)
    groups.sort(key=lambda group: min(file.index for file in group.files))
    numbered = [group.model_copy(update={"group_id": number}) for number, group in enumerate(groups, 1)]
    return Duplicates(
        total_images=len(images),
        duplicate_groups=numbered,
        unique_images=len(images) - sum(len(group.files) for group in numbered),
        space_saveable=spare,
    )


def _rank(image: Image, index: int) -> tuple[int, int, int]:
    """Sorts the best first: most pixels, then the largest file, then the one that was given first."""
    return -image.width * image.height, -image.source.bytes, index


def _group(images: Sequence[Image], best: int, apart: dict[int, int]) -> Group:
    """The best and its likes, the nearest first."""
    digest = _digest(images[best])
    rows = [_row(images, best, 0, best=True, identical=True)]
    for index, bits in sorted(apart.items(), key=lambda item: (item[1], item[0])):
        same_size = images[index].source.bytes == images[best].source.bytes
        identical = digest is not None and same_size and _digest(images[index]) == digest
        rows.append(_row(images, index, bits, best=False, identical=identical))
    return Group(group_id=0, files=rows)


def _digest(image: Image) -> str | None:
    original = image.source.original
    return hashlib.sha256(original.read()).hexdigest() if original is not None else None


def _row(images: Sequence[Image], index: int, bits: int, *, best: bool, identical: bool) -> Duplicate:
    image = images[index]
    original = image.source.original
    return Duplicate(
        index=index + 1,
        filename=clean_name(original.name if original is not None else "", f"image {index + 1}"),
        similarity=round(100 * (1 - bits / BITS), 2),
        identical=identical,
        width=image.width,
        height=image.height,
        file_size=image.source.bytes,
        format=image.source.format,
        is_best=best,
    )
