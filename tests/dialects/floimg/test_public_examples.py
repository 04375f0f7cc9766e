"""Every example of FloImg's public text, sent by a real client to a running server."""

import io
import re
from typing import Any

import httpx2
import pytest
from PIL import Image
from support.web_room import Web

pytestmark = pytest.mark.anyio

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z")
SCENE = {"prompt": "A serene mountain landscape", "width": 1200, "height": 630}


async def picture_at(url: str) -> Image.Image:
    """The picture behind an address, fetched as anybody may."""
    async with httpx2.AsyncClient() as anybody:
        answer = await anybody.get(url)
    assert answer.status_code == 200
    return Image.open(io.BytesIO(answer.content))


async def ended(web: Web, execution: str) -> None:
    await web.room.jobs.wait(web.ann, "job_" + execution.removeprefix("exec_"), 60)


async def test_a_run_that_is_waited_for_answers_with_its_picture(
    client: httpx2.AsyncClient, social: dict[str, Any]
) -> None:
    body = {"workflowId": social["id"], "parameters": SCENE, "async": False}
    answer = await client.post("/v1/workflows/execute", json=body)
    assert answer.status_code == 200
    said = answer.json()
    assert list(said) == ["executionId", "status", "output", "duration"]
    assert re.fullmatch(r"exec_[a-z2-7]{26}", said["executionId"])
    assert said["status"] == "completed"
    assert isinstance(said["duration"], int) and said["duration"] >= 0
    url = said["output"].pop("url")
    assert said["output"] == {"width": 1200, "height": 630, "format": "png"}
    picture = await picture_at(url)
    assert (picture.format, picture.size) == ("PNG", (1200, 630))


async def test_an_asynchronous_run_is_asked_for_until_it_is_completed(
    web: Web, client: httpx2.AsyncClient, social: dict[str, Any]
) -> None:
    body = {"workflowId": social["id"], "parameters": {**SCENE, "prompt": "Another landscape"}, "async": True}
    answer = await client.post("/v1/workflows/execute", json=body)
    assert answer.status_code == 202
    started = answer.json()
    assert started == {"executionId": started["executionId"], "status": "pending"}
    await ended(web, started["executionId"])
    said = (await client.get(f"/v1/workflows/executions/{started['executionId']}")).json()
    assert list(said) == ["executionId", "workflowId", "status", "startedAt", "completedAt", "output"]
    assert said["executionId"] == started["executionId"]
    assert (said["workflowId"], said["status"]) == (social["id"], "completed")
    assert TIME.fullmatch(said["startedAt"]) and TIME.fullmatch(said["completedAt"])
    assert said["startedAt"] <= said["completedAt"]
    assert (await picture_at(said["output"]["url"])).size == (1200, 630)


async def test_the_workflows_of_an_account_are_listed(client: httpx2.AsyncClient, social: dict[str, Any]) -> None:
    said = (await client.get("/v1/workflows", params={"limit": 20, "offset": 0})).json()
    assert list(said) == ["workflows", "total", "hasMore"]
    assert len(said["workflows"]) == 20 < said["total"]
    assert said["hasMore"] is True
    first = said["workflows"][0]
    assert first == social
    assert list(first) == ["id", "name", "projectId", "createdAt", "updatedAt"]
    assert re.fullmatch(r"wf_[a-z2-7]{26}", first["id"])
    assert re.fullmatch(r"proj_[a-z2-7]{26}", first["projectId"])
    assert TIME.fullmatch(first["createdAt"]) and TIME.fullmatch(first["updatedAt"])


async def test_a_workflow_is_told_with_its_parameters(client: httpx2.AsyncClient, social: dict[str, Any]) -> None:
    said = (await client.get(f"/v1/workflows/{social['id']}")).json()
    shown = {key: said[key] for key in ("id", "name", "description", "projectId", "createdAt")}
    assert shown == {
        "id": social["id"],
        "name": "Social Media Image",
        "description": "Generate OG images for blog posts",
        "projectId": social["projectId"],
        "createdAt": social["createdAt"],
    }
    prompt, width, _ = said["parameters"]
    assert prompt.items() >= {"name": "prompt", "type": "string", "required": True}.items()
    assert "default" not in prompt
    assert width.items() >= {"name": "width", "type": "number", "default": 1200}.items()
    assert "required" not in width


async def test_a_picture_is_uploaded_listed_told_and_deleted(web: Web, client: httpx2.AsyncClient) -> None:
    project = (await client.post("/v1/projects", json={"name": "Heroes"})).json()["id"]
    form = {"projectId": project, "name": "hero-image.jpg"}
    answer = await client.post("/v1/storage/upload", files={"file": ("photo.jpg", web.photo)}, data=form)
    assert answer.status_code == 201
    stored = answer.json()
    assert set(stored) == {"id", "url", "name", "size", "format", "width", "height", "createdAt"}
    assert re.fullmatch(r"img_[a-z2-7]{26}", stored["id"])
    with Image.open(io.BytesIO(web.photo)) as photo:
        size = dict(zip(("width", "height"), photo.size, strict=True))
    expected = {"name": "hero-image.jpg", "size": len(web.photo), "format": "jpeg", **size}
    assert {key: stored[key] for key in expected} == expected
    assert TIME.fullmatch(stored["createdAt"])
    assert (await picture_at(stored["url"])).size == (stored["width"], stored["height"])

    listed = (await client.get("/v1/storage/images", params={"projectId": project})).json()
    assert (listed["total"], listed["hasMore"]) == (1, False)
    assert list(listed["images"][0]) == ["id", "url", "name", "size", "createdAt"]
    assert listed["images"][0]["id"] == stored["id"]

    told = (await client.get(f"/v1/storage/images/{stored['id']}")).json()
    assert {**told, "url": ""} == {**stored, "url": ""}

    deleted = await client.delete(f"/v1/storage/images/{stored['id']}")
    assert (deleted.status_code, deleted.json()) == (200, {"deleted": True})
    assert (await client.get(f"/v1/storage/images/{stored['id']}")).status_code == 404
    assert (await client.get("/v1/storage/images", params={"projectId": project})).json()["total"] == 0


async def test_a_project_is_made_and_listed(client: httpx2.AsyncClient) -> None:
    body = {"name": "Marketing Assets", "description": "Images for marketing campaigns"}
    answer = await client.post("/v1/projects", json=body)
    assert answer.status_code == 201
    made = answer.json()
    assert made.items() >= body.items()
    assert re.fullmatch(r"proj_[a-z2-7]{26}", made["id"])
    listed = (await client.get("/v1/projects", params={"limit": 1})).json()
    assert listed["projects"] == [made]
    assert listed["hasMore"] is (listed["total"] > 1)
