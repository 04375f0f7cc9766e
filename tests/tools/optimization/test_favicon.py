"""Favicon: every file opened by Pillow and measured."""

import html.parser
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import skimage.data
from PIL import IcoImagePlugin
from support.codec import builtin_profile, bytes_of, difference, photo
from support.pictures import gradient, noise, opened, picture, use

from darkroom_tools.base import Archive, Image, Original
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.kit.archive import unique_names
from darkroom_tools.kit.ico import write_ico
from darkroom_tools.optimization.favicon import favicon

SIZES = {
    "favicon-16x16.png": 16,
    "favicon-32x32.png": 32,
    "favicon-48x48.png": 48,
    "apple-touch-icon.png": 180,
    "android-chrome-192x192.png": 192,
    "android-chrome-512x512.png": 512,
}
CAT = np.asarray(PIL.Image.fromarray(skimage.data.chelsea()).resize((600, 600)))


def files_of(*images: Image, **settings: Any) -> dict[str, bytes]:
    archive = use(favicon, list(images), **settings)
    assert isinstance(archive, Archive)
    names = unique_names([entry.name for entry in archive.entries])
    assert names == [entry.name for entry in archive.entries]
    return {entry.name: entry.read() for entry in archive.entries}


def warnings_of(*images: Image, **settings: Any) -> tuple[str, ...]:
    return use(favicon, list(images), **settings).warnings  # type: ignore[no-any-return]


def icon(files: dict[str, bytes], name: str) -> np.ndarray:
    return np.asarray(PIL.Image.open(io.BytesIO(files[name])).convert("RGBA"))


def named(image: Image, name: str) -> Image:
    return replace(image, source=replace(image.source, original=Original("png", 1, bytes, name)))


def test_one_picture_makes_the_nine_files() -> None:
    files = files_of(picture(CAT))
    assert list(files) == [*SIZES, "favicon.ico", "manifest.json", "favicon-snippet.html"]
    for name, size in SIZES.items():
        with PIL.Image.open(io.BytesIO(files[name])) as image:
            assert (image.format, image.size) == ("PNG", (size, size))


@pytest.mark.parametrize(("name", "size"), SIZES.items())
def test_icons_look_like_the_picture_reduced_by_pillow(name: str, size: int) -> None:
    seen = icon(files_of(picture(CAT)), name)
    assert (seen[..., 3] == 255).all()
    expected = PIL.Image.fromarray(CAT).resize((size, size), PIL.Image.Resampling.LANCZOS)
    assert difference(seen[..., :3], np.asarray(expected)) < 1.5


def test_the_ico_holds_three_pictures_that_are_those_of_the_png_files() -> None:
    files = files_of(picture(CAT), borderRadius=30)
    ico = IcoImagePlugin.IcoFile(io.BytesIO(files["favicon.ico"]))
    assert ico.sizes() == {(16, 16), (32, 32), (48, 48)}
    for side in (16, 32, 48):
        held = np.asarray(ico.getimage((side, side)).convert("RGBA"))
        assert (held == icon(files, f"favicon-{side}x{side}.png")).all()


@pytest.mark.parametrize("sides", [[1], [16, 33], [256], [7, 255, 256]])
def test_icon_files_are_read_back_by_pillow(sides: list[int]) -> None:
    pictures = [noise(side, side, 4, seed=side) for side in sides]
    ico = IcoImagePlugin.IcoFile(io.BytesIO(write_ico(pictures)))
    for entry, array in zip(sorted(sides), sorted(pictures, key=len), strict=True):
        assert (np.asarray(ico.getimage((entry, entry)).convert("RGBA")) == array).all()


def test_the_mask_of_an_icon_hides_what_is_more_than_half_transparent() -> None:
    array = np.full((2, 3, 4), 255, np.uint8)
    array[0, 1, 3], array[1, 2, 3] = 127, 128
    mask = write_ico([array])[-8:]
    # From the last row up, a bit a pixel, filled up to 32 bits.
    assert mask == bytes([0b00000000, 0, 0, 0, 0b01000000, 0, 0, 0])


@pytest.mark.parametrize(("width", "height"), [(600, 300), (300, 600), (90, 30), (20000, 1), (1, 1)])
def test_a_picture_that_is_not_square_stands_in_the_middle(width: int, height: int) -> None:
    files = files_of(picture(np.full((height, width, 3), 90, np.uint8)))
    for name, size in SIZES.items():
        alpha = icon(files, name)[..., 3]
        rows, columns = np.nonzero(alpha)
        wide, high = columns.max() + 1 - columns.min(), rows.max() + 1 - rows.min()
        assert abs(wide - size * width / max(width, height)) <= 1
        assert abs(high - max(1, size * height / max(width, height))) <= 1
        assert abs(columns.min() - (size - wide) / 2) <= 1
        assert abs(rows.min() - (size - high) / 2) <= 1


@pytest.mark.parametrize(("padding", "inner"), [(0, 512), (10, 410), (25, 256), (50, 1)])
def test_padding_is_free_at_each_edge(padding: float, inner: int) -> None:
    alpha = icon(files_of(picture(CAT), padding=padding), "android-chrome-512x512.png")[..., 3]
    assert int((alpha.max(axis=0) > 0).sum()) == int((alpha.max(axis=1) > 0).sum()) == inner


def test_the_background_lies_behind_the_picture_and_in_its_padding() -> None:
    array = np.zeros((100, 100, 4), np.uint8)
    array[25:75, 25:75] = (0, 255, 0, 255)
    files = files_of(picture(array), padding=10, backgroundColor="#FF0000")
    for name, size in SIZES.items():
        with PIL.Image.open(io.BytesIO(files[name])) as image:
            assert image.mode == "RGB"
        seen = icon(files, name)
        assert tuple(seen[0, 0]) == (255, 0, 0, 255)
        assert np.abs(seen[size // 2, size // 2].astype(int) - (0, 255, 0, 255)).max() <= 8
    assert json.loads(files["manifest.json"])["background_color"] == "#FF0000"


def test_a_translucent_background_is_laid_under_by_the_formula_of_over() -> None:
    array = np.full((64, 64, 4), (200, 100, 0, 128), np.uint8)
    seen = icon(files_of(picture(array), backgroundColor="#0000FF80"), "favicon-32x32.png")[16, 16].astype(float)
    over, under = 128 / 255, 128 / 255
    alpha = over + under * (1 - over)
    color = (np.array([200, 100, 0]) * over + np.array([0, 0, 255]) * under * (1 - over)) / alpha
    assert np.abs(seen - [*color, alpha * 255]).max() <= 1.5


@pytest.mark.parametrize(("radius", "share"), [(0, 1), (50, np.pi / 4), (20, 1 - (4 - np.pi) * 0.04)])
def test_corners_are_rounded_to_a_share_of_the_side(radius: float, share: float) -> None:
    files = files_of(picture(CAT), borderRadius=radius, backgroundColor="#FFFFFF")
    for name in SIZES:
        assert icon(files, name)[..., 3].mean() / 255 == pytest.approx(share, abs=0.01)


def test_hidden_colour_does_not_bleed_into_edges() -> None:
    array = np.zeros((512, 512, 4), np.uint8)
    array[..., 1] = 255
    array[100:400, 100:400] = (255, 0, 0, 255)
    seen = icon(files_of(picture(array)), "favicon-32x32.png")
    assert (seen[seen[..., 3] > 0][:, 1] <= 2).all()


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_depth_and_alpha_become_icons_of_8_bits(bands: int, dtype: Any) -> None:
    files = files_of(picture(gradient(64, 64, bands, dtype)))
    for name in SIZES:
        with PIL.Image.open(io.BytesIO(files[name])) as image:
            assert image.mode == "RGBA"
    seen = icon(files, "favicon-48x48.png")[24, 24]
    assert abs(int(seen[0]) - 127) < 8
    assert abs(int(seen[3]) - (191 if bands in (2, 4) else 255)) < 8


def test_icons_carry_no_profile(tmp_path: Path) -> None:
    files = files_of(opened(bytes_of(photo(64, 64), "jpeg", icc_profile=builtin_profile("p3")), tmp_path))
    assert all(b"iCCP" not in data for data in files.values())


def test_a_streamed_photo_is_read_once_for_all_icons(tmp_path: Path) -> None:
    data = bytes_of(PIL.Image.fromarray(CAT), "png")
    seen = icon(files_of(opened(data, tmp_path)), "android-chrome-192x192.png")
    assert (seen == icon(files_of(picture(CAT)), "android-chrome-192x192.png")).all()


def test_an_animation_gives_icons_of_its_first_frame() -> None:
    frames = np.stack([np.full((64, 64, 3), value, np.uint8) for value in (10, 200)])
    image = picture(frames, "gif")
    assert (icon(files_of(image), "favicon-16x16.png")[..., :3] == 10).all()
    assert any("first frame" in text for text in warnings_of(image))


def test_several_pictures_get_a_folder_each() -> None:
    images = [named(picture(CAT), name) for name in ("logo.png", "Logo.jpg", "../../x.png")] + [picture(CAT)]
    names = [entry.name for entry in use(favicon, images).entries]
    assert len(set(names)) == len(names) == 9 * 4
    folders = list(dict.fromkeys(name.partition("/")[0] for name in names))
    assert folders == ["logo", "Logo_1", "x", "icon-4"]


def test_the_manifest_and_the_snippet_name_files_that_are_there() -> None:
    files = files_of(picture(CAT))
    manifest = json.loads(files["manifest.json"])
    assert [(entry["src"], entry["sizes"]) for entry in manifest["icons"]] == [
        ("android-chrome-192x192.png", "192x192"),
        ("android-chrome-512x512.png", "512x512"),
    ]
    linked = []

    class Links(html.parser.HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag == "link"
            linked.append(str(dict(attrs)["href"]))

    Links().feed(files["favicon-snippet.html"].decode())
    assert set(linked) <= {f"/{name}" for name in files}
    assert len(linked) == 6
    assert use(favicon, [picture(CAT)]).facts["snippet"] == files["favicon-snippet.html"].decode()


def test_enlargement_is_said_with_the_sizes() -> None:
    assert warnings_of(picture(CAT)) == ()
    assert warnings_of(picture(CAT), picture(noise(190, 190))) == (
        "Image 2 has 190×190 pixels: it was enlarged for the icons of 192, 512 pixels.",
    )
    assert warnings_of(picture(noise(190, 190)), padding=40, backgroundColor="#FFFFFF") == ()


@pytest.mark.parametrize(
    ("settings", "said"),
    [({}, True), ({"backgroundColor": "#00000080"}, True), ({"backgroundColor": "#FFFFFF"}, False)],
)
def test_transparent_parts_of_the_apple_icon_are_said(settings: Any, said: bool) -> None:
    assert any("iOS" in text for text in warnings_of(picture(CAT[:300]), **settings)) == said


def test_nothing_is_computed_before_the_archive_is_written() -> None:
    image = picture(CAT)
    image = image.with_pixels(image.pixels.crop(0, 0, 1, 1))
    assert len(use(favicon, [image] * 50).entries) == 450


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"padding": 51}, "50"),
        ({"borderRadius": -1}, "borderRadius"),
        ({"backgroundColor": "white"}, "backgroundColor"),
        ({"color": "#FFFFFF"}, "backgroundColor"),
    ],
)
def test_wrong_settings_are_refused_with_what_is_allowed(asked: Any, words: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        favicon.settings.parse(asked)
    assert words in refused.value.message


def test_what_it_looks_like(golden: Any) -> None:
    files = files_of(picture(skimage.data.chelsea()), padding=12, borderRadius=25, backgroundColor="#204060")
    golden(icon(files, "android-chrome-192x192.png"), "favicon-192", tolerance=3)
    golden(icon(files, "favicon-16x16.png"), "favicon-16", tolerance=3)
