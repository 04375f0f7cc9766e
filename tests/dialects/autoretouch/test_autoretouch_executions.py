"""The whole life of an execution, from the upload to the bytes of its result."""

import base64
import hashlib
import io
import json
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import httpx2
import PIL.Image
import pytest
import sqlalchemy as sa
from httpx_sse import aconnect_sse
from support.web_room import Web, web_room

from darkroom.faces.rest.autoretouch import executions
from darkroom.jobs.terms import Terms
from darkroom.store.ids import as_uuid, from_uuid
from darkroom.store.schema import webhook_deliveries
from darkroom.workflows.document import WorkflowDocument
from darkroom_prompts.gallery import load_gallery
from darkroom_tools.errors import ProcessingFailed

from .conftest import REMOVAL, Versions, Worker

pytestmark = pytest.mark.anyio

BASE = "/v1/workflow/execution"
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
FIELDS = {
    *("id", "workflow", "workflowVersion", "workflowName", "organizationId", "status", "userId", "createdAt"),
    *("startedAt", "finishedAt", "inputFileName", "inputContentHash", "resultContentHash", "resultContentType"),
    *("resultFileName", "resultPath", "labels", "chargedCredits"),
}


def picture(shade: int, kind: str = "PNG") -> bytes:
    made = io.BytesIO()
    PIL.Image.new("RGB", (64, 48), (shade, 100, 50)).save(made, kind)
    return made.getvalue()


def opened(data: bytes) -> PIL.Image.Image:
    return PIL.Image.open(io.BytesIO(data))


async def uploaded(client: httpx2.AsyncClient, data: bytes, name: str = "photo.png", path: str = "/v1/upload") -> str:
    answer = await client.post(path, params={"organization": "local"}, files={"file": (name, data, "image/png")})
    assert answer.status_code == 201, answer.text
    assert answer.headers["content-type"].startswith("text/plain")
    return answer.text


async def created(client: httpx2.AsyncClient, workflow: str, **body: Any) -> str:
    answer = await client.post(f"{BASE}/create", params={"workflow": workflow}, json=body)
    assert answer.status_code == 201, answer.text
    assert answer.headers["content-type"].startswith("text/plain")
    UUID(answer.text)
    return answer.text


async def run(client: httpx2.AsyncClient, removal: Versions, shade: int, **body: Any) -> tuple[str, bytes]:
    """An execution and its result."""
    content = await uploaded(client, picture(shade))
    image = {"name": "photo.png", "contentHash": content, "contentType": "image/png"}
    execution = await created(client, as_uuid(removal.new.id), image=image, **body)
    result = await client.get(f"{BASE}/{execution}/result/default")
    assert result.status_code == 200, result.text
    return execution, result.content


async def test_an_execution_lives_from_upload_to_result(web: Web, ann: httpx2.AsyncClient, removal: Versions) -> None:
    photo = web.photo
    content = await uploaded(ann, photo, "chelsea.jpg")
    assert content == hashlib.sha256(photo).hexdigest()
    assert (await ann.head("/upload", params={"contentHash": content})).status_code == 200
    image = {"name": "My cat.jpg", "contentHash": content, "contentType": "image/jpeg"}
    labels = {"sku": "4711", "urgent": True, "count": 3}
    execution = await created(ann, as_uuid(removal.new.id), image=image, labels=labels, settings={"width": 32})
    result = await ann.get(f"{BASE}/{execution}/result/default", params={"organization": "local"})
    assert result.headers["content-type"] == "image/png"
    assert (opened(result.content).format, opened(result.content).mode, opened(result.content).width) == (
        *("PNG", "RGBA"),
        32,
    )
    told = (await ann.get(f"{BASE}/{execution}")).json()
    assert set(told) == FIELDS
    assert (told["id"], told["status"], told["userId"]) == (execution, "COMPLETED", web.ann.id)
    assert (told["workflow"], told["workflowVersion"]) == (as_uuid(removal.new.id), as_uuid(removal.new.version))
    assert (told["workflowName"], told["inputFileName"]) == ("Background Removal", "My cat.jpg")
    assert (told["inputContentHash"], told["labels"]) == (content, {"sku": "4711", "urgent": "true", "count": "3"})
    assert told["resultContentHash"] == hashlib.sha256(result.content).hexdigest()
    assert told["resultContentType"] == "image/png"
    assert told["chargedCredits"] == 0
    assert told["organizationId"] == (await ann.get("/v1/organization")).json()["entries"][0]["id"]
    times = [datetime.fromisoformat(told[name]) for name in ("createdAt", "startedAt", "finishedAt")]
    assert times == sorted(times)
    assert (told["resultFileName"].startswith("My cat-"), told["resultFileName"].endswith(".png")) == (True, True)
    assert told["resultPath"].startswith(f"/image/{told['resultContentHash']}/My%20cat-")
    for prefix in ("", "/v1"):
        assert (await ann.get(f"{prefix}{told['resultPath']}?organization=local")).content == result.content
        assert (await ann.get(f"{prefix}/image/{content}/any%20name.jpg")).content == photo


async def test_what_one_user_made_is_for_nobody_else(
    web: Web, ann: httpx2.AsyncClient, ben: httpx2.AsyncClient, removal: Versions
) -> None:
    execution, _ = await run(ann, removal, 1)
    told = (await ann.get(f"{BASE}/{execution}")).json()
    async with web.client(web.admin) as admin, web.client() as nobody:
        for other, status in ((ben, 404), (admin, 404), (nobody, 401)):
            for path in ("", "/status", "/result/default"):
                assert (await other.get(f"{BASE}/{execution}{path}")).status_code == status
            for path, body in (("/retry", {}), ("/feedback", {"thumbsUp": True})):
                assert (await other.post(f"{BASE}/{execution}{path}", json=body)).status_code == status
            assert (await other.get(told["resultPath"])).status_code == status
            answer = await other.head("/upload", params={"contentHash": told["inputContentHash"]})
            assert answer.status_code == status
    listed = (await ben.get(BASE)).json()
    assert execution not in {entry["id"] for entry in listed["entries"]}
    image = {"name": "a.png", "contentHash": told["inputContentHash"]}
    workflow = load_gallery()["story-frame"]["id"]
    answer = await ben.post(f"{BASE}/create", params={"workflow": workflow}, json={"image": image})
    assert answer.status_code == 404


async def test_a_form_carries_the_file_and_labels_in_either_spelling(
    ann: httpx2.AsyncClient, removal: Versions
) -> None:
    data = picture(2)
    answer = await ann.post(
        f"{BASE}/create?workflow={as_uuid(removal.new.id)}&label[shop]=north&labels[lane]=2",
        files={"file": ("form.png", data, "image/png")},
        data={"label[order]": "7", "labels[size]": "XL", "settings": json.dumps({"width": "24"})},
    )
    assert answer.status_code == 201, answer.text
    result = await ann.get(f"{BASE}/{answer.text}/result/default")
    assert opened(result.content).width == 24
    told = (await ann.get(f"{BASE}/{answer.text}")).json()
    assert told["labels"] == {"shop": "north", "lane": "2", "order": "7", "size": "XL"}
    assert (told["inputFileName"], told["inputContentHash"]) == ("form.png", hashlib.sha256(data).hexdigest())
    assert (await ann.head("/v1/upload", params={"contentHash": told["inputContentHash"]})).status_code == 200


async def test_a_version_that_is_named_runs(ann: httpx2.AsyncClient, removal: Versions) -> None:
    content = await uploaded(ann, picture(3))
    params = {"workflow": as_uuid(removal.new.id), "version": as_uuid(removal.old.version)}
    answer = await ann.post(f"{BASE}/create", params=params, json={"image": {"name": "a", "contentHash": content}})
    result = await ann.get(f"{BASE}/{answer.text}/result/default")
    assert opened(result.content).size == (64, 48)
    assert (await ann.get(f"{BASE}/{answer.text}")).json()["workflowVersion"] == params["version"]
    wrong = {**params, "version": "00000000-0000-4000-8000-000000000000"}
    answer = await ann.post(f"{BASE}/create", params=wrong, json={"image": {"name": "a", "contentHash": content}})
    assert answer.status_code == 404


async def test_settings_may_stand_under_the_component_that_shows_them(
    ann: httpx2.AsyncClient, removal: Versions
) -> None:
    _, result = await run(ann, removal, 18, settings={"input": {"width": 20}})
    assert opened(result).width == 20
    refused = {
        "settings": {"export": {"targetFormat": "JPEG"}},
        "image": {"contentHash": await uploaded(ann, picture(18))},
    }
    answer = await ann.post(f"{BASE}/create", params={"workflow": as_uuid(removal.new.id)}, json=refused)
    assert (answer.status_code, "export" in answer.json()["message"]) == (400, True)


async def test_further_pictures_come_by_hash_or_as_files(ann: httpx2.AsyncClient) -> None:
    workflow = load_gallery()["before-after"]["id"]
    first, second = await uploaded(ann, picture(4)), await uploaded(ann, picture(5))
    by_hash = await created(ann, workflow, image={"name": "a.png", "contentHash": first}, settings={"after": second})
    files = {"file": ("a.png", picture(4), "image/png"), "after": ("b.png", picture(5), "image/png")}
    answer = await ann.post(f"{BASE}/create", params={"workflow": workflow}, files=files)
    assert answer.status_code == 201, answer.text
    results = [await ann.get(f"{BASE}/{each}/result/default") for each in (by_hash, answer.text)]
    assert [result.status_code for result in results] == [200, 200]
    assert results[0].content == results[1].content
    missing = await ann.post(
        f"{BASE}/create", params={"workflow": workflow}, json={"image": {"name": "a.png", "contentHash": first}}
    )
    assert missing.status_code == 400
    assert "after" in missing.json()["message"]


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({}, "image"),
        ({"image": {"name": "a", "contentHash": "abc"}}, "contentHash"),
        ({"image": {"contentHash": "0" * 64}, "labls": {}}, "labels"),
        ({"settings": {"widht": 5}}, "width"),
        ({"settings": {"width": 100_000}}, "width"),
        ({"labels": {"": "x"}}, "label"),
        ({"webhooks": ["ftp://example.com"]}, "https"),
    ],
)
async def test_a_call_that_cannot_be_says_why(
    ann: httpx2.AsyncClient, removal: Versions, body: dict[str, Any], word: str
) -> None:
    content = await uploaded(ann, picture(6))
    if "image" not in body and body:
        body = {"image": {"name": "a.png", "contentHash": content}, **body}
    answer = await ann.post(f"{BASE}/create", params={"workflow": as_uuid(removal.new.id)}, json=body)
    assert answer.status_code == 400, answer.text
    assert word in answer.json()["message"]


async def test_a_form_that_cannot_be_leaves_nothing_behind(
    web: Web, ann: httpx2.AsyncClient, removal: Versions
) -> None:
    file = {"file": ("new.png", picture(77), "image/png")}
    digest = hashlib.sha256(picture(77)).hexdigest()
    for workflow, data, status in (
        (as_uuid(removal.new.id), {"lable[a]": "b"}, 400),
        (as_uuid(removal.new.id), {"settings": "{"}, 400),
        ("00000000-0000-4000-8000-000000000000", {}, 404),
    ):
        answer = await ann.post(f"{BASE}/create", params={"workflow": workflow}, files=file, data=data)
        assert answer.status_code == status, answer.text
        assert not web.room.blobs.exists(digest)
    no_picture = await ann.post("/upload", files={"file": ("a.png", b"words", "image/png")})
    assert (no_picture.status_code, no_picture.json()["error"]) == (415, "Unsupported Media Type")
    assert (await ann.post("/upload", files={"other": ("a.png", picture(77), "image/png")})).status_code == 400


async def test_the_same_key_is_the_same_execution(ann: httpx2.AsyncClient, removal: Versions) -> None:
    content = await uploaded(ann, picture(8))
    body = {"image": {"name": "a.png", "contentHash": content}}
    params, headers = {"workflow": as_uuid(removal.new.id)}, {"idempotency-key": "one"}
    ids = {(await ann.post(f"{BASE}/create", params=params, json=body, headers=headers)).text for _ in range(3)}
    assert len(ids) == 1
    assert await created(ann, as_uuid(removal.new.id), **body) not in ids


async def test_executions_are_listed_newest_first_and_by_workflow(ann: httpx2.AsyncClient, removal: Versions) -> None:
    ids = [(await run(ann, removal, shade))[0] for shade in (20, 21, 22)]
    listed = (
        await ann.get(BASE, params={"workflow": as_uuid(removal.new.id), "limit": 3, "organization": "local"})
    ).json()
    assert [entry["id"] for entry in listed["entries"]] == ids[::-1]
    assert all(set(entry) == FIELDS for entry in listed["entries"])
    assert listed["entries"][0] == (await ann.get(f"{BASE}/{ids[-1]}")).json()
    rest = (await ann.get(BASE, params={"workflow": as_uuid(removal.new.id), "offset": 1, "limit": 1})).json()
    assert (rest["entries"], rest["total"]) == ([listed["entries"][1]], listed["total"])
    other = (await ann.get(BASE, params={"workflow": load_gallery()["passport-sheet"]["id"]})).json()
    assert other == {"entries": [], "total": 0}
    assert (await ann.get(BASE, params={"workflow": "nonsense"})).status_code == 404


async def test_a_run_of_a_plain_tool_is_no_execution(web: Web, ann: httpx2.AsyncClient) -> None:
    content = await uploaded(ann, picture(9))
    record = await web.room.files.by_digest(web.ann, content)
    resize = web.room.catalog.find(web.ann, "resize")
    job = await web.room.jobs.accept(web.ann, resize, {"image": record.id, "width": 9}, terms=Terms(kept=True))
    assert (await ann.get(f"{BASE}/{as_uuid(job.id)}")).status_code == 404
    listed = (await ann.get(BASE, params={"limit": 100})).json()["entries"]
    assert as_uuid(job.id) not in {entry["id"] for entry in listed}


async def test_the_status_is_told_as_it_changes_also_to_who_comes_back(
    web: Web, ann: httpx2.AsyncClient, removal: Versions, worker: Worker
) -> None:
    worker.gate.clear()
    content = await uploaded(ann, picture(10))
    image = {"name": "a.png", "contentHash": content}
    execution = await created(ann, as_uuid(removal.new.id), image=image)
    headers = {"authorization": f"Bearer {web.user}"}
    path = f"{BASE}/{execution}/status?organization=local"
    async with httpx.AsyncClient(base_url=web.url, headers=headers, timeout=60) as reader:
        async with aconnect_sse(reader, "GET", path) as dropped:
            async for event in dropped.aiter_sse():
                if event.data == "ACTIVE":
                    break
                assert event.data == "CREATED"
        async with aconnect_sse(reader, "GET", path) as resumed:
            said = []
            async for event in resumed.aiter_sse():
                said.append((event.event, event.data))
                worker.gate.set()
        assert said == [("message", "ACTIVE"), ("message", "COMPLETED")]
        async with aconnect_sse(reader, "GET", path) as late:
            assert late.response.headers["content-type"].startswith("text/event-stream")
            assert [event.data async for event in late.aiter_sse()] == ["COMPLETED"]


async def test_a_failed_execution_is_tried_again_under_its_id(
    web: Web, ann: httpx2.AsyncClient, removal: Versions, worker: Worker
) -> None:
    worker.error = ProcessingFailed("The picture broke on the way.")
    content = await uploaded(ann, picture(11))
    execution = await created(
        ann, as_uuid(removal.new.id), image={"name": "a.png", "contentHash": content}, labels={"n": "1"}
    )
    result = await ann.get(f"{BASE}/{execution}/result/default")
    assert (result.status_code, result.json()["message"]) == (422, "The picture broke on the way.")
    told = (await ann.get(f"{BASE}/{execution}")).json()
    assert set(told) == {*FIELDS, "error"}
    assert (told["status"], told["error"]) == ("FAILED", "The picture broke on the way.")
    assert (told["resultPath"], told["inputContentHash"]) == (None, content)
    worker.error = None
    worker.gate.clear()
    again = await ann.post(f"{BASE}/{execution}/retry", params={"organization": "local"}, json={})
    assert (again.status_code, again.text) == (201, execution)
    assert (await ann.get(f"{BASE}/{execution}")).json()["status"] in ("CREATED", "ACTIVE")
    assert (await ann.post(f"{BASE}/{execution}/retry")).status_code == 409
    worker.gate.set()
    assert (await ann.get(f"{BASE}/{execution}/result/default")).status_code == 200
    told = (await ann.get(f"{BASE}/{execution}")).json()
    assert (told["id"], told["status"], told["labels"]) == (execution, "COMPLETED", {"n": "1"})
    listed = (await ann.get(BASE, params={"limit": 100})).json()
    mine = [entry for entry in listed["entries"] if entry["inputContentHash"] == content]
    assert mine == [told]
    refused = await ann.post(f"{BASE}/{execution}/retry")
    assert (refused.status_code, refused.json()["error"]) == (409, "Conflict")


async def test_a_cancelled_execution_failed_and_has_no_result(
    web: Web, ann: httpx2.AsyncClient, removal: Versions, worker: Worker
) -> None:
    worker.gate.clear()
    content = await uploaded(ann, picture(12))
    execution = await created(ann, as_uuid(removal.new.id), image={"name": "a.png", "contentHash": content})
    await web.room.jobs.cancel(web.ann, from_uuid(execution, "job") or "")
    assert (await ann.get(f"{BASE}/{execution}")).json()["status"] == "FAILED"
    assert (await ann.get(f"{BASE}/{execution}/result/default")).status_code == 409


async def test_who_waits_too_long_for_a_result_is_asked_to_come_back(
    ann: httpx2.AsyncClient, removal: Versions, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executions, "RESULT_SECONDS", 0.01)
    worker.gate.clear()
    content = await uploaded(ann, picture(13))
    execution = await created(ann, as_uuid(removal.new.id), image={"name": "a.png", "contentHash": content})
    answer = await ann.get(f"{BASE}/{execution}/result/default")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    worker.gate.set()


async def test_whoever_is_named_hears_of_the_end(web: Web, ann: httpx2.AsyncClient, removal: Versions) -> None:
    hooks = ["https://hooks.example.com/plain", {"url": "https://hooks.example.com/signed", "secret": SECRET}]
    execution, _ = await run(ann, removal, 19, webhooks=hooks)
    wanted = sa.select(webhook_deliveries.c.url, webhook_deliveries.c.secret)
    mine = wanted.where(webhook_deliveries.c.job == from_uuid(execution, "job"))
    rows = await web.room.database.read(lambda connection: connection.execute(mine).all())
    assert {row.url: row.secret for row in rows} == {
        "https://hooks.example.com/plain": None,
        "https://hooks.example.com/signed": SECRET,
    }


async def test_feedback_is_kept_with_the_pictures_that_were_expected(
    web: Web, ann: httpx2.AsyncClient, ben: httpx2.AsyncClient, removal: Versions
) -> None:
    execution, _ = await run(ann, removal, 14)
    expected = await uploaded(ann, picture(15))
    body = {"thumbsUp": False, "expectedImages": [expected]}
    answer = await ann.post(f"{BASE}/{execution}/feedback", params={"organization": "local"}, json=body)
    assert answer.status_code == 201
    job = await web.room.jobs.get(web.ann, from_uuid(execution, "job") or "")
    kept = await web.room.files.by_digest(web.ann, expected)
    assert (job.liked, job.feedback) == (False, {"expected": [kept.id]})
    foreign = await uploaded(ben, picture(16))
    for wrong, status in (({"thumbsUp": True, "expectedImages": [foreign]}, 404), ({}, 400), ({"thumbsUp": 5}, 400)):
        assert (await ann.post(f"{BASE}/{execution}/feedback", json=wrong)).status_code == status


async def test_pictures_are_fetched_from_addresses_or_the_call_says_why_not(
    web: Web, ann: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def download(url: str, write: Any) -> str:
        await write(picture(30 if url.endswith("a.png") else 31))
        return "downloaded.png"

    assert web.room.intake._fetcher is not None
    monkeypatch.setattr(web.room.intake._fetcher, "download", download)
    urls = {"first": "https://pictures.example.com/a.png", "second": "https://pictures.example.com/b.png"}
    answer = await ann.post("/upload", json={"urls": urls})
    assert answer.status_code == 201, answer.text
    assert answer.json() == {
        "urls": {name: hashlib.sha256(picture(shade)).hexdigest() for name, shade in (("first", 30), ("second", 31))}
    }
    record = await web.room.files.by_digest(web.ann, answer.json()["urls"]["first"])
    assert record.name.startswith("first")
    for wrong in ({"urls": {"a": "file:///etc/passwd"}}, {"urls": {"a": "img_x"}}, {"urls": {}}, {"url": "x"}):
        assert (await ann.post("/upload", json=wrong)).status_code == 400


async def test_addresses_inside_the_network_are_not_fetched(web: Web, ann: httpx2.AsyncClient) -> None:
    answer = await ann.post("/upload", json={"urls": {"a": f"{web.url}/health"}})
    assert answer.status_code == 400
    assert "message" in answer.json()


async def test_a_hash_that_nobody_sent_is_not_found(ann: httpx2.AsyncClient) -> None:
    for path in ("/upload", "/v1/upload"):
        answer = await ann.head(path, params={"contentHash": "0" * 64})
        assert (answer.status_code, answer.content) == (404, b"")
    assert (await ann.head("/upload", params={"contentHash": "x"})).status_code == 400


async def test_with_credits_an_execution_is_charged_or_refused(tmp_path: Path) -> None:
    async with web_room(tmp_path, credits=True, free_credits=2) as paid, paid.client(paid.user) as client:
        document = WorkflowDocument.model_validate({**REMOVAL, "price": {"execution": 2}})
        saved = await paid.room.workflows.save(paid.ann, document)
        shown = (await client.get(f"/v1/workflow/{as_uuid(saved.id)}")).json()
        content = await uploaded(client, picture(40))
        image = {"name": "a.png", "contentHash": content}
        execution = await created(client, shown["id"], image=image)
        assert (await client.get(f"{BASE}/{execution}/result/default")).status_code == 200
        told = (await client.get(f"{BASE}/{execution}")).json()
        assert told["chargedCredits"] == shown["executionPrice"] == 2
        assert (await client.get("/v1/organization/balance")).json() == 0
        more = await uploaded(client, picture(41))
        body = {"image": {"name": "b.png", "contentHash": more}}
        answer = await client.post(f"{BASE}/create", params={"workflow": shown["id"]}, json=body)
        assert (answer.status_code, answer.json()["error"]) == (402, "Payment Required")
