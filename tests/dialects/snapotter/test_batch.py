"""One tool over many files, as dialect 001 has it."""

import io
import json
import zipfile
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote

import httpx2
import PIL.Image
import pytest
from support.forms import file, photo, size_of, written
from support.web_room import Web, web_room

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def web(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Web]:
    async with web_room(tmp_path_factory.mktemp("room")) as room:
        yield room


@pytest.fixture
async def ann(web: Web) -> AsyncIterator[httpx2.AsyncClient]:
    async with web.client(web.user) as client:
        yield client


async def batch(client: httpx2.AsyncClient, tool: str, *files: Any, **form: Any) -> httpx2.Response:
    headers = form.pop("headers", {})
    fields = {name: json.dumps(value) for name, value in form.items()}
    return await client.post(f"/api/v1/tools/{tool}/batch", files=list(files), data=fields, headers=headers)


def files(*names: str) -> list[Any]:
    return [file(photo(60 + n, 40), name, "files") for n, name in enumerate(names)]


def inside(answer: httpx2.Response) -> dict[str, bytes]:
    assert answer.headers["content-type"] == "application/zip", answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


async def test_a_batch_is_a_zip_in_the_order_in_which_the_files_were_sent(ann: httpx2.AsyncClient) -> None:
    answer = await batch(ann, "resize", *files("b.jpg", "a.jpg", "b.jpg", "日本.jpg"), settings={"width": 30})
    assert answer.status_code == 200
    held = inside(answer)
    assert list(held) == ["_report.json", "b.jpg", "a.jpg", "b_1.jpg", "日本.jpg"]
    assert [size_of(data)[0] for name, data in held.items() if name != "_report.json"] == [30] * 4
    results = json.loads(unquote(answer.headers["x-file-results"]))
    assert results == {"0": "b.jpg", "1": "a.jpg", "2": "b_1.jpg", "3": "日本.jpg"}
    assert answer.headers["x-file-results"].isascii()
    assert answer.headers["content-disposition"].startswith('attachment; filename="batch-resize-')
    job = answer.headers["x-job-id"]
    assert (await ann.get(f"/api/v1/download/{job}/result.zip")).content == answer.content
    assert (await ann.get(f"/api/v1/download/{job}/result")).content == answer.content


async def test_a_file_that_fails_is_left_out_and_told_inside(ann: httpx2.AsyncClient) -> None:
    damaged = photo()[:400]
    sent = [*files("a.jpg"), file(damaged, "torn.jpg", "files"), file(b"no picture at all", "text.jpg", "files")]
    answer = await batch(ann, "resize", *sent, settings={"width": 31})
    held = inside(answer)
    assert list(held) == ["_report.json", "errors.json", "a.jpg"]
    errors = json.loads(held["errors.json"])
    assert [(line["filename"], line["code"]) for line in errors] == [
        ("torn.jpg", "INVALID_IMAGE"),
        ("text.jpg", "UNSUPPORTED_FORMAT"),
    ]
    assert json.loads(unquote(answer.headers["x-file-results"])) == {"0": "a.jpg"}


async def test_json_tells_of_every_file(ann: httpx2.AsyncClient) -> None:
    sent = [file(b"none", "bad.jpg", "files"), *files("good.jpg")]
    answer = await batch(ann, "rotate", *sent, settings={"angle": 90}, headers={"accept": "application/json"})
    told = answer.json()
    assert (told["totalFiles"], told["completedFiles"], told["failedFiles"]) == (2, 1, 1)
    assert told["errors"][0]["filename"] == "bad.jpg"
    assert told["fileResults"] == {"1": "good.jpg"}
    packed = await ann.get(told["downloadUrl"])
    assert list(inside(packed)) == ["_report.json", "errors.json", "good.jpg"]


async def test_where_every_file_fails_the_call_does_and_names_each(ann: httpx2.AsyncClient) -> None:
    sent = [file(b"none", "one.jpg", "files"), file(photo()[:300], "two.jpg", "files")]
    answer = await batch(ann, "resize", *sent, settings={"width": 30})
    assert answer.status_code == 422
    told = answer.json()
    assert told["error"].startswith("None of 2 images could be done.")
    assert [line["filename"] for line in told["errors"]] == ["one.jpg", "two.jpg"]
    assert all(line["error"] and line["code"] for line in told["errors"])


async def test_a_batch_of_one_is_a_zip_too(ann: httpx2.AsyncClient) -> None:
    answer = await batch(ann, "resize", *files("only.jpg"), settings={"width": 29})
    assert list(inside(answer)) == ["_report.json", "only.jpg"]


async def test_facts_of_many_files_are_a_zip_of_json(ann: httpx2.AsyncClient) -> None:
    for _ in range(2):  # the second time every answer is known
        held = inside(await batch(ann, "info", *files("a.jpg", "b.jpg")))
        assert list(held) == ["_report.json", "a.json", "b.json"]
        assert [json.loads(held[name])["width"] for name in ("a.json", "b.json")] == [60, 61]
    answer = await batch(ann, "info", *files("a.jpg", "b.jpg"), headers={"accept": "application/json"})
    assert [facts["width"] for facts in answer.json()["results"]] == [60, 61]


async def test_a_file_by_name_goes_with_every_other_one(ann: httpx2.AsyncClient) -> None:
    mark = file(written(PIL.Image.new("RGB", (8, 8), "red"), "PNG"), "mark.png", "watermark")
    answer = await batch(ann, "watermark-image", mark, *files("a.jpg", "b.jpg"), settings={"scale": 30})
    assert list(inside(answer)) == ["_report.json", "a.jpg", "b.jpg"]
    alone = await batch(ann, "watermark-image", *files("a.jpg", "b.jpg"))
    assert (alone.status_code, alone.json()["code"]) == (400, "MISSING_FILE")


@pytest.mark.parametrize("tool", ["collage", "stitch", "find-duplicates", "image-to-pdf", "bulk-rename", "favicon"])
async def test_a_tool_that_takes_all_files_at_once_has_no_batch(ann: httpx2.AsyncClient, tool: str) -> None:
    answer = await batch(ann, tool, *files("a.jpg", "b.jpg"))
    assert answer.status_code == 400
    assert "takes all its files at once" in answer.json()["error"]


async def test_two_hundred_files_are_the_most(ann: httpx2.AsyncClient) -> None:
    tiny = written(PIL.Image.new("RGB", (2, 2)), "PNG")
    answer = await batch(ann, "resize", *[file(tiny, f"{n}.png", "files") for n in range(201)], settings={"width": 1})
    assert (answer.status_code, answer.json()["code"]) == (400, "TOO_MANY_FILES")
    flood = await batch(ann, "resize", *[file(tiny, f"{n}.png", "files") for n in range(300)], settings={"width": 1})
    assert (flood.status_code, flood.json()["code"]) == (400, "TOO_MANY_FILES")


async def test_two_hundred_files_come_back(ann: httpx2.AsyncClient) -> None:
    tiny = [written(PIL.Image.new("RGB", (4, 4), (n, 0, 0)), "PNG") for n in range(200)]
    sent = [file(data, f"{n}.png", "files") for n, data in enumerate(tiny)]
    answer = await batch(ann, "resize", *sent, settings={"width": 2})
    assert len(inside(answer)) == 201
    assert len(json.loads(unquote(answer.headers["x-file-results"]))) == 200


async def test_names_too_long_for_a_header_leave_it_out(ann: httpx2.AsyncClient) -> None:
    tiny = written(PIL.Image.new("RGB", (2, 2)), "PNG")
    sent = [file(tiny, f"{n}-{'ü' * 80}.png", "files") for n in range(100)]
    answer = await batch(ann, "resize", *sent, settings={"width": 1})
    assert "x-file-results" not in answer.headers
    assert len(inside(answer)) == 101


async def test_a_batch_without_files_or_of_a_library_file_is_refused(ann: httpx2.AsyncClient) -> None:
    empty = await ann.post("/api/v1/tools/resize/batch", files=[("settings", (None, b'{"width": 5}'))])
    assert (empty.status_code, empty.json()["code"]) == (400, "MISSING_FILE")
    versioned = await batch(ann, "resize", *files("a.jpg"), settings={"width": 5, "fileId": f"img_{'a' * 26}"})
    assert versioned.status_code == 400


async def test_a_model_that_is_missing_is_told_once_for_all_files(web: Web, ann: httpx2.AsyncClient) -> None:
    if "ddcolor" in web.room.models.installed():
        pytest.skip("the model is here")
    answer = await batch(ann, "colorize", *files("a.jpg", "b.jpg"))
    assert (answer.status_code, answer.json()["code"]) == (501, "FEATURE_NOT_INSTALLED")
