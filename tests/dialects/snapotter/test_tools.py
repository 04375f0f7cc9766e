"""Running one tool over HTTP, as dialect 001 has it."""

import io
import json
import uuid
import zipfile
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import PIL.Image
import pytest
from support.forms import file, pdf, photo, run, size_of, written
from support.web_room import Web, web_room

from darkroom.faces.rest.snapotter.reports import report_of
from darkroom_tools.base import Tool
from darkroom_tools.registry import builtin_tools

pytestmark = pytest.mark.anyio

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="30"><rect width="40" height="30" fill="#c00"/></svg>'


@pytest.fixture(scope="module")
async def web(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Web]:
    async with web_room(tmp_path_factory.mktemp("room")) as room:
        yield room


@pytest.fixture
async def ann(web: Web) -> AsyncIterator[httpx2.AsyncClient]:
    async with web.client(web.user) as client:
        yield client


async def uploaded(client: httpx2.AsyncClient, data: bytes, name: str = "photo.jpg") -> str:
    """Id of a file in the library."""
    answer = await client.post("/api/v1/upload", files=[file(data, name, "files")])
    assert answer.is_success, answer.text
    return str(answer.json()["files"][0]["id"])


def files_for(tool: Tool) -> list[Any]:
    """Real files for every required image of a tool, all as `file` parts."""
    kinds = {"svg": ("drawing.svg", SVG), "pdf": ("pages.pdf", pdf())}
    found = []
    for number, image in enumerate(each for each in tool.inputs if each.required):
        name, data = kinds.get("".join(tool.reads[:1]), (f"photo-{number}.jpg", photo(90 + number)))
        found += [file(data, name)] * max(1, image.least)
    return found


async def test_a_tool_answers_with_the_file_itself_and_what_became_of_it(ann: httpx2.AsyncClient) -> None:
    sent = photo()
    answer = await run(ann, "resize", file(sent, "Wüste №1.jpg"), settings={"width": 48})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/jpeg"
    assert size_of(answer.content) == (48, 32)
    assert answer.headers["content-disposition"].startswith("attachment; ")
    assert "filename*=UTF-8''W%C3%BCste%20%E2%84%961-resize.jpg" in answer.headers["content-disposition"]
    assert answer.headers["x-original-size"] == str(len(sent))
    assert answer.headers["x-processed-size"] == str(len(answer.content))
    assert answer.headers["x-job-id"].startswith("job_")


async def test_json_tells_where_the_result_is_and_it_can_be_got_again(web: Web, ann: httpx2.AsyncClient) -> None:
    sent = photo()
    told = (
        await run(ann, "compress", file(sent), settings={"quality": 40}, headers={"accept": "application/json"})
    ).json()
    assert told["originalSize"] == len(sent)
    again = await ann.get(told["downloadUrl"])
    assert again.status_code == 200
    assert len(again.content) == told["processedSize"]
    assert (await ann.get(f"/api/v1/download/{told['jobId']}/result")).content == again.content
    assert (await ann.get(f"/api/v1/download/{told['jobId']}/other.jpg")).status_code == 404
    async with web.client(web.other) as ben:
        assert (await ben.get(told["downloadUrl"])).status_code == 404


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("application/json, text/plain, */*", "image/jpeg"),
        ("*/*", "image/jpeg"),
        ("image/*;q=0.4, application/json;q=0.9", "application/json"),
        ("application/json;q=0.2, image/jpeg", "image/jpeg"),
    ],
)
async def test_what_the_client_would_rather_have_decides(ann: httpx2.AsyncClient, accept: str, kind: str) -> None:
    answer = await run(ann, "resize", file(photo()), settings={"width": 20}, headers={"accept": accept})
    assert answer.headers["content-type"] == kind


async def test_a_format_that_browsers_do_not_show_has_a_preview(ann: httpx2.AsyncClient) -> None:
    form = {"settings": {"format": "tiff"}, "headers": {"accept": "application/json"}}
    told = (await run(ann, "convert", file(photo()), **form)).json()
    preview = await ann.get(told["previewUrl"])
    assert preview.headers["content-type"] == "image/webp"
    assert size_of(preview.content) == (96, 64)


async def test_a_client_that_would_not_wait_gets_202_and_the_result_later(ann: httpx2.AsyncClient) -> None:
    answer = await run(
        ann, "rotate", file(photo()), settings={"angle": 90}, headers={"prefer": "respond-async, wait=5"}
    )
    assert answer.status_code == 202
    told = answer.json()
    assert told["async"] is True
    assert answer.headers["preference-applied"] == "respond-async"
    async with ann.stream("GET", told["progressUrl"]) as stream:
        frames = [json.loads(line[6:]) async for line in stream.aiter_lines() if line.startswith("data: ")]
    assert (frames[-1]["progress"], frames[-1]["status"]) == (100, "completed")
    assert size_of((await ann.get(frames[-1]["result"]["downloadUrl"])).content) == (64, 96)


@pytest.mark.parametrize("form", ["field", "settings", "body"])
async def test_a_file_of_the_library_is_what_the_tool_works_on_and_gets_a_version(
    ann: httpx2.AsyncClient, form: str
) -> None:
    first = await uploaded(ann, photo(80, 40 + len(form)), f"{form}.jpg")
    if form == "field":
        answer = await run(ann, "resize", settings={"width": 40}, fileId=first)
    elif form == "settings":
        answer = await run(ann, "resize", settings={"width": 40, "fileId": first})
    else:
        answer = await ann.post("/api/v1/tools/resize", json={"width": 40, "fileId": first})
    assert answer.status_code == 200, answer.text
    assert size_of(answer.content)[0] == 40
    saved = answer.headers["x-saved-file-id"]
    versions = (await ann.get(f"/api/v1/files/{saved}")).json()["versions"]
    assert [each["id"] for each in versions] == [first, saved]
    assert versions[1]["toolChain"][-1] == "resize"


async def test_a_file_that_comes_with_an_id_is_kept_as_that_files_next_version_once(ann: httpx2.AsyncClient) -> None:
    first = await uploaded(ann, photo(70, 50), "chain.jpg")
    calls = [
        await run(
            ann,
            "rotate",
            file(photo(60, 44), "edited.jpg"),
            settings={"angle": 180, "fileId": first},
            headers={"accept": "application/json", "idempotency-key": "the same"},
        )
        for _ in range(2)
    ]
    saved = {call.json()["savedFileId"] for call in calls}
    assert len(saved) == 1
    versions = (await ann.get(f"/api/v1/files/{first}")).json()["versions"]
    assert [each["id"] for each in versions] == [first, *saved]
    assert (versions[1]["version"], versions[1]["width"]) == (2, 60)


async def test_a_version_is_kept_also_when_nobody_waits_for_it(ann: httpx2.AsyncClient) -> None:
    first = await uploaded(ann, photo(66, 50), "late.jpg")
    answer = await run(
        ann, "rotate", file(photo(62, 44)), settings={"angle": 180}, fileId=first, headers={"prefer": "respond-async"}
    )
    async with ann.stream("GET", answer.json()["progressUrl"]) as stream:
        async for _ in stream.aiter_lines():
            pass
    versions: list[Any] = []
    while len(versions) < 2:
        versions = (await ann.get(f"/api/v1/files/{first}")).json()["versions"]
    assert versions[1]["width"] == 62


async def test_nothing_runs_for_a_file_of_somebody_else(web: Web, ann: httpx2.AsyncClient) -> None:
    first = await uploaded(ann, photo(50, 50), "mine.jpg")
    async with web.client(web.other) as ben:
        foreign = await run(ben, "resize", file(photo()), settings={"width": 40}, fileId=first)
        missing = await run(ben, "resize", file(photo()), settings={"width": 40}, fileId=f"img_{'a' * 26}")
        assert foreign.status_code == missing.status_code == 404
        assert foreign.json()["error"].replace(first, "") == missing.json()["error"].replace(f"img_{'a' * 26}", "")
        jobs = await web.room.jobs.history.list(web.ben)
        assert not any(job.tool == "resize" for job in jobs.jobs)


async def test_an_admin_gives_a_users_file_a_version_that_is_the_users(web: Web, ann: httpx2.AsyncClient) -> None:
    first = await uploaded(ann, photo(52, 50), "for-admin.jpg")
    async with web.client(web.admin) as admin:
        answer = await run(admin, "resize", settings={"width": 26}, fileId=first)
    assert answer.status_code == 200
    versions = (await ann.get(f"/api/v1/files/{first}")).json()["versions"]
    assert [each["width"] for each in versions] == [52, 26]


async def test_what_only_passes_through_does_not_enter_the_library(ann: httpx2.AsyncClient) -> None:
    before = (await ann.get("/api/v1/files")).json()["total"]
    await run(ann, "resize", file(photo(31, 31), "passing.jpg"), settings={"width": 17})
    assert (await ann.get("/api/v1/files")).json()["total"] == before


async def test_second_files_are_found_by_name_and_all_others_by_order(ann: httpx2.AsyncClient) -> None:
    dark, light = photo(), written(PIL.Image.new("RGB", (20, 20), "white"), "PNG")
    settings = {"position": "center", "scale": 50, "opacity": 100}
    by_name = await run(ann, "watermark-image", file(light, "w.png", "watermark"), file(dark), settings=settings)
    in_order = await run(ann, "watermark-image", file(dark), file(light, "w.png"), settings=settings)
    odd_names = await run(ann, "watermark-image", file(dark, field="a"), file(light, "w.png", "b"), settings=settings)
    assert by_name.status_code == 200, by_name.text
    assert by_name.content == in_order.content == odd_names.content
    assert size_of(by_name.content) == (96, 64)


async def test_tools_of_many_files_take_them_in_the_order_in_which_they_came(ann: httpx2.AsyncClient) -> None:
    files = [file(written(PIL.Image.new("RGB", (10, 10), color), "PNG"), f"{color}.png") for color in ("red", "blue")]
    answer = await run(ann, "stitch", *files, settings={"direction": "horizontal", "format": "png"})
    with PIL.Image.open(io.BytesIO(answer.content)) as image:
        row = [image.convert("RGB").getpixel((x, 5)) for x in (2, image.width - 3)]
    assert row == [(255, 0, 0), (0, 0, 255)]


async def test_several_results_come_as_a_zip_and_one_as_itself(ann: httpx2.AsyncClient) -> None:
    split = await run(ann, "split", file(photo()), settings={"rows": 2, "cols": 2})
    assert split.headers["content-type"] == "application/zip"
    pages = await run(ann, "pdf-to-image", file(pdf(3), "three.pdf"), settings={"format": "png", "dpi": 72})
    with zipfile.ZipFile(io.BytesIO(pages.content)) as archive:
        assert [name for name in archive.namelist() if name.endswith(".png")] == [f"three-{n}.png" for n in (1, 2, 3)]
    page = await run(ann, "pdf-to-image", file(pdf(3), "three.pdf"), settings={"pages": "2", "format": "png"})
    assert page.headers["content-type"] == "image/png"


async def test_facts_come_as_json_under_the_names_that_clients_know(ann: httpx2.AsyncClient) -> None:
    facts = (await run(ann, "info", file(photo(), "me.jpg"))).json()
    assert {key: facts[key] for key in ("filename", "width", "height", "format", "channels", "hasAlpha")} == {
        "filename": "me.jpg",
        "width": 96,
        "height": 64,
        "format": "jpeg",
        "channels": 3,
        "hasAlpha": False,
    }
    assert facts["size"] == facts["fileSize"] == len(photo())
    assert {"dpi", "exif", "jobId"} <= set(facts)
    again = (await ann.get(f"/api/v1/download/{facts['jobId']}/result")).json()
    assert again == {key: value for key, value in facts.items() if key != "filename"}
    colors = (await run(ann, "color-palette", file(photo()), settings={"count": 3, "format": "rgb"})).json()
    assert len(colors["colors"]) == colors["count"] == 3


async def test_a_code_that_is_made_is_read_again_with_its_text(ann: httpx2.AsyncClient) -> None:
    made = await ann.post("/api/v1/tools/qr-generate", json={"data": "https://example.com/ä"})
    assert made.headers["content-type"] == "image/png"
    read = (await run(ann, "barcode-read", file(made.content, "code.png"))).json()
    assert [code["text"] for code in read["barcodes"]] == ["https://example.com/ä"]
    assert set(read["barcodes"][0]["position"]) == {"topLeft", "topRight", "bottomRight", "bottomLeft"}


def test_what_was_read_in_a_picture_stands_with_the_lines_that_it_was_read_in() -> None:
    read = {
        "filename": "scan.png",
        "engine": "PP-OCRv6 small",
        "blocks": [{"confidence": 0.9, "span": [0, 5]}, {"confidence": 0.8, "span": [6, 11]}],
        "untrustedText": {"note": "data", "fields": {"text": "Hello\nworld"}},
    }
    told = report_of(read)
    assert told["text"] == "Hello\nworld"
    assert [block["text"] for block in told["blocks"]] == ["Hello", "world"]
    assert "untrustedText" not in told
    assert report_of({**read, "untrustedText": None, "blocks": []})["text"] == ""


async def test_a_comparison_and_base64_are_json_whatever_the_client_accepts(ann: httpx2.AsyncClient) -> None:
    told = (await run(ann, "compare", file(photo()), file(photo()), headers={"accept": "image/png"})).json()
    assert (told["similarity"], told["diffPixels"]) == (100, 0)
    assert size_of((await ann.get(told["downloadUrl"])).content) == (96, 64)
    rows = (await run(ann, "image-to-base64", file(photo(), "a.jpg"))).json()["results"]
    assert rows[0]["dataUri"].startswith("data:image/jpeg;base64,")
    twins = (await run(ann, "find-duplicates", file(photo(), "a.jpg"), file(photo(48, 32), "b.jpg"))).json()
    assert [each["filename"] for each in twins["duplicateGroups"][0]["files"]] == ["a.jpg", "b.jpg"]


async def test_the_list_shows_every_tool_and_each_its_schema(ann: httpx2.AsyncClient) -> None:
    listed = (await ann.get("/api/v1/tools")).json()
    assert set(builtin_tools()) <= {tool["id"] for tool in listed["tools"]}
    shown = (await ann.get("/api/v1/tools/watermark-image")).json()
    assert [each["field"] for each in shown["files"]] == ["file", "watermark"]
    assert shown["settings"]["properties"]["opacity"]["type"] == "number"
    assert {tool["id"] for tool in listed["tools"] if tool["batch"]} >= {"resize", "ocr", "watermark-image"}
    assert not {tool["id"] for tool in listed["tools"] if tool["batch"]} & {"collage", "favicon", "generate-image"}


async def test_every_tool_answers_to_its_other_names(ann: httpx2.AsyncClient) -> None:
    for alias, identifier in [(alias, tool.id) for tool in builtin_tools().values() for alias in tool.aliases]:
        assert (await ann.get(f"/api/v1/tools/{alias}")).json()["id"] == identifier
    answer = await run(ann, "adjust-colors", file(photo()), settings={"effect": "grayscale"})
    with PIL.Image.open(io.BytesIO(answer.content)) as image:
        shades = image.convert("RGB").resize((1, 1)).tobytes()
    assert max(shades) - min(shades) < 6


@pytest.mark.parametrize("name", builtin_tools())
async def test_every_tool_runs_on_a_real_file_or_says_which_feature_is_missing(
    ann: httpx2.AsyncClient, name: str
) -> None:
    tool = builtin_tools()[name]
    answer = await run(ann, name, *files_for(tool), settings=dict(tool.example))
    if answer.status_code == 501:
        assert tool.models or tool.generative
        told = answer.json()
        assert told["code"] == "FEATURE_NOT_INSTALLED"
        assert told["feature"] and told["featureName"]
        return
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-job-id"]
    is_json = tool.read_only or name in ("compare", "image-to-base64")
    assert (answer.headers["content-type"] == "application/json") == is_json
    assert len(answer.content) > 20


async def test_the_same_key_is_the_same_call(ann: httpx2.AsyncClient) -> None:
    headers = {"idempotency-key": str(uuid.uuid4())}
    calls = [await run(ann, "resize", file(photo()), settings={"width": 33}, headers=headers) for _ in range(2)]
    assert calls[0].headers["x-job-id"] == calls[1].headers["x-job-id"]
    other = await run(ann, "resize", file(photo()), settings={"width": 34}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "CONFLICT")


async def test_a_workflow_that_is_a_tool_runs_like_one(web: Web, ann: httpx2.AsyncClient) -> None:
    steps = [{"toolId": "resize", "settings": {"width": 12}}, {"toolId": "rotate", "settings": {"angle": 90}}]
    await ann.post("/api/v1/pipeline/save", json={"name": "Small and turned", "steps": steps})
    ids = [tool["id"] for tool in (await ann.get("/api/v1/tools")).json()["tools"]]
    [mine] = [identifier for identifier in ids if identifier.startswith("wf-small-and-turned")]
    answer = await run(ann, mine, file(photo()))
    assert size_of(answer.content) == (8, 12)
    async with web.client(web.other) as ben:
        assert (await run(ben, mine, file(photo()))).status_code == 404
