"""check_workflow and the dry run of run_pipeline, as an agent meets them in a real room."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import skimage.data
import sqlalchemy as sa
from mcp import Client
from mcp_types import TextContent
from support.mcp_room import socket_transport

from darkroom.app import Darkroom, open_darkroom
from darkroom.config import Config
from darkroom.faces.mcp.server import build_server
from darkroom.principal import LOCAL, Principal
from darkroom.serve import mcp_room
from darkroom.store.schema import images, jobs
from darkroom.workflows.gallery import gallery

pytestmark = pytest.mark.anyio

WEB = [{"tool": "resize", "settings": {"width": 200}}, {"tool": "convert", "settings": {"format": "webp"}}]


@pytest.fixture(scope="module")
async def room(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Darkroom]:
    async with open_darkroom(Config(data_dir=tmp_path_factory.mktemp("data"), workers=2)) as opened:
        opened.links.base = "http://127.0.0.1:1349"
        yield opened


@pytest.fixture(scope="module")
async def client(room: Darkroom, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    folder = tmp_path_factory.mktemp("photos")
    PIL.Image.fromarray(skimage.data.astronaut()).save(folder / "woman.jpg")
    PIL.Image.fromarray(skimage.data.coffee()).save(folder / "cup.png")
    PIL.Image.fromarray(skimage.data.rocket()).save(folder / "rocket.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more of it")
    principal = Principal(LOCAL.id, (folder,))
    async with Client(socket_transport(build_server(mcp_room(room)), principal, folder)) as opened:
        yield opened


async def answer(client: Client, tool: str, /, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    return result.structured_content or {}


async def check(client: Client, /, **arguments: Any) -> dict[str, Any]:
    return await answer(client, "check_workflow", **arguments)


async def text_of(client: Client, /, **arguments: Any) -> str:
    result = await client.call_tool("check_workflow", arguments)
    assert isinstance(result.content[0], TextContent)
    return result.content[0].text


async def rows(room: Darkroom) -> tuple[int, int, int]:
    """Jobs, images and stored files."""
    counts = [sa.select(sa.func.count()).select_from(table) for table in (jobs, images)]
    found = await room.database.read(lambda c: [c.execute(each).scalar_one() for each in counts])
    return found[0], found[1], len([path for path in room.where.blobs.rglob("*") if path.is_file()])


async def test_a_dry_run_tells_size_format_bytes_time_and_credits_and_the_run_agrees(client: Client) -> None:
    told = await check(client, steps=WEB, image="woman.jpg")
    assert (told["ok"], told["exact"], told["source"]) == (True, True, "woman.jpg")
    assert (told["width"], told["height"], told["format"]) == (200, 200, "webp")
    assert (told["credits"], told["free"]) == (0, True)
    assert 0 < told["seconds"][0] < told["seconds"][1]
    made = await answer(client, "run_pipeline", steps=WEB, images=["woman.jpg"])
    assert all(told[name] == made[name] for name in ("width", "height", "format"))
    assert told["estimatedBytes"][0] <= made["bytes"] <= told["estimatedBytes"][1]


async def test_a_dry_run_leaves_no_job_no_image_and_no_file(client: Client, room: Darkroom) -> None:
    before = await rows(room)
    told = await answer(client, "run_pipeline", steps=WEB, images=["rocket.png", "broken.jpg"], dryRun=True)
    assert told["ok"] is False
    assert await rows(room) == before


async def test_an_answer_that_is_known_is_free_and_told_exactly(client: Client) -> None:
    steps = [{"tool": "resize", "settings": {"width": 123}}]
    made = await answer(client, "run_pipeline", steps=steps, images=["cup.png"])
    told = await answer(client, "run_pipeline", steps=steps, images=["cup.png"], dryRun=True)
    assert told["cached"] is True
    assert (told["image"], told["bytes"], told["seconds"]) == (made["image"], made["bytes"], [0.0, 0.0])
    by_handle = await answer(client, "run_pipeline", steps=steps, images=[made["source"]], dryRun=True)
    assert by_handle["image"] == made["image"]


async def test_every_problem_of_a_document_comes_at_once_with_its_path_and_what_would_be_right(client: Client) -> None:
    steps = [
        {"tool": "resiz", "settings": {"width": 3}},
        {"tool": "convert", "settings": {"format": "wepb", "quality": 800}},
        {"tool": "border", "settings": {"colour": "red"}},
    ]
    told = await check(client, steps=steps)
    assert told["ok"] is False
    found = {problem["path"]: problem for problem in told["problems"]}
    assert list(found) == [
        "steps[0].tool",
        "steps[1].settings.format",
        "steps[1].settings.quality",
        "steps[2].settings.colour",
    ]
    assert found["steps[0].tool"]["nearest"] == "resize"
    assert "webp" in found["steps[1].settings.format"]["allowed"]
    assert all(problem["code"] == "INVALID_SETTINGS" and problem["text"] for problem in found.values())
    pipeline = await answer(client, "run_pipeline", steps=steps, images=["cup.png"], dryRun=True)
    assert [problem["path"] for problem in pipeline["problems"]] == list(found)
    text = await text_of(client, components=[{"type": "resiz"}])
    assert "INVALID_SETTINGS components[0].type: 'resiz' is no tool. Did you mean 'resize'?" in text


async def test_a_document_that_is_none_is_an_answer_and_wrong_arguments_are_errors(client: Client) -> None:
    told = await check(client, steps=[{"settings": {}}])
    assert (told["ok"], told["problems"][0]["path"]) == (False, "steps[0].tool")
    assert (await text_of(client)).startswith("INVALID_SETTINGS: Give workflow")
    assert (await text_of(client, workflow="Nobody's")).startswith("NOT_FOUND: There is no workflow")
    assert (await text_of(client, steps=WEB, workflow="Both")).startswith("INVALID_SETTINGS")


async def test_without_a_picture_a_photo_of_twelve_megapixels_is_assumed_and_said(client: Client) -> None:
    told = await check(client, steps=[{"tool": "rotate", "settings": {"angle": 90}}])
    assert (told["width"], told["height"], told["exact"]) == (3000, 4000, False)
    assert told["assumed"] == "4000×3000 jpeg"
    assert "4000×3000" in told["note"]


async def test_a_web_address_is_not_fetched_but_assumed(client: Client) -> None:
    told = await answer(
        client, "run_pipeline", steps=WEB, images=["https://example.invalid/a.png", "cup.png"], dryRun=True
    )
    first, second = told["items"]
    assert (first["assumed"], first["exact"]) == ("4000×3000 jpeg", False)
    assert (second["width"], second["height"], second["exact"]) == (200, 133, True)
    assert told["ok"] is True


async def test_values_of_inputs_are_checked_in_the_words_of_the_caller(client: Client) -> None:
    steps = [{"tool": "resize", "settings": {"width": "${{ inputs.wide }}", "height": "${{ inputs.high }}"}}]
    inputs = {"wide": {"default": 80}, "high": {"default": 60}}
    told = await check(client, steps=steps, inputs=inputs, values={"wide": 90, "image": "cup.png"})
    assert (told["width"], told["height"]) == (90, 60)
    told = await check(client, steps=steps, inputs=inputs, values={"wide": -4, "high": "tall", "deep": 1})
    assert sorted(problem["path"] for problem in told["problems"]) == ["inputs.deep", "inputs.high", "inputs.wide"]


async def test_a_saved_workflow_is_checked_by_name_and_with_what_run_workflow_takes(client: Client) -> None:
    steps = [{"tool": "resize", "settings": {"width": "${{ inputs.wide }}"}}]
    await answer(client, "save_workflow", name="Small", steps=steps, inputs={"wide": {"default": 80}})
    told = await check(client, workflow="Small", inputs={"image": "cup.png", "wide": 60})
    assert (told["workflow"], told["width"], told["height"]) == ("Small", 60, 40)
    made = await answer(client, "run_workflow", workflow="Small", inputs={"image": "cup.png", "wide": 60})
    assert (made["width"], made["height"]) == (60, 40)
    batch = await check(client, workflow="Small", images=["cup.png", "woman.jpg"])
    assert [(item["width"], item["height"]) for item in batch["items"]] == [(80, 53), (80, 80)]


async def test_a_model_and_an_engine_that_are_not_here_are_problems_with_what_to_do(client: Client) -> None:
    steps = [{"tool": "remove-background", "settings": {"model": "u2net"}}]
    (problem,) = (await check(client, steps=steps, image="woman.jpg"))["problems"]
    assert (problem["path"], problem["code"]) == ("steps[0]", "MODEL_NOT_INSTALLED")
    assert problem["command"] == "darkroom models pull u2net"
    (problem,) = (await check(client, steps=[{"tool": "generate-image", "settings": {"prompt": "a hill"}}]))["problems"]
    assert (problem["path"], problem["code"]) == ("steps[0]", "ENGINE_NOT_CONFIGURED")
    assert "DARKROOM_IMAGES_URL" in problem["text"]


async def test_what_a_caller_may_not_have_meant_is_warned_of(client: Client) -> None:
    steps = [{"tool": "resize", "settings": {"width": 1200}}, {"tool": "convert", "settings": {"format": "jpeg"}}]
    told = await check(client, steps=steps, image="cup.png")
    assert told["ok"] is True
    assert [text.split(" ")[0] for text in told["warnings"]] == ["Transparent", "resize"]


async def test_two_hundred_images_come_as_a_summary_with_the_first_and_every_failing_one(client: Client) -> None:
    handle = (await answer(client, "run_pipeline", steps=WEB, images=["woman.jpg"]))["source"]
    wanted = [handle] * 198 + ["missing.jpg", "cup.png"]
    told = await answer(client, "run_pipeline", steps=WEB, images=wanted, dryRun=True)
    assert (told["ok"], told["total"], told["failing"], told["cached"]) == (False, 200, 1, 198)
    assert [item["item"] for item in told["items"]] == [*range(1, 21), 199]
    assert told["items"][-1]["problems"][0]["code"] == "PATH_NOT_ALLOWED"
    assert told["items"][-1]["source"] == "missing.jpg"


async def test_a_dry_run_of_one_step_can_be_of_a_report_or_a_further_image(client: Client) -> None:
    told = await answer(client, "run_pipeline", steps=[{"tool": "info"}], images=["cup.png"], dryRun=True)
    assert (told["makes"], told["exact"], "cached" in told) == ("a report", True, False)
    await answer(client, "run_pipeline", steps=[{"tool": "info"}], images=["cup.png"])
    told = await answer(client, "run_pipeline", steps=[{"tool": "info"}], images=["cup.png"], dryRun=True)
    assert (told["makes"], told["exact"], told["cached"]) == ("a report", True, True)
    step = {"tool": "compare", "settings": {"target": "rocket.png"}}
    told = await answer(client, "run_pipeline", steps=[step], images=["cup.png"], dryRun=True)
    made = await answer(client, "run_pipeline", steps=[step], images=["cup.png"])
    assert (told["width"], told["height"]) == (made["width"], made["height"])


async def test_a_price_is_told_before_it_is_paid_and_a_short_account_is_a_problem(tmp_path: Path) -> None:
    config = Config(data_dir=tmp_path / "data", workers=1, credits=True, free_credits=2)
    photo = tmp_path / "photo.png"
    PIL.Image.new("RGB", (60, 40), "teal").save(photo)
    async with open_darkroom(config) as room:
        principal = Principal(LOCAL.id, (tmp_path,))
        async with Client(socket_transport(build_server(mcp_room(room)), principal, tmp_path)) as client:
            step = {"tool": "resize", "settings": {"width": 30}}
            told = await answer(client, "run_pipeline", steps=[step], images=["photo.png"], dryRun=True)
            assert told["ok"] is True
            assert told["credits"] > 0
            assert "free" not in told
            told = await answer(client, "run_pipeline", steps=[step], images=["photo.png"] * 50, dryRun=True)
            assert (told["ok"], told["problems"][0]["code"]) == (False, "INSUFFICIENT_CREDITS")
            assert (await room.credits.balance(LOCAL.organisation)).total == 2


async def test_every_workflow_of_the_gallery_can_be_checked_without_a_picture(client: Client) -> None:
    for slug, saved in gallery().items():
        told = await check(client, workflow=f"gallery/{slug}")
        codes = {problem["code"] for problem in told.get("problems", [])}
        assert codes <= {"ENGINE_NOT_CONFIGURED", "INVALID_SETTINGS"}, (slug, told)
        required = saved.tool.input_schema().get("required", []) if saved.tool is not None else []
        texts = set(required) - {image.name for image in saved.tool.inputs} if saved.tool is not None else set()
        assert "INVALID_SETTINGS" not in codes or texts, (slug, told)


async def test_what_a_check_takes_as_a_batch_a_run_takes_too(client: Client) -> None:
    for inputs in ({"images": ["cup.png", "rocket.png"]}, {"image": ["cup.png", "rocket.png"]}):
        told = await check(client, workflow="gallery/black-and-white", inputs=inputs)
        made = await answer(client, "run_workflow", workflow="gallery/black-and-white", inputs=inputs)
        assert (told["ok"], told["total"], made["total"], made["failed"]) == (True, 2, 2, 0)
    lists = {"image": ["cup.png", "rocket.png"], "logo": ["cup.png", "rocket.png"]}
    for tool in ("check_workflow", "run_workflow"):
        refused = await client.call_tool(tool, {"workflow": "gallery/watermarked-proof", "inputs": lists})
        assert refused.is_error
        assert isinstance(refused.content[0], TextContent)
        assert "are lists, but a batch goes over one image" in refused.content[0].text
