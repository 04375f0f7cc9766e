"""Plans with generative steps over real workers and a real engine: in the first, a middle and the last place."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import PIL.Image
import pytest
from pydantic import SecretStr
from support.image_engine import ImageEngine, Misbehaviour, serving_images

from darkroom.engine import attaching
from darkroom.engine.limits import Limits
from darkroom.engine.outcome import Progress
from darkroom.engine.pool import Pool
from darkroom.errors import EngineAnswerInvalid, EngineNotConfigured, EngineRequestRefused
from darkroom.executors.cuts import ancestors, part
from darkroom.executors.local import Finished, LocalExecutor
from darkroom.executors.segments import SegmentedExecutor
from darkroom.generative.client import ImagesClient
from darkroom.generative.memory import Memory
from darkroom.store.blobs import GRACE_SECONDS, BlobStore
from darkroom_tools.errors import InvalidImage, InvalidSettings, UnsupportedFormat
from darkroom_tools.plan import Plan, Step, input_ref, step_ref
from darkroom_tools.registry import builtin_tools

pytestmark = pytest.mark.anyio

IMAGE = {"image": (input_ref(0),)}
CAT = Step("cat", "generate-image", {"prompt": "A cat", "aspectRatio": "1:1"})
SNOW = Step("snow", "edit-image", {"prompt": "Let it snow"}, IMAGE)


@pytest.fixture(scope="module")
async def pool(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pool]:
    folder = tmp_path_factory.mktemp("pool")
    async with Pool(workers=2, run_dir=folder / "run", limits=Limits(), extra_tools=[attaching.MODULE]) as pool:
        yield pool


@pytest.fixture
def engine() -> Iterator[ImageEngine]:
    with serving_images() as engine:
        yield engine


class Bench:
    """A store, an engine and an executor between them."""

    def __init__(self, folder: Path, pool: Pool, client: ImagesClient | None, **options: Any) -> None:
        self.blobs = BlobStore(folder / "blobs")
        local = LocalExecutor(pool, path_of=self.blobs.path, adopt=self.blobs.adopt)
        self.executor = SegmentedExecutor(
            local,
            client,
            tools=builtin_tools(),
            temporary=self.blobs.temporary,
            stored=self.blobs.exists,
            memory=Memory(folder / "generated"),
            **options,
        )

    async def run(self, *steps: Step, inputs: tuple[bytes, ...] = (), **options: Any) -> Finished:
        return await self.executor.run(Plan(steps), [self.blobs.put(data) for data in inputs], **options)

    def opened(self, finished: Finished) -> PIL.Image.Image:
        return PIL.Image.open(io.BytesIO(self.blobs.path(finished.digests[0]).read_bytes()))

    def stored(self) -> set[str]:
        return {path.name for path in self.blobs.path("0" * 64).parents[2].glob("??/??/*")}


@pytest.fixture
async def bench(tmp_path: Path, pool: Pool, engine: ImageEngine) -> AsyncIterator[Bench]:
    async with ImagesClient(engine.url, engine.model, SecretStr(engine.key)) as client:
        yield Bench(tmp_path, pool, client)


def encoded(picture: PIL.Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def photo(width: int = 60, height: int = 40, color: str = "red") -> bytes:
    return encoded(PIL.Image.new("RGB", (width, height), color), "PNG")


def moving() -> bytes:
    """A GIF of three frames."""
    frames = [PIL.Image.new("RGB", (30, 20), color) for color in ("red", "green", "blue")]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])


async def test_the_last_step_may_be_the_engines(bench: Bench, engine: ImageEngine) -> None:
    finished = await bench.run(CAT)
    with bench.opened(finished) as picture:
        assert (picture.format, picture.size) == ("PNG", (1024, 1024))
        assert "parameters" not in picture.info
    outcome = finished.outcome
    assert outcome.inputs == []
    assert outcome.facts == {
        "method": "gpt-image-1",
        "usage": {"inputTokens": 50, "outputTokens": 1000, "totalTokens": 1050},
    }
    assert not (outcome.kept or outcome.removed or outcome.warnings)
    assert bench.stored() == {finished.digests[0]}


async def test_the_first_step_may_be_the_engines(bench: Bench) -> None:
    small = Step("small", "resize", {"width": 64}, {"image": (step_ref("cat"),)})
    webp = Step("webp", "convert", {"format": "webp"}, {"image": (step_ref("small"),)})
    finished = await bench.run(CAT, small, webp)
    with bench.opened(finished) as picture:
        assert (picture.format, picture.size) == ("WEBP", (64, 64))
    assert finished.outcome.facts["method"] == "gpt-image-1"


async def test_a_step_in_the_middle_may_be_the_engines(bench: Bench, engine: ImageEngine) -> None:
    turned = Step("turned", "rotate", {"angle": 90}, IMAGE)
    snow = Step("snow", "edit-image", {"prompt": "Let it snow"}, {"image": (step_ref("turned"),)})
    small = Step("small", "resize", {"width": 32}, {"image": (step_ref("snow"),)})
    source = photo()
    finished = await bench.run(turned, snow, small, inputs=(source,))
    assert bench.opened(finished).size == (32, 48)
    [asked] = engine.asked
    assert asked.images[0].opened().size == (40, 60)
    assert asked.fields["size"] == "1024x1536"
    [given] = finished.outcome.inputs
    assert (given.width, given.height, given.format, given.bytes) == (60, 40, "png", len(source))


async def test_two_engine_steps_in_a_row_start_from_one_another(bench: Bench, engine: ImageEngine) -> None:
    night = Step("night", "edit-image", {"prompt": "At night"}, {"image": (step_ref("cat"),)})
    finished = await bench.run(CAT, night)
    assert [asked.path.rpartition("/")[2] for asked in engine.asked] == ["generations", "edits"]
    drawn_first = engine.asked[1].images[0].opened()
    assert drawn_first.size == (1024, 1024)
    assert not drawn_first.info.get("parameters")
    assert finished.outcome.facts["usage"]["totalTokens"] == 2_100


async def test_branches_meet_behind_the_engine(bench: Bench, engine: ImageEngine) -> None:
    badge = Step("badge", "resize", {"width": 16, "height": 16, "fit": "fill"}, {"image": (input_ref(1),)})
    cat = Step("cat", "edit-image", {"prompt": "A cat"}, {"image": (input_ref(0),), "references": (step_ref("badge"),)})
    both = Step(
        "both",
        "compose",
        {"x": 10, "y": 10},
        {"image": (step_ref("cat"),), "overlay": (step_ref("badge"),)},
    )
    finished = await bench.run(badge, cat, both, inputs=(photo(), photo(99, 50, "blue")))
    assert [part.opened().size for part in engine.asked[0].images] == [(60, 40), (16, 16)]
    assert len(finished.outcome.inputs) == 2
    with bench.opened(finished) as picture:
        assert picture.size == (1536, 1024)
        assert picture.convert("RGB").getpixel((18, 18)) == (0, 0, 255)


async def test_a_plan_without_an_engine_step_runs_as_ever(bench: Bench, engine: ImageEngine) -> None:
    finished = await bench.run(Step("s", "resize", {"width": 8}, IMAGE), inputs=(photo(),))
    assert bench.opened(finished).width == 8
    assert (await bench.run(inputs=(photo(),))).outcome.inputs[0].width == 60
    assert engine.asked == []


async def test_steps_that_nothing_needs_are_not_asked_for(bench: Bench, engine: ImageEngine) -> None:
    await bench.run(CAT, Step("small", "resize", {"width": 8}, IMAGE), inputs=(photo(),))
    assert engine.asked == []


def private_photo() -> bytes:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "PrivateMaker"
    exif[0x8825] = {1: "N", 2: (50.0, 6.0, 40.0), 3: "E", 4: (8.0, 40.0, 50.0)}
    picture = PIL.Image.radial_gradient("L").resize((2500, 1000)).convert("RGB")
    return encoded(picture, "JPEG", exif=exif, comment=b"private", xmp=b"<x:xmpmeta>private</x:xmpmeta>")


async def test_pictures_leave_upright_small_and_without_metadata(bench: Bench, engine: ImageEngine) -> None:
    await bench.run(SNOW, inputs=(private_photo(),))
    [sent] = engine.asked[0].images
    with sent.opened() as picture:
        assert (picture.format, picture.size) == ("JPEG", (819, 2048))
        assert not picture.getexif()
        assert not {"exif", "xmp", "comment", "icc_profile"} & set(picture.info)
    for secret in (b"Exif", b"rivate", b"xmpmeta", b"GPS"):
        assert secret not in sent.data


@pytest.mark.parametrize(
    ("data", "format", "mode"),
    [
        (encoded(PIL.Image.new("RGBA", (30, 20), (255, 0, 0, 99)), "PNG"), "PNG", "RGBA"),
        (encoded(PIL.Image.new("I;16", (30, 20), 40_000), "PNG"), "PNG", "L"),
        (encoded(PIL.Image.new("CMYK", (30, 20)), "JPEG"), "JPEG", "RGB"),
        (moving(), "PNG", "RGB"),
        (encoded(PIL.Image.new("RGB", (30, 20)), "WEBP"), "JPEG", "RGB"),
    ],
    ids=["alpha", "16 bits", "CMYK", "animation", "WebP"],
)
async def test_odd_pictures_leave_as_plain_ones(
    bench: Bench, engine: ImageEngine, data: bytes, format: str, mode: str
) -> None:
    await bench.run(SNOW, inputs=(data,))
    with engine.asked[0].images[0].opened() as picture:
        assert (picture.format, picture.mode, picture.size) == (format, mode, (30, 20))
        assert getattr(picture, "n_frames", 1) == 1


async def test_what_is_no_picture_yet_is_refused_and_what_is_lost_is_told(bench: Bench, engine: ImageEngine) -> None:
    with pytest.raises(UnsupportedFormat, match="the file is SVG. Make a picture of it with svg_to_raster first"):
        await bench.run(SNOW, inputs=(b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",))
    assert engine.asked == []
    outcome = (await bench.run(SNOW, inputs=(moving(),))).outcome
    assert "Of the animation only the first of 3 frames was used." in outcome.warnings


def white_left(mode: str) -> PIL.Image.Image:
    """A mask whose left half may change."""
    if mode == "clear":  # as the API has it: transparent where it may change
        mask = PIL.Image.new("RGBA", (20, 10), (0, 0, 0, 255))
        mask.paste((0, 0, 0, 0), (0, 0, 10, 10))
        return mask
    mask = PIL.Image.new("L", (20, 10), 0)
    mask.paste(255, (0, 0, 10, 10))
    if mode == "strokes":  # white strokes on a transparent ground
        painted = PIL.Image.new("RGBA", (20, 10), (255, 255, 255, 0))
        painted.putalpha(mask)
        return painted
    return mask.convert(mode)


@pytest.mark.parametrize("mode", ["L", "RGB", "clear", "strokes"])
async def test_masks_are_understood_by_colour_and_by_transparency(bench: Bench, engine: ImageEngine, mode: str) -> None:
    step = Step("s", "edit-image", {"prompt": "x"}, {**IMAGE, "mask": (input_ref(1),)})
    await bench.run(step, inputs=(photo(60, 40), encoded(white_left(mode), "PNG")))
    [mask] = [part for part in engine.asked[0].files if part.name == "mask"]
    with mask.opened() as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGBA", (60, 40))
        assert picture.getpixel((5, 20)) == (255, 255, 255, 0)
        assert picture.getpixel((55, 20)) == (0, 0, 0, 255)


@pytest.mark.parametrize(
    "data",
    [
        b"no picture at all",
        photo()[:-30],
        encoded(PIL.Image.effect_noise((64, 64), 50), "PNG")[:2000],
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.7\n",
        encoded(PIL.Image.new("1", (20_000, 20_000)), "PNG"),
    ],
    ids=["text", "cut", "damaged inside", "SVG", "PDF", "bomb"],
)
async def test_an_answer_that_is_no_usable_picture_is_refused_and_not_stored(
    bench: Bench, engine: ImageEngine, data: bytes
) -> None:
    engine.next.append(Misbehaviour(data=data))
    with pytest.raises(EngineAnswerInvalid, match="cannot be used"):
        await bench.run(CAT)
    assert bench.stored() == set()


async def test_an_answer_in_another_format_keeps_its_pixels_and_loses_its_metadata(
    bench: Bench, engine: ImageEngine
) -> None:
    exif = PIL.Image.Exif()
    exif[0x010E] = "A cat seed 42"
    noise = PIL.Image.effect_noise((64, 64), 50).convert("RGB")
    answered = encoded(noise, "JPEG", quality=90, exif=exif)
    engine.next.append(Misbehaviour(data=answered))
    with bench.opened(await bench.run(CAT)) as picture:
        assert picture.format == "JPEG"
        assert not picture.getexif()
        with PIL.Image.open(io.BytesIO(answered)) as before:
            assert picture.tobytes() == before.tobytes()


async def test_a_damaged_source_is_an_error_before_the_engine_is_asked(bench: Bench, engine: ImageEngine) -> None:
    with pytest.raises(InvalidImage):
        await bench.run(SNOW, inputs=(photo(400, 400)[:100],))
    assert engine.asked == []


async def test_no_slot_is_held_while_the_engine_is_asked(bench: Bench, engine: ImageEngine) -> None:
    engine.gate.clear()
    said: list[str] = []

    @asynccontextmanager
    async def away() -> AsyncIterator[None]:
        said.append("lent")
        yield
        said.append("back")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: bench.run(SNOW, inputs=(photo(),), away=away))
        await anyio.to_thread.run_sync(engine.wait_for)
        assert said == ["lent"]
        engine.gate.set()
    assert said == ["lent", "back"]


async def test_the_engine_gets_so_many_requests_at_once_and_the_others_wait_without_a_slot(
    tmp_path: Path, pool: Pool, engine: ImageEngine
) -> None:
    engine.gate.clear()
    lent = 0

    @asynccontextmanager
    async def away() -> AsyncIterator[None]:
        nonlocal lent
        lent += 1
        yield
        lent -= 1

    async with ImagesClient(engine.url, engine.model, SecretStr(engine.key)) as client:
        bench = Bench(tmp_path, pool, client, at_once=2)
        async with anyio.create_task_group() as tasks:
            for n in range(5):
                step = Step("cat", "generate-image", {"prompt": f"Cat {n}"})
                tasks.start_soon(lambda step=step: bench.run(step, away=away))
            await anyio.to_thread.run_sync(engine.wait_for, 2)
            await anyio.wait_all_tasks_blocked()
            assert lent == 5
            engine.gate.set()
    assert (engine.most_waiting, lent, len(engine.asked)) == (2, 0, 5)


async def test_cancelling_stops_the_request_and_frees_its_place(
    tmp_path: Path, pool: Pool, engine: ImageEngine
) -> None:
    engine.gate.clear()
    async with ImagesClient(engine.url, engine.model, SecretStr(engine.key)) as client:
        bench = Bench(tmp_path, pool, client, at_once=1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bench.run, CAT)
            await anyio.to_thread.run_sync(engine.wait_for)
            tasks.cancel_scope.cancel()
        await anyio.to_thread.run_sync(engine.wait_for, 0, 1)
        engine.gate.set()
        assert (await bench.run(CAT)).digests
    assert list((tmp_path / "blobs" / "tmp").iterdir()) == []


async def test_who_is_cancelled_while_waiting_for_a_slot_gives_its_place_back(
    tmp_path: Path, pool: Pool, engine: ImageEngine
) -> None:
    engine.gate.clear()
    never = asyncio.Event()
    coming_back = asyncio.Event()

    @asynccontextmanager
    async def away() -> AsyncIterator[None]:
        yield
        coming_back.set()
        await never.wait()

    async with ImagesClient(engine.url, engine.model, SecretStr(engine.key)) as client:
        bench = Bench(tmp_path, pool, client, at_once=1)
        first = asyncio.create_task(bench.run(CAT))
        await anyio.to_thread.run_sync(engine.wait_for)
        second = asyncio.create_task(bench.run(CAT, away=away))
        await anyio.wait_all_tasks_blocked()
        engine.gate.set()
        await first
        await coming_back.wait()
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert (await bench.run(CAT)).digests


async def test_progress_rises_and_says_what_is_waited_for(tmp_path: Path, pool: Pool, engine: ImageEngine) -> None:
    engine.gate.clear()
    told: list[Progress] = []
    waiting = asyncio.Event()

    def hear(progress: Progress) -> None:
        told.append(progress)
        if sum(one.message == "Waiting for the image engine" for one in told) >= 4:
            waiting.set()

    small = Step("small", "resize", {"width": 8}, {"image": (step_ref("cat"),)})
    async with ImagesClient(engine.url, engine.model, SecretStr(engine.key)) as client:
        bench = Bench(tmp_path, pool, client, tick_seconds=0.01)
        running = asyncio.create_task(bench.run(CAT, small, emit=hear))
        await waiting.wait()
        engine.gate.set()
        await running
    fractions = [one.fraction for one in told]
    assert fractions == sorted(fractions)
    assert 0 <= fractions[0] <= fractions[-1] <= 1
    assert told[-1].message != "Waiting for the image engine"


async def test_a_job_that_starts_again_does_not_ask_for_what_it_got_before(bench: Bench, engine: ImageEngine) -> None:
    small = Step("small", "resize", {"width": 8}, {"image": (step_ref("snow"),)})
    source = (photo(),)
    first = await bench.run(SNOW, small, inputs=source, job="job_a/0")
    again = await bench.run(SNOW, small, inputs=source, job="job_a/0")
    assert len(engine.asked) == 1
    assert again.digests == first.digests
    assert again.outcome.facts["method"] == "gpt-image-1"
    for other in ("job_b/0", "job_a/1", ""):
        await bench.run(SNOW, small, inputs=source, job=other)
    await bench.run(SNOW, small, inputs=(photo(61),), job="job_a/0")
    assert len(engine.asked) == 5


async def test_what_is_gone_from_the_store_is_asked_for_again(bench: Bench, engine: ImageEngine) -> None:
    first = await bench.run(CAT, job="job_a/0")
    bench.blobs.delete(first.digests[0])
    await bench.run(CAT, job="job_a/0")
    assert len(engine.asked) == 2


def test_pictures_are_remembered_no_longer_than_their_bytes_are_left_alone(tmp_path: Path) -> None:
    now = 1e9
    memory = Memory(tmp_path / "generated", clock=lambda: now)
    key = Memory.key("job", "step", {}, [])
    assert memory.find(key) is None
    memory.keep(key, "a" * 64)
    now = (tmp_path / "generated" / key).stat().st_mtime + GRACE_SECONDS - 1
    assert memory.find(key) == "a" * 64
    now += 2
    assert memory.find(key) is None
    memory.keep(Memory.key("job", "other", {}, []), "b" * 64)
    assert [path.name for path in (tmp_path / "generated").iterdir()] != [key]
    (tmp_path / "generated" / key).write_text("../../etc/passwd")
    now = 0
    assert memory.find(key) is None


async def test_a_size_that_the_model_does_not_make_is_told(bench: Bench) -> None:
    wide = Step("cat", "generate-image", {"prompt": "A cat", "aspectRatio": "21:9"})
    assert (await bench.run(wide)).outcome.warnings == [
        "gpt-image-1 makes no picture in the ratio 21:9; 1536 x 1024 pixels is the nearest. Crop it for the exact ratio."
    ]
    outcome = (await bench.run(SNOW, inputs=(photo(100, 20),))).outcome
    assert outcome.warnings[0].startswith("gpt-image-1 makes no picture in the ratio of the first;")


async def test_without_an_engine_the_error_names_the_variables(tmp_path: Path, pool: Pool) -> None:
    bench = Bench(tmp_path, pool, None)
    assert bench.executor.check(Plan((Step("s", "resize", {"width": 8}, IMAGE),))) == ""
    calls: list[Callable[[], Any]] = [lambda: bench.executor.check(Plan((CAT,)))]
    for call in calls:
        with pytest.raises(EngineNotConfigured) as refused:
            call()
        for name in ("DARKROOM_IMAGES_URL", "DARKROOM_IMAGES_MODEL", "DARKROOM_IMAGES_KEY"):
            assert name in refused.value.message
            assert name in refused.value.details["variables"]
    with pytest.raises(EngineNotConfigured):
        await bench.run(CAT)


async def test_what_cannot_be_asked_for_is_refused_before_it_is_queued(tmp_path: Path, pool: Pool) -> None:
    bench = Bench(tmp_path, pool, ImagesClient("http://127.0.0.1:9/v1", "dall-e-3"))
    assert bench.executor.check(Plan((CAT,))) == "http://127.0.0.1:9/v1/ dall-e-3"
    with pytest.raises(EngineRequestRefused):
        bench.executor.check(Plan((SNOW,)))
    roles = Step("s", "edit-image", {"prompt": "x", "roles": ["a", "b"]}, IMAGE)
    with pytest.raises(InvalidSettings, match="names 2 pictures"):
        bench.executor.check(Plan((roles,)))


async def test_no_worker_takes_a_generative_step(bench: Bench, pool: Pool) -> None:
    with pytest.raises(InvalidSettings, match="made by an image engine"):
        await bench.executor.render(Plan((CAT,)), [])


def test_a_part_of_a_plan_has_only_what_it_needs() -> None:
    a = Step("a", "resize", {"width": 9}, {"image": ("input:1",)})
    b = Step("b", "resize", {"width": 9}, {"image": ("input:0",)})
    c = Step("c", "compose", {}, {"image": ("step:b",), "overlay": ("step:g",)})
    g = Step("g", "edit-image", {}, {"image": ("step:a",)})
    plan = Plan((a, b, g, c))
    assert [step.id for step in ancestors(plan, ["step:c"], ())] == ["a", "b", "g", "c"]
    cut, inputs = part(plan, "step:c", {"input:0", "input:1", "step:g"})
    assert [step.id for step in cut.steps] == ["b", "c"]
    assert inputs == ["input:0", "step:g"]
    assert [dict(step.images) for step in cut.steps] == [
        {"image": ["input:0"]},
        {"image": ["step:b"], "overlay": ["input:1"]},
    ]
