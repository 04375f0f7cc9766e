"""Workflows and errors, as the public text shows them, over a real server."""

import re
from datetime import datetime
from typing import Any
from uuid import UUID

import httpx2
import pytest
from support.web_room import Web

from darkroom.store.ids import as_uuid
from darkroom_prompts.gallery import load_gallery

from .conftest import Versions

pytestmark = pytest.mark.anyio


def told(answer: httpx2.Response) -> dict[str, Any]:
    """What an error says, without when."""
    body = answer.json()
    assert set(body) == {"timestamp", "status", "error", "message", "path"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", body.pop("timestamp"))
    assert body["status"] == answer.status_code
    assert answer.headers["x-request-id"]
    return body


def check_workflow(workflow: dict[str, Any]) -> None:
    """The table of fields of the public text."""
    assert set(workflow) == {"id", "version", "name", "date", "author", "workflowComponents", "executionPrice"}
    UUID(workflow["id"])
    UUID(workflow["version"])
    assert workflow["date"].endswith("Z")
    datetime.fromisoformat(workflow["date"])
    assert set(workflow["author"]) == {"id", "firstName", "lastName", "email"}
    assert isinstance(workflow["executionPrice"], int)
    parts = workflow["workflowComponents"]
    assert all(set(part) == {"type", "label", "settings"} for part in parts)
    assert (parts[0]["type"], parts[-1]["type"]) == ("input", "export")
    assert "targetFormat" in parts[-1]["settings"]
    assert [part["type"] for part in parts].count("input") == [part["type"] for part in parts].count("export") == 1


async def test_the_list_of_the_public_text_can_be_printed_as_it_shows(web: Web, removal: Versions) -> None:
    organization = "local"
    async with httpx2.AsyncClient() as anybody:
        response = await anybody.get(
            f"{web.url}/v1/workflow",
            params={"organization": organization, "limit": 50, "offset": 0},
            headers={"Authorization": f"Bearer {web.user}"},
        )
    data = response.json()
    printed = [f"{workflow['name']}: {workflow['id']}" for workflow in data["entries"]]
    assert response.status_code == 200
    assert f"Background Removal: {as_uuid(removal.new.id)}" == printed[0]
    assert set(data) == {"entries", "total"}
    assert data["total"] == len(load_gallery()) + 1
    assert len(data["entries"]) == min(data["total"], 50)
    for workflow in data["entries"]:
        check_workflow(workflow)


async def test_the_details_of_the_public_text_can_be_printed_as_it_shows(web: Web, removal: Versions) -> None:
    async with httpx2.AsyncClient() as anybody:
        response = await anybody.get(
            f"{web.url}/v1/workflow/{as_uuid(removal.new.id)}",
            params={"organization": "local"},
            headers={"Authorization": f"Bearer {web.user}"},
        )
    workflow = response.json()
    check_workflow(workflow)
    assert workflow["name"] == "Background Removal"
    assert workflow["version"] == as_uuid(removal.new.version)
    assert workflow["author"] == {"id": web.ann.id, "firstName": "Ann", "lastName": None, "email": None}
    assert workflow["workflowComponents"][-1] == {
        "type": "export",
        "label": "export",
        "settings": {"targetFormat": "PNG", "targetMode": "RGBA"},
    }
    asked = workflow["workflowComponents"][0]["settings"]["settings"]
    assert [(each["name"], each["type"], each["default"]) for each in asked] == [("width", "number", 40)]


async def test_an_unknown_workflow_is_the_error_of_the_public_text(ann: httpx2.AsyncClient) -> None:
    answer = await ann.get("/v1/workflow/invalid-id", params={"organization": "local"})
    assert told(answer) == {"status": 404, "error": "Not Found", "message": "", "path": "/v1/workflow/invalid-id"}


async def test_a_workflow_without_access_is_not_told_from_one_that_is_not_there(
    ben: httpx2.AsyncClient, removal: Versions
) -> None:
    foreign = as_uuid(removal.new.id)
    missing = "00000000-0000-4000-8000-000000000000"
    answers = [told(await ben.get(f"/v1/workflow/{each}")) for each in (foreign, missing)]
    assert [answer.pop("path") for answer in answers] == [f"/v1/workflow/{foreign}", f"/v1/workflow/{missing}"]
    assert answers[0] == answers[1]
    listed = (await ben.get("/v1/workflow")).json()
    assert foreign not in {workflow["id"] for workflow in listed["entries"]}


async def test_the_path_of_an_error_is_as_the_client_sent_it(ann: httpx2.AsyncClient) -> None:
    for path in ("/v1/workflow/a%20b", "/v1/workflow/invalid-id/", "/v1/workflow/%C3%BC"):
        assert told(await ann.get(path, params={"organization": "local"}))["path"] == path


@pytest.mark.parametrize("organization", ["elsewhere", "00000000-0000-4000-8000-000000000000", "team_aaaa"])
async def test_another_organization_is_not_found_everywhere(
    web: Web, ann: httpx2.AsyncClient, removal: Versions, organization: str
) -> None:
    some = "00000000-0000-4000-8000-000000000000"
    paths = (
        *("/v1/workflow", f"/v1/workflow/{as_uuid(removal.new.id)}", "/v1/workflow/execution"),
        *(f"/v1/workflow/execution/{some}", f"/v1/workflow/execution/{some}/status", f"/v1/image/{'0' * 64}/a.png"),
        *("/v1/organization/balance", "/v1/company/balance"),
    )
    for path in paths:
        assert told(await ann.get(path, params={"organization": organization}))["status"] == 404, path
    assert (await ann.get(f"/v1/organization/{organization}")).status_code == 404
    sent = {"file": ("a.jpg", web.photo, "image/jpeg")}
    for path in ("/upload", "/v1/upload", f"/v1/workflow/execution/create?workflow={as_uuid(removal.new.id)}"):
        join = "&" if "?" in path else "?"
        assert (await ann.post(f"{path}{join}organization={organization}", files=sent)).status_code == 404, path
    assert (await web.room.files.page(web.ann))[1] == 0


async def test_errors_beside_not_found_say_what_to_do(ann: httpx2.AsyncClient, web: Web) -> None:
    wrong = told(await ann.get("/v1/workflow", params={"limit": "many"}))
    assert (wrong["status"], wrong["error"]) == (400, "Bad Request")
    assert "limit" in wrong["message"]
    unknown = told(await ann.get("/v1/workflow", params={"organisation": "local"}))
    assert "organization" in unknown["message"]
    method = await ann.delete("/v1/workflow")
    assert told(method)["error"] == "Method Not Allowed"
    assert "GET" in method.headers["allow"]
    async with web.client() as nobody:
        refused = await nobody.get("/v1/workflow")
        assert told(refused)["error"] == "Unauthorized"
        assert refused.headers["www-authenticate"].startswith("Bearer")
        assert told(await nobody.get("/v1/upload"))["path"] == "/v1/upload"
        forged = await nobody.get("/v1/workflow", headers={"authorization": "Bearer nonsense"})
        assert told(forged)["status"] == 401


async def test_pages_follow_one_another(ann: httpx2.AsyncClient, removal: Versions) -> None:
    whole = (await ann.get("/v1/workflow", params={"limit": 1000})).json()
    first = (await ann.get("/v1/workflow", params={"limit": 3})).json()
    second = (await ann.get("/v1/workflow", params={"limit": 3, "offset": 3})).json()
    beyond = (await ann.get("/v1/workflow", params={"offset": 10_000})).json()
    assert first["entries"] + second["entries"] == whole["entries"][:6]
    assert first["total"] == second["total"] == whole["total"] == beyond["total"]
    assert beyond["entries"] == []
    for wrong in ({"limit": 0}, {"offset": -1}, {"offset": 10**30}):
        assert (await ann.get("/v1/workflow", params=wrong)).status_code == 400


async def test_an_older_version_is_shown_as_it_was(ann: httpx2.AsyncClient, removal: Versions) -> None:
    path = f"/v1/workflow/{as_uuid(removal.new.id)}"
    old = (await ann.get(path, params={"version": as_uuid(removal.old.version)})).json()
    check_workflow(old)
    assert old["version"] == as_uuid(removal.old.version)
    assert [part["type"] for part in old["workflowComponents"]] == ["input", "export"]
    assert (await ann.get(path, params={"version": as_uuid(removal.new.version)})).json()["version"] != old["version"]
    assert (await ann.get(path, params={"version": "00000000-0000-4000-8000-000000000000"})).status_code == 404
    listed = (await ann.get("/v1/workflow")).json()["entries"]
    other = next(workflow for workflow in listed if workflow["name"] != "Background Removal")
    assert (await ann.get(f"/v1/workflow/{other['id']}", params={"version": old["version"]})).status_code == 404


async def test_a_workflow_of_the_gallery_keeps_its_ids_and_tells_its_further_pictures(ann: httpx2.AsyncClient) -> None:
    facts = load_gallery()["before-after"]
    shown = (await ann.get(f"/v1/workflow/{facts['id']}")).json()
    check_workflow(shown)
    assert (shown["id"], shown["name"], shown["author"]["firstName"]) == (facts["id"], facts["name"], "Darkroom")
    assert (await ann.get(f"/v1/workflow/{facts['id']}", params={"version": shown["version"]})).json() == shown
    asked = shown["workflowComponents"][0]["settings"]
    assert [picture["name"] for picture in asked["images"]] == ["after"]
    assert {"beforeLabel", "direction"} <= {each["name"] for each in asked["settings"]}


async def test_a_slash_at_the_end_changes_nothing(ann: httpx2.AsyncClient, removal: Versions) -> None:
    for path in ("/v1/workflow", f"/v1/workflow/{as_uuid(removal.new.id)}", "/v1/workflow/execution", "/health"):
        with_slash, without = await ann.get(f"{path}/"), await ann.get(path)
        assert with_slash.status_code == without.status_code == 200
        assert with_slash.json() == without.json()


async def test_no_address_takes_another_s_place(ann: httpx2.AsyncClient) -> None:
    executions = (await ann.get("/v1/workflow/execution")).json()
    assert set(executions) == {"entries", "total"}
    assert isinstance((await ann.get("/v1/organization/balance")).json(), int)
    assert told(await ann.get("/v1/workflow/execution/create"))["status"] == 404
    assert told(await ann.get(f"/image/{'0' * 64}/photo.png"))["status"] == 404
    nextry = await ann.get("/image/generation_result/preview.webp")
    assert "detail" in nextry.json()
    assert "path" not in nextry.json()


async def test_health_is_public(web: Web) -> None:
    async with web.client() as nobody:
        for path in ("/health", "/v1/health"):
            answer = await nobody.get(path)
            assert (answer.status_code, answer.json()) == (200, {"status": "UP"})
