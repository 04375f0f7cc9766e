"""What a call will make is known before any pixel is read: predicted against real, for every tool."""

import functools
import io
import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import pillow_heif
import pytest
import pyvips
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.calls import example_with
from support.odd import ODD_PICTURES, TEST_DOCUMENTS
from support.pictures import gradient, picture, use

from darkroom.engine.codec import inspect_file
from darkroom.engine.limits import Limits
from darkroom.engine.outcome import Outcome, Picture
from darkroom.engine.runner import run_plan
from darkroom.engine.work import Work
from darkroom_tools.base import Inference, Tool
from darkroom_tools.errors import DarkroomError
from darkroom_tools.plan import Plan, Step, input_ref, step_ref
from darkroom_tools.registry import builtin_tools
from darkroom_tools.shape import Prediction, Shape, predict

LIMITS = Limits()
TOOLS = builtin_tools()
MAKERS = [tool for tool in TOOLS.values() if not tool.generative and not tool.read_only]
Bench = Callable[[Plan, Sequence[bytes]], Outcome]
every_maker = pytest.mark.parametrize("tool", MAKERS, ids=lambda tool: tool.id)

MODELS = frozenset({"ddcolor", "gfpgan-1.4"})
"""What tools cannot do without: stand-ins."""

SLOW = frozenset(tool.id for tool in MAKERS if tool.models) | {
    "collage",
    "favicon",
    "image-enhancement",
    "split",
    "vectorize",
}
"""Tools that are tried on fewer pictures."""

UNCERTAIN = frozenset({"optimize-for-web", "pdf-to-image", "svg-to-raster"})
"""Tools whose example depends on more than sizes: the smallest of several formats, and documents that have no size."""

PNG_COLOURS, WITH_PALETTE = 25, 3
"""Where a PNG says what its pixels are; a palette has transparency only where a pixel is transparent."""


def _bytes(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def _heic(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    pillow_heif.from_pillow(image).save(buffer)
    return buffer.getvalue()


PORTRAIT = Image.fromarray(gradient(31, 47))
PICTURES: Mapping[str, bytes] = MappingProxyType(
    {
        **{name: ODD_PICTURES[name] for name in ("orientation 6", "animated GIF", "alpha")},
        "portrait": _bytes(PORTRAIT, "JPEG"),
    }
)
"""Those on which every setting is tried."""

OTHERS: Mapping[str, bytes] = MappingProxyType(
    {
        "animated AVIF": _bytes(PORTRAIT, "AVIF", save_all=True, append_images=[PORTRAIT.rotate(180)], duration=100),
        "HEIC": _heic(PORTRAIT),
        **{name: ODD_PICTURES[name] for name in ("grey with alpha", "animated WebP", "one pixel", "CMYK", "TIFF")},
        "BMP": _bytes(PORTRAIT, "BMP"),
        "16 bit colour with alpha": ODD_PICTURES["16 bit colour with alpha"],
    }
)
"""Those on which every tool is tried once."""

LANDMARKS = {"leftEye": [0.42, 0.4], "rightEye": [0.58, 0.4], "chin": [0.5, 0.62], "crown": [0.5, 0.2]}

SETTINGS: Mapping[str, Sequence[Mapping[str, Any]]] = MappingProxyType(
    {
        "border": [
            {"width": 3.5, "padding": 2.5},
            {"shadow": True},
            {"borderRadius": 9, "width": 0},
            {"shadowBlur": 3.3, "shadowOffsetX": -20, "shadowOffsetY": 17.5, "width": 1},
        ],
        "collage": [
            {"template": "3-left-large", "aspectRatio": "9:16"},
            {"aspectRatio": "16:9", "backgroundColor": "transparent", "outputFormat": "png"},
            {"cells": [{"imageIndex": 7}]},
        ],
        "color-adjustments": [{"effects": "grayscale,vignette"}],
        "compare": [{"mode": "side-by-side"}, {"mode": "overlay"}],
        "compress": [{"format": "webp"}, {"format": "jpeg", "quality": 40}, {"targetSizeKB": 2}, {"format": "gif"}],
        "content-aware-resize": [
            {"square": False, "width": 20},
            {"height": 33, "protectFaces": False},
            {"square": False, "width": 25, "height": 30},
        ],
        "convert": [
            *({"format": name} for name in ("png", "jpeg", "webp", "avif", "tiff", "gif", "heif")),
            *({"format": "auto", "mode": mode} for mode in ("RGB", "RGBA", "L")),
            *({"format": "png", "mode": mode} for mode in ("RGB", "RGBA", "L")),
        ],
        "crop": [
            {"left": 3, "top": 2, "width": 20.4, "height": 11.5},
            {"width": 20},
            {"left": 10.5, "unit": "percent", "width": 33.3, "height": 200},
            {"aspectRatio": "16:9"},
            {"aspectRatio": "2.35:1", "width": 25, "height": 25},
            {"shape": "circle"},
            {"shape": "rounded", "aspectRatio": "1:1", "cornerRadius": 5},
            {"left": 5000, "top": 0},
        ],
        "edit-metadata": [{"title": "New"}, {"fieldsToRemove": ["Make"]}],
        "erase-object": [{"format": "png"}, {"maskData": None}, {"format": "webp", "quality": 50}],
        "favicon": [{"padding": 10, "backgroundColor": "#FF0000"}],
        "gif-tools": [
            {"action": "resize", "width": 21},
            {"action": "resize", "width": 21, "height": 9},
            {"action": "resize", "percentage": 150},
            {"action": "rotate", "flipH": True},
            {"action": "rotate", "angle": 180},
            {"action": "speed", "speedFactor": 2},
            {"action": "reverse"},
            {"action": "optimize", "colors": 16},
            {"action": "add-text", "text": "Hi"},
            {"action": "extract-frames"},
            {"action": "extract-frames", "frameNumber": 1, "extractFormat": "webp"},
            {"action": "extract-frames", "extractMode": "all"},
            {"action": "extract-frames", "extractMode": "range", "frameStart": 1, "frameEnd": 2},
        ],
        "image-to-base64": [{"outputFormat": "original"}],
        "noise-removal": [{"quality": "fast", "format": "webp"}, {"quality": "fast", "strength": 0}],
        "optimize-for-web": [
            {"maxWidthPx": 20},
            {"maxWidthPx": 30, "maxHeightPx": 7, "format": "jpeg"},
            {"format": "webp", "stripMetadata": False},
            {"format": "avif"},
            {"format": "png", "maxHeightPx": 1},
        ],
        "passport-photo": [
            {"country": "CN", "landmarks": LANDMARKS, "printLayout": "4x6", "dpi": 72},
            {"country": "custom", "customWidthMm": 31.7, "customHeightMm": 40.1, "landmarks": LANDMARKS, "dpi": 96},
            {"country": "custom", "customWidthMm": 190, "customHeightMm": 200, "printLayout": "4x6"},
            {"country": "DE", "landmarks": {"leftEye": [0.1, 0.2]}},
        ],
        "pdf-to-image": [{"pages": "1", "longestSide": 40, "format": "jpeg"}, {"pages": "all", "dpi": 36}],
        "qr-generate": [
            {"data": "x", "size": 123, "format": "webp", "colorLight": "#FFFFFF80"},
            {"data": "x" * 300, "size": 333, "format": "jpeg"},
            {"data": "x", "format": "svg"},
            {"data": "x" * 1500, "size": 100},
        ],
        "red-eye-removal": [{"format": "webp", "quality": 70}],
        "remove-background": [
            {"returnMask": True},
            {"backgroundColor": "#FF0000"},
            {"backgroundColor": "transparent", "shadowOpacity": 30},
            {"gradientColor1": "#FF0000", "gradientColor2": "#0000FF"},
            {"blurIntensity": 40},
            {"backgroundType": "image"},
        ],
        "replace-color": [{"makeTransparent": True, "targetColor": "#FF0000"}],
        "resize": [
            *({"width": 33, "height": 21, "fit": fit} for fit in ("contain", "cover", "fill", "inside", "outside")),
            *({"width": 45, "height": 90, "fit": fit, "withoutEnlargement": True} for fit in ("contain", "cover")),
            {"percentage": 37.5},
            {"percentage": 250, "withoutEnlargement": True},
            {"height": 17},
            {"width": 1},
            {"preset": "Twitter/X/Profile Picture"},
            {"width": 16384, "height": 16384},
        ],
        "rotate": [
            *({"angle": angle} for angle in (-90, 180, 360, 45, 0.1, 272.5)),
            {"angle": 10, "background": "#FF0000"},
            {"angle": 30, "background": "#FF000080", "flip": "both"},
            {"flip": "vertical"},
        ],
        "smart-crop": [
            {"mode": "face", "width": 21, "height": 33},
            {"mode": "subject", "strategy": "entropy", "width": 40, "height": 10},
            {"mode": "trim"},
            {"mode": "trim", "width": 60},
            {"mode": "trim", "width": 30, "height": 40},
            {"mode": "trim", "padToSquare": True},
            {"mode": "trim", "padToSquare": True, "height": 33},
            {"mode": "trim", "targetSize": 25, "padding": 10},
            {"width": 30000, "height": 2},
        ],
        "split": [
            {"mode": "rows", "rows": 100},
            {"tileWidth": 13, "tileHeight": 17, "outputFormat": "webp"},
            {"rows": 100, "cols": 100},
        ],
        "stitch": [
            {"direction": "grid", "gap": 3, "border": 2},
            {"direction": "horizontal", "resizeMode": "original", "backgroundColor": "transparent"},
            {"direction": "vertical", "resizeMode": "stretch", "cornerRadius": 4},
            {"resizeMode": "crop", "format": "webp"},
        ],
        "strip-metadata": [{"stripIcc": True}, {"stripGps": True}],
        "svg-to-raster": [
            {"width": 33, "height": 100, "format": "jpeg"},
            {"dpi": 96, "scale": 1.5, "background": "#FFFFFF"},
            {"height": 77, "format": "webp"},
        ],
        "text-overlay": [{"text": "One\ntwo", "background": True}],
        "upscale": [{"scale": 4, "model": "lanczos"}, {"scale": 2, "model": "lanczos", "format": "webp"}],
        "watermark-image": [{"scale": 100, "position": "center"}],
        "watermark-text": [{"text": "x", "position": "tiled", "rotation": 30}],
    }
)
"""Settings that change what comes out; some of them never work."""

every_set_tool = pytest.mark.parametrize("tool", [TOOLS[name] for name in SETTINGS], ids=lambda tool: tool.id)


@pytest.fixture(autouse=True, scope="module")
def as_in_a_worker() -> None:
    pyvips.cache_set_max(0)


def _answer(model: str, inputs: Sequence[np.ndarray], many: bool) -> Any:
    """What a colouring network answers: two values of chroma for each pixel."""
    rows, _, high, wide = inputs[0].shape
    return SimpleNamespace(result=lambda: Inference([np.zeros((rows, 2, high, wide), np.float32)], "cpu"))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Runs a plan on files as a worker does."""
    numbers = itertools.count()

    def run(plan: Plan, files: Sequence[bytes]) -> Outcome:
        room = tmp_path / str(next(numbers))
        room.mkdir()
        paths = [tmp_path / f"{room.name}-{number}" for number in range(len(files))]
        for path, data in zip(paths, files, strict=True):
            path.write_bytes(data)
        work = Work(lambda fraction, message: None, _answer, MODELS)
        return run_plan(plan, paths, room, LIMITS, work, TOOLS, [f"{n}.png" for n in range(len(files))])

    return run


def call(tool: Tool, settings: Mapping[str, Any]) -> Plan:
    """One call, the first file for the first image, the next for the next."""
    images, parsed = tool.parse({**example_with(tool, "x"), **settings})
    numbers = itertools.count()
    refs = {name: [input_ref(next(numbers)) for _ in given] for name, given in images.items()}
    return Plan((Step("only", tool.id, parsed.to_wire(), refs),))


def inputs_of(plan: Plan) -> int:
    return len({ref for step in plan.steps for refs in step.images.values() for ref in refs if ref.startswith("input")})


def foretold(plan: Plan, files: Sequence[Picture], alpha: Sequence[bool] = ()) -> Prediction:
    """What is said of a plan by what the library knows of its inputs."""
    shapes = [
        Shape(file.width or 0, file.height or 0, file.frames, file.format, alpha[number] if alpha else False)
        for number, file in enumerate(files)
    ]
    return predict(plan, shapes, TOOLS, most_side=LIMITS.output_side, most_pixels=LIMITS.output_pixels)


@functools.cache
def inspected(data: bytes) -> Picture:
    """What the library knows of a file."""
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(data)
        return inspect_file(Path(file.name), LIMITS)


def check(bench: Bench, plan: Plan, files: Sequence[bytes], what: str) -> Prediction:
    """Run a plan and hold it against what was predicted."""
    told = foretold(plan, [inspected(data) for data in files], [_has_alpha(data) for data in files])
    try:
        outcome = bench(plan, files)
    except DarkroomError as error:
        assert [error.code] == [problem.error.code for problem in told.problems[:1]], (what, error.message)
        return told
    assert not told.problems, (what, told.problems)
    if outcome.report is not None:
        assert told.count == 0, what
        return told
    assert told.count in (None, len(outcome.outputs)), what
    for expected, made in zip(told.results, outcome.outputs, strict=told.count is not None):
        compare(expected, made.picture, made.path, f"{what}: {expected}")
        if expected.files:
            assert expected.files == outcome.facts.get("fileCount"), what
    return told


def compare(expected: Shape, made: Picture, path: Path, what: str) -> None:
    size = (made.width or 0, made.height or 0)
    if expected.exact:
        assert (expected.width, expected.height) == size, what
    else:
        assert size[0] <= expected.width, what
        assert size[1] <= expected.height, what
    assert expected.frames == made.frames, what
    assert made.format in (expected.formats or (expected.format,)), what
    assert (not expected.formats) or expected.format == expected.formats[0], what
    if made.format == "png" and path.read_bytes()[PNG_COLOURS] != WITH_PALETTE:
        assert expected.alpha == _has_alpha(path.read_bytes()), what
    if made.format == "jpeg" and not expected.formats:
        assert not expected.alpha, what


@functools.cache
def _has_alpha(data: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(data)) as seen:
            return bool(seen.has_transparency_data)
    except OSError:
        return False


@every_maker
def test_the_example_on_every_odd_picture_is_predicted(bench: Bench, tool: Tool) -> None:
    plan = call(tool, {})
    pictures = {kind: TEST_DOCUMENTS[kind] for kind in tool.reads} or OTHERS
    for name in list(pictures)[: 2 if tool.id in SLOW else None]:
        told = check(bench, plan, [pictures[name]] * inputs_of(plan), f"{tool.id} on {name}")
        assert told.exact or told.problems or tool.id in UNCERTAIN, f"{tool.id} on {name}"


@every_set_tool
def test_settings_that_change_the_result_are_predicted(bench: Bench, tool: Tool) -> None:
    pictures = {kind: TEST_DOCUMENTS[kind] for kind in tool.reads} or PICTURES
    for number, settings in enumerate(SETTINGS[tool.id]):
        plan = call(tool, settings)
        count = inputs_of(plan)
        names = list(pictures) if count else [""]
        for name in [names[number % len(names)]] if tool.id in SLOW else names:
            # Where there are several pictures, each is another one.
            files = [pictures.get(name, b""), *PICTURES.values()][:count]
            check(bench, plan, files, f"{tool.id} {settings} on {name}")


def chain(*steps: tuple[str, Mapping[str, Any]]) -> Plan:
    """Steps of which each takes what the one before made."""
    refs = [input_ref(0), *(step_ref(f"s{n}") for n in range(len(steps)))]
    return Plan(
        tuple(
            Step(f"s{n}", tool, TOOLS[tool].settings.parse(settings).to_wire(), {TOOLS[tool].inputs[0].name: [refs[n]]})
            for n, (tool, settings) in enumerate(steps)
        )
    )


CHAINS = (
    chain(("crop", {"shape": "circle"}), ("convert", {"format": "jpeg"})),
    chain(("convert", {"format": "jpeg"}), ("crop", {"shape": "circle"}), ("rotate", {"angle": 45})),
    chain(("convert", {"format": "webp"}), ("remove-background", {}), ("border", {"shadow": True})),
    chain(("convert", {"format": "gif"}), ("border", {"shadow": True}), ("resize", {"width": 70})),
    chain(("gif-tools", {"action": "speed", "speedFactor": 2}), ("crop", {"aspectRatio": "1:1"})),
    chain(("optimize-for-web", {"maxWidthPx": 30}), ("convert", {"format": "png"})),
    chain(("strip-metadata", {}), ("edit-metadata", {"title": "x"})),
    chain(("smart-crop", {"mode": "trim"}), ("resize", {"width": 30, "height": 20})),
    chain(("smart-crop", {"mode": "trim"}), ("resize", {"percentage": 50}), ("rotate", {"angle": 90})),
    chain(("smart-crop", {"mode": "trim"}), ("split", {"tileWidth": 10})),
    chain(("optimize-for-web", {}), ("rotate", {"angle": 90})),
    chain(("resize", {"width": 20}), ("image-to-base64", {})),
    chain(("crop", {"aspectRatio": "3:1"}), ("info", {})),
    chain(("passport-photo", {"landmarks": LANDMARKS, "dpi": 72}), ("convert", {"format": "png"})),
    chain(("convert", {"format": "png"}), ("passport-photo", {"landmarks": LANDMARKS, "dpi": 72})),
    chain(("split", {"rows": 2}), ("rotate", {"angle": 90})),
    chain(("rotate", {"angle": 90}), ("vectorize", {}), ("resize", {"width": 9})),
    chain(("gif-tools", {"action": "reverse"}), ("gif-tools", {"action": "extract-frames", "frameNumber": 2})),
)


@pytest.mark.parametrize("plan", CHAINS, ids=lambda plan: "-".join(step.tool for step in plan.steps))
def test_what_several_steps_make_is_predicted(bench: Bench, plan: Plan) -> None:
    for name in ("orientation 6", "animated GIF", "alpha"):
        check(bench, plan, [PICTURES[name]], name)


def test_branches_that_meet_are_predicted(bench: Bench) -> None:
    plan = Plan(
        (
            Step("small", "resize", {"width": 20, "height": 20, "fit": "inside"}, {"image": [input_ref(0)]}),
            Step("turned", "rotate", {"angle": 30}, {"image": [step_ref("small")]}),
            Step("laid", "compose", {"x": 3, "y": 4}, {"image": [input_ref(1)], "overlay": [step_ref("turned")]}),
            Step(
                "row",
                "stitch",
                {"direction": "horizontal", "resizeMode": "original"},
                {"images": [step_ref("laid"), step_ref("turned"), step_ref("small")]},
            ),
        )
    )
    told = check(bench, plan, [PICTURES["portrait"], PICTURES["alpha"]], "branches")
    assert told.exact
    assert [(made.width, made.height) for (made,) in told.steps.values()] == [(13, 20), (22, 24), (50, 40), (85, 40)]
    assert told.steps["turned"][0].format == "jpeg"


def test_a_step_that_fails_is_told_with_its_own_error_and_stops_only_what_needs_it() -> None:
    plan = Plan(
        (
            Step("cut", "crop", {"left": 90, "top": 0, "width": 20}, {"image": [input_ref(0)]}),
            Step("after", "resize", {"width": 5}, {"image": [step_ref("cut")]}),
            Step("none", "rezise", {}, {"image": [input_ref(0)]}),
            Step("wrong", "resize", {"width": 0}, {"image": [input_ref(0)]}),
            Step("huge", "resize", {"percentage": 90_000}, {"image": [input_ref(0)]}),
            Step("last", "rotate", {"angle": 90}, {"image": [input_ref(0)]}),
        )
    )
    told = predict(plan, [Shape(100, 80, format="png")], TOOLS)
    assert [(problem.step, problem.error.code) for problem in told.problems] == [
        ("cut", "PROCESSING_FAILED"),
        ("none", "INVALID_SETTINGS"),
        ("wrong", "INVALID_SETTINGS"),
        ("huge", "OUTPUT_TOO_LARGE"),
    ]
    assert list(told.steps) == ["last"]
    assert told.results == (Shape(80, 100, format="png"),)


def test_the_engines_own_limits_count() -> None:
    plan = chain(("resize", {"percentage": 200}), ("crop", {"width": 10, "height": 10}))
    for limits in ({"most_side": 100}, {"most_pixels": 9_999}):
        (problem,) = predict(plan, [Shape(100, 50)], TOOLS, **limits).problems
        assert (problem.step, problem.error.code) == ("s0", "OUTPUT_TOO_LARGE")
        assert problem.error.details["width"] == 200
    assert not predict(plan, [Shape(100, 50)], TOOLS, most_side=200, most_pixels=20_000).problems


def test_what_only_the_last_format_cannot_hold_is_a_problem_of_the_end() -> None:
    long = [Shape(16_384, 2, format="png")]
    assert predict(chain(("convert", {"format": "webp"})), long, TOOLS).problems[0].error.code == "OUTPUT_TOO_LARGE"
    ended = chain(("convert", {"format": "webp"}), ("resize", {"percentage": 50}))
    assert predict(ended, long, TOOLS).results == (Shape(8_192, 1, format="webp"),)


def test_sizes_that_the_content_decides_are_bounded_and_certain_again_once_they_play_no_part() -> None:
    trim = ("smart-crop", {"mode": "trim"})
    given = [Shape(300, 200)]

    def told(*steps: tuple[str, Mapping[str, Any]]) -> Shape:
        (result,) = predict(chain(trim, *steps), given, TOOLS).results
        return result

    assert told() == Shape(300, 200, exact=False)
    assert told(("resize", {"percentage": 50})) == Shape(150, 100, exact=False)
    assert told(("resize", {"width": 80, "height": 60})) == Shape(80, 60)
    assert told(("resize", {"width": 80, "height": 60, "fit": "inside"})) == Shape(80, 60, exact=False)
    assert told(("resize", {"width": 80})) == Shape(80, 16_000, exact=False)
    assert told(("crop", {"left": 5, "top": 5, "width": 20, "height": 10})) == Shape(20, 10)
    assert told(("upscale", {"scale": 4})) == Shape(1_200, 800, exact=False)
    assert predict(chain(trim, ("crop", {"left": 400, "top": 0})), given, TOOLS).problems


def test_a_document_has_no_size_until_a_tool_gives_it_one() -> None:
    drawing, pages = Shape(0, 0, format="svg"), Shape(0, 0, format="pdf")
    fixed = chain(("svg-to-raster", {"width": 400}), ("resize", {"width": 64, "height": 64}))
    assert predict(fixed, [drawing], TOOLS).results == (Shape(64, 64, format="png", alpha=True),)
    assert predict(chain(("pdf-to-image", {"pages": "2-4,3"})), [pages], TOOLS).count == 3
    whole = predict(chain(("pdf-to-image", {})), [pages], TOOLS)
    assert (whole.results, whole.count, whole.exact, whole.problems) == ((), None, False, ())
    for tool, other in (("resize", drawing), ("svg-to-raster", pages), ("pdf-to-image", Shape(3, 2))):
        settings = {"width": 5} if tool != "pdf-to-image" else {}
        assert predict(chain((tool, settings)), [other], TOOLS).problems[0].error.code == "UNSUPPORTED_FORMAT"


def test_a_picture_of_an_image_engine_has_any_size_until_it_is_made_to_fit() -> None:
    made = Step("made", "generate-image", {"prompt": "A boat"})
    fitted = Step("fitted", "resize", {"width": 64, "height": 32}, {"image": [step_ref("made")]})
    assert not predict(Plan((made,)), [], TOOLS).exact
    (result,) = predict(Plan((made, fitted)), [], TOOLS).results
    assert (result.width, result.height, result.exact, result.formats) == (64, 32, True, ("png", "jpeg", "webp"))
    as_jpeg = Step("end", "convert", {"format": "jpeg"}, {"image": [step_ref("fitted")]})
    assert predict(Plan((made, fitted, as_jpeg)), [], TOOLS).exact


WORDS = """
import sys
from pathlib import Path
from darkroom_tools.plan import Plan, Step, input_ref
from darkroom_tools.registry import builtin_tools
from darkroom_tools.shape import Shape, predict

tools = builtin_tools()
shapes = {"svg": Shape(0, 0, format="svg"), "pdf": Shape(0, 0, format="pdf")}
for tool in tools.values():
    given = shapes[tool.reads[0]] if tool.reads else Shape(300, 200)
    images = {i.name: [input_ref(0)] * i.least for i in tool.inputs if i.required}
    told = predict(Plan((Step("s", tool.id, tool.example, images),)), [given], tools)
    assert not told.problems, told.problems
maps = Path("/proc/self/maps").read_text()
print([word for word in ("vips", "numpy", "onnxruntime", "pdfium", "PIL") if word in maps])
print([name for name in ("pyvips", "numpy", "PIL", "darkroom") if name in sys.modules])
"""


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_predicting_loads_neither_a_codec_nor_the_engine() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run([sys.executable, "-c", WORDS], capture_output=True, check=False, text=True, env=environment)
    assert ran.stderr == ""
    assert ran.stdout == "[]\n[]\n"


sides = st.integers(1, 60)
geometry = st.one_of(
    st.tuples(st.just("rotate"), st.fixed_dictionaries({"angle": st.floats(-360, 360)})),
    st.tuples(
        st.just("resize"),
        st.fixed_dictionaries(
            {"width": sides, "withoutEnlargement": st.booleans()},
            optional={"height": sides, "fit": st.sampled_from(("contain", "cover", "fill", "inside", "outside"))},
        ),
    ),
    st.tuples(st.just("resize"), st.fixed_dictionaries({"percentage": st.floats(0.5, 300)})),
    st.tuples(
        st.just("crop"),
        st.fixed_dictionaries(
            {"width": st.floats(0.1, 100), "unit": st.sampled_from(("percent", "px"))},
            optional={
                "left": st.floats(0, 60),
                "top": st.floats(0, 60),
                "height": st.floats(0.1, 100),
                "aspectRatio": st.sampled_from(("1:1", "16:9", "1:2.39", "free")),
            },
        ),
    ),
)


@given(sides, sides, geometry)
def test_geometry_is_predicted_for_any_numbers(width: int, height: int, step: tuple[str, dict[str, Any]]) -> None:
    tool, settings = TOOLS[step[0]], step[1]
    told = predict(chain(step), [Shape(width, height, format="jpeg")], TOOLS)
    try:
        made = use(tool, picture(gradient(width, height), "jpeg"), **settings)
    except DarkroomError as error:
        assert [problem.error.code for problem in told.problems] == [error.code]
        assert told.problems[0].error.message == error.message
        return
    assert told.results == (Shape(made.width, made.height, format="jpeg"),)


others = st.sampled_from(
    [
        ("border", {"shadow": True}),
        ("content-aware-resize", {"square": True}),
        ("content-aware-resize", {"width": 40}),
        ("gif-tools", {"action": "resize", "width": 30, "height": 50}),
        ("optimize-for-web", {"maxWidthPx": 25, "maxHeightPx": 50}),
        ("smart-crop", {"mode": "trim", "padToSquare": True}),
        ("smart-crop", {"mode": "trim", "width": 70}),
        ("split", {"tileWidth": 20, "tileHeight": 20}),
        ("stitch", {"direction": "grid", "gap": 3}),
        ("upscale", {"scale": 2}),
    ]
)


@given(sides, sides, st.data(), st.lists(geometry, max_size=2), st.one_of(geometry, others))
def test_what_is_said_of_an_uncertain_size_holds_for_every_size_that_it_can_be(
    wide: int, high: int, data: st.DataObject, before: list[Any], last: tuple[str, dict[str, Any]]
) -> None:
    plan = chain(*before, last)
    bound = predict(plan, [Shape(wide, high, format="png", exact=False)], TOOLS)
    size = data.draw(st.integers(1, wide)), data.draw(st.integers(1, high))
    real = predict(plan, [Shape(*size, format="png")], TOOLS)
    if real.problems:
        return
    assert not bound.problems
    for most, made in zip(bound.results, real.results, strict=True):
        if most.exact:
            assert (most.width, most.height, most.frames) == (made.width, made.height, made.frames)
            assert most.files in (0, made.files)
        assert made.width <= most.width
        assert made.height <= most.height
        assert set(made.formats or (made.format,)) <= set(most.formats or (most.format,))
