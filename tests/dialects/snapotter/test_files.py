"""The file library over dialect 001."""

import io
from typing import Any

import httpx2
import PIL.Image
import pytest
from support.people import newcomer, told
from support.web_room import Web

pytestmark = pytest.mark.anyio

JPEG = "image/jpeg"


def picture(color: str, size: tuple[int, int] = (640, 480), format: str = "JPEG") -> bytes:
    file = io.BytesIO()
    PIL.Image.new("RGB", size, color).save(file, format)
    return file.getvalue()


async def uploaded(client: httpx2.AsyncClient, name: str, data: bytes) -> dict[str, Any]:
    answer = await client.post("/api/v1/upload", files={"file": (name, data)})
    assert answer.status_code == 200, answer.text
    [file] = answer.json()["files"]
    return file


async def next_version(client: httpx2.AsyncClient, parent: str, tool: str, data: bytes) -> dict[str, Any]:
    form = {"parentId": parent, "toolId": tool}
    answer = await client.post("/api/v1/files/save-result", data=form, files={"file": ("made.png", data)})
    assert answer.status_code == 201, answer.text
    return answer.json()["file"]


async def test_uploads_of_either_way_are_in_the_library(web: Web) -> None:
    person = await newcomer(web)
    async with web.client(person.token) as client:
        parts = [("files", ("a.jpg", picture("red"))), ("file", ("b.png", picture("blue", (30, 20), "PNG")))]
        workspace = await client.post("/api/v1/upload", files=parts)
        library = await client.post("/api/v1/files/upload", files=[("c", ("c.jpg", picture("green")))])
        listed = (await client.get("/api/v1/files")).json()
    assert (workspace.status_code, library.status_code) == (200, 201)
    assert workspace.json().keys() == {"jobId", "files"}
    first, second = workspace.json()["files"]
    assert (first["name"], first["format"], first["mimeType"]) == ("a.jpg", "jpeg", JPEG)
    assert (second["width"], second["height"], second["size"]) == (30, 20, len(parts[1][1][1]))
    assert (first["version"], first["parentId"], first["toolChain"]) == (1, None, [])
    assert [file["originalName"] for file in listed["files"]] == ["c.jpg", "b.png", "a.jpg"]
    assert (listed["total"], listed["limit"], listed["offset"]) == (3, 50, 0)
    assert listed["files"][0]["id"] == library.json()["files"][0]["id"]


async def test_files_are_searched_and_paged(web: Web) -> None:
    person = await newcomer(web)
    async with web.client(person.token) as client:
        for number, color in enumerate(["red", "green", "blue"]):
            await uploaded(client, f"Holiday {number}.jpg", picture(color))
        await uploaded(client, "100%_other.jpg", picture("black"))
        page = (await client.get("/api/v1/files", params={"search": "holiday", "limit": 2, "offset": 1})).json()
        wild = (await client.get("/api/v1/files", params={"search": "%_"})).json()
        wrong = [
            await client.get("/api/v1/files", params={"limit": limit, "offset": offset})
            for limit, offset in [(0, 0), (201, 0), (1, -1), ("many", 0)]
        ]
    assert [file["originalName"] for file in page["files"]] == ["Holiday 1.jpg", "Holiday 0.jpg"]
    assert (page["total"], page["limit"], page["offset"]) == (3, 2, 1)
    assert [file["originalName"] for file in wild["files"]] == ["100%_other.jpg"]
    assert {(answer.status_code, answer.json()["code"]) for answer in wrong} == {(400, "VALIDATION_ERROR")}


async def test_versions_form_a_chain_of_which_the_list_shows_the_newest(web: Web) -> None:
    person = await newcomer(web)
    async with web.client(person.token) as client:
        first = await uploaded(client, "start.jpg", picture("red"))
        second = await next_version(client, first["id"], "resize", picture("red", (64, 48), "PNG"))
        third = await next_version(client, second["id"], "color_adjustments", picture("gray", (64, 48), "PNG"))
        listed = (await client.get("/api/v1/files")).json()
        one = (await client.get(f"/api/v1/files/{second['id']}")).json()
    assert [(file["version"], file["parentId"], file["toolChain"]) for file in one["versions"]] == [
        (1, None, []),
        (2, first["id"], ["resize"]),
        (3, second["id"], ["resize", "color-adjustments"]),
    ]
    assert one["file"] == one["versions"][1] == second
    assert [file["id"] for file in listed["files"]] == [third["id"]]
    assert listed["files"] == [third]


async def test_a_result_is_only_kept_with_a_parent_and_a_tool_that_are_there(web: Web) -> None:
    async with web.client(web.other) as ben:
        foreign = await uploaded(ben, "bens.jpg", picture("purple"))
    async with web.client(web.user) as client:
        mine = await uploaded(client, "mine.jpg", picture("pink"))
        sent = {"file": ("made.png", picture("pink", (9, 9), "PNG"))}

        async def saved(**form: str) -> httpx2.Response:
            return await client.post("/api/v1/files/save-result", data=form, files=sent)

        stolen = await saved(parentId=foreign["id"], toolId="resize")
        unknown = await saved(parentId=mine["id"], toolId="resise")
        alone = await saved(toolId="resize")
    assert (stolen.status_code, stolen.json()["code"]) == (404, "NOT_FOUND")
    assert (unknown.status_code, unknown.json()["code"]) == (400, "VALIDATION_ERROR")
    assert "'resize'" in unknown.json()["error"]
    assert (alone.status_code, alone.json()["code"]) == (400, "VALIDATION_ERROR")
    async with web.client(web.other) as ben:
        assert len((await ben.get(f"/api/v1/files/{foreign['id']}")).json()["versions"]) == 1


async def test_a_download_is_the_file_itself_under_its_own_name(web: Web) -> None:
    data = web.photo
    async with web.client(web.user) as client:
        file = await uploaded(client, 'Küche "groß".jpg', data)
        whole = await client.get(f"/api/v1/files/{file['id']}/download")
        part = await client.get(f"/api/v1/files/{file['id']}/download", headers={"range": "bytes=10-19"})
        beyond = await client.get(f"/api/v1/files/{file['id']}/download", headers={"range": "bytes=99999999-"})
    assert (whole.status_code, whole.content, whole.headers["content-type"]) == (200, data, JPEG)
    disposition = whole.headers["content-disposition"]
    assert disposition.startswith("attachment;")
    assert "filename*=UTF-8''K%C3%BCche%20" in disposition
    assert disposition.isascii()
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in whole.headers["content-security-policy"]
    assert whole.headers["cache-control"].startswith("private")
    assert (part.status_code, part.content) == (206, data[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(data)}"
    assert beyond.status_code == 416


async def test_a_thumbnail_is_a_jpeg_of_300_pixels_that_may_be_kept_for_a_day(web: Web) -> None:
    async with web.client(web.user) as client:
        file = await uploaded(client, "wide.png", picture("red", (900, 300), "PNG"))
        answer = await client.get(f"/api/v1/files/{file['id']}/thumbnail")
    assert (answer.status_code, answer.headers["content-type"]) == (200, JPEG)
    assert answer.headers["cache-control"] == "private, max-age=86400, immutable"
    with PIL.Image.open(io.BytesIO(answer.content)) as thumbnail:
        assert (thumbnail.format, thumbnail.size) == ("JPEG", (300, 100))
        red, green, blue = thumbnail.convert("RGB").getpixel((150, 50))
    assert red > 250
    assert green < 5
    assert blue < 5


async def test_files_of_others_are_answered_for_as_if_they_were_not_there(web: Web) -> None:
    async with web.client(web.other) as ben:
        foreign = (await uploaded(ben, "private.jpg", picture("orange")))["id"]
        there = await ben.get(f"/api/v1/files/{foreign}")
    missing = foreign[:-4] + "aaaa"
    async with web.client(web.user) as client, web.client() as nobody:
        for method, path in [
            ("GET", ""),
            ("GET", "/download"),
            ("GET", "/thumbnail"),
            ("DELETE", ""),
        ]:
            theirs = await client.request(method, f"/api/v1/files/{foreign}{path}")
            nothing = await client.request(method, f"/api/v1/files/{missing}{path}")
            assert theirs.status_code == nothing.status_code == 404
            assert str(told(theirs)).replace(foreign, missing) == str(told(nothing))
            assert theirs.headers.keys() == nothing.headers.keys()
            unsigned = await nobody.request(method, f"/api/v1/files/{foreign}{path}")
            assert (unsigned.status_code, unsigned.json()["code"]) == (401, "AUTH_REQUIRED")
        assert (await client.request("DELETE", "/api/v1/files", json={"ids": [foreign, missing]})).json() == {
            "ok": True,
            "deleted": 0,
        }
        assert foreign not in (await client.get("/api/v1/files", params={"limit": 200})).text
    async with web.client(web.other) as ben:
        assert (await ben.get(f"/api/v1/files/{foreign}")).json() == there.json()


async def test_a_file_goes_with_its_whole_chain(web: Web) -> None:
    person = await newcomer(web)
    async with web.client(person.token) as client:
        first = await uploaded(client, "one.jpg", picture("red"))
        second = await next_version(client, first["id"], "resize", picture("red", (64, 48), "PNG"))
        other = await uploaded(client, "two.jpg", picture("blue"))
        assert (await client.delete(f"/api/v1/files/{second['id']}")).json() == {"ok": True, "deleted": 2}
        for gone in (first, second):
            assert (await client.get(f"/api/v1/files/{gone['id']}/download")).status_code == 404
        listed = (await client.get("/api/v1/files")).json()
        assert [file["id"] for file in listed["files"]] == [other["id"]]


async def test_many_files_go_at_once_and_each_chain_counts_once(web: Web) -> None:
    person = await newcomer(web)
    async with web.client(person.token) as client:
        first = await uploaded(client, "one.jpg", picture("red"))
        second = await next_version(client, first["id"], "resize", picture("red", (64, 48), "PNG"))
        other = await uploaded(client, "two.jpg", picture("blue"))
        ids = [second["id"], first["id"], other["id"], other["id"], "img_nothing"]
        answer = await client.request("DELETE", "/api/v1/files", json={"ids": ids})
        empty = await client.request("DELETE", "/api/v1/files", json={"ids": []})
        assert answer.json() == {"ok": True, "deleted": 3}
        assert (await client.get("/api/v1/files")).json()["total"] == 0
    assert (empty.status_code, empty.json()["code"]) == (400, "VALIDATION_ERROR")


async def test_an_admin_sees_and_ends_files_of_everybody(web: Web) -> None:
    async with web.client(web.user) as client:
        file = await uploaded(client, "anns.jpg", picture("teal"))
    async with web.client(web.admin) as admin:
        listed = (await admin.get("/api/v1/files", params={"search": "anns.jpg"})).json()
        assert [each["id"] for each in listed["files"]] == [file["id"]]
        assert (await admin.get(f"/api/v1/files/{file['id']}/thumbnail")).status_code == 200
        kept = await next_version(admin, file["id"], "resize", picture("teal", (8, 8), "PNG"))
    async with web.client(web.user) as client:
        assert (await client.get(f"/api/v1/files/{kept['id']}")).json()["file"]["version"] == 2
    async with web.client(web.admin) as admin:
        assert (await admin.delete(f"/api/v1/files/{file['id']}")).json()["deleted"] == 2


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"", 400, "EMPTY_FILE"),
        (b"<html><body>no picture</body></html>", 400, "UNSUPPORTED_FORMAT"),
        (picture("red")[:40], 400, "INVALID_IMAGE"),
    ],
)
async def test_what_is_no_picture_is_not_taken(web: Web, data: bytes, status: int, code: str) -> None:
    person = await newcomer(web)
    async with web.client(person.token) as client:
        answer = await client.post("/api/v1/upload", files={"file": ("photo.jpg", data)})
        assert (await client.get("/api/v1/files")).json()["total"] == 0
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_an_upload_without_files_or_form_is_refused(web: Web) -> None:
    async with web.client(web.user) as client:
        without = await client.post("/api/v1/upload", files={"note": (None, "only text")})
        formless = await client.post("/api/v1/upload", json={"file": "data"})
    for answer in (without, formless):
        assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_ERROR")


async def test_a_key_that_only_reads_settings_touches_no_file(web: Web) -> None:
    async with web.client(web.user) as client:
        body = {"name": "narrow", "permissions": ["settings:read"]}
        key = (await client.post("/api/v1/api-keys", json=body)).json()["key"]
        file = await uploaded(client, "kept.jpg", picture("brown"))
    async with web.client(key) as client:
        refused = [
            await client.post("/api/v1/upload", files={"file": ("a.jpg", picture("red"))}),
            await client.get(f"/api/v1/files/{file['id']}"),
            await client.delete(f"/api/v1/files/{file['id']}"),
        ]
    assert {(answer.status_code, answer.json()["code"]) for answer in refused} == {(403, "FORBIDDEN")}
