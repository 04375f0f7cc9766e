"""Find duplicates: an independent hash by Pillow, a matrix of edits, and groups that hold what they promise."""

import functools
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageEnhance
import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags
from support.codec import bytes_of
from support.pictures import DirectRun, gradient, noise, opened, picture, use

from darkroom_tools.base import Image, Original
from darkroom_tools.errors import Cancelled, InvalidSettings
from darkroom_tools.kit.hashing import Fingerprint, distance, fingerprint
from darkroom_tools.utilities.find_duplicates import Duplicates, find_duplicates

NAMES = ["astronaut", "chelsea", "coffee", "rocket", "camera", "coins", "moon", "brick", "clock", "grass"]


@functools.cache
def photos() -> dict[str, PIL.Image.Image]:
    return {name: PIL.Image.fromarray(getattr(skimage.data, name)()).convert("RGB").reduce(2) for name in NAMES}


def image_of(photo: PIL.Image.Image) -> Image:
    return picture(np.asarray(photo))


def named(image: Image, name: str, size: int = 1000, data: bytes | None = None) -> Image:
    held = data if data is not None else name.encode()
    original = Original(image.source.format, size, lambda: held, name)
    return replace(image, source=replace(image.source, bytes=size, original=original))


def found(*images: Image, run: DirectRun | None = None, **settings: Any) -> Duplicates:
    report = use(find_duplicates, list(images), run=run, **settings)
    assert isinstance(report, Duplicates)
    return report


def groups(report: Duplicates) -> list[list[int]]:
    return [[file.index for file in group.files] for group in report.duplicate_groups]


def pillow_bits(photo: PIL.Image.Image) -> np.ndarray:
    """The same 128 bits by Pillow alone."""
    grey = photo.convert("L").convert("F")
    rows = np.asarray(grey.resize((9, 8), PIL.Image.Resampling.BOX))
    columns = np.asarray(grey.resize((8, 9), PIL.Image.Resampling.BOX))
    return np.concatenate([(np.diff(rows, axis=1) > 0).ravel(), (np.diff(columns, axis=0) > 0).ravel()])


@pytest.mark.parametrize("name", NAMES)
def test_the_hash_is_the_difference_hash_that_pillow_computes(name: str) -> None:
    ours = fingerprint(image_of(photos()[name]))
    assert ours.bits.shape == (128,)
    assert int((ours.bits != pillow_bits(photos()[name])).sum()) <= 6
    assert not ours.flat


def test_a_picture_of_the_hashed_size_gives_exactly_the_hand_computed_bits() -> None:
    array = noise(72, 72, 1)
    means = array[:, :, 0].astype(float)
    rows = means.reshape(8, 9, 9, 8).mean(axis=(1, 3))
    columns = means.reshape(9, 8, 8, 9).mean(axis=(1, 3))
    expected = np.concatenate([(rows[:, 1:] > rows[:, :-1]).ravel(), (columns[1:] > columns[:-1]).ravel()])
    assert (fingerprint(picture(array)).bits == expected).all()


def watermarked(photo: PIL.Image.Image) -> PIL.Image.Image:
    marked = photo.copy()
    PIL.ImageDraw.Draw(marked).text((8, marked.height - 18), "© somebody", fill="white", font_size=12)
    return marked


def again(photo: PIL.Image.Image, format: str, **options: Any) -> PIL.Image.Image:
    return PIL.Image.open(io.BytesIO(bytes_of(photo, format, **options)))


EDITS: dict[str, Callable[[PIL.Image.Image], PIL.Image.Image]] = {
    "JPEG of quality 30": lambda photo: again(photo, "jpeg", quality=30),
    "half the size": lambda photo: photo.resize((photo.width // 2, photo.height // 2)),
    "another ratio": lambda photo: photo.resize((photo.width, photo.height // 2)),
    "brighter": lambda photo: PIL.ImageEnhance.Brightness(photo).enhance(1.15),
    "darker": lambda photo: PIL.ImageEnhance.Brightness(photo).enhance(0.7),
    "a small watermark": watermarked,
    "grey": lambda photo: photo.convert("L"),
    "WebP of quality 40": lambda photo: again(photo, "webp", lossless=False, quality=40).convert("RGB"),
    "opaque alpha": lambda photo: photo.convert("RGBA"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_light_edits_are_found_and_other_photos_are_not(edit: str) -> None:
    originals = [image_of(photo) for photo in photos().values()]
    edited = [image_of(EDITS[edit](photo)) for photo in photos().values()]
    got = groups(found(*originals, *edited))
    assert sorted(sorted(group) for group in got) == [[n, n + len(NAMES)] for n in range(1, len(NAMES) + 1)]


@pytest.mark.parametrize("threshold", [8, 20])
def test_different_photos_are_unique(threshold: int) -> None:
    report = found(*map(image_of, photos().values()), threshold=threshold)
    assert (report.total_images, report.unique_images, report.space_saveable) == (len(NAMES), len(NAMES), 0)
    assert report.duplicate_groups == []


def test_the_wire_form_has_the_promised_fields() -> None:
    photo = photos()["chelsea"]
    small = photo.resize((100, 66))
    report = found(
        named(image_of(small), "small.png", 500),
        named(image_of(photos()["coffee"]), "other.png", 70),
        named(image_of(photo), "large.png", 9000),
        named(image_of(small), "../small copy.png", 500, b"small.png"),
    )
    wire = report.model_dump(mode="json", by_alias=True)
    apart = distance(fingerprint(image_of(photo)), fingerprint(image_of(small)))
    common = {"width": 100, "height": 66, "fileSize": 500, "format": "png", "isBest": False, "identical": False}
    similarity = round(100 * (1 - apart / 128), 2)
    large = {"width": photo.width, "height": photo.height, "fileSize": 9000, "isBest": True, "identical": True}
    assert wire == {
        "totalImages": 4,
        "uniqueImages": 1,
        "spaceSaveable": 1000,
        "duplicateGroups": [
            {
                "groupId": 1,
                "files": [
                    {**common, **large, "index": 3, "filename": "large.png", "similarity": 100.0},
                    {**common, "index": 1, "filename": "small.png", "similarity": similarity},
                    {**common, "index": 4, "filename": "small copy.png", "similarity": similarity},
                ],
            }
        ],
    }


def test_the_best_has_most_pixels_then_the_largest_file_then_comes_first() -> None:
    photo, small = image_of(photos()["chelsea"]), image_of(photos()["chelsea"].resize((90, 60)))
    report = found(named(small, "a", 99), named(photo, "b", 5), named(photo, "c", 7), named(photo, "d", 7))
    (group,) = report.duplicate_groups
    assert [(file.filename, file.is_best) for file in group.files] == [
        ("c", True),
        ("b", False),
        ("d", False),
        ("a", False),
    ]
    assert report.space_saveable == 99 + 5 + 7


def test_byte_identical_files_are_told_from_those_that_only_look_alike() -> None:
    photo = image_of(photos()["moon"])
    report = found(named(photo, "a", 9, b"same"), named(photo, "b", 9, b"same"), named(photo, "c", 9, b"else"))
    assert [file.identical for file in report.duplicate_groups[0].files] == [True, True, False]
    assert {file.similarity for file in report.duplicate_groups[0].files} == {100.0}


def test_hidden_and_reserved_names_are_cleaned_and_missing_ones_numbered() -> None:
    photo = image_of(photos()["moon"])
    files = found(named(photo, "/etc/pass\u202ewd"), named(photo, ""), photo).duplicate_groups[0].files
    assert sorted(file.filename for file in files) == ["image 2", "image 3", "passwd"]


def printed(*bits: int) -> Fingerprint:
    flags = np.zeros(128, bool)
    flags[list(bits)] = True
    return Fingerprint(flags, False, np.zeros(3))


@given(st.lists(st.sets(st.integers(0, 20), max_size=8), min_size=2, max_size=8), st.integers(0, 8))
def test_nothing_in_a_group_is_further_from_its_best_than_the_threshold(sets: list[set[int]], threshold: int) -> None:
    import darkroom_tools.utilities.find_duplicates as module

    prints = iter([printed(*bits) for bits in sets])
    images = [named(picture(np.zeros((2, 2, 1), np.uint8)), str(n)) for n in range(len(sets))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "fingerprint", lambda _: next(prints))
        report = found(*images, threshold=threshold)
    seen = [file.index for group in report.duplicate_groups for file in group.files]
    assert len(seen) == len(set(seen))
    assert report.unique_images == len(sets) - len(seen)
    bests = []
    for group in report.duplicate_groups:
        best, *others = group.files
        bests.append(best.index)
        assert [file.is_best for file in group.files] == [True] + [False] * len(others)
        for file in others:
            apart = len(sets[file.index - 1] ^ sets[best.index - 1])
            assert apart <= threshold
            assert file.similarity == round(100 * (1 - apart / 128), 2)
    alone = set(range(1, len(sets) + 1)) - set(seen)
    tops = [*bests, *alone]
    assert all(len(sets[one - 1] ^ sets[other - 1]) > threshold for one in tops for other in tops if one < other), (
        "what could have been grouped was"
    )


def test_pictures_of_one_tone_are_compared_by_their_colour() -> None:
    flat = [picture(np.full((50, 50, 3), color, np.uint8)) for color in (255, 253, 0, 128)]
    red = picture(np.full((20, 90, 3), (200, 0, 0), np.uint8))
    assert groups(found(*flat, red, image_of(photos()["moon"]), threshold=20)) == [[1, 2]]


def test_colour_under_transparency_plays_no_part() -> None:
    photo = np.asarray(photos()["coffee"])
    clear = np.dstack([photo, np.zeros(photo.shape[:2], np.uint8)])
    white = np.full_like(photo, 255)
    assert groups(found(picture(clear), picture(white), picture(photo))) == [[1, 2]]


def test_depth_and_grey_look_alike() -> None:
    photo = np.asarray(photos()["camera"])
    deep = photo.astype(np.uint16) * 257
    assert groups(found(picture(photo), picture(deep), picture(photo[..., :1]))) == [[2, 1, 3]]


def test_an_animation_is_seen_by_its_first_frame() -> None:
    frames = np.stack([np.asarray(photos()[name].resize((90, 60))) for name in ("coffee", "moon")])
    first = image_of(photos()["coffee"].resize((90, 60)))
    assert groups(found(picture(frames, "gif"), first, image_of(photos()["moon"]))) == [[1, 2]]


def test_a_turned_photo_is_seen_upright(tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    photo = photos()["chelsea"]
    (tmp_path / "a").mkdir()
    turned = opened(bytes_of(photo, "jpeg", exif=exif), tmp_path / "a")
    upright = opened(bytes_of(photo.transpose(PIL.Image.Transpose.ROTATE_270), "png"), tmp_path)
    assert len(groups(found(turned, upright))) == 1


@pytest.mark.parametrize("format", ["jpeg", "png", "webp", "avif", "tiff", "gif"])
def test_files_that_stream_are_hashed_like_pixels_in_memory(tmp_path: Path, format: str) -> None:
    photo = PIL.Image.fromarray(skimage.data.astronaut()).reduce(2)
    file = opened(bytes_of(photo, format), tmp_path)
    assert distance(fingerprint(file), fingerprint(image_of(photo))) <= 3


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 20000, 3), (20000, 1, 4), (1, 1, 1)])
def test_degenerate_pictures_work(shape: tuple[int, ...]) -> None:
    image = picture(gradient(shape[1], shape[0], shape[2]))
    assert groups(found(image, image)) == [[1, 2]]


def test_progress_is_told_and_a_caller_who_gives_up_is_heard() -> None:
    images = [picture(noise(9, 9, seed=seed)) for seed in range(4)]
    run = DirectRun()
    found(*images, run=run)
    assert run.reports[-1] == (0.75, "Looking at image 4 of 4")
    with pytest.raises(Cancelled):
        found(*images, run=DirectRun(cancel_at=0.5))


def test_one_image_is_not_enough() -> None:
    with pytest.raises(InvalidSettings) as refused:
        find_duplicates.parse({"images": ["img_1"]})
    assert "2" in refused.value.message


@pytest.mark.parametrize(
    ("asked", "words"), [({"threshold": 21}, "20"), ({"threshold": -1}, "threshold"), ({"limit": 3}, "threshold")]
)
def test_wrong_settings_are_refused_with_what_is_allowed(asked: Any, words: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        find_duplicates.settings.parse(asked)
    assert words in refused.value.message
