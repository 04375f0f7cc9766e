"""What executions make, whatever it is, and how each of their states looks."""

import io
from dataclasses import replace
from typing import Any

import httpcore2
import pytest
from PIL import Image
from pydantic import TypeAdapter
from support.file_server import serving_files
from support.gallery_room import PICTURES

from darkroom.faces.rest.common import workflow_uuid
from darkroom.faces.rest.soloworks_show import execution_of
from darkroom.faces.rest.soloworks_wire import Execution
from darkroom.fetch import Fetcher
from darkroom.jobs.record import Job, State
from darkroom.links import Links
from darkroom.store.ids import new_id
from darkroom.workflows.gallery import gallery

from .conftest import STUDIO, data_url

pytestmark = pytest.mark.anyio

LOCAL = [slug for slug, saved in gallery().items() if not saved.runnable().generative]
SHOWN_ON = {
    "captioned-gif": "animation",
    "logo-to-svg": "logo",
    "passport-sheet": "portrait",
    "share-privately": "portrait",
}
"""Pictures for workflows that want a special one."""

MEDIA = {
    "scan-to-pdf": ["application/pdf"],
    "logo-to-svg": ["image/svg+xml"],
    "captioned-gif": ["image/gif"],
    "passport-sheet": ["image/", "image/"],
}
"""Media types of results, or their beginnings; elsewhere there is one picture."""

TEXTS = {"link": "https://example.com/menu", "price": "45"}


def body_for(slug: str) -> dict[str, Any]:
    """What a client that knows only the gallery's texts would send."""
    tool = gallery()[slug].runnable()
    url = data_url(PICTURES[SHOWN_ON.get(slug, "photo")]())
    other = data_url(PICTURES["grey"]())
    images = {each.name: [url, other, url] if each.many else url for each in tool.inputs}
    needed = [name for name in tool.input_schema().get("required", []) if name not in images]
    return {"images": images, "texts": {name: TEXTS.get(name, "Words") for name in needed}}


async def fetched(solo: Any, url: str) -> tuple[str, bytes]:
    """Media type and bytes of a file."""
    answer = await solo.http.get(url)
    assert answer.status_code == 200, answer.text
    return answer.headers["content-type"], answer.content


# One of each kind of result; tests/server/test_gallery.py runs all of them.
SHOWN = ("mono-studio", "scan-to-pdf", "logo-to-svg", "contact-sheet", "captioned-gif", "qr-poster")


@pytest.mark.parametrize("slug", SHOWN)
async def test_a_workflow_of_the_gallery_that_needs_no_engine_can_be_executed(solo: Any, slug: str) -> None:
    state = await solo.run(slug, body_for(slug))
    TypeAdapter(Execution).validate_python(state, strict=True)
    assert (state["status"], state["error"]) == ("completed", None)
    assert state["workflowId"] == workflow_uuid(gallery()[slug])
    media = MEDIA.get(slug, ["image/"])
    assert len(state["results"]) == len(media)
    for made, kind in zip(state["results"], media, strict=True):
        assert made["mediaType"].startswith(kind)
        jpg, png = [await fetched(solo, made[form]) for form in ("jpgUrl", "pngUrl")]
        assert (jpg[0], png[0]) == ("image/jpeg", "image/png")
        pictures = [Image.open(io.BytesIO(data)) for _, data in (jpg, png)]
        assert [each.format for each in pictures] == ["JPEG", "PNG"]
        assert pictures[0].size == pictures[1].size
        assert (await fetched(solo, made["url"]))[0].partition(";")[0] == made["mediaType"]


async def test_what_cannot_be_drawn_has_its_own_file_only(solo: Any, photo: str) -> None:
    saved = await solo.save(solo.web.ann, {"name": "Icons", "components": [{"type": "favicon"}]})
    state = await solo.run(saved.id, {"images": {"images": [photo]}})
    (archive,) = [made for made in state["results"] if made["mediaType"] == "application/zip"]
    assert (archive["jpgUrl"], archive["pngUrl"]) == (None, None)
    assert (await fetched(solo, archive["url"]))[1].startswith(b"PK")
    drawn = [made["jpgUrl"] for made in state["results"] if made["jpgUrl"]]
    assert state["jpgUrl"] == (drawn[0] if drawn else None)


async def test_a_workflow_that_only_measures_answers_with_its_report(solo: Any, photo: str) -> None:
    saved = await solo.save(solo.web.ann, {"name": "Told", "components": [{"type": "info"}]})
    state = await solo.run(workflow_uuid(saved), {"images": {"image": photo}})
    (made,) = state["results"]
    width, height = Image.open(io.BytesIO(solo.web.photo)).size
    assert (made["report"]["width"], made["report"]["height"]) == (width, height)
    assert (made["jpgUrl"], made["pngUrl"], made["url"], state["jpgUrl"]) == (None, None, None, None)
    assert state["workflowId"] == workflow_uuid(saved)


async def test_texts_are_read_by_the_kind_of_their_field(solo: Any, photo: str) -> None:
    inputs = {"grow": {"type": "switch"}, "tint": {"type": "color", "default": "#000000"}}
    components = [
        {"type": "resize", "settings": {"width": "${{ inputs.width }}", "withoutEnlargement": "${{ inputs.grow }}"}},
        {"type": "border", "settings": {"width": 10, "color": "${{ inputs.tint }}"}},
    ]
    saved = await solo.save(solo.web.ann, {"name": "Read", "inputs": inputs, "components": components})
    body = {
        "images": {"image": photo},
        "texts": {"width": "80", "tint": "#FF0000"},
        "switchSelections": {"grow": ["on"]},
    }
    state = await solo.run(saved.id, body)
    picture = Image.open(io.BytesIO((await fetched(solo, state["pngUrl"]))[1])).convert("RGB")
    assert picture.width == 100
    red, green, blue = picture.getpixel((3, 3))
    assert (red > 240, green < 16, blue < 16) == (True, True, True)
    number = {**body, "texts": {"width": 80, "tint": "#FF0000"}, "globalOverrides": {"imageSize": "1K"}}
    state = await solo.run(saved.id, number)
    assert max(Image.open(io.BytesIO((await fetched(solo, state["jpgUrl"]))[1])).size) == 1024


async def test_a_text_may_look_like_a_picture(solo: Any, photo: str) -> None:
    for words in ("data:image/png;base64,", "https://example.com", "img_1"):
        body = {"images": {"image": photo}, "texts": {"caption": words}}
        assert (await solo.run("gallery-print", body))["status"] == "completed"


async def test_a_list_of_pictures_goes_into_a_field_that_takes_several(solo: Any, photo: str) -> None:
    detail = await solo.get("/workflows/contact-sheet")
    assert detail["inputs"]["isBatchMode"] is True
    (field,) = detail["inputs"]["imageFields"]
    assert (field["fieldId"], field["multiple"]) == ("images", True)
    error = await solo.refused("contact-sheet", {"images": {"images": photo}}, 400, "INVALID_SETTINGS")
    assert "at least 2" in error["message"]
    handles = [record.id for record in (await solo.web.room.files.page(solo.web.ann, limit=2, offset=0))[0]]
    state = await solo.run("contact-sheet", {"images": {"images": [photo, *handles]}})
    assert state["status"] == "completed"


class Detour(httpcore2.AsyncNetworkBackend):
    """Stands for the internet, which is a server on this machine."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore2.AsyncNetworkStream:
        return await httpcore2.AnyIOBackend().connect_tcp("127.0.0.1", self.port, timeout)


async def public(_host: str, _port: int) -> list[str]:
    """An address that anybody may reach."""
    return ["93.184.216.34"]


async def test_a_picture_may_be_an_address_a_handle_or_a_long_data_url(
    solo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = io.BytesIO()
    Image.effect_noise((2000, 1400), 90).convert("RGB").save(buffer, "PNG")
    large = buffer.getvalue()
    assert len(large) > 2_500_000
    body = {"texts": {"width": "800", "format": "jpeg"}}
    with serving_files(noise=large) as server:
        port = int(server.url.rpartition(":")[2].strip("/"))
        monkeypatch.setattr(solo.web.room.intake, "_fetcher", Fetcher(resolve=public, backend=Detour(port)))
        by_url = await solo.run("web-ready", {**body, "images": {"image": "http://pics.example/noise"}})
        missing = {"images": {"image": "http://pics.example/none"}}
        assert "404" in (await solo.refused("web-ready", missing, 400, "FETCH_FAILED"))["message"]
    spaced = data_url(large, "image/png;charset=utf-8").replace("AAAA", "AA\r\nAA", 3)
    by_data = await solo.run("web-ready", {**body, "images": {"image": spaced}})
    job = await solo.web.room.jobs.get(solo.web.ann, (await solo.web.room.jobs.history.page(solo.web.ann))[0][0].id)
    (source,) = job.result.items[0].sources
    by_handle = await solo.run("web-ready", {**body, "images": {"image": source}})
    files = {(await fetched(solo, state["jpgUrl"]))[1] for state in (by_url, by_data, by_handle)}
    assert len(files) == 1
    assert Image.open(io.BytesIO(files.pop())).width == 800
    assert len({state["id"] for state in (by_url, by_data, by_handle)}) == 3


async def test_an_execution_that_fails_says_why(solo: Any) -> None:
    damaged = data_url(solo.web.photo[:3000])
    state = await solo.run(STUDIO, {"images": {"image": damaged}})
    assert (state["status"], state["results"], state["jpgUrl"]) == ("failed", [], None)
    assert set(state["error"]) == {"code", "message"}
    assert state["error"]["message"].endswith(".")
    assert state["creditsUsed"] == 0
    assert state["completedAt"]


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        ("queued", "running"),
        ("running", "running"),
        ("in_review", "running"),
        ("payment_required", "failed"),
        ("succeeded", "completed"),
        ("failed", "failed"),
        ("canceled", "failed"),
    ],
)
def test_every_state_of_a_job_is_one_of_three(state: State, shown: str) -> None:
    ended = 20.0 if state in ("succeeded", "failed", "canceled") else None
    error = {"code": "INVALID_IMAGE", "error": "Broken.", "details": {}} if state == "failed" else None
    job = Job(new_id("job"), "ann", "wf-x", state, 0.999, "", 1, 0, None, error, 10.0, None, ended, "gallery/gone")
    body = execution_of(job, [], Links(b"k" * 32))
    TypeAdapter(Execution).validate_python(body, strict=True)
    assert (body["status"], body["workflowId"]) == (shown, "gone")
    assert body["progress"] == (100 if shown == "completed" else 99)
    codes = {"payment_required": "INSUFFICIENT_CREDITS", "canceled": "CANCELLED", "failed": "INVALID_IMAGE"}
    assert (body["error"] or {}).get("code") == codes.get(state)
    priced = replace(job, credits=4)
    assert execution_of(priced, [], Links(b"k" * 32))["creditsUsed"] == (4 if ended else 0)
