"""Searching the best file that fits a number of bytes."""

from pathlib import Path

import pytest
import pyvips
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow
from support.codec import LIMITS, difference, encoded, opened, photo, read_back, stored

from darkroom.engine.codec import encode_image
from darkroom.engine.sniff import FORMATS


@given(
    format=st.sampled_from(sorted(FORMATS)),
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    target=st.integers(1, 120_000),
    quality=st.none() | st.integers(1, 100),
)
def test_the_file_fits_or_the_reply_says_that_none_does(
    tmp_path: Path, format: str, width: int, height: int, target: int, quality: int | None
) -> None:
    image = opened(stored(tmp_path, photo(width, height)), sequential=True)
    result = encoded(image, tmp_path, format=format, target_bytes=target, quality=quality)
    size = result.output.path.stat().st_size
    try:
        assert result.facts["bytes"] == result.output.picture.bytes == size
        assert result.facts["reached"] is (size <= target)
        assert bool(result.warnings) is not result.facts["reached"]
        assert read_back(result.output.path).size == (width, height)
        assert result.facts.get("quality", 1) <= (quality or 95)
    finally:
        result.output.path.unlink()


SMALL, SAMPLED = (320, 240), (1400, 1000)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
@pytest.mark.parametrize(
    ("format", "size"), [("jpeg", SMALL), ("webp", SMALL), ("avif", SMALL), ("jpeg", SAMPLED), ("webp", SAMPLED)]
)
def test_the_next_better_quality_would_not_fit_or_hardly_better(
    tmp_path: Path, format: str, size: tuple[int, int], share: float
) -> None:
    image = opened(stored(tmp_path, photo(*size), "png"))
    best = encoded(image, tmp_path, format=format, quality=95).output
    target = round(best.picture.bytes * share)
    best.path.unlink()
    result = encoded(image, tmp_path, format=format, target_bytes=target)
    assert result.facts["reached"]
    assert result.facts["encodes"] <= (7 if size == SMALL else 5)
    if result.facts["bytes"] < 0.97 * target:
        result.output.path.unlink()
        better = encoded(image, tmp_path, format=format, quality=result.facts["quality"] + 1).output
        assert better.picture.bytes > target


def test_the_quality_told_is_the_quality_written(tmp_path: Path) -> None:
    image = opened(stored(tmp_path, photo(320, 240)))
    found = encoded(image, tmp_path, format="jpeg", target_bytes=12_000)
    data = found.output.path.read_bytes()
    found.output.path.unlink()
    plain = encoded(image, tmp_path, format="jpeg", quality=found.facts["quality"], effort="tight")
    assert plain.output.path.read_bytes() == data


def test_a_generous_target_gives_the_best_quality_searched_in_few_encodes(tmp_path: Path) -> None:
    image = opened(stored(tmp_path, photo(1400, 1000)))
    result = encoded(image, tmp_path, format="jpeg", target_bytes=50_000_000)
    assert (result.facts["quality"], result.facts["encodes"]) == (95, 1)


def test_an_impossible_target_gives_the_smallest_file(tmp_path: Path) -> None:
    image = opened(stored(tmp_path, photo(1400, 1000)))
    result = encoded(image, tmp_path, format="jpeg", target_bytes=500)
    assert (result.facts["quality"], result.facts["reached"]) == (1, False)
    assert str(result.facts["bytes"]) in result.warnings[0]
    assert result.facts["encodes"] <= 2


def test_png_and_gif_give_up_colours_to_fit(tmp_path: Path) -> None:
    for format, whole in (("png", None), ("gif", 256)):
        image = opened(stored(tmp_path, photo(320, 240)))
        sizes = {}
        for target in (1_000_000, 40_000, 12_000):
            result = encoded(image, tmp_path, format=format, target_bytes=target)
            assert result.facts["reached"]
            colours = len(read_back(result.output.path).convert("RGB").getcolors(1_000_000))
            assert colours <= result.facts.get("colours", colours)
            sizes[target] = result.facts.get("colours")
            result.output.path.unlink()
        assert sizes[1_000_000] == whole
        assert sizes[12_000] < sizes[40_000] <= 256


def test_an_animation_keeps_its_frames_and_fits(tmp_path: Path) -> None:
    frames = [photo().rotate(angle) for angle in (0, 30, 60)]
    image = opened(stored(tmp_path, frames[0], "webp", save_all=True, append_images=frames[1:]))
    result = encoded(image, tmp_path, target_bytes=6_000)
    assert result.facts["reached"]
    with Pillow.open(result.output.path) as written:
        assert written.n_frames == result.output.picture.frames == 3


def test_the_pixels_are_computed_once_and_every_encode_is_watched(tmp_path: Path) -> None:
    image = opened(stored(tmp_path, photo(320, 240)), sequential=True)  # readable only once
    watched: list[pyvips.Image] = []
    result = encode_image(
        image.encode_as(format="jpeg", target_bytes=9_000), tmp_path, "result", LIMITS, watched.append
    )
    assert len(watched) == 1 + result.facts["encodes"]
    assert difference(read_back(result.output.path), photo(320, 240)) < 10
