import gc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from PIL import Image
from support.pictures import gradient
from support.pool_room import ODD_TOOLS, one_step

from darkroom.engine.limits import Limits
from darkroom.engine.runner import run_plan
from darkroom.engine.toolset import known_tools
from darkroom.engine.work import Work
from darkroom_tools.base import Image as Picture
from darkroom_tools.errors import Cancelled, InvalidImage, InvalidSettings, OutputTooLarge
from darkroom_tools.plan import Plan, Step, input_ref, step_ref

TOOLS = known_tools(ODD_TOOLS)


class Watcher:
    """Takes the progress of a plan."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, str]] = []
        self.work = Work(lambda fraction, message: self.seen.append((fraction, message)), self.no_model)

    def no_model(self, model: str, inputs: Any, many: bool) -> Any:
        raise AssertionError("no tool here asks a model")


@pytest.fixture(autouse=True)
def as_in_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    pyvips.cache_set_max(0)
    monkeypatch.setattr("darkroom.engine.work.SECONDS_BETWEEN_REPORTS", 0.0)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo"
    Image.fromarray(gradient(300, 200)).save(path, "PNG")
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def run(plan: Plan, photo: Path, out: Path, watcher: Watcher | None = None, **limits: Any) -> Any:
    return run_plan(plan, [photo], out, Limits(**limits), (watcher or Watcher()).work, TOOLS)


def chain(*tools: str, **settings: Any) -> Plan:
    refs = [input_ref(0), *(step_ref(f"s{n}") for n in range(len(tools)))]
    return Plan(tuple(Step(f"s{n}", tool, settings, {"image": [refs[n]]}) for n, tool in enumerate(tools)))


def test_pixels_pass_unchanged_through_steps_that_change_nothing(photo: Path, out: Path):
    outcome = run(chain("pass-on", "pass-on", "pass-on"), photo, out)
    written = np.asarray(Image.open(outcome.outputs[0].path))
    assert np.array_equal(written, np.asarray(Image.open(photo)))
    assert outcome.outputs[0].path.parent == out
    assert outcome.warnings == ["nothing was done"]


@pytest.mark.parametrize(
    ("plan", "streams"),
    [
        (chain("pass-on", "pass-on"), True),
        (chain("pass-on", "blur-much"), False),
        (
            Plan(
                (
                    Step("a", "pass-on", {}, {"image": [input_ref(0)]}),
                    Step("b", "pass-on", {}, {"image": [input_ref(0)]}),
                )
            ),
            False,
        ),
    ],
)
def test_a_file_streams_only_where_every_tool_reads_it_once(photo: Path, out: Path, monkeypatch, plan, streams):
    from darkroom.engine import codec

    asked = []
    real = codec.open_image

    def spy(path: Path, limits: Limits, *, sequential: bool, name: str = "") -> Picture:
        asked.append(sequential)
        return real(path, limits, sequential=sequential, name=name)

    monkeypatch.setattr(codec, "open_image", spy)
    run(plan, photo, out)
    assert asked == [streams]


def test_progress_covers_the_whole_and_never_falls(photo: Path, out: Path):
    # libvips tells of every strip but the last, so a picture of few strips would seem to stop early.
    Image.fromarray(gradient(40, 6000)).save(photo, "PNG")
    watcher = Watcher()
    run(chain("count", "count"), photo, out, watcher)
    fractions = [fraction for fraction, _ in watcher.seen]
    assert fractions == sorted(fractions)
    assert fractions[0] < 0.2
    assert fractions[-1] > 0.9
    assert watcher.seen[-1][1] == "Encoding"


def test_reports_are_at_most_ten_a_second(photo: Path, out: Path, monkeypatch):
    clock = iter(np.arange(0, 100, 0.03))
    monkeypatch.setattr("darkroom.engine.work.SECONDS_BETWEEN_REPORTS", 0.1)
    monkeypatch.setattr("darkroom.engine.work.time.monotonic", lambda: float(next(clock)))
    watcher = Watcher()
    for step in range(100):
        watcher.work.progress(step / 100)
    assert len(watcher.seen) == 25


def test_a_result_over_the_limits_stops_the_plan_before_the_next_step(photo: Path, out: Path):
    plan = Plan(
        (
            Step("a", "enlarge", {"side": 3000}, {"image": [input_ref(0)]}),
            Step("b", "die", {}, {"image": [step_ref("a")]}),
        )
    )
    with pytest.raises(OutputTooLarge, match="3000 x 3000") as caught:
        run(plan, photo, out, output_pixels=1_000_000)
    assert caught.value.details["limit"] == 1_000_000
    with pytest.raises(OutputTooLarge):
        run(one_step("enlarge", side=900), photo, out, output_side=800)
    assert list(out.iterdir()) == []


def test_a_cancelled_plan_raises_cancelled_whatever_it_was_doing(photo: Path, out: Path):
    watcher = Watcher()
    watcher.work.cancel()
    with pytest.raises(Cancelled):
        run(chain("pass-on"), photo, out, watcher)

    Image.fromarray(gradient(40, 6000)).save(photo, "PNG")  # enough strips for progress past the middle
    midway = Watcher()
    midway.work = Work(lambda fraction, _: midway.work.cancel() if fraction > 0.7 else None, midway.no_model)
    with pytest.raises(Cancelled):
        run(chain("blur-much", rounds=3), photo, out, midway)


def test_the_pixels_of_a_finished_plan_are_free_at_once(photo: Path, out: Path):
    def pictures() -> int:
        return sum(isinstance(each, pyvips.Image) for each in gc.get_objects())

    watcher = Watcher()
    gc.collect()
    gc.disable()
    try:
        before = pictures()
        run(chain("pass-on", "blur-much"), photo, out, watcher)
        assert pictures() == before
    finally:
        gc.enable()


def test_settings_are_validated_again(photo: Path, out: Path):
    with pytest.raises(InvalidSettings, match="sidee"):
        run(one_step("enlarge", sidee=3), photo, out)


@pytest.mark.parametrize("ref", ["input:7", "step:later", "nonsense"])
def test_a_reference_to_nothing_is_refused(photo: Path, out: Path, ref: str):
    with pytest.raises(InvalidSettings, match=ref):
        run(Plan((Step("a", "pass-on", {}, {"image": [ref]}),)), photo, out)


def test_an_unknown_tool_is_refused(photo: Path, out: Path):
    with pytest.raises(InvalidSettings, match="'levitate'"):
        run(one_step("levitate"), photo, out)


def test_damage_that_shows_late_is_blamed_on_the_input(photo: Path, out: Path, tmp_path: Path):
    cut = tmp_path / "cut"
    cut.write_bytes(photo.read_bytes()[:-300])
    with pytest.raises(InvalidImage):
        run(chain("blur-much"), cut, out)


def test_a_fault_of_a_tool_is_told_without_its_words(photo: Path, out: Path):
    from darkroom_tools.errors import ProcessingFailed

    with pytest.raises(ProcessingFailed) as caught:
        run(one_step("raise-text", text="/etc/secret"), photo, out)
    assert "secret" not in caught.value.message


def test_a_damaged_second_image_is_the_one_that_is_blamed(photo: Path, out: Path, tmp_path: Path):
    whole = tmp_path / "whole.jpg"
    Image.fromarray(gradient(900, 700)).save(whole, "JPEG")
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    images = {"image": [input_ref(0)], "backgroundImage": [input_ref(1)]}
    plan = Plan((Step("a", "remove-background", {"backgroundType": "image"}, images),))
    with pytest.raises(InvalidImage, match="JPEG but is damaged"):
        run_plan(plan, [photo, cut], out, Limits(), Watcher().work, TOOLS)


def test_a_step_that_works_on_bytes_hands_on_a_picture(tmp_path: Path, out: Path):
    frames = [Image.fromarray(gradient(40, 30)).rotate(90 * n) for n in range(3)]
    animation = tmp_path / "animation.gif"
    frames[0].save(animation, "GIF", save_all=True, append_images=frames[1:], duration=200, loop=0)
    faster = Step("a", "gif-tools", {"action": "speed", "speedFactor": 2}, {"image": [input_ref(0)]})
    smaller = Step("b", "resize", {"width": 20}, {"image": [step_ref("a")]})
    outcome = run(Plan((faster, smaller)), animation, out)
    with Image.open(outcome.outputs[0].path) as seen:
        assert (seen.size, seen.n_frames, seen.info["duration"]) == ((20, 15), 3, 100)


def test_nothing_can_follow_a_step_that_makes_an_archive(photo: Path, out: Path):
    tiles = Step("a", "split", {"rows": 2, "cols": 2}, {"image": [input_ref(0)]})
    smaller = Step("b", "resize", {"width": 20}, {"image": [step_ref("a")]})
    with pytest.raises(InvalidSettings, match="must be the last"):
        run(Plan((tiles, smaller)), photo, out)


def test_a_result_that_is_written_goes_on_as_two_calls_would_take_it(tmp_path: Path, out: Path):
    photo, halfway, apart = tmp_path / "photo.jpg", tmp_path / "halfway", tmp_path / "apart"
    Image.fromarray(gradient(300, 200)).save(photo, "JPEG", quality=95)
    small = Step("small", "resize", {"width": 150}, {"image": [input_ref(0)]})
    sharp = Step("sharp", "sharpening", {}, {"image": [input_ref(0)]})
    for folder in (halfway, apart):
        folder.mkdir()
    first = run(Plan((small,)), photo, halfway).outputs[0].path
    second = run(Plan((sharp,)), first, apart).outputs[0].path.read_bytes()

    def in_one(*, written: bool) -> bytes:
        folder = out / str(written)
        folder.mkdir()
        joined = replace(sharp, images={"image": [step_ref("small")]})
        outcome = run(Plan((replace(small, written=written), joined)), photo, folder)
        assert len(outcome.outputs) == 1
        return bytes(outcome.outputs[0].path.read_bytes())

    assert in_one(written=True) == second
    assert in_one(written=False) != second


def test_only_a_plan_that_writes_in_between_says_so():
    plan = Plan((Step("a", "resize", {}, {}, written=True), Step("b", "resize", {}, {})))
    assert Plan.from_wire(plan.to_wire()) == plan
    assert "written" not in plan.to_wire()[1]
    assert plan.digest([]) != Plan((Step("a", "resize"), Step("b", "resize"))).digest([])


def test_a_plan_of_several_steps_says_at_which_one_it_is(photo: Path, out: Path):
    Image.fromarray(gradient(40, 6000)).save(photo, "PNG")  # enough strips for the encode to tell of itself
    watcher = Watcher()
    run(chain("pass-on", "pass-on", "pass-on"), photo, out, watcher)
    stages = list(dict.fromkeys(message for _, message in watcher.seen))
    assert stages[:3] == ["Step 1 of 3", "Step 2 of 3", "Step 3 of 3"]
    assert "Step" not in stages[-1]
    (out / "alone").mkdir()
    run(chain("pass-on"), photo, out / "alone", alone := Watcher())
    assert not any("Step" in message for _, message in alone.seen)
