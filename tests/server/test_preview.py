"""What a dry run works out from sizes alone, against what the engine then makes of real pixels."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import pyvips
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from support.pictures import gradient

from darkroom.engine.limits import Limits
from darkroom.engine.runner import run_plan
from darkroom.engine.work import Work
from darkroom.workflows.compile import compile_pipeline
from darkroom.workflows.document import PipelineStep
from darkroom.workflows.estimates import Range, Weight, file_bytes, tool_seconds
from darkroom.workflows.preview import NOMINAL, Forecast, Given, forecast
from darkroom_tools.errors import DarkroomError, InvalidSettings
from darkroom_tools.plan import Plan, Step, input_ref
from darkroom_tools.registry import builtin_tools
from darkroom_tools.shape import Shape

TOOLS = builtin_tools()

Steps = list[tuple[str, dict[str, Any]]]


@pytest.fixture(autouse=True)
def as_in_a_worker() -> None:
    pyvips.cache_set_max(0)


def plan_of(*steps: tuple[str, Mapping[str, Any]]) -> Plan:
    tool = compile_pipeline([PipelineStep(tool=name, settings=dict(given)) for name, given in steps], TOOLS)
    return tool.plan(tool.settings(), {"image": (input_ref(0),)})


def foretold(*steps: tuple[str, Mapping[str, Any]], of: Given, **more: Any) -> Forecast:
    return forecast(plan_of(*steps), [of], TOOLS, Limits(), **more)


def seen(width: int, height: int, format: str = "jpeg", *, size: int = 100_000, frames: int = 1) -> Given:
    return Given(Shape(width, height, frames, format, alpha=format != "jpeg"), size, seen=True)


side = st.integers(1, 90)
STEP = st.one_of(
    st.tuples(st.just("resize"), st.fixed_dictionaries({"width": side}, optional={"height": side})),
    st.tuples(
        st.just("resize"),
        st.fixed_dictionaries(
            {"width": side, "height": side, "fit": st.sampled_from(["inside", "outside", "cover", "contain", "fill"])},
            optional={"withoutEnlargement": st.booleans()},
        ),
    ),
    st.tuples(st.just("resize"), st.fixed_dictionaries({"percentage": st.integers(5, 220)})),
    st.tuples(st.just("rotate"), st.fixed_dictionaries({"angle": st.sampled_from([0, 30, 90, 180, 270, -45, 12.5])})),
    st.tuples(st.just("crop"), st.fixed_dictionaries({"aspectRatio": st.sampled_from(["1:1", "16:9", "2:3"])})),
    st.tuples(
        st.just("crop"),
        st.fixed_dictionaries({"left": st.integers(0, 60), "top": st.integers(0, 60), "width": side, "height": side}),
    ),
    st.tuples(st.just("border"), st.fixed_dictionaries({"width": st.integers(0, 20)}, optional={"padding": side})),
    st.tuples(st.just("color-adjustments"), st.just({"contrast": 10})),
    st.tuples(st.just("convert"), st.fixed_dictionaries({"format": st.sampled_from(["png", "jpeg", "webp", "gif"])})),
    st.tuples(st.just("compress"), st.just({"quality": 60})),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(STEP, min_size=1, max_size=5),
    width=st.integers(1, 120),
    height=st.integers(1, 120),
    format=st.sampled_from(["png", "jpeg", "webp"]),
)
def test_a_dry_run_of_geometric_steps_says_what_the_engine_makes(
    steps: Steps, width: int, height: int, format: str
) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        photo = folder / "photo"
        Image.fromarray(gradient(width, height)).save(photo, format.upper())
        plan = plan_of(*steps)
        told = forecast(plan, [seen(width, height, format, size=photo.stat().st_size)], TOOLS, Limits())
        (folder / "out").mkdir()
        work = Work(lambda *_: None, lambda *_: pytest.fail("no tool here asks a model"))
        try:
            (made,) = run_plan(plan, [photo], folder / "out", Limits(), work, TOOLS).outputs
        except DarkroomError as error:
            assert [problem.code for _, problem in told.problems] == [error.code]
        else:
            assert told.problems == ()
            assert told.exact
            (result,) = told.results
            picture = made.picture
            assert (result.shape.width, result.shape.height) == (picture.width, picture.height)
            assert (result.shape.frames, result.shape.format) == (picture.frames, picture.format)
    finally:
        shutil.rmtree(folder)


def test_what_nobody_has_seen_is_taken_for_a_photo_and_called_inexact() -> None:
    told = foretold(("resize", {"width": 800}), of=Given())
    (result,) = told.results
    assert (result.shape.width, result.shape.height, result.exact, told.exact) == (800, 600, False, False)


def test_a_size_that_every_photo_would_get_is_exact_though_nobody_has_seen_it() -> None:
    square = {"width": 640, "height": 640, "fit": "cover"}
    assert foretold(("resize", square), ("convert", {"format": "png"}), of=Given()).exact
    assert not foretold(("resize", square), of=Given()).exact  # its format stays that of the photo


def test_what_would_fail_on_every_picture_is_a_problem_and_what_might_is_a_warning() -> None:
    huge = foretold(("resize", {"width": 16_000, "height": 16_000, "fit": "fill"}), of=Given())
    assert [(step, error.code) for step, error in huge.problems] == [("s1", "OUTPUT_TOO_LARGE")]
    narrow = foretold(("crop", {"left": 5_000, "top": 0, "width": 10, "height": 10}), of=Given())
    assert narrow.problems == ()
    assert any("4000×3000" in text for text in narrow.warnings)


def test_all_steps_that_cannot_work_are_named() -> None:
    steps: Steps = [
        ("crop", {"left": 500, "top": 0, "width": 10, "height": 10}),
        ("remove-background", {"model": "u2net"}),
    ]
    told = foretold(*steps, of=seen(100, 100))
    assert [(step, error.code) for step, error in told.problems] == [
        ("s1", "PROCESSING_FAILED"),
        ("s2", "MODEL_NOT_INSTALLED"),
    ]


@pytest.mark.parametrize(
    ("tool", "wanted", "installed", "lacks"),
    [
        ("remove-background", {"model": "u2net"}, (), "u2net"),
        ("remove-background", {"model": "u2net"}, ("u2net",), None),
        ("remove-background", {}, (), None),  # it cuts by colour
        ("enhance-faces", {}, (), "gfpgan-1.4"),
        ("enhance-faces", {"model": "gfpgan"}, ("gfpgan-1.2",), None),
        ("colorize", {}, ("deoldify",), None),
        ("colorize", {"model": "opencv"}, ("ddcolor",), "colorization-eccv16"),
        ("upscale", {"model": "lanczos"}, (), None),
        ("upscale", {"model": "realesrgan"}, (), "realesrgan-x4plus"),
    ],
)
def test_a_model_that_a_step_cannot_do_without_is_named_with_its_command(
    tool: str, wanted: dict[str, Any], installed: tuple[str, ...], lacks: str | None
) -> None:
    told = foretold((tool, wanted), of=seen(100, 100), installed=frozenset(installed))
    commands = [error.details["command"] for _, error in told.problems]
    assert [command.split()[3] for command in commands] == ([] if lacks is None else [lacks])


def test_a_missing_engine_is_said_once_at_the_first_step_that_needs_it() -> None:
    steps = (
        Step("s1", "generate-image", {"prompt": "a hill"}),
        Step("s2", "edit-image", {"prompt": "with snow"}, {"image": ("step:s1",)}),
    )
    refusal = InvalidSettings("No engine.")
    told = forecast(Plan(steps), [], TOOLS, Limits(), engine=refusal)
    assert [step for step, error in told.problems if error is refusal] == ["s1"]


def test_lost_transparency_lost_frames_and_enlargement_are_warned_of() -> None:
    lossy = foretold(("convert", {"format": "jpeg"}), of=seen(40, 30, "png")).warnings
    assert any("JPEG has no transparency" in text for text in lossy)
    assert foretold(("convert", {"format": "webp"}), of=seen(40, 30, "png")).warnings == ()
    still = foretold(("convert", {"format": "png"}), of=seen(40, 30, "gif", frames=12)).warnings
    assert any("12 frames only one is kept" in text for text in still)
    large = foretold(("resize", {"width": 400}), of=seen(40, 30)).warnings
    assert any("40×30 to 400×300" in text for text in large)
    assert foretold(("upscale", {"scale": 2}), of=seen(40, 30)).warnings == ()


def test_a_report_makes_nothing_and_a_pdf_has_no_size() -> None:
    assert (foretold(("info", {}), of=seen(40, 30)).results, foretold(("info", {}), of=seen(40, 30)).count) == ((), 0)
    (pdf,) = foretold(("image-to-pdf", {}), of=seen(40, 30)).results
    assert (pdf.shape.format, pdf.shape.width, pdf.bytes) == ("pdf", 0, None)


def test_bytes_follow_quality_size_and_the_weight_of_the_source() -> None:
    def middle(quality: int, side: int = 1_000, source: Weight | None = None) -> float:
        found = file_bytes("jpeg", side * side, quality=quality, source=source)
        assert found is not None
        assert 0 < found.low < found.high
        return found.low + found.high

    assert middle(40) < middle(75) < middle(77) < middle(95)
    assert middle(80, 500) < middle(80, 1_000)
    assert middle(80, source=Weight("jpeg", 100_000, 10**6)) < middle(80, source=Weight("jpeg", 900_000, 10**6))
    assert file_bytes("svg", 100) is None


def test_a_wanted_size_is_the_most_that_a_file_may_have() -> None:
    told = foretold(("compress", {"targetSizeKB": 40}), of=seen(3_000, 2_000, size=2_000_000))
    assert told.results[0].bytes is not None
    assert told.results[0].bytes.high == 40 * 1024


def test_only_metadata_changes_keep_the_weight_of_the_file() -> None:
    told = foretold(("strip-metadata", {}), of=seen(3_000, 2_000, size=2_000_000))
    assert told.results[0].bytes is not None
    assert told.results[0].bytes.low < 2_000_000 < told.results[0].bytes.high < 2_200_000


def test_seconds_grow_with_the_picture_and_never_beyond_the_clock() -> None:
    small, large = (foretold(("sharpening", {}), of=seen(n, n)).seconds for n in (400, 4_000))
    assert small.low < large.low
    assert small.high < large.high
    limit = Limits(model_seconds=7)
    plan = plan_of(("remove-background", {}))
    told = forecast(plan, [seen(4_000, 3_000)], TOOLS, limit, installed=frozenset({"u2net"}))
    assert told.seconds.high == 7  # nobody measured this tool with that model


def test_every_tool_was_measured_or_needs_what_is_not_here() -> None:
    unmeasured = {name for name, tool in TOOLS.items() if tool_seconds(name, 1).high == float("inf")}
    assert unmeasured == {name for name, tool in TOOLS.items() if tool.generative} | {"colorize", "enhance-faces"}


def test_a_range_is_told_in_two_digits_and_without_an_end_as_null() -> None:
    assert Range(1234, 99_871).to_wire(whole=True) == [1200, 100_000]
    assert Range(0.01234, float("inf")).to_wire() == [0.012, None]


def test_the_nominal_photo_has_twelve_megapixels() -> None:
    assert NOMINAL.width * NOMINAL.height == 12_000_000
