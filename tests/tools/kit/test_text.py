"""Fonts: every promised script has glyphs, in the right order, from the package alone."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageFont
import pytest

from darkroom_tools.kit.text import _fallback_files, _file, fonts_conf, missing_glyphs, text_mask

DRAW = """
import sys
from darkroom_tools.kit.text import text_mask
from darkroom_tools.native import pyvips
for number, text in enumerate(sys.argv[2:]):
    text_mask(text, "sans-serif", 64).write_to_file(f"{sys.argv[1]}/{number}.png")
"""
DRAW_SVG = """
import sys
from darkroom_tools.formats.svg_to_raster import svg_to_raster
from darkroom_tools.base import Original
text = f'<svg xmlns="http://www.w3.org/2000/svg" width="80" height="80"><text x="8" y="66" font-size="64">{sys.argv[2]}</text></svg>'
image = svg_to_raster.function(Original("svg", len(text), text.encode), svg_to_raster.settings.parse({"dpi": 96}))
image.pixels.write_to_file(f"{sys.argv[1]}/svg.png")
"""


def in_a_fresh_process(program: str, folder: Path, *words: str, **environment: str) -> str:
    """Run a program as a worker does, before anything else started fontconfig; what it said on standard error."""
    # There beforehand: fontconfig complains when another thread of the process makes it in the same moment.
    (folder / ".cache" / "fontconfig").mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder), *words],
        env={**os.environ, "FONTCONFIG_FILE": fonts_conf(), "HOME": str(folder), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stderr


def mask_of(path: Path) -> np.ndarray:
    return np.asarray(PIL.Image.open(path).convert("L"))


def their_size(character: str, file: str) -> tuple[int, int]:
    left, top, right, bottom = PIL.ImageFont.truetype(file, 64).getmask(character).getbbox() or (0, 0, 0, 0)
    return right - left, bottom - top


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """Texts drawn in a process of their own."""
    folder = tmp_path_factory.mktemp("drawn")
    texts = ["世", "한", "か", "😀", "ไ", "न", "א", "אב", "ב", "سلام", "س", "A < B & C"]
    assert in_a_fresh_process(DRAW, folder, *texts) == ""
    return {text: mask_of(folder / f"{number}.png") for number, text in enumerate(texts)}


@pytest.mark.parametrize(
    ("character", "font"),
    [
        ("世", "DroidSansFallback.ttf"),
        ("한", "DroidSansFallback.ttf"),
        ("か", "DroidSansFallback.ttf"),
        ("😀", "NotoEmoji-Regular.ttf"),
        ("ไ", "NotoSansThai-Regular.ttf"),
        ("न", "NotoSansDevanagari-Regular.ttf"),
        ("א", "DejaVuSans.ttf"),
    ],
)
def test_every_script_is_drawn_in_its_packaged_font(drawn: dict[str, np.ndarray], character: str, font: str) -> None:
    file = next(path for path in (*_fallback_files(), _file("sans-serif")) if path.endswith(font))
    height, width = drawn[character].shape
    wanted = their_size(character, file)
    assert abs(width - wanted[0]) <= 3
    assert abs(height - wanted[1]) <= 3


def test_hebrew_runs_from_right_to_left(drawn: dict[str, np.ndarray]) -> None:
    both, first, second = drawn["אב"], drawn["א"], drawn["ב"]
    height = min(both.shape[0], first.shape[0], second.shape[0])

    def unlike(part: np.ndarray, whole: np.ndarray, start: int) -> float:
        window = whole[-height:, start : start + part.shape[1]].astype(int)
        return float(np.abs(window - part[-height:, : window.shape[1]]).mean())

    right = both.shape[1] - first.shape[1]
    assert unlike(first, both, right) < 20 < unlike(first, both, 0)
    assert unlike(second, both, 0) < 20 < unlike(second, both, both.shape[1] - second.shape[1])


def test_arabic_letters_join(drawn: dict[str, np.ndarray]) -> None:
    # Four letters alone would leave gaps; joined, no column between the edges of a word like this is empty.
    assert (drawn["سلام"].max(axis=0) > 0).mean() > 0.9
    assert drawn["سلام"].shape[1] < 2 * drawn["س"].shape[1] + 64


def test_markup_is_text(drawn: dict[str, np.ndarray]) -> None:
    assert drawn["A < B & C"].shape[1] > 250


def test_fonts_of_the_system_play_no_part(tmp_path: Path, drawn: dict[str, np.ndarray]) -> None:
    poisoned = tmp_path / "home"
    (poisoned / ".fonts").mkdir(parents=True)
    serif = Path(_file("serif")).read_bytes()
    for name in ("DejaVuSans.ttf", "DroidSansFallback.ttf"):
        (poisoned / ".fonts" / name).write_bytes(serif)
    in_a_fresh_process(DRAW, tmp_path / "out", "世", "א", HOME=str(poisoned), FONTCONFIG_PATH=str(poisoned))
    assert np.array_equal(mask_of(tmp_path / "out" / "0.png"), drawn["世"])
    assert np.array_equal(mask_of(tmp_path / "out" / "1.png"), drawn["א"])


def test_text_in_an_svg_finds_the_same_fonts(tmp_path: Path, drawn: dict[str, np.ndarray]) -> None:
    in_a_fresh_process(DRAW_SVG, tmp_path / "svg", "世")
    alpha = np.asarray(PIL.Image.open(tmp_path / "svg" / "svg.png"))[..., 3]
    rows, columns = np.nonzero(alpha > 40)
    size = (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1)
    assert max(abs(ours - theirs) for ours, theirs in zip(size, drawn["世"].shape, strict=True)) <= 3


@pytest.mark.parametrize("text", ["Ж Ω é ← ☂", "世界 한국어 かな", "👩‍👩‍👧 ❤️", "नमस्ते สวัสดี", "שלום مرحبا"])
@pytest.mark.parametrize("font", ["sans-serif", "serif", "monospace"])
def test_what_a_packaged_font_has_is_not_missed(text: str, font: str) -> None:
    assert missing_glyphs(text, font) == ""


def test_what_no_packaged_font_has_is_named_once() -> None:
    assert missing_glyphs("A 𒀀ሀ𒀀", "sans-serif") == "𒀀ሀ"


def test_a_mask_ends_where_the_ink_does() -> None:
    mask = text_mask("Hxg", "sans-serif", 48).numpy()
    assert mask[0].any()
    assert mask[:, 0].any()
    assert mask[-1].any()
    assert mask[:, -1].any()
