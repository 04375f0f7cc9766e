"""Runs over FloImg beside the examples: the workflows that come with Darkroom, pictures as parameters, and what fails."""

import asyncio
import base64
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from PIL import Image
from support.image_engine import ImageEngine, Misbehaviour, error_body
from support.web_room import Web

from darkroom.faces.rest import floimg
from darkroom.principal import Principal
from darkroom.workflows.document import WorkflowDocument

pytestmark = pytest.mark.anyio


async def workflow(client: httpx2.AsyncClient, name: str) -> str:
    rows = (await client.get("/v1/workflows", params={"limit": 100})).json()["workflows"]
    return next(row["id"] for row in rows if row["name"] == name)


async def upload(client: httpx2.AsyncClient, data: bytes, name: str = "photo.jpg") -> dict[str, Any]:
    answer = await client.post("/v1/storage/upload", files={"file": (name, data)})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def execute(client: httpx2.AsyncClient, identifier: str, **parameters: Any) -> httpx2.Response:
    return await client.post("/v1/workflows/execute", json={"workflowId": identifier, "parameters": parameters})


@pytest.fixture
async def web_ready(client: httpx2.AsyncClient) -> str:
    return await workflow(client, "Web-ready picture")


async def test_the_workflows_that_come_with_darkroom_are_listed_after_ones_own(
    web: Web, client: httpx2.AsyncClient, social: dict[str, Any]
) -> None:
    rows = (await client.get("/v1/workflows", params={"limit": 100})).json()["workflows"]
    names = [row["name"] for row in rows]
    assert names[0] == social["name"]
    assert names[1:] == [saved.name for saved in await web.room.catalog.gallery()]
    assert all(row["id"].startswith("wf_") and len(row["id"]) == 29 for row in rows)
    assert len({row["id"] for row in rows}) == len(rows)
    second = (await client.get("/v1/workflows", params={"limit": 7, "offset": len(rows) - 7})).json()
    assert second == {"workflows": rows[-7:], "total": len(rows), "hasMore": False}


@pytest.mark.parametrize("form", ["id", "url", "data"])
async def test_a_picture_is_a_parameter(web: Web, client: httpx2.AsyncClient, web_ready: str, form: str) -> None:
    stored = await upload(client, web.photo)
    forms = {**stored, "data": f"data:image/jpeg;base64,{base64.b64encode(web.photo).decode()}"}
    answer = await execute(client, web_ready, image=forms[form], width="800", format="webp", quality=50)
    assert answer.status_code == 200, answer.text
    output = answer.json()["output"]
    picture = Image.open(io.BytesIO((await client.get(output["url"])).content))
    assert (picture.format, output["format"]) == ("WEBP", "webp")
    assert picture.size == (output["width"], output["height"]) == (min(800, stored["width"]), picture.height)


async def test_a_list_of_pictures_is_an_array(web: Web, client: httpx2.AsyncClient) -> None:
    sheet = await workflow(client, "Contact sheet")
    parameters = (await client.get(f"/v1/workflows/{sheet}")).json()["parameters"]
    assert parameters[0].items() >= {"name": "images", "type": "array", "items": {"type": "string"}}.items()
    assert parameters[0]["required"] is True
    stored = await upload(client, web.photo)
    answer = await execute(client, sheet, images=[stored["id"]] * 4, title="Four", columns="2")
    assert answer.status_code == 200, answer.text
    assert answer.json()["output"]["width"] == 2400


async def test_a_parameter_says_what_it_may_be(client: httpx2.AsyncClient, web_ready: str) -> None:
    told = (await client.get(f"/v1/workflows/{web_ready}")).json()
    image, width, kind, quality = told["parameters"]
    assert image.items() >= {"name": "image", "type": "string", "required": True, "title": "Picture"}.items()
    assert width.items() >= {"type": "string", "enum": ["800", "1200", "1600", "2400"], "default": "1600"}.items()
    assert kind["enum"] == ["auto", "webp", "avif", "jpeg"]
    assert quality.items() >= {"type": "number", "min": 40, "max": 95, "default": 80}.items()
    swap = (await client.get(f"/v1/workflows/{await workflow(client, 'Fashion Swap')}")).json()
    keep = next(each for each in swap["parameters"] if each["name"] == "keep")
    assert keep["type"] == "array"
    assert keep["items"]["type"] == "string" and len(keep["items"]["enum"]) > 1


@pytest.mark.parametrize(
    ("parameters", "field", "says"),
    [
        ({"quality": 20}, "quality", "40"),
        ({"width": "801"}, "width", "800"),
        ({"qualty": 50}, "qualty", "quality"),
    ],
)
async def test_a_wrong_parameter_is_an_invalid_request(
    web: Web, client: httpx2.AsyncClient, web_ready: str, parameters: dict[str, Any], field: str, says: str
) -> None:
    stored = await upload(client, web.photo)
    answer = await execute(client, web_ready, image=stored["id"], **parameters)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == "invalid_request"
    assert error["details"]["field"] == field
    assert error["details"]["code"] == "INVALID_SETTINGS"
    assert says in error["message"]


@asynccontextmanager
async def saved(web: Web, name: str, tool: str, **settings: Any) -> AsyncIterator[str]:
    """Id of a workflow of ann's that is one tool."""
    document = {"name": name, "components": [{"type": tool, "settings": settings}]}
    made = await web.room.workflows.save(web.ann, WorkflowDocument.model_validate(document))
    yield made.id
    await web.room.workflows.delete(web.ann, made.id)


async def test_a_file_that_is_no_picture_has_its_own_format(web: Web, client: httpx2.AsyncClient) -> None:
    stored = await upload(client, web.photo)
    answer = await execute(client, await workflow(client, "Page to PDF"), image=stored["id"])
    assert answer.status_code == 200, answer.text
    output = answer.json()["output"]
    assert output["format"] == "pdf"
    assert (await client.get(output["url"])).content.startswith(b"%PDF")


async def test_an_archive_has_no_size(web: Web, client: httpx2.AsyncClient) -> None:
    stored = await upload(client, web.photo)
    async with saved(web, "Halves", "split", image="${{ inputs.image }}", columns=2, rows=1) as halves:
        output = (await execute(client, halves, image=stored["id"])).json()["output"]
    assert (output["format"], output["width"], output["height"]) == ("zip", None, None)


async def test_a_report_is_the_output_of_a_workflow_that_makes_no_picture(web: Web, client: httpx2.AsyncClient) -> None:
    stored = await upload(client, web.photo)
    async with saved(web, "Facts", "info", image="${{ inputs.image }}") as facts:
        answer = await execute(client, facts, image=stored["id"])
    assert answer.status_code == 200, answer.text
    output = answer.json()["output"]
    assert list(output) == ["report"]
    assert output["report"]["width"] == stored["width"]


async def test_several_results_are_all_told(web: Web, client: httpx2.AsyncClient) -> None:
    photo = (await upload(client, web.photo))["id"]
    async with (
        saved(web, "Book", "image-to-pdf", images="${{ inputs.images }}") as book,
        saved(web, "Pages", "pdf-to-image", pdf="${{ inputs.pdf }}") as pages,
    ):
        bound = (await execute(client, book, images=[photo, photo])).json()["output"]["url"]
        said = (await execute(client, pages, pdf=bound)).json()
    assert len(said["outputs"]) == 2
    assert said["output"] == said["outputs"][0]
    asked = (await client.get(f"/v1/workflows/executions/{said['executionId']}")).json()
    assert [each["width"] for each in asked["outputs"]] == [each["width"] for each in said["outputs"]]


async def test_a_run_that_outlives_the_limit_is_pending(
    web: Web,
    client: httpx2.AsyncClient,
    engine: ImageEngine,
    social: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(floimg, "SYNC_SECONDS", 0.01)
    engine.gate.clear()
    try:
        answer = await execute(client, social["id"], prompt="A slow one")
        await asyncio.to_thread(engine.wait_for)
        said = answer.json()
        assert (answer.status_code, said["status"]) == (202, "pending")
        asked = (await client.get(f"/v1/workflows/executions/{said['executionId']}")).json()
        assert asked["status"] == "running"
        assert "output" not in asked and "completedAt" not in asked
    finally:
        engine.gate.set()
    job = await web.room.jobs.wait(web.ann, "job_" + said["executionId"].removeprefix("exec_"), 60)
    assert job.state == "succeeded"


async def test_a_run_that_fails_says_why_now_and_later(
    client: httpx2.AsyncClient, engine: ImageEngine, social: dict[str, Any]
) -> None:
    engine.next.append(Misbehaviour(400, error_body("refused", "moderation_blocked")))
    answer = await execute(client, social["id"], prompt="What no engine draws")
    assert answer.status_code == 500
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "details"}
    assert error["code"] == "workflow_failed"
    assert error["details"]["code"] == "CONTENT_REFUSED"
    asked = (await client.get(f"/v1/workflows/executions/{error['details']['executionId']}")).json()
    assert asked["status"] == "failed"
    assert asked["error"] == {"code": "CONTENT_REFUSED", "message": error["message"]}
    assert "output" not in asked


async def test_a_damaged_picture_fails_the_run(web: Web, client: httpx2.AsyncClient, web_ready: str) -> None:
    half = web.photo[: len(web.photo) // 2]
    answer = await execute(client, web_ready, image=f"data:image/jpeg;base64,{base64.b64encode(half).decode()}")
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "workflow_failed"


async def test_a_cancelled_run_is_failed(
    web: Web, client: httpx2.AsyncClient, engine: ImageEngine, social: dict[str, Any]
) -> None:
    engine.gate.clear()
    try:
        body = {"workflowId": social["id"], "parameters": {"prompt": "To be stopped"}, "async": True}
        started = (await client.post("/v1/workflows/execute", json=body)).json()["executionId"]
        await web.room.jobs.cancel(web.ann, "job_" + started.removeprefix("exec_"))
    finally:
        engine.gate.set()
    asked = (await client.get(f"/v1/workflows/executions/{started}")).json()
    assert (asked["status"], asked["error"]["code"]) == ("failed", "CANCELLED")


async def test_an_idempotency_key_makes_one_run(
    web: Web, client: httpx2.AsyncClient, engine: ImageEngine, social: dict[str, Any]
) -> None:
    before = len(engine.asked)
    body = {"workflowId": social["id"], "parameters": {"prompt": "Only once"}}
    key = {"idempotency-key": "once-4711"}
    answers = await asyncio.gather(
        *(client.post("/v1/workflows/execute", json=body, headers=key) for _ in range(5)),
    )
    assert [answer.status_code for answer in answers] == [200] * 5
    assert len({answer.json()["executionId"] for answer in answers}) == 1
    assert len(engine.asked) == before + 1
    other = {**body, "parameters": {"prompt": "Something else"}}
    refused = await client.post("/v1/workflows/execute", json=other, headers=key)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")


async def test_the_same_call_again_is_a_run_of_its_own(
    client: httpx2.AsyncClient, engine: ImageEngine, social: dict[str, Any]
) -> None:
    first = (await execute(client, social["id"], prompt="Twice")).json()
    drawn = len(engine.asked)
    second = (await execute(client, social["id"], prompt="Twice")).json()
    assert first["executionId"] != second["executionId"]
    assert len(engine.asked) == drawn
    assert second["status"] == "completed"


async def test_an_execution_of_a_plain_tool_is_none(web: Web, client: httpx2.AsyncClient) -> None:
    stored = await upload(client, web.photo)
    tool = web.room.catalog.find(web.ann, "resize")
    job = await web.room.jobs.accept(web.ann, tool, {"image": stored["id"], "width": 33})
    answer = await client.get(f"/v1/workflows/executions/exec_{job.id.removeprefix('job_')}")
    assert answer.status_code == 404


@pytest.mark.parametrize("what", ["execution", "workflow", "image", "project"])
async def test_what_is_somebody_elses_is_as_if_it_were_not(
    web: Web, client: httpx2.AsyncClient, social: dict[str, Any], what: str
) -> None:
    ran = (await execute(client, social["id"], prompt="Mine")).json()["executionId"]
    stored = await upload(client, web.photo)
    foreign, missing = {
        "execution": (ran, "exec_" + "a" * 26),
        "workflow": (social["id"], "wf_" + "a" * 26),
        "image": (stored["id"], "img_" + "a" * 26),
        "project": (social["projectId"], "proj_" + "a" * 26),
    }[what]

    async def ask(ben: httpx2.AsyncClient, identifier: str) -> list[httpx2.Response]:
        if what == "execution":
            return [await ben.get(f"/v1/workflows/executions/{identifier}")]
        if what == "workflow":
            return [await ben.get(f"/v1/workflows/{identifier}"), await execute(ben, identifier, prompt="x")]
        if what == "image":
            path = f"/v1/storage/images/{identifier}"
            ready = await workflow(ben, "Web-ready picture")
            return [await ben.get(path), await ben.delete(path), await execute(ben, ready, image=identifier)]
        file = {"file": ("photo.jpg", web.photo)}
        return [await ben.post("/v1/storage/upload", files=file, data={"projectId": identifier})]

    def told(answers: list[httpx2.Response], identifier: str) -> list[Any]:
        shown = [(answer.status_code, answer.json()["error"]) for answer in answers]
        for _, error in shown:
            error["details"].pop("requestId")
        return [str(each).replace(identifier, "…") for each in shown]

    async with web.client(web.other) as ben:
        theirs, none = await ask(ben, foreign), await ask(ben, missing)
    assert {answer.status_code for answer in [*theirs, *none]} == {404}
    assert told(theirs, foreign) == told(none, missing)


async def test_the_address_of_somebody_elses_picture_is_no_parameter(web: Web, client: httpx2.AsyncClient) -> None:
    stored = await upload(client, web.photo)
    async with web.client(web.other) as ben:
        answer = await execute(ben, await workflow(ben, "Web-ready picture"), image=stored["url"])
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


async def test_lists_hold_nothing_of_others(web: Web, client: httpx2.AsyncClient, social: dict[str, Any]) -> None:
    await upload(client, web.photo)
    async with web.client(web.other) as ben:
        names = [row["name"] for row in (await ben.get("/v1/workflows", params={"limit": 100})).json()["workflows"]]
        assert social["name"] not in names
        by_project = {"projectId": social["projectId"]}
        assert (await ben.get("/v1/workflows", params=by_project)).json()["total"] == 0
        assert (await ben.get("/v1/storage/images")).json() == {"images": [], "total": 0, "hasMore": False}
        assert (await ben.get("/v1/projects")).json() == {"projects": [], "total": 0, "hasMore": False}


async def test_a_result_is_in_storage(web: Web, client: httpx2.AsyncClient, social: dict[str, Any]) -> None:
    said = (await execute(client, social["id"], prompt="To be kept", width=64, height=64)).json()
    newest = (await client.get("/v1/storage/images", params={"limit": 1})).json()["images"][0]
    assert newest["id"] in said["output"]["url"]
    record = await web.room.library.get(Principal(web.ann.id), newest["id"])
    assert (record.width, record.height) == (64, 64)
