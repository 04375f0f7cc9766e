"""Workflows with branches and merges on the real engine: the pictures are those of the single steps put together."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
import skimage.data
from PIL import Image
from support.pictures import gradient

from darkroom.engine.limits import Limits
from darkroom.engine.outcome import Outcome
from darkroom.engine.pool import Pool
from darkroom.engine.runner import run_plan
from darkroom.engine.work import Work
from darkroom.workflows.compile import compile_workflow
from darkroom.workflows.document import WorkflowDocument
from darkroom_tools.errors import Cancelled
from darkroom_tools.plan import Plan
from darkroom_tools.registry import builtin_tools

TOOLS = builtin_tools()


@pytest.fixture(autouse=True)
def as_in_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    pyvips.cache_set_max(0)
    monkeypatch.setattr("darkroom.engine.work.SECONDS_BETWEEN_REPORTS", 0.0)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(gradient(120, 80)).save(path)
    return path


def planned(components: list[dict[str, Any]], files: Mapping[str, list[Path]]) -> tuple[Plan, list[Path]]:
    document = WorkflowDocument.parse({"name": "Test", "components": components})
    tool = compile_workflow(document, "wf-test-abc123", TOOLS)
    paths: list[Path] = []
    refs: dict[str, list[str]] = {}
    for image in tool.inputs:
        held = files[image.name]
        refs[image.name] = [f"input:{len(paths) + n}" for n in range(len(held))]
        paths += held
    return tool.plan(tool.settings.parse({}), refs), paths


def run(components: list[dict[str, Any]], work: Work | None = None, /, **files: Path | list[Path]) -> Outcome:
    plan, paths = planned(components, {name: f if isinstance(f, list) else [f] for name, f in files.items()})
    out = paths[0].parent / f"out-{len(list(paths[0].parent.iterdir()))}"
    out.mkdir()
    return run_plan(plan, paths, out, Limits(), work or Work(lambda *_: None, no_model), TOOLS)


def no_model(model: str, inputs: Any, many: bool) -> Any:
    raise AssertionError("no tool here asks a model")


def pixels(outcome: Outcome) -> np.ndarray:
    with Image.open(outcome.outputs[0].path) as opened:
        return np.asarray(opened)


def step(type: str, image: str = "${{ inputs.image }}", **settings: Any) -> dict[str, Any]:
    return {"type": type, "settings": {"image": image, **settings}}


def ref(identifier: str) -> str:
    return f"${{{{ steps.{identifier}.image }}}}"


PNG = {"type": "export", "settings": {"targetFormat": "PNG"}}


def test_branches_of_one_picture_are_the_single_steps_put_together(photo: Path) -> None:
    merged = run(
        [
            {"id": "other", **step("color-adjustments", effects="invert")},
            {"id": "small", **step("resize", width=40)},
            {"type": "compose", "settings": {"image": ref("other"), "overlay": ref("small"), "x": 10, "y": 5}},
            PNG,
        ],
        image=photo,
    )
    expected = pixels(run([step("color-adjustments", effects="invert"), PNG], image=photo)).copy()
    small = pixels(run([step("resize", width=40), PNG], image=photo))
    expected[5 : 5 + small.shape[0], 10:50] = small
    assert np.array_equal(pixels(merged), expected)


def test_a_result_that_several_steps_take_is_the_same_for_each(photo: Path) -> None:
    double = run(
        [
            {"id": "sharp", **step("sharpening", mode="unsharp", amount=300)},
            {"id": "turned", **step("rotate", ref("sharp"), angle=180)},
            {"type": "stitch", "settings": {"images": [ref("sharp"), ref("turned"), ref("sharp")]}},
            PNG,
        ],
        image=photo,
    )
    sharp = pixels(run([step("sharpening", mode="unsharp", amount=300), PNG], image=photo))
    assert np.array_equal(pixels(double), np.hstack([sharp, sharp[::-1, ::-1], sharp]))


def test_a_picture_that_doubles_with_every_step_is_computed_once_a_step(photo: Path) -> None:
    components = [{"id": "c0", **step("color-adjustments", brightness=1)}]
    components += [
        {"id": f"c{n}", "type": "compose", "settings": {"image": ref(f"c{n - 1}"), "overlay": ref(f"c{n - 1}")}}
        for n in range(1, 19)
    ]
    once = pixels(run([components[0], PNG], image=photo))
    assert np.array_equal(pixels(run([*components, PNG], image=photo)), once)


def test_pixels_that_nobody_takes_any_more_are_gone_before_the_end(photo: Path) -> None:
    held: list[int] = []

    class Counting(Work):
        def let_go(self, image: pyvips.Image) -> None:
            super().let_go(image)
            held.append(len(self._images))

    work = Counting(lambda *_: None, no_model)
    chain = [{"id": f"c{n}", **step("rotate", ref(f"c{n - 1}") if n else "${{ inputs.image }}")} for n in range(12)]
    run([*chain, PNG], work, image=photo)
    assert max(held) <= 3


def test_a_cancelled_merge_stops_while_its_branches_are_computed(photo: Path) -> None:
    Image.fromarray(gradient(60, 5000)).save(photo)
    work = Work(lambda fraction, message: work.cancel() if "Rotate" in message else None, no_model)
    with pytest.raises(Cancelled):
        run(
            [
                {"id": "turned", **step("rotate", angle=5)},
                {"type": "stitch", "settings": {"images": [ref("turned"), ref("turned")]}},
            ],
            work,
            image=photo,
        )


def test_a_photo_that_lies_on_its_side_is_upright_in_every_branch(tmp_path: Path) -> None:
    upright = gradient(60, 90)
    lying = Image.fromarray(np.rot90(upright))
    exif = lying.getexif()
    exif[0x0112] = 6
    path = tmp_path / "lying.png"
    lying.save(path, exif=exif)
    merged = run(
        [
            {"id": "top", **step("crop", top=0, height=45)},
            {"id": "bottom", **step("crop", top=45, height=45)},
            {"type": "stitch", "settings": {"images": [ref("top"), ref("bottom")], "direction": "vertical"}},
            PNG,
        ],
        image=path,
    )
    assert np.array_equal(pixels(merged), upright)


def test_an_animation_keeps_its_frames_through_a_merge(tmp_path: Path) -> None:
    frames = [Image.fromarray(gradient(40, 30)).rotate(180 * n) for n in range(3)]
    path = tmp_path / "moving.webp"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=120, loop=0, lossless=True)
    outcome = run(
        [
            {"id": "grey", **step("color-adjustments", effects="grayscale")},
            {"id": "stamp", **step("resize", width=10)},
            {"type": "compose", "settings": {"image": ref("grey"), "overlay": ref("stamp")}},
            {"type": "export", "settings": {"targetFormat": "auto"}},
        ],
        image=path,
    )
    with Image.open(outcome.outputs[0].path) as seen:
        assert (seen.format, seen.size, getattr(seen, "n_frames", 1), seen.info.get("duration", 120)) == (
            "WEBP",
            (40, 30),
            3,
            120,
        )
        seen.seek(2)
        last = np.asarray(seen.convert("RGB")).astype(int)
    assert np.ptp(last[20:, 20:], axis=2).max() <= 12
    assert any("first frame of the overlay" in warning for warning in outcome.warnings)


def test_a_collage_of_branches_shows_each(tmp_path: Path) -> None:
    colours = {"red": (200, 0, 0), "green": (0, 200, 0), "blue": (0, 0, 200)}
    files = {name: tmp_path / f"{name}.png" for name in colours}
    for name, path in files.items():
        Image.new("RGB", (90, 60), colours[name]).save(path)
    outcome = run(
        [
            {"id": "turned", **step("rotate", "${{ inputs.red }}", angle=90)},
            {"id": "small", **step("resize", "${{ inputs.green }}", width=30)},
            {"type": "collage", "settings": {"images": [ref("turned"), ref("small"), "${{ inputs.blue }}"]}},
        ],
        None,
        **files,
    )
    found = {tuple(int(value) for value in pixel) for pixel in pixels(outcome).reshape(-1, 3)[::97]}
    assert set(colours.values()) <= found


@pytest.mark.anyio
async def test_a_product_before_its_own_blurred_background_comes_out_of_a_real_worker(tmp_path: Path) -> None:
    path = tmp_path / "cup.png"
    cup = Image.fromarray(skimage.data.coffee()).resize((150, 100))
    cup.save(path)
    plan, paths = planned(
        [
            {"id": "cutout", **step("remove-background")},
            {"id": "tiny", **step("resize", width=8)},
            {"id": "back", **step("resize", ref("tiny"), width=150, height=100, fit="fill")},
            {"type": "compose", "settings": {"image": ref("back"), "overlay": ref("cutout")}},
            {"type": "export", "settings": {"targetFormat": "PNG", "targetMode": "RGB"}},
        ],
        {"image": [path]},
    )
    async with Pool(workers=1, run_dir=tmp_path / "run", limits=Limits()) as pool:
        made = (await pool.run(plan, paths, pixels)).astype(int)
    original = np.asarray(cup).astype(int)
    assert made.shape == original.shape
    middle = np.abs(made - original)[35:65, 55:95].mean()
    corners = np.abs(made - original)[:12, -25:].mean()
    assert middle < 4 < corners
