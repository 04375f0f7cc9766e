"""Signed downloads: everybody's pictures as they are stored and in other forms, whole, in part, or not again."""

import io
import re
from collections.abc import AsyncIterator
from urllib.parse import quote, unquote

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.web_room import Web, web_room

from darkroom.library.record import ImageRecord
from darkroom.principal import LOCAL, Principal

pytestmark = pytest.mark.anyio

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"><rect width="40" height="20" fill="red"/></svg>'


@pytest.fixture(scope="module")
async def web(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Web]:
    async with web_room(tmp_path_factory.mktemp("data")) as opened:
        yield opened


async def handed_in(web: Web, data: bytes, name: str = "photo.jpg", owner: Principal | None = None) -> ImageRecord:
    async def pieces() -> AsyncIterator[bytes]:
        yield data

    stored = await web.room.intake.receive(pieces(), name)
    return await web.room.files.receive(owner or web.ann, stored)


async def get(url: str | None, **headers: str) -> httpx2.Response:
    assert url is not None
    async with httpx2.AsyncClient(timeout=60) as client:
        return await client.get(url, headers=headers)


async def photo(web: Web) -> tuple[str, bytes]:
    """A link to a picture of a user's, and its bytes."""
    record = await handed_in(web, web.photo)
    url = web.room.links.url(record.id, record.name)
    assert url is not None
    return url, web.photo


async def test_whoever_holds_a_link_gets_the_picture_whosever_it_is(web: Web) -> None:
    for owner in (web.ann, web.ben, LOCAL):
        record = await handed_in(web, web.photo, f"of {owner.username}.jpg", owner)
        answer = await get(web.room.links.url(record.id, record.name))
        assert (answer.status_code, answer.content) == (200, web.photo)
        assert quote(record.name) in answer.headers["content-disposition"]


async def test_a_picture_can_be_linked_in_another_form(web: Web) -> None:
    png = io.BytesIO()
    Image.new("RGBA", (900, 300), (0, 0, 255, 255)).save(png, "png")
    record = await handed_in(web, png.getvalue(), "Bläue.png")
    for rendition, media_type, size, name in (
        ("jpg", "image/jpeg", (900, 300), "Bläue.jpg"),
        ("thumbnail", "image/jpeg", (300, 100), "Bläue.jpg"),
        ("webp", "image/webp", (900, 300), "Bläue.webp"),
        ("png", "image/png", (900, 300), "Bläue.png"),
    ):
        url = web.room.links.url(record.id, record.name, rendition=rendition)
        assert url is not None and unquote(url).endswith(f"/{rendition}/{name}")
        answer = await get(url)
        assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
        assert answer.headers["content-disposition"].endswith(f"filename*=UTF-8''{quote(name)}")
        with Image.open(io.BytesIO(answer.content)) as image:
            assert image.size == size


async def test_a_link_opens_one_picture_in_one_form(web: Web) -> None:
    record, other = await handed_in(web, web.photo), await handed_in(web, SVG, "other.svg", web.ben)
    plain = str(web.room.links.url(record.id, "a.jpg")).removeprefix(f"{web.url}/files/").split("/")
    webp = str(web.room.links.url(record.id, "a.jpg", "webp")).removeprefix(f"{web.url}/files/").split("/")
    image, expires, signature, name = plain
    forged = [
        [image, expires, signature, "webp", name],
        [image, expires, webp[2], name],
        [image, expires, webp[2], "jpg", name],
        [other.id, expires, signature, name],
        [other.id, *webp[1:]],
        [image, str(int(expires) + 1), signature, name],
        [image, "1", signature, name],
        [image, expires, "", "webp", name],
    ]
    for parts in forged:
        refused = await get(f"{web.url}/files/{'/'.join(parts)}")
        assert (refused.status_code, refused.json()["code"]) == (404, "NOT_FOUND"), parts
    assert (await get(f"{web.url}/files/{'/'.join(webp)}")).status_code == 200


async def test_a_link_to_a_deleted_picture_is_dead_in_every_form(web: Web) -> None:
    png = io.BytesIO()
    Image.new("RGB", (31, 17), "green").save(png, "png")
    record = await handed_in(web, png.getvalue(), "gone.png")
    links = [web.room.links.url(record.id, record.name, form) for form in ("", "thumbnail", "webp", "png")]
    assert [(await get(link)).status_code for link in links] == [200] * 4
    await web.room.files.delete_chain(web.ann, record.id)
    assert [(await get(link)).status_code for link in links] == [404] * 4


async def test_an_svg_is_never_shown_in_place_and_can_do_nothing(web: Web) -> None:
    record = await handed_in(web, SVG, "drawing.svg")
    answer = await get(web.room.links.url(record.id, record.name))
    assert answer.headers["content-type"].startswith("image/svg+xml")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["content-security-policy"] == "default-src 'none'; style-src 'unsafe-inline'; sandbox"
    assert answer.headers["x-content-type-options"] == "nosniff"
    drawn = await get(web.room.links.url(record.id, record.name, "png"))
    assert drawn.headers["content-type"] == "image/png"
    assert drawn.headers["content-disposition"].startswith("inline")


async def test_what_is_no_picture_in_pixels_says_so(web: Web) -> None:
    record = await handed_in(web, web.photo)
    answer = await get(web.room.links.url(record.id, record.name, "gif"))
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_SETTINGS")
    assert "thumbnail, jpg, png, webp" in answer.json()["error"]


async def test_who_has_a_picture_is_not_sent_it_again(web: Web) -> None:
    url, data = await photo(web)
    first = await get(url)
    etag = first.headers["etag"]
    assert "private" in first.headers["cache-control"]
    for said in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = await get(url, **{"if-none-match": said})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == etag
        assert again.headers["cache-control"] == first.headers["cache-control"]
    for said in ('"other"', etag.strip('"')):
        assert (await get(url, **{"if-none-match": said})).content == data
    record = await handed_in(web, data)
    webp = await get(web.room.links.url(record.id, record.name, "webp"))
    assert webp.headers["etag"] != etag


async def test_a_picture_that_is_used_again_is_still_the_same_to_its_client(web: Web) -> None:
    url, data = await photo(web)
    first = await get(url)
    await handed_in(web, data)
    again = await get(url)
    assert [again.headers[name] for name in ("etag", "last-modified")] == [
        first.headers[name] for name in ("etag", "last-modified")
    ]


async def test_one_part_of_a_picture_can_be_asked_for(web: Web) -> None:
    url, data = await photo(web)
    size = len(data)
    for said, first, last in (
        ("bytes=0-0", 0, 0),
        ("bytes=5-14", 5, 14),
        (f"bytes=5-{size * 2}", 5, size - 1),
        (f"bytes={size - 3}-", size - 3, size - 1),
        ("bytes=-10", size - 10, size - 1),
        (f"bytes=-{size * 2}", 0, size - 1),
    ):
        part = await get(url, range=said)
        assert (part.status_code, part.content) == (206, data[first : last + 1]), said
        assert part.headers["content-range"] == f"bytes {first}-{last}/{size}"
        assert part.headers["content-disposition"].startswith("inline")


async def test_a_part_beyond_the_end_is_refused_with_the_size(web: Web) -> None:
    url, data = await photo(web)
    for said in (f"bytes={len(data)}-", f"bytes={'9' * 18}-", "bytes=-0"):
        refused = await get(url, range=said)
        assert (refused.status_code, refused.content) == (416, b"")
        assert refused.headers["content-range"] == f"bytes */{len(data)}"


@pytest.mark.parametrize(
    "said",
    ["bytes=0-1,5-6", "bytes=" + "0-1," * 500 + "5-6", "bytes=9-5", "bytes=", "bytes=-", "lines=1-2", "bytes=x-y"],
)
async def test_other_ranges_are_answered_with_the_whole(web: Web, said: str) -> None:
    url, data = await photo(web)
    answer = await get(url, range=said)
    assert (answer.status_code, answer.content) == (200, data)


async def test_a_part_of_a_picture_that_is_another_by_now_is_the_whole(web: Web) -> None:
    url, data = await photo(web)
    etag = (await get(url)).headers["etag"]
    assert (await get(url, range="bytes=1-2", **{"if-range": etag})).status_code == 206
    assert (await get(url, range="bytes=1-2", **{"if-range": '"other"'})).content == data


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=30))
async def test_no_range_breaks_the_server(web: Web, said: str) -> None:
    url, data = await photo(web)
    answer = await get(url, range=f"bytes={said}".strip())
    assert answer.status_code in (200, 206, 416)
    assert answer.content in data


@pytest.mark.parametrize(
    "name", ['a"b\\c.jpg', "Tür ☕.jpg", "x\r\nset-cookie: a=b.jpg", "../../etc/passwd", ".jpg", "CON.jpg"]
)
async def test_names_are_harmless_in_a_header(web: Web, name: str) -> None:
    record = await handed_in(web, web.photo, name)
    answer = await get(web.room.links.url(record.id, record.name))
    said = answer.headers["content-disposition"]
    assert re.fullmatch(r"inline; filename=\"[^\"\\%/]*\"; filename\*=UTF-8''[A-Za-z0-9%._~-]+", said)
    assert said.isascii() and "set-cookie" not in answer.headers
