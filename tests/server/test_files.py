"""Files in and out over HTTP: one-time uploads, their page, signed downloads."""

import hashlib
import io
import re
from collections.abc import Iterator
from urllib.parse import quote

import httpx2
import numpy as np
import pytest
from mcp import Client
from PIL import Image
from support.processes import PHOTOS, Served, files_under, serving

pytestmark = pytest.mark.anyio

COFFEE = (PHOTOS / "coffee.jpg").read_bytes()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("data"), env={"DARKROOM_MAX_FILE_MB": "1"}) as served:
        yield served


async def slot(server: Served) -> str:
    """An address for one file."""
    async with Client(f"{server.url}/mcp") as client:
        facts = (await client.call_tool("create_upload", {})).structured_content
    assert facts["url"].startswith(f"{server.url}/u/")
    return str(facts["url"])


def png(seed: int, side: int = 40) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (side, side, 3), np.uint8)).save(encoded, "png")
    return encoded.getvalue()


def left_over(server: Served) -> set[str]:
    """Files that are neither the database's nor whole pictures."""
    found = files_under(server.where, besides=["darkroom.db", "run/", "links.key"])
    return {name for name in found if not re.fullmatch(r"blobs/.*[0-9a-f]{60,64}", name)}


async def test_a_file_sent_to_a_slot_becomes_an_image(server: Served) -> None:
    sent = httpx2.put(await slot(server), content=COFFEE, headers={"x-file-name": quote("Café  ☕.jpg")})
    assert sent.status_code == 201
    facts = sent.json()
    with Image.open(io.BytesIO(COFFEE)) as image:
        assert (facts["width"], facts["height"]) == image.size
    assert (facts["format"], facts["bytes"]) == ("jpeg", len(COFFEE))
    async with Client(f"{server.url}/mcp") as client:
        listed = (await client.call_tool("list_images", {"query": "Café"})).structured_content["items"]
    assert [item["image"] for item in listed] == [facts["image"]]


async def test_a_slot_takes_one_file(server: Served) -> None:
    url = await slot(server)
    assert httpx2.put(url, content=png(1)).status_code == 201
    again = httpx2.put(url, content=png(2))
    assert (again.status_code, again.json()["code"]) == (404, "NOT_FOUND")
    assert "create_upload" in again.json()["error"]
    assert httpx2.get(url).status_code == 404


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 400, "EMPTY_FILE"),
        (b"<html>not a picture</html>" * 9, 415, "UNSUPPORTED_FORMAT"),
        (COFFEE[:100], 400, "INVALID_IMAGE"),
        (b"\xff\xd8\xff" + bytes(1024 * 1024), 413, "FILE_TOO_LARGE"),
    ],
)
async def test_what_is_refused_leaves_nothing_behind_and_the_slot_open(
    server: Served, content: bytes, status: int, code: str
) -> None:
    url = await slot(server)
    before = files_under(server.where / "blobs")
    refused = httpx2.put(url, content=content)
    assert (refused.status_code, refused.json()["code"]) == (status, code)
    assert files_under(server.where / "blobs") == before
    assert left_over(server) == set()
    assert httpx2.put(url, content=png(status)).status_code == 201


async def test_an_endless_file_is_cut_off(server: Served) -> None:
    def endless() -> Iterator[bytes]:
        yield b"\xff\xd8\xff"
        for _ in range(64):
            yield bytes(64 * 1024)

    refused = httpx2.put(await slot(server), content=endless())
    assert (refused.status_code, refused.json()["code"]) == (413, "FILE_TOO_LARGE")
    assert left_over(server) == set()


async def test_a_page_takes_the_file_from_a_person(server: Served) -> None:
    page = httpx2.get(await slot(server))
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    nonce = re.search(r"script-src 'nonce-([\w-]{20,})'", policy)
    assert nonce
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["referrer-policy"] == "no-referrer"
    scripts = re.findall(r"<(?:script|style)[^>]*>", page.text)
    assert scripts
    assert all(f'nonce="{nonce[1]}"' in tag for tag in scripts)
    assert not re.search(r"(?:src|href)=\"(?!data:,)|\son\w+=", page.text)


async def test_every_page_has_a_nonce_of_its_own(server: Served) -> None:
    url = await slot(server)
    assert httpx2.get(url).headers["content-security-policy"] != httpx2.get(url).headers["content-security-policy"]


async def download(server: Served, seed: int, name: str, **arguments: object) -> tuple[str, bytes]:
    """The address of a picture that was made from an upload of that name, and the upload's bytes."""
    data = png(seed)
    sent = httpx2.put(await slot(server), content=data, headers={"x-file-name": quote(name)}).json()
    async with Client(f"{server.url}/mcp") as client:
        call = {"image": sent["image"], "format": "webp", **arguments}
        facts = (await client.call_tool("convert", call)).structured_content
    return facts["url"], data


async def test_a_download_has_its_name_and_cannot_run(server: Served) -> None:
    url, _ = await download(server, 10, 'Tür "1";\r\n☃.png')
    answer = httpx2.get(url)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/webp"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert "private" in answer.headers["cache-control"]
    said = answer.headers["content-disposition"]
    assert said.isascii()
    assert re.fullmatch(r"inline; filename=\"[^\"\\]*\"; filename\*=UTF-8''[A-Za-z0-9%._~-]+", said)
    assert quote("Tür") in said
    assert quote("☃-convert.webp") in said
    with Image.open(io.BytesIO(answer.content)) as image:
        assert image.size == (40, 40)


async def test_parts_of_a_download_can_be_asked_for(server: Served) -> None:
    url, _ = await download(server, 11, "a.png")
    whole = httpx2.get(url).content
    part = httpx2.get(url, headers={"range": "bytes=5-14"})
    assert (part.status_code, part.content) == (206, whole[5:15])
    assert part.headers["content-range"] == f"bytes 5-14/{len(whole)}"
    assert httpx2.get(url, headers={"range": f"bytes={len(whole)}-"}).status_code == 416
    head = httpx2.head(url)
    assert (head.status_code, head.content, int(head.headers["content-length"])) == (200, b"", len(whole))


async def test_a_download_is_named_by_its_content(server: Served) -> None:
    url, _ = await download(server, 12, "a.png")
    answer = httpx2.get(url)
    assert answer.headers["etag"] == f'"{hashlib.sha256(answer.content).hexdigest()}"'


async def test_a_link_opens_one_picture_until_it_expires(server: Served) -> None:
    url, _ = await download(server, 13, "a.png")
    other, _ = await download(server, 14, "b.png")
    *front, image, expires, signature, name = url.split("/")
    base = "/".join(front)
    forged = [
        f"{base}/{other.split('/')[-4]}/{expires}/{signature}/{name}",
        f"{base}/{image}/{int(expires) + 1}/{signature}/{name}",
        f"{base}/{image}/{10**30}/{signature}/{name}",
        f"{base}/{image}/1/{signature}/{name}",
        f"{base}/{image}/{expires}/{signature[:-1]}x/{name}",
        f"{base}/{image}/{expires}/%C3%A9{signature[1:]}/{name}",
        f"{base}/{image}/{expires}//{name}",
        f"{base}/{image}/-1/{signature}/{name}",
    ]
    for link in forged:
        refused = httpx2.get(link)
        assert (refused.status_code, refused.json()["code"]) == (404, "NOT_FOUND"), link
    assert httpx2.get(f"{base}/{image}/{expires}/{signature}/other-name.webp").status_code == 200


async def test_a_link_to_a_deleted_picture_is_dead(server: Served) -> None:
    url, _ = await download(server, 15, "a.png")
    async with Client(f"{server.url}/mcp") as client:
        await client.call_tool("delete_image", {"image": url.split("/")[-4]})
    assert httpx2.get(url).status_code == 404
