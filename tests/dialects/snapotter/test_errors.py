"""What dialect 001 says when something is wrong, and where its addresses meet those of the others."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import PIL.Image
import pytest
from support.forms import file, photo, run, size_of, written
from support.web_room import Web, web_room

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024


@pytest.fixture(scope="module")
async def web(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Web]:
    async with web_room(tmp_path_factory.mktemp("room"), max_file_mb=1) as room:
        yield room


@pytest.fixture
async def ann(web: Web) -> AsyncIterator[httpx2.AsyncClient]:
    async with web.client(web.user) as client:
        yield client


def refusal(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """The body of an error, after the checks that every one of them must pass."""
    assert answer.status_code == status, answer.text
    told: dict[str, Any] = answer.json()
    assert told["code"] == code
    assert told["error"].endswith((".", "?"))
    assert isinstance(told["details"], dict)
    assert len(told["requestId"]) >= 8
    return told


async def test_nobody_runs_anything_without_a_key(web: Web) -> None:
    async with web.client() as nobody, web.client("si_" + "0" * 96) as stranger:
        for client in (nobody, stranger):
            for call in (
                run(client, "resize", file(photo()), settings={"width": 5}),
                client.get("/api/v1/tools"),
                client.get(f"/api/v1/jobs/job_{'a' * 26}/progress"),
                client.get("/api/v1/pipeline/list"),
            ):
                answer = await call
                refusal(answer, 401, "AUTH_REQUIRED")
                assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_a_key_without_the_permission_runs_nothing(web: Web, ann: httpx2.AsyncClient) -> None:
    made = await ann.post("/api/v1/api-keys", json={"name": "files only", "permissions": ["files:own"]})
    async with web.client(made.json()["key"]) as narrow:
        told = refusal(await run(narrow, "resize", file(photo()), settings={"width": 5}), 403, "FORBIDDEN")
        assert "tools:run" in told["error"]
        refusal(await narrow.delete(f"/api/v1/pipeline/wf_{'a' * 26}"), 403, "FORBIDDEN")


async def test_a_key_for_tools_touches_no_file_of_the_library(web: Web, ann: httpx2.AsyncClient) -> None:
    made = await ann.post("/api/v1/api-keys", json={"name": "tools only", "permissions": ["tools:use"]})
    async with web.client(made.json()["key"]) as client:
        answer = await run(client, "resize", settings={"width": 5}, fileId=f"img_{'a' * 26}")
        assert "files:write" in refusal(answer, 403, "FORBIDDEN")["error"]


async def test_a_setting_that_is_not_there_names_the_nearest(ann: httpx2.AsyncClient) -> None:
    told = refusal(await run(ann, "resize", file(photo()), settings={"widht": 5}), 400, "VALIDATION_ERROR")
    assert told["details"]["nearest"] == "width"
    assert "Did you mean 'width'?" in told["error"]


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '"text"', "{'width': 5}", '{"width": NaN}', '{"width": 1e999}', "{" * 100, "[" * 9000 + "]" * 9000],
)
async def test_settings_that_are_no_json_object_are_refused(ann: httpx2.AsyncClient, text: str) -> None:
    answer = await ann.post("/api/v1/tools/resize", files=[file(photo()), ("settings", (None, text.encode()))])
    refusal(answer, 400, "VALIDATION_ERROR")


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"width": 0}, "width"),
        ({"width": -1}, "width"),
        ({"width": "wide"}, "width"),
        ({"width": 5, "fit": "stretch"}, "fit"),
        ({}, None),
    ],
)
async def test_settings_out_of_range_are_refused(
    ann: httpx2.AsyncClient, settings: dict[str, Any], field: str | None
) -> None:
    told = refusal(await run(ann, "resize", file(photo()), settings=settings), 400, "VALIDATION_ERROR")
    assert told["details"].get("field") == field


async def test_a_setting_that_came_as_a_field_of_its_own_is_not_dropped(ann: httpx2.AsyncClient) -> None:
    told = refusal(await run(ann, "resize", file(photo()), width="5"), 400, "VALIDATION_ERROR")
    assert told["details"]["field"] == "width"
    assert "'settings'" in told["error"]


async def test_files_that_are_missing_empty_or_no_pictures_are_told_apart(ann: httpx2.AsyncClient) -> None:
    settings = {"width": 5}
    told = refusal(await run(ann, "resize", settings=settings), 400, "MISSING_FILE")
    assert "'file'" in told["error"]
    refusal(await run(ann, "watermark-image", file(photo())), 400, "MISSING_FILE")
    refusal(await run(ann, "collage", file(photo())), 400, "VALIDATION_ERROR")
    refusal(await run(ann, "resize", file(b""), settings=settings), 400, "EMPTY_FILE")
    refusal(await run(ann, "resize", file(b"plain text"), settings=settings), 400, "UNSUPPORTED_FORMAT")
    refusal(await run(ann, "resize", file(photo()[:500]), settings=settings), 400, "INVALID_IMAGE")
    refusal(await run(ann, "resize", file(photo()), file(photo()), settings=settings), 400, "TOO_MANY_FILES")
    refusal(await run(ann, "generate-image", file(photo()), settings={"prompt": "a"}), 400, "TOO_MANY_FILES")


async def test_a_file_over_the_limit_is_too_large(ann: httpx2.AsyncClient) -> None:
    noise = written(PIL.Image.effect_noise((1200, 1200), 90), "PNG")
    assert len(noise) > MIB
    told = refusal(await run(ann, "resize", file(noise), settings={"width": 5}), 413, "FILE_TOO_LARGE")
    assert told["details"]["limit"] == MIB


async def test_a_box_outside_of_the_picture_cannot_be_processed(ann: httpx2.AsyncClient) -> None:
    settings = {"left": 5000, "top": 0, "width": 10, "height": 10}
    answer = await run(ann, "crop", file(photo()), settings=settings)
    assert answer.status_code == 422
    refusal(answer, 422, answer.json()["code"])


async def test_a_tool_that_is_not_there_names_the_nearest(ann: httpx2.AsyncClient) -> None:
    for path in ("tools/resise", "tools/resise/batch"):
        answer = await ann.post(f"/api/v1/{path}", files=[file(photo())])
        assert "Did you mean 'resize'?" in refusal(answer, 404, "NOT_FOUND")["error"]
    refusal(await ann.get("/api/v1/tools/resise"), 404, "NOT_FOUND")


async def test_a_tool_that_is_switched_off_is_not_there(web: Web, ann: httpx2.AsyncClient) -> None:
    async with web.client(web.admin) as admin:
        await admin.put("/api/v1/settings/disabledTools", json={"value": ["rotate"]})
        try:
            answer = await run(ann, "rotate", file(photo()), settings={"angle": 90})
            assert "switched off" in refusal(answer, 404, "NOT_FOUND")["error"]
            assert "rotate" not in [tool["id"] for tool in (await ann.get("/api/v1/tools")).json()["tools"]]
            assert "rotate" not in (await ann.get("/api/v1/pipeline/tools")).json()["toolIds"]
            pipeline = ("pipeline", (None, b'[{"toolId": "rotate", "settings": {"angle": 90}}]'))
            refused = await ann.post("/api/v1/pipeline/execute", files=[file(photo()), pipeline])
            refusal(refused, 400, "VALIDATION_ERROR")
        finally:
            await admin.put("/api/v1/settings/disabledTools", json={"value": []})


async def test_a_form_that_is_none_is_refused(ann: httpx2.AsyncClient) -> None:
    form = {"content-type": "multipart/form-data; boundary=x"}
    for body, headers in [
        (b"--x\r\nContent-Disposition: form-data; name=", form),
        (b"", form),
        (b"anything", {"content-type": "multipart/form-data"}),
        (b"anything", {"content-type": "text/plain"}),
        (b"settings=%7B%7D", {"content-type": "application/x-www-form-urlencoded"}),
    ]:
        refusal(await ann.post("/api/v1/tools/resize", content=body, headers=headers), 400, "VALIDATION_ERROR")


async def test_names_of_files_are_made_safe(ann: httpx2.AsyncClient) -> None:
    for name in ("../../etc/passwd.jpg", "a\u202egpj.exe.jpg", "x[shrink=8].jpg", "-rf.jpg", "C:\\photos\\me.jpg"):
        answer = await run(ann, "resize", file(photo(), name), settings={"width": 7})
        assert answer.status_code == 200
        shown = answer.headers["content-disposition"]
        assert not {"/", "\\", "\u202e", "\r", "\n"} & set(shown.partition(";")[2].replace("UTF-8''", ""))


async def test_the_shape_of_an_error_follows_the_path_also_before_any_route(ann: httpx2.AsyncClient) -> None:
    refusal(await ann.get("/api/v1/nothing/here"), 404, "NOT_FOUND")
    wrong = await ann.put("/api/v1/tools/resize")
    refusal(wrong, 405, "METHOD_NOT_ALLOWED")
    assert set(wrong.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}
    refusal(
        await ann.post("/api/v1/tools/resize", content=b"x", headers={"content-encoding": "gzip"}),
        400,
        "UNSUPPORTED_FORMAT",
    )
    long = json.dumps({"name": "x" * 5 * MIB}).encode()
    refusal(await ann.post("/api/v1/pipeline/save", content=long), 413, "PAYLOAD_TOO_LARGE")


async def test_an_address_is_found_with_and_without_a_slash_at_its_end(ann: httpx2.AsyncClient) -> None:
    for path in ("tools", "tools/", "tools/resize/", "pipeline/list/", "pipeline/tools/"):
        answer = await ann.get(f"/api/v1/{path}", follow_redirects=False)
        assert answer.status_code == 200
    settings = ("settings", (None, b'{"width": 6}'))
    answer = await ann.post("/api/v1/tools/resize/", files=[file(photo()), settings], follow_redirects=False)
    assert size_of(answer.content)[0] == 6


async def test_a_batch_is_no_tool_and_no_pipeline_an_id(ann: httpx2.AsyncClient) -> None:
    refusal(await ann.get("/api/v1/tools/resize/batch"), 405, "METHOD_NOT_ALLOWED")
    refusal(await ann.delete("/api/v1/pipeline/list"), 404, "NOT_FOUND")


async def test_a_key_of_another_dialect_works_too(web: Web) -> None:
    made, _ = await web.room.keys.create(web.ann, "elsewhere", prefix="fsk_live_")
    async with web.client(made) as client:
        assert (await run(client, "resize", file(photo()), settings={"width": 8})).status_code == 200
