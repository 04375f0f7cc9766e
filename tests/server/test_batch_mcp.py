"""run_pipeline over many images, as an agent sees it: any tool, progress by item, one ZIP, and files that are no pictures."""

import base64
import io
import json
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import skimage.data
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import ResourceLink, TextContent
from support.mcp_room import socket_transport

from darkroom.app import open_darkroom
from darkroom.config import Config
from darkroom.faces.mcp.replies import finished_reply
from darkroom.faces.mcp.server import build_server
from darkroom.jobs.record import ItemResult, Job, Result
from darkroom.links import Links
from darkroom.principal import LOCAL, Principal
from darkroom.serve import mcp_room
from darkroom_tools.errors import Cancelled

pytestmark = pytest.mark.anyio

SMALL = {"tool": "resize", "settings": {"width": 40}}


@pytest.fixture(scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    folder = tmp_path_factory.mktemp("photos")
    PIL.Image.fromarray(skimage.data.astronaut()).save(folder / "woman.jpg")
    PIL.Image.fromarray(skimage.data.coffee()).save(folder / "cup.png")
    async with open_darkroom(Config(data_dir=tmp_path_factory.mktemp("data"), workers=2)) as room:
        room.links.base = "http://127.0.0.1:1349"
        principal = Principal(LOCAL.id, (folder,))
        async with Client(socket_transport(build_server(mcp_room(room)), principal, folder)) as opened:
            yield opened


async def call(client: Client, tool: str, /, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    return result.structured_content or {}


async def refused(client: Client, tool: str, /, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    assert isinstance(result.content[0], TextContent)
    return result.content[0].text


async def test_a_batch_answers_with_a_zip_when_asked(client: Client, tmp_path: Path) -> None:
    images = ["woman.jpg", "missing.jpg", "cup.png"]
    steps = [SMALL, {"tool": "convert", "settings": {"format": "webp"}}]
    result = await client.call_tool("run_pipeline", {"steps": steps, "images": images, "zip": True})
    facts = result.structured_content
    assert facts is not None
    packed = facts["zip"]
    assert (packed["format"], packed["fileCount"], packed["failed"]) == ("zip", 2, 1)
    assert packed["url"].endswith(".zip")
    links = [block for block in result.content if isinstance(block, ResourceLink)]
    assert (links[0].uri, links[0].mime_type) == (f"darkroom://images/{packed['image']}", "application/zip")
    (content,) = (await client.read_resource(links[0].uri)).contents
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(content.blob))) as archive:  # type: ignore[union-attr]
        assert archive.namelist() == ["_report.json", "errors.json", "woman.webp", "cup.webp"]
        report = json.loads(archive.read("_report.json"))
        with PIL.Image.open(io.BytesIO(archive.read("cup.webp"))) as image:
            assert (image.format, image.width) == ("WEBP", 40)
    assert [line.get("error", {}).get("code") for line in report["items"]] == [None, "PATH_NOT_ALLOWED", None]
    polled = await call(client, "get_job", job=facts["job"])
    assert polled["zip"]["image"] == packed["image"]


async def test_one_image_comes_with_its_zip_too(client: Client) -> None:
    facts = await call(client, "run_pipeline", steps=[SMALL], images=["cup.png"], zip=True)
    assert facts["width"] == 40
    assert facts["zip"]["format"] == "zip"


async def test_a_file_that_is_no_picture_is_listed_exported_and_not_shown(client: Client, tmp_path: Path) -> None:
    packed = (await call(client, "run_pipeline", steps=[SMALL], images=["cup.png", "woman.jpg"], zip=True))["zip"]
    said = await refused(client, "view_image", image=packed["image"])
    assert said.startswith(f"UNSUPPORTED_FORMAT: {packed['image']} is a ZIP file, which cannot be shown.")
    assert "export_image" in said
    assert "UNSUPPORTED_FORMAT" in await refused(client, "resize", image=packed["image"], width=4)
    listed = await client.call_tool("list_images", {"limit": 1})
    assert isinstance(listed.content[0], TextContent)
    assert listed.content[0].text.startswith(f"{packed['image']} zip {packed['bytes']} B resize.zip")
    written = await call(client, "export_image", image=packed["image"], path="all")
    assert written["path"].endswith("all.zip")
    assert "is zip" in await refused(client, "export_image", image=packed["image"], path="all.jpg")


async def test_a_batch_tells_its_progress_by_items(client: Client) -> None:
    told: list[tuple[float, float | None, str | None]] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total, message))

    steps = [{"tool": "rotate", "settings": {"angle": 33}}, {"tool": "convert", "settings": {"format": "png"}}]
    arguments = {"steps": steps, "images": ["woman.jpg", "cup.png", "woman.jpg", "cup.png"]}
    await client.call_tool("run_pipeline", arguments, progress_callback=hear)
    assert {total for _, total, _ in told} == {4.0}
    assert [progress for progress, _, _ in told] == sorted({progress for progress, _, _ in told})
    assert all(message in ("Queued", "Done") or " of 4 done" in (message or "") for _, _, message in told)
    assert not any((message or "").count("left") > 1 for _, _, message in told)


async def test_a_batch_of_one_step_can_be_of_a_tool_that_only_reports(client: Client) -> None:
    facts = await call(client, "run_pipeline", steps=[{"tool": "info"}], images=["woman.jpg", "cup.png"])
    assert [(item["width"], item["format"]) for item in facts["items"]] == [(512, "jpeg"), (600, "png")]


async def test_a_batch_of_one_step_can_take_a_further_image(client: Client) -> None:
    steps = [{"tool": "compare", "settings": {"target": "cup.png"}}]
    facts = await call(client, "run_pipeline", steps=steps, images=["cup.png", "woman.jpg"])
    assert facts["items"][0]["facts"]["similarity"] == 100
    assert facts["items"][1]["facts"]["similarity"] < 50


async def test_a_batch_of_one_step_shares_its_answers_with_single_calls(client: Client) -> None:
    single = await call(client, "resize", image="cup.png", width=77)
    batch = await call(
        client,
        "run_pipeline",
        steps=[{"tool": "resize", "settings": {"width": 77}}],
        images=["cup.png", "woman.jpg"],
    )
    assert (batch["items"][0]["image"], batch["items"][0]["cached"]) == (single["image"], True)


async def test_a_saved_workflow_runs_over_a_batch(client: Client) -> None:
    steps = [{"tool": "resize", "settings": {"width": "${{ inputs.width }}"}}]
    saved = await call(client, "save_workflow", name="Batch", steps=steps)
    step = {"tool": saved["tool"], "settings": {"width": 31}}
    facts = await call(client, "run_pipeline", steps=[step], images=["woman.jpg", "cup.png"])
    assert [item["width"] for item in facts["items"]] == [31, 31]


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"tool": "compare"}, "steps[0].tool: 'compare' does not turn one image into one image"),
        ({"tool": "compare", "settings": {"target": "cup.png", "modus": "x"}}, "steps[0].settings.modus"),
        ({"tool": "info", "settings": {"deep": True}}, "steps[0].settings.deep"),
        ({"tool": "watermark-text", "settings": {"text": "${{ inputs.t }}"}}, "refers to input 't'"),
        ({"tool": "resise"}, "Did you mean 'resize'?"),
    ],
)
async def test_a_single_step_that_cannot_be_is_explained(client: Client, step: dict[str, Any], said: str) -> None:
    assert said in await refused(client, "run_pipeline", steps=[step], images=["woman.jpg", "cup.png"])


async def test_a_tool_answers_to_its_other_names_and_they_are_known_to_suggestions(client: Client) -> None:
    for name in ("adjust_colors", "adjust-colors"):
        assert (await call(client, name, image="cup.png", saturation=-100))["width"] == 600
    steps = [SMALL, {"tool": "adjust-colors", "settings": {"saturation": -100}}]
    assert (await call(client, "run_pipeline", steps=steps, images=["cup.png"]))["width"] == 40
    with pytest.raises(MCPError, match="Did you mean 'color_adjustments'"):
        await client.call_tool("adjust_colours", {})


async def test_what_a_cancelled_batch_had_finished_is_no_error() -> None:
    cut = ItemResult(error=Cancelled("The batch was cancelled before this image was done.").to_wire())
    result = Result((ItemResult(report={"width": 1}), cut, cut))
    job = Job("job_a", "ann", "info", "canceled", 0.3, "", 3, 1, result, None, 0.0, 0.0, 1.0)
    reply = finished_reply(job, {}, Links(b"k" * 32))
    assert not reply.is_error
    assert reply.structured_content is not None
    assert (reply.structured_content["state"], reply.structured_content["failed"]) == ("canceled", 2)


async def test_a_report_that_found_nothing_says_so() -> None:
    result = Result((ItemResult(report={"codes": [], "note": None}),))
    job = Job("job_a", "ann", "scan", "succeeded", 1.0, "", 1, 1, result, None, 0.0, 0.0, 1.0)
    assert finished_reply(job, {}, Links(b"k" * 32)).structured_content == {"codes": []}
