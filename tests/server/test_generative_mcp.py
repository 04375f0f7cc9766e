"""Generative tools as an agent meets them: real client, real server, real workers, and an engine that draws."""

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import PIL.Image
import pytest
import sqlalchemy as sa
from mcp import Client
from mcp_types import TextContent
from support.image_engine import KEY, ImageEngine, Misbehaviour, error_body, serving_images
from support.mcp_room import socket_transport

from darkroom.app import Darkroom, open_darkroom
from darkroom.config import Config
from darkroom.faces.mcp.server import build_server
from darkroom.principal import LOCAL, Principal
from darkroom.serve import mcp_room
from darkroom.store.schema import jobs

pytestmark = pytest.mark.anyio


class Desk:
    """An agent's connection to a Darkroom."""

    def __init__(self, room: Darkroom, client: Client, principal: Principal) -> None:
        self.room, self.client, self.principal = room, client, principal

    async def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        result = await self.client.call_tool(tool, arguments)
        assert not result.is_error, result.content
        return result.structured_content or {}

    async def refused(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """The error as structured content; its text starts with the code."""
        result = await self.client.call_tool(tool, arguments)
        assert result.is_error, result.structured_content
        facts, text = result.structured_content, result.content[0]
        assert facts is not None
        assert isinstance(text, TextContent)
        assert text.text.startswith(f"{facts['code']}: ")
        assert KEY not in result.model_dump_json()
        return facts

    async def picture(self, facts: dict[str, Any]) -> PIL.Image.Image:
        return PIL.Image.open(io.BytesIO(await self.room.library.read(self.principal, facts["image"])))

    async def job_count(self) -> int:
        count = sa.select(sa.func.count()).select_from(jobs)
        return await self.room.database.read(lambda c: int(c.execute(count).scalar_one()))


@asynccontextmanager
async def open_desk(folder: Path, **settings: Any) -> AsyncIterator[Desk]:
    photos = folder / "photos"
    photos.mkdir(exist_ok=True)
    for name, color in (("person", "red"), ("coat", "blue"), ("hat", "green")):
        PIL.Image.new("RGB", (60, 40), color).save(photos / f"{name}.png")
    async with open_darkroom(Config(data_dir=folder / "data", workers=1, **settings)) as room:
        room.links.base = "http://127.0.0.1:1349"
        principal = Principal(LOCAL.id, (photos,))
        async with Client(socket_transport(build_server(mcp_room(room)), principal, photos)) as client:
            yield Desk(room, client, principal)


@pytest.fixture(scope="module")
def shared_engine() -> Iterator[ImageEngine]:
    with serving_images() as engine:
        yield engine


@pytest.fixture(scope="module")
async def shared_desk(tmp_path_factory: pytest.TempPathFactory, shared_engine: ImageEngine) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path_factory.mktemp("desk"), **shared_engine.settings) as desk:
        yield desk


@pytest.fixture
def engine(shared_engine: ImageEngine) -> Iterator[ImageEngine]:
    shared_engine.asked.clear()
    shared_engine.abandoned = 0
    yield shared_engine
    shared_engine.gate.set()
    shared_engine.next.clear()


@pytest.fixture
def desk(shared_desk: Desk, engine: ImageEngine) -> Desk:
    return shared_desk


async def test_without_an_engine_a_call_is_refused_before_it_is_queued(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        for tool, arguments in (
            ("generate_image", {"prompt": "A cat"}),
            ("edit_image", {"prompt": "Let it snow", "image": "person.png"}),
        ):
            facts = await desk.refused(tool, **arguments)
            assert facts["code"] == "ENGINE_NOT_CONFIGURED"
            assert "DARKROOM_IMAGES_URL" in facts["error"]
        assert await desk.job_count() == 0
        assert [path for path in desk.room.where.blobs.rglob("*") if path.is_file()] == []
        assert (await desk.call("resize", image="person.png", width=8))["width"] == 8


async def test_a_picture_is_made_from_words(desk: Desk, engine: ImageEngine) -> None:
    facts = await desk.call("generate_image", prompt="A lighthouse", aspectRatio="2:3")
    assert (facts["width"], facts["height"], facts["format"]) == (1024, 1536, "png")
    assert facts["method"] == "gpt-image-1"
    assert facts["facts"] == {"usage": {"inputTokens": 50, "outputTokens": 1000, "totalTokens": 1050}}
    assert "lighthouse" not in str({**facts, "url": ""})
    with await desk.picture(facts) as picture:
        assert picture.size == (1024, 1536)


async def test_pictures_are_put_together_by_words(desk: Desk, engine: ImageEngine) -> None:
    facts = await desk.call(
        "edit_image",
        image="person.png",
        references=["coat.png"],
        roles=["person", "coat"],
        prompt="The person wears the coat",
        aspectRatio="1:1",
    )
    [asked] = engine.asked
    assert asked.fields["prompt"] == "Image 1 is: person. Image 2 is: coat.\n\nThe person wears the coat"
    assert [part.opened().convert("RGB").getpixel((5, 5)) for part in asked.images] == [(255, 0, 0), (0, 0, 255)]
    assert len(facts["source"]) == 2
    assert (facts["width"], facts["height"]) == (1024, 1024)


async def test_the_same_call_answers_from_the_library_and_another_variant_asks_again(
    desk: Desk, engine: ImageEngine
) -> None:
    first = await desk.call("generate_image", prompt="A boat")
    again = await desk.call("generate_image", prompt="A boat")
    assert (again["image"], again["cached"], len(engine.asked)) == (first["image"], True, 1)
    other = await desk.call("generate_image", prompt="A boat", variant=1)
    assert other["image"] != first["image"]
    assert len(engine.asked) == 2


async def test_a_refusal_reaches_the_agent_in_our_words(desk: Desk, engine: ImageEngine) -> None:
    said = error_body("prose of the engine", "moderation_blocked", "image_generation_user_error")
    engine.next.append(Misbehaviour(400, said))
    facts = await desk.refused("generate_image", prompt="Something else")
    assert facts["code"] == "CONTENT_REFUSED"
    assert facts["details"] == {"engineStatus": 400, "engineCode": "moderation_blocked"}
    assert "prose" not in str(facts)
    assert (await desk.call("generate_image", prompt="Something else"))["width"] == 1024


async def test_other_work_goes_on_in_the_only_slot_while_the_engine_is_asked(desk: Desk, engine: ImageEngine) -> None:
    engine.gate.clear()
    making = asyncio.create_task(desk.call("generate_image", prompt="A slow one"))
    await anyio.to_thread.run_sync(engine.wait_for)
    assert (await desk.call("resize", image="coat.png", width=7))["width"] == 7
    assert not making.done()
    engine.gate.set()
    assert (await making)["method"] == "gpt-image-1"


async def test_a_cancelled_job_ends_its_request_at_once(desk: Desk, engine: ImageEngine) -> None:
    engine.gate.clear()
    making = asyncio.create_task(desk.client.call_tool("generate_image", {"prompt": "Never mind"}))
    await anyio.to_thread.run_sync(engine.wait_for)
    running = sa.select(jobs.c.id).where(jobs.c.state == "running")
    job = await desk.room.database.read(lambda c: c.execute(running).scalar_one())
    await desk.call("cancel_job", job=job)
    await anyio.to_thread.run_sync(engine.wait_for, 0, 1)
    assert (await making).is_error
    engine.gate.set()
    assert (await desk.call("resize", image="coat.png", width=6))["width"] == 6


async def test_progress_says_what_is_waited_for(desk: Desk, engine: ImageEngine) -> None:
    engine.gate.clear()
    heard = asyncio.Event()
    told: list[float] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        told.append(progress)
        if message is not None and message.startswith("Waiting for the image engine"):
            heard.set()

    arguments = {"prompt": "A heron"}
    making = asyncio.create_task(desk.client.call_tool("generate_image", arguments, progress_callback=hear))
    await asyncio.wait_for(heard.wait(), 30)
    engine.gate.set()
    assert not (await making).is_error
    assert told == sorted(told)


async def test_a_pipeline_may_pass_through_the_engine(desk: Desk, engine: ImageEngine) -> None:
    steps = [
        {"tool": "rotate", "settings": {"angle": 90}},
        {"tool": "edit_image", "settings": {"prompt": "Let it snow"}},
        {"tool": "resize", "settings": {"width": 64}},
        {"tool": "convert", "settings": {"format": "webp"}},
    ]
    facts = await desk.call("run_pipeline", steps=steps, images=["person.png"])
    assert (facts["width"], facts["height"], facts["format"]) == (64, 96, "webp")
    assert engine.asked[0].images[0].opened().size == (40, 60)


async def test_a_workflow_lays_a_picture_over_a_backdrop_that_the_engine_made(desk: Desk, engine: ImageEngine) -> None:
    steps = [
        {"id": "back", "tool": "generate-image", "settings": {"prompt": "Backdrop: ${{ inputs.scene }}"}},
        {"id": "small", "tool": "resize", "settings": {"image": "${{ inputs.photo }}", "width": 200}},
        {
            "tool": "compose",
            "settings": {"image": "${{ steps.back.image }}", "overlay": "${{ steps.small.image }}", "x": 10, "y": 10},
        },
        {"tool": "export", "settings": {"targetFormat": "PNG"}},
    ]
    inputs = {"photo": {"type": "image"}, "scene": {"type": "text", "default": "a beach"}}
    await desk.call("save_workflow", name="Backdrop", steps=steps, inputs=inputs)
    given = {"photo": "coat.png", "scene": "the moon", "aspectRatio": "16:9", "imageSize": "1K"}
    facts = await desk.call("run_workflow", workflow="Backdrop", inputs=given)
    assert (facts["width"], facts["height"], facts["method"]) == (1024, 576, "gpt-image-1")
    assert "warnings" not in facts
    [asked] = engine.asked
    assert (asked.fields["prompt"], asked.fields["size"], asked.files) == ("Backdrop: the moon", "1536x1024", [])


async def test_a_batch_asks_for_each_picture_and_keeps_what_was_made(desk: Desk, engine: ImageEngine) -> None:
    engine.next.append(Misbehaviour(400, error_body("no", "moderation_blocked")))
    steps = [{"tool": "edit_image", "settings": {"prompt": "Make it rain"}}]
    facts = await desk.call("run_pipeline", steps=steps, images=["person.png", "coat.png"])
    assert (facts["total"], facts["failed"]) == (2, 1)
    assert sorted(item.get("error", {}).get("code", "") for item in facts["items"]) == ["", "CONTENT_REFUSED"]
    assert len(engine.asked) == 2


async def test_a_batch_asks_for_several_pictures_at_once_though_there_is_one_slot(
    desk: Desk, engine: ImageEngine
) -> None:
    engine.gate.clear()
    steps = [{"tool": "edit_image", "settings": {"prompt": "Make it hail"}}]
    images = ["person.png", "coat.png", "hat.png"]
    making = asyncio.create_task(desk.call("run_pipeline", steps=steps, images=images))
    await anyio.to_thread.run_sync(engine.wait_for, 3)
    assert (await desk.call("resize", image="hat.png", width=5))["width"] == 5
    engine.gate.set()
    facts = await making
    assert (facts["total"], facts["failed"], len(engine.asked)) == (3, 0, 3)


async def test_an_unknown_role_count_is_refused_before_the_engine_is_asked(desk: Desk, engine: ImageEngine) -> None:
    facts = await desk.refused("edit_image", image="person.png", prompt="x", roles=["person", "coat"])
    assert (facts["code"], facts["details"]["field"]) == ("INVALID_SETTINGS", "roles")
    assert engine.asked == []


async def test_the_tools_say_that_they_reach_outside(desk: Desk) -> None:
    listed = {tool.name: tool for tool in (await desk.client.list_tools()).tools}
    for name in ("generate_image", "edit_image"):
        hints = listed[name].annotations
        assert hints is not None
        assert (hints.open_world_hint, hints.read_only_hint, hints.destructive_hint) == (True, False, False)
