"""Jobs as an agent and its client's program see them: terms in `_meta`, the list, judgements, pins, undo."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import PIL.Image
import pytest
import skimage.data
from mcp import Client
from mcp_types import CallToolResult, TextContent
from support.mcp_room import Bench, open_bench, png, socket_transport

from darkroom.app import open_darkroom
from darkroom.config import Config
from darkroom.faces.mcp.replies import pending_reply
from darkroom.faces.mcp.room import Pace
from darkroom.faces.mcp.server import build_server
from darkroom.faces.mcp.terms import JOB_KEY, PREFIX
from darkroom.jobs.record import ItemResult, Job
from darkroom.links import Links
from darkroom.principal import LOCAL, Principal
from darkroom.serve import mcp_room

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    folder = tmp_path_factory.mktemp("photos")
    PIL.Image.fromarray(skimage.data.coffee()).resize((150, 100)).save(folder / "cup.png")
    PIL.Image.fromarray(skimage.data.astronaut()).resize((100, 100)).save(folder / "woman.jpg")
    async with open_darkroom(Config(data_dir=tmp_path_factory.mktemp("data"), workers=2)) as room:
        principal = Principal(LOCAL.id, (folder,))
        async with Client(socket_transport(build_server(mcp_room(room)), principal, folder)) as opened:
            yield opened


def meta(**terms: Any) -> Any:
    return {PREFIX + name.replace("_", "-"): value for name, value in terms.items()}


async def call(client: Client, tool: str, /, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    return result.structured_content or {}


def job_of(result: CallToolResult) -> str:
    assert result.meta
    return str(result.meta[JOB_KEY])


def text_of(result: CallToolResult) -> str:
    [block] = [block for block in result.content if isinstance(block, TextContent)]
    return block.text


async def test_one_key_is_one_job_also_for_two_calls_at_once_and_long_after(client: Client) -> None:
    arguments = {"image": "cup.png", "width": 50}
    terms = meta(idempotency_key="order 1")
    calls = [client.call_tool("resize", arguments, meta=terms) for _ in range(4)]
    first, *others = await asyncio.gather(*calls)
    assert {job_of(result) for result in others} == {job_of(first)}
    again = await client.call_tool("resize", arguments, meta=terms)
    assert (job_of(again), again.structured_content) == (job_of(first), first.structured_content)
    refused = await client.call_tool("resize", {**arguments, "width": 51}, meta=terms)
    assert refused.is_error
    assert text_of(refused).startswith("CONFLICT: ")


async def test_the_steps_of_a_pipeline_belong_to_what_a_key_stands_for(client: Client) -> None:
    def steps(width: int) -> dict[str, Any]:
        chain = [{"tool": "resize", "settings": {"width": width}}, {"tool": "convert", "settings": {"format": "webp"}}]
        return {"steps": chain, "images": ["cup.png", "woman.jpg"]}

    terms = meta(idempotency_key="pipeline")
    first = await client.call_tool("run_pipeline", steps(40), meta=terms)
    again = await client.call_tool("run_pipeline", steps(40), meta=terms)
    assert job_of(again) == job_of(first)
    assert again.structured_content == first.structured_content
    other = await client.call_tool("run_pipeline", steps(41), meta=terms)
    assert other.is_error


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ({"priority": 99}, "priority is 99"),
        ({"priority": "high"}, "priority should be a number"),
        ({"priority": True}, "priority should be a number"),
        ({"labels": ["a"]}, "labels should be an object"),
        ({"labels": {"a": {}}}, "A label is a name and a text"),
        ({"deadline_seconds": -1}, "deadline is -1 seconds"),
        ({"idempotency_key": 5}, "idempotency-key should be a text"),
        ({"keep": "yes"}, "keep should be true or false"),
        ({"wait_seconds": 1000}, "0 to 600"),
        ({"webhooks": "https://example.com/hook"}, "webhooks should be a list"),
        ({"webhooks": [{"url": 5}]}, "webhooks should be a list of"),
        ({"webhooks": ["ftp://example.com/hook"]}, "URL_NOT_ALLOWED"),
        ({"prioritty": 1}, "known are io.darkroom/idempotency-key"),
    ],
)
async def test_terms_that_cannot_be_are_refused_in_words(client: Client, terms: dict[str, Any], said: str) -> None:
    result = await client.call_tool("resize", {"image": "cup.png", "width": 20}, meta=meta(**terms))
    assert result.is_error
    assert said in text_of(result)
    assert "Corrected call" not in text_of(result)


async def test_jobs_are_listed_by_what_a_caller_remembers_of_them(client: Client) -> None:
    terms = meta(labels={"order": "4711"}, keep=True, priority=2)
    made = await client.call_tool("resize", {"image": "woman.jpg", "width": 30}, meta=terms)
    await call(client, "run_pipeline", steps=[{"tool": "rotate", "settings": {"angle": 90}}], images=["cup.png"])
    assert made.structured_content
    listed = await client.call_tool("list_jobs", {"labels": {"order": "4711"}})
    assert listed.structured_content
    [item] = listed.structured_content["items"]
    assert item["job"] == job_of(made)
    assert item["images"] == [made.structured_content["image"]]
    assert (item["tool"], item["state"], item["labels"], item["priority"]) == (
        "resize", "succeeded", {"order": "4711"}, 2,
    )  # fmt: skip
    assert datetime.fromisoformat(item["createdAt"]) <= datetime.now(UTC)
    assert text_of(listed).startswith(f"{item['job']} resize succeeded img_")
    again = await call(client, "get_job", job=item["job"])
    assert again["image"] == made.structured_content["image"]
    today = datetime.now(UTC).date()
    assert (await call(client, "list_jobs", since=str(today + timedelta(days=1))))["items"] == []
    assert (await call(client, "list_jobs", until=str(today), tool="resize"))["items"]
    assert {i["tool"] for i in (await call(client, "list_jobs", tool="rotate"))["items"]} == {"rotate"}
    page = await call(client, "list_jobs", limit=1)
    older = await call(client, "list_jobs", limit=1, before=page["next"])
    assert older["items"][0]["job"] != page["items"][0]["job"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"state": "finished"}, "'queued', 'running', 'succeeded', 'failed' or 'canceled'"),
        ({"since": "yesterday"}, "should be a date such as 2026-11-22"),
        ({"tool": "resise"}, "NOT_FOUND"),
        ({"before": "nonsense"}, "cursor"),
    ],
)
async def test_a_filter_that_cannot_be_is_explained(client: Client, arguments: dict[str, Any], said: str) -> None:
    result = await client.call_tool("list_jobs", arguments)
    assert result.is_error
    assert said in text_of(result)


async def test_jobs_of_a_saved_workflow_are_found_by_its_name_and_name_its_version(client: Client) -> None:
    steps = [{"tool": "resize", "settings": {"width": "${{ inputs.width }}"}}]
    saved = await call(client, "save_workflow", name="Found again", steps=steps)
    made = await client.call_tool(saved["tool"], {"image": "cup.png", "width": 33})
    for name in ("Found again", saved["tool"]):
        [item] = (await call(client, "list_jobs", tool=name))["items"]
        assert (item["job"], item["workflow"][:3], item["version"][:4]) == (job_of(made), "wf_", "wfv_")


async def test_a_result_is_liked_and_the_judgement_found_and_taken_back(client: Client) -> None:
    made = await client.call_tool("resize", {"image": "cup.png", "width": 61})
    assert made.structured_content
    job, image = job_of(made), made.structured_content["image"]
    said = await call(client, "rate_job", job=job, like=False, note="Too small", expected=[image])
    assert (said["like"], said["note"], said["expected"]) == (False, "Too small", [image])
    assert [i["job"] for i in (await call(client, "list_jobs", liked=False))["items"]] == [job]
    await call(client, "rate_job", job=job, like=None)
    assert (await call(client, "list_jobs", liked=False))["items"] == []
    nothing = await client.call_tool("rate_job", {"job": job})
    assert nothing.is_error and "like, note, expected" in text_of(nothing)
    stranger = await client.call_tool("rate_job", {"job": "job_" + "a" * 26, "like": True})
    assert text_of(stranger).startswith("NOT_FOUND: ")


async def test_jobs_and_images_are_pinned_and_jobs_deleted_without_their_images(client: Client) -> None:
    made = await client.call_tool("resize", {"image": "cup.png", "width": 62})
    assert made.structured_content
    job, image = job_of(made), made.structured_content["image"]
    assert (await call(client, "rate_job", job=image, pin=True)) == {"image": image, "pinned": True}
    assert (await client.call_tool("rate_job", {"job": image, "like": True})).is_error
    assert (await call(client, "rate_job", job=job, pin=True))["pinned"] is True
    assert (await call(client, "rate_job", job=job, delete=True)) == {"deleted": job}
    assert (await client.call_tool("get_job", {"job": job})).is_error
    assert image in [item["image"] for item in (await call(client, "list_images"))["items"]]


async def test_undo_is_to_go_on_with_the_source(client: Client) -> None:
    first = await call(client, "resize", image="cup.png", width=70)
    second = await call(client, "rotate", image=first["image"], angle=90)
    assert second["source"] == first["image"]
    instead = await call(client, "rotate", image=second["source"], angle=180)
    assert (instead["source"], instead["width"]) == (first["image"], 70)


async def test_a_caller_says_how_long_it_can_wait(tmp_path: Path) -> None:
    async with open_bench(tmp_path, pace=Pace(wait=60)) as bench:
        release = anyio.Event()

        async def work(image: str, emit: Any) -> ItemResult:
            await release.wait()
            return await bench.jobs.resize_nothing(image, emit)

        bench.jobs.work = work
        source = await bench.store.add(png(4, 3))
        async with bench_client(bench) as client, asyncio.timeout(30):
            asked = await client.call_tool("resize", {"image": source, "width": 2}, meta=meta(wait_seconds=0.01))
            assert asked.structured_content
            job = asked.structured_content["job"]
            polled = await client.call_tool("get_job", {"job": job, "wait": 45}, meta=meta(wait_seconds=0.01))
        release.set()
        assert polled.structured_content
        assert polled.structured_content["state"] in ("queued", "running")


def bench_client(bench: Bench) -> Client:
    principal = Principal(LOCAL.id, (bench.folder,))
    return Client(socket_transport(build_server(bench.room), principal, bench.folder))


async def test_a_batch_under_way_is_told_item_by_item() -> None:
    parts = {n: ItemResult(report={"width": n}) for n in (0, 2, 5)}
    parts[3] = ItemResult(error={"code": "INVALID_IMAGE", "error": "Broken.", "details": {}})
    job = Job(
        "job_a", "ann", "info", "running", 0.4, "Tile 3 of 8", 9, 4, None, None, 0.0, 0.0, None,
        parts=dict(sorted(parts.items())),
    )  # fmt: skip
    facts = pending_reply(job, {}, Links(b"k" * 32)).structured_content
    assert facts is not None
    assert (facts["state"], facts["done"], facts["total"], facts["part"]) == ("running", 4, 9, [3, 8])
    assert [item["item"] for item in facts["items"]] == [1, 3, 4, 6]
    assert facts["items"][2]["error"]["code"] == "INVALID_IMAGE"
    rest = pending_reply(job, {}, Links(b"k" * 32), offset=3).structured_content
    assert rest is not None
    assert [item["item"] for item in rest["items"]] == [4, 6]
