"""Vectorize: drawn back by another library, an SVG looks like the picture it was traced from."""

import sys
import types
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import pyvips
import skimage.data
from PIL import Image as Pillow
from PIL import ImageDraw
from skimage.metrics import structural_similarity
from support.pictures import array_of, noise, picture, use

from darkroom_tools.base import File
from darkroom_tools.errors import InvalidSettings, ProcessingFailed
from darkroom_tools.formats.vectorize import vectorize

SVG = "{http://www.w3.org/2000/svg}"


def logo(width: int = 480, height: int = 360) -> np.ndarray:
    """Flat shapes with smooth edges."""
    large = Pillow.new("RGB", (width * 4, height * 4), "#FFFFFF")
    draw = ImageDraw.Draw(large)
    draw.ellipse((width * 0.4, height * 0.4, width * 2.4, height * 3.2), fill="#102080")
    draw.rectangle((width * 1.8, height, width * 3.6, height * 2), fill="#F08010")
    draw.polygon([(width * 2, height * 3.6), (width * 3.6, height * 3.6), (width * 2.8, height * 2.2)], fill="#108040")
    return np.asarray(large.reduce(4))


def rendered(svg: File) -> np.ndarray:
    """The SVG as librsvg draws it, with alpha."""
    return np.asarray(pyvips.Image.svgload_buffer(svg.data).numpy())


def on_white(rgba: np.ndarray) -> np.ndarray:
    alpha = rgba[..., 3:] / 255
    return np.round(rgba[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    return float(structural_similarity(one, other, channel_axis=-1))


@pytest.mark.parametrize(("mode", "least"), [("spline", 0.95), ("polygon", 0.95), ("none", 0.95)])
def test_a_logo_drawn_back_looks_like_itself(mode: str, least: float) -> None:
    svg = use(vectorize, picture(logo()), colorMode="color", pathMode=mode)
    assert likeness(on_white(rendered(svg)), logo()) > least
    assert svg.facts["paths"] < 40
    assert svg.warnings == ()


def test_black_and_white_is_what_is_darker_than_the_threshold() -> None:
    array = logo()
    grey = np.asarray(Pillow.fromarray(array).convert("L")).astype(int)
    for threshold in (60, 128, 250):
        drawn = rendered(use(vectorize, picture(array), threshold=threshold))
        ink = drawn[..., 3] > 127
        clear = np.abs(grey - threshold) > 25
        assert (ink == (grey < threshold))[clear].mean() > 0.98
        assert (drawn[ink][:, :3] == 0).all()
    plain = rendered(use(vectorize, picture(array)))[..., 3] > 127
    inverted = rendered(use(vectorize, picture(array), invert=True))[..., 3] > 127
    assert (plain != inverted).mean() > 0.98


def test_the_document_is_plain_svg_of_the_pictures_own_size() -> None:
    svg = use(vectorize, picture(logo(1500, 1000)), colorMode="color")
    assert (svg.media_type, svg.extension) == ("image/svg+xml", "svg")
    root = ElementTree.fromstring(svg.data)
    assert root.tag == SVG + "svg"
    assert root.attrib == {"width": "1500", "height": "1000", "viewBox": "0 0 1500 1000"}
    assert {element.tag for element in root.iter()} == {SVG + name for name in ("svg", "g", "path")}
    assert {name for element in root.iter(SVG + "path") for name in element.attrib} == {"d", "fill", "transform"}
    assert (svg.facts["tracedWidth"], svg.facts["tracedHeight"]) == (1024, 683)
    assert rendered(svg).shape == (1000, 1500, 4)
    assert likeness(on_white(rendered(svg)), logo(1500, 1000)) > 0.95


def test_transparent_areas_stay_transparent_and_holes_open() -> None:
    array = np.zeros((300, 400, 4), np.uint8)
    array[..., :3] = noise(400, 300)  # hidden colour must not show
    array[50:200, 50:250] = (255, 0, 0, 255)
    array[100:150, 100:150, 3] = 0
    array[220:280, 300:380] = (0, 0, 255, 200)
    for asked in ({"colorMode": "color"}, {"threshold": 200}):
        drawn = rendered(use(vectorize, picture(array), **asked))
        seen = drawn[..., 3] > 127
        assert (seen == (array[..., 3] >= 128)).mean() > 0.99
        assert not seen[125, 125]
    drawn = rendered(use(vectorize, picture(array), colorMode="color"))
    assert drawn[75, 75].tolist() == [255, 0, 0, 255]
    assert drawn[250, 340].tolist() == [0, 0, 255, 255]


def test_each_knob_does_what_it_says() -> None:
    cat = picture(skimage.data.chelsea()[60:180, 120:280])

    def paths(**asked: Any) -> int:
        return int(use(vectorize, cat, colorMode="color", **asked).facts["paths"])

    assert paths(filterSpeckle=16) < paths(filterSpeckle=4) < paths(filterSpeckle=2)
    assert paths(colorPrecision=3) < paths(colorPrecision=6)
    assert paths(colorPrecision=8) == paths(colorPrecision=16)
    assert paths(layerDifference=64) < paths(layerDifference=6)
    smooth, cornered = (
        use(vectorize, picture(logo()), colorMode="color", cornerThreshold=degrees).data for degrees in (180, 0)
    )
    assert smooth != cornered
    assert b"C" in smooth
    assert b"C" not in use(vectorize, picture(logo()), colorMode="color", pathMode="polygon").data.split(b"<g", 1)[1]


def test_a_picture_that_is_too_detailed_is_traced_smaller_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["darkroom_tools.formats.vectorize"], "MOST_EDGES", 30_000)
    for asked in ({}, {"filterSpeckle": 1}, {"colorMode": "color", "filterSpeckle": 16}):
        svg = use(vectorize, picture(noise(900, 900)), **asked)
        assert svg.facts["tracedWidth"] < 900
        assert "so detailed" in svg.warnings[0]
        assert len(svg.data) < 5_000_000
        assert ElementTree.fromstring(svg.data).attrib["width"] == "900"


def test_a_large_svg_says_how_to_make_it_simpler() -> None:
    svg = use(vectorize, picture(noise(300, 300)), colorMode="color", filterSpeckle=1)
    assert len(svg.data) > 1_000_000
    assert "filterSpeckle" in svg.warnings[-1]


def test_a_panic_of_the_tracer_is_a_plain_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class PanicException(BaseException):
        pass

    def panic(*_: Any, **__: Any) -> str:
        raise PanicException("overflow")

    monkeypatch.setitem(sys.modules, "vtracer", types.SimpleNamespace(convert_raw_image_to_svg=panic))
    with pytest.raises(ProcessingFailed, match="filterSpeckle"):
        use(vectorize, picture(logo()))


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 3000, 3), (3000, 1, 4), (40, 50, 1), (40, 50, 2), (40, 50, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("mode", ["bw", "color"])
def test_every_kind_of_picture_is_traced(shape: tuple[int, ...], dtype: Any, mode: str) -> None:
    dark = np.full(shape, np.iinfo(dtype).max // 5, dtype)
    if shape[2] in (2, 4):
        dark[..., -1] = np.iinfo(dtype).max
    svg = use(vectorize, picture(dark), colorMode=mode, filterSpeckle=1)
    drawn = rendered(svg)
    assert drawn.shape[:2] == shape[:2]
    if min(shape[:2]) > 1:
        assert np.abs(drawn[..., :3].astype(int) - (51 if mode == "color" else 0)).max() <= 1


def test_of_an_animation_the_first_frame_is_traced() -> None:
    frames = np.stack([logo(100, 80), noise(100, 80)])
    svg = use(vectorize, picture(frames, "gif", delay=[50, 50]), colorMode="color")
    assert likeness(on_white(rendered(svg)), logo(100, 80)) > 0.9


def test_no_shape_is_said() -> None:
    svg = use(vectorize, picture(np.full((40, 50, 3), 255, np.uint8)))
    assert svg.facts["paths"] == 0
    assert "No shape" in svg.warnings[0]
    assert (rendered(svg)[..., 3] == 0).all()


def test_the_picture_itself_is_left_as_it_was() -> None:
    image = picture(logo())
    before = array_of(image).copy()
    use(vectorize, image, colorMode="color")
    assert (array_of(image) == before).all()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"colorMode": "grey"}, "colorMode"),
        ({"threshold": 256}, "threshold"),
        ({"colorPrecision": 0}, "colorPrecision"),
        ({"colorPrecision": 17}, "colorPrecision"),
        ({"layerDifference": 0}, "layerDifference"),
        ({"filterSpeckle": 0}, "filterSpeckle"),
        ({"pathMode": "curve"}, "pathMode"),
        ({"cornerThreshold": 181}, "cornerThreshold"),
    ],
)
def test_wrong_settings_are_refused_with_what_is_allowed(asked: Any, words: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        vectorize.settings.parse(asked)
    assert words in refused.value.message


def test_what_it_looks_like(golden: Any) -> None:
    array = logo(190, 150)
    golden(rendered(use(vectorize, picture(array), colorMode="color")), "vectorize-color", tolerance=8)
    golden(rendered(use(vectorize, picture(array))), "vectorize-bw", tolerance=8)
