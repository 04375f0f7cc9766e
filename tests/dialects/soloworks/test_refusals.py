"""What is not taken on, and what is said of it: nothing is queued, and the text says what is allowed."""

import hashlib
import io
import json
from typing import Any

import httpx2
import pytest
from PIL import Image

from darkroom.faces.rest.soloworks import BODY_BYTES
from darkroom.jobs.terms import Terms
from darkroom.principal import Principal

from .conftest import STUDIO, data_url

pytestmark = pytest.mark.anyio


async def jobs_of(solo: Any) -> int:
    _, total = await solo.web.room.jobs.history.page(solo.web.ann)
    return int(total)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "images.image (Photo) is required"),
        ({"images": {}}, "images.image (Photo) is required"),
        ({"images": {"photo": "PHOTO"}}, "no field 'photo' in images. Allowed: image."),
        ({"images": {"imge": "PHOTO"}}, "Did you mean 'image'?"),
        ({"images": {"image": "PHOTO", "backdrop": "PHOTO"}}, "It belongs in texts."),
        ({"images": {"image": "PHOTO"}, "switchSelections": {"light": ["soft"]}}, "It belongs in texts."),
        ({"images": {"image": "PHOTO"}, "texts": {"image": "PHOTO"}}, "It belongs in images."),
        ({"images": {"image": "PHOTO"}, "texts": {"lite": "soft"}}, "Did you mean 'light'?"),
        ({"images": {"image": "PHOTO"}, "texts": {"backdrop": "Mist grey"}}, "Did you mean 'mist'?"),
        ({"images": {"image": "PHOTO"}, "texts": {"backdrop": "plaid"}}, "There are: white (White), mist (Mist grey)"),
        ({"images": {"image": "PHOTO"}, "texts": {"light": 26}}, "There are: even (Even), soft"),
        ({"images": {"image": ["PHOTO", "PHOTO"]}}, "takes one picture, but a list came"),
        ({"images": {"image": "/etc/passwd"}}, "should be an http(s) URL"),
        ({"images": {"image": "file:///etc/passwd"}}, "should be an http(s) URL"),
        ({"images": {"image": "ftp://example.com/a.jpg"}}, "should be an http(s) URL"),
        ({"images": {"image": ""}}, "should be an http(s) URL"),
        ({"images": {"image": 7}}, "images.image"),
        ({"images": {"image": {"download_url": "https://example.com"}}}, "images.image"),
        ({"images": ["PHOTO"]}, "images"),
        ({"images": {"image": "data:text/plain;base64,aGk="}}, "data:image/<type>;base64,"),
        ({"images": {"image": "data:image/png,aGk="}}, "data:image/<type>;base64,"),
        ({"images": {"image": "data:image/png;base64,@@@@"}}, "no valid base64"),
        ({"images": {"image": "data:image/png;base64,aGk=aGk="}}, "no valid base64"),
        ({"images": {"image": "data:image/png;base64,aGkaa"}}, "no valid base64"),
        ({"images": {"image": "data:image/png;base64,"}}, "empty"),
        ({"images": {"image": "http://127.0.0.1/a.jpg"}}, ""),
        ({"images": {"image": "PHOTO"}, "globalOverrides": {"aspectRatio": "7:3"}}, "'7:3'"),
        ({"images": {"image": "PHOTO"}, "globalOverrides": {"imageSize": "4K"}}, "'1K' or '2K'"),
        ({"images": {"image": "PHOTO"}, "globalOverrides": {"size": "1K"}}, "globalOverrides.size"),
        ({"images": {"image": "PHOTO"}, "text": {}}, "Did you mean 'texts'?"),
        ({"images": {"image": "PHOTO"}, "texts": []}, "texts"),
    ],
)
async def test_what_does_not_fit_is_refused_with_what_does(solo: Any, photo: str, body: Any, says: str) -> None:
    before = await jobs_of(solo)
    answer = await solo.execute(STUDIO, json.loads(json.dumps(body).replace("PHOTO", photo)))
    assert answer.status_code == 400, answer.text
    assert says in answer.json()["error"]["message"]
    assert await jobs_of(solo) == before


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        ({"keep": ["ceiling"]}, "There are: floor (Floor)"),
        ({"keep": ["Floor"]}, "Did you mean 'floor'?"),
        ({"keep": "floor"}, "switchSelections.keep"),
        ({"floor": ["keep"]}, "no field 'floor' in switchSelections. Allowed: keep."),
    ],
)
async def test_a_switch_takes_its_own_options_only(solo: Any, photo: str, chosen: Any, says: str) -> None:
    body = {"images": {"room": photo}, "switchSelections": chosen}
    assert says in (await solo.refused("room-restyle", body, 400, "INVALID_SETTINGS"))["message"]


@pytest.mark.parametrize("chosen", [[], ["on", "off"], ["yes"], ["On"]])
async def test_yes_or_no_is_on_or_off(solo: Any, photo: str, chosen: list[str]) -> None:
    body = {"images": {"image": photo}, "switchSelections": {"colorize": chosen}}
    error = await solo.refused("old-photo", body, 400, "INVALID_SETTINGS")
    assert error["details"]["allowed"] == ["on", "off"]


async def test_a_text_over_its_limit_and_a_number_beyond_its_own_are_refused(solo: Any, photo: str) -> None:
    body = {"images": {"image": photo}, "texts": {"caption": "x" * 61}}
    assert "60" in (await solo.refused("gallery-print", body, 400, "INVALID_SETTINGS"))["message"]
    for quality in ("39", "96", "best"):
        body = {"images": {"image": photo}, "texts": {"quality": quality}}
        assert "quality" in (await solo.refused("web-ready", body, 400, "INVALID_SETTINGS"))["message"]


async def test_an_override_that_is_an_input_too_is_sent_once(solo: Any, photo: str) -> None:
    crop = {"type": "crop", "settings": {"aspectRatio": "${{ inputs.aspectRatio }}"}}
    saved = await solo.save(solo.web.ann, {"name": "Own shape", "components": [crop]})
    both = {"texts": {"aspectRatio": "1:1"}, "globalOverrides": {"aspectRatio": "1:1"}}
    error = await solo.refused(saved.id, {"images": {"image": photo}, **both}, 400, "INVALID_SETTINGS")
    assert "globalOverrides" in error["message"]
    done = await solo.run(saved.id, {"images": {"image": photo}, "globalOverrides": {"aspectRatio": "1:1"}})
    assert done["status"] == "completed"


async def test_without_an_engine_a_generative_workflow_is_refused_before_anything_is_queued(
    solo: Any, photo: str
) -> None:
    before = await jobs_of(solo)
    error = await solo.refused("free-edit", _prompted(photo), 501, "ENGINE_NOT_CONFIGURED")
    assert "DARKROOM_IMAGES_URL" in error["message"]
    assert await jobs_of(solo) == before


def _prompted(photo: str) -> dict[str, Any]:
    return {"images": {"image": photo}, "texts": {"prompt": "Make it winter"}}


async def test_what_came_with_a_refused_call_does_not_stay(solo: Any) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (61, 47), "teal").save(buffer, "JPEG")
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    await solo.refused("free-edit", _prompted(data_url(buffer.getvalue())), 501, "ENGINE_NOT_CONFIGURED")
    assert not solo.web.room.blobs.exists(digest)
    await solo.run("web-ready", {"images": {"image": data_url(buffer.getvalue())}})
    assert solo.web.room.blobs.exists(digest)


async def test_what_is_no_picture_is_refused_by_its_bytes(solo: Any) -> None:
    words = data_url(b"<html>not a picture</html>" * 100, "image/png")
    await solo.refused(STUDIO, {"images": {"image": words}}, 415, "UNSUPPORTED_FORMAT")


async def test_an_address_inside_the_network_is_not_fetched(solo: Any) -> None:
    for url in ("http://127.0.0.1:9/a.jpg", "http://169.254.169.254/latest", "http://[::1]/"):
        await solo.refused(STUDIO, {"images": {"image": url}}, 400, "URL_NOT_ALLOWED")


async def test_a_body_over_32_mib_is_refused(solo: Any) -> None:
    long = b'{"images": {"image": "' + b"a" * BODY_BYTES + b'"}}'
    answer = await solo.http.post(f"/api/v1/workflows/{STUDIO}/execute", content=long)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "PAYLOAD_TOO_LARGE")


async def test_a_body_that_is_no_json_is_refused(solo: Any) -> None:
    for body in (b"{", b"[]", b"\xff", b'{"images": NaN}', rb'{"images": {"image": "img_\ud800"}}'):
        answer = await solo.http.post(f"/api/v1/workflows/{STUDIO}/execute", content=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "INVALID_SETTINGS")
    answer = await solo.http.post(
        f"/api/v1/workflows/{STUDIO}/execute", content=b"{}", headers={"content-encoding": "gzip"}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "UNSUPPORTED_FORMAT")


ADDRESSES = [
    ("GET", "/api/v1/workflows"),
    ("GET", f"/api/v1/workflows/{STUDIO}"),
    ("POST", f"/api/v1/workflows/{STUDIO}/execute"),
    ("GET", f"/api/v1/executions/{STUDIO}"),
    ("GET", "/api/v1/balance"),
]


@pytest.mark.parametrize(("method", "path"), ADDRESSES)
async def test_every_address_needs_a_key(web: Any, method: str, path: str) -> None:
    for key in (None, "sk_live_wrong"):
        async with web.client(key) as http:
            answer = await http.request(method, path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "UNAUTHORIZED")
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(("method", "path"), ADDRESSES)
async def test_every_address_is_found_with_its_method_only(solo: Any, method: str, path: str) -> None:
    answer = await solo.http.request("DELETE", path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "METHOD_NOT_ALLOWED")
    assert method in answer.headers["allow"]


async def test_a_key_of_narrower_scopes_reads_and_does_not_execute(web: Any, photo: str) -> None:
    key, _ = await web.room.keys.create(web.ann, "reader", "sk_live_", ["workflows:read"])
    async with web.client(key) as http:
        assert (await http.get("/api/v1/workflows")).status_code == 200
        answer = await http.post(f"/api/v1/workflows/{STUDIO}/execute", json={"images": {"image": photo}})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "FORBIDDEN")
    key, _ = await web.room.keys.create(web.ann, "runner", "sk_live_", ["workflows:execute"])
    async with web.client(key) as http:
        answer = await http.post(f"/api/v1/workflows/{STUDIO}/execute", json={"images": {"image": photo}})
        assert answer.status_code == 202
        assert (await http.get(f"/api/v1/executions/{answer.json()['id']}")).status_code == 200


async def test_executions_of_others_and_other_jobs_are_not_there(solo: Any, ben: Any, photo: str) -> None:
    done = await solo.run("web-ready", {"images": {"image": photo}})
    room, ann = solo.web.room, solo.web.ann
    tool = room.catalog.find(ann, "info")
    other = await room.jobs.accept(ann, tool, {"image": photo}, terms=Terms(kept=True))
    texts = set()
    for client, key in ((ben, done["id"]), (solo, other.id), (solo, STUDIO), (solo, "job_none"), (solo, "x")):
        answer: httpx2.Response = await client.http.get(f"/api/v1/executions/{key}")
        assert answer.status_code == 404
        texts.add(answer.json()["error"]["message"])
    assert texts == {"There is no such execution, or it is no longer kept."}


async def test_a_picture_of_somebody_else_is_not_there(solo: Any, ben: Any, photo: str) -> None:
    await ben.run("web-ready", {"images": {"image": photo}})
    theirs, _ = await solo.web.room.files.page(ben.web.ben, limit=1, offset=0)
    await solo.refused("web-ready", {"images": {"image": theirs[0].id}}, 404, "NOT_FOUND")
    assert isinstance(ben.web.ben, Principal)


async def test_a_key_that_came_with_another_call_is_a_conflict(solo: Any, photo: str) -> None:
    first = await solo.execute("web-ready", {"images": {"image": photo}}, **{"idempotency-key": "order-1"})
    again = await solo.execute("web-ready", {"images": {"image": photo}}, **{"idempotency-key": "order-1"})
    assert first.json() == again.json()
    other = {"images": {"image": photo}, "texts": {"width": "800"}}
    answer = await solo.execute("web-ready", other, **{"idempotency-key": "order-1"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "CONFLICT")
