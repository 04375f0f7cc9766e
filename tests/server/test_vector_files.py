"""SVG and PDF files, and calls without an image, through every door of a running server."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import PIL.Image
import pytest
import zxingcpp
from mcp import Client
from mcp_types import CallToolResult, ImageContent, TextContent
from support.processes import Served, darkroom, serving

pytestmark = pytest.mark.anyio

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"><rect width="40" height="20" fill="red"/></svg>'
ACTIVE = SVG.replace(b"<rect", b"<script>alert(1)</script><rect")


def pdf() -> bytes:
    file = io.BytesIO()
    PIL.Image.new("RGB", (60, 90), (0, 0, 255)).save(file, "PDF", resolution=72)
    return file.getvalue()


def data_uri(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("data")) as served:
        yield served


async def call(server: Served, tool: str, **arguments: Any) -> CallToolResult:
    async with Client(f"{server.url}/mcp") as client:
        return await client.call_tool(tool, arguments)


async def facts(server: Served, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await call(server, tool, **arguments)
    assert not result.is_error, result.content
    said: dict[str, Any] | None = result.structured_content
    assert said is not None
    return said


async def uploaded(server: Served, data: bytes, name: str) -> dict[str, Any]:
    slot = await facts(server, "create_upload")
    sent = httpx2.put(slot["url"], content=data, headers={"x-file-name": name})
    assert sent.status_code == 201, sent.text
    answer: dict[str, Any] = sent.json()
    return answer


def downloaded(url: str) -> PIL.Image.Image:
    return PIL.Image.open(io.BytesIO(httpx2.get(url).content))


async def test_an_upload_of_a_drawing_becomes_a_picture(server: Served) -> None:
    sent = await uploaded(server, SVG, "logo.svg")
    assert (sent["format"], sent["bytes"]) == ("svg", len(SVG))
    made = await facts(server, "svg_to_raster", svg=sent["image"], width=80)
    assert (made["width"], made["height"], made["format"]) == (80, 40, "png")
    assert downloaded(made["url"]).convert("RGB").getpixel((70, 30)) == (255, 0, 0)


async def test_an_upload_of_a_pdf_becomes_pictures(server: Served) -> None:
    sent = await uploaded(server, pdf(), "page.pdf")
    made = await facts(server, "pdf_to_image", pdf=sent["image"], dpi=72)
    assert (made["width"], made["height"]) == (60, 90)
    assert made["facts"] == {"pageCount": 1, "selectedPages": [1]}


@pytest.mark.parametrize(
    ("tool", "name", "uri"),
    [
        ("svg_to_raster", "svg", data_uri(SVG, "image/svg+xml")),
        ("svg_to_raster", "svg", data_uri(SVG, "image/svg+xml;charset=utf-8")),
        ("pdf_to_image", "pdf", data_uri(pdf(), "application/pdf")),
    ],
)
async def test_data_uris_of_drawings_and_pdfs_are_taken(server: Served, tool: str, name: str, uri: str) -> None:
    assert (await facts(server, tool, **{name: uri}))["format"] == "png"


@pytest.mark.parametrize("kind", ["text/html", "application/javascript", "application/pdfx"])
async def test_data_uris_of_other_types_are_refused(server: Served, kind: str) -> None:
    result = await call(server, "svg_to_raster", svg=data_uri(SVG, kind))
    assert result.is_error


@pytest.mark.parametrize(("data", "name", "tool"), [(SVG, "a.svg", "svg_to_raster"), (pdf(), "a.pdf", "pdf_to_image")])
async def test_tools_for_pictures_say_what_to_do_with_them(server: Served, data: bytes, name: str, tool: str) -> None:
    sent = await uploaded(server, data, name)
    result = await call(server, "resize", image=sent["image"], width=10)
    assert result.is_error
    assert result.structured_content is not None
    assert result.structured_content["code"] == "UNSUPPORTED_FORMAT"
    assert tool in result.structured_content["error"]


async def test_each_reads_its_own_kind_only(server: Served) -> None:
    sent = await uploaded(server, pdf(), "b.pdf")
    result = await call(server, "svg_to_raster", svg=sent["image"])
    assert result.is_error
    assert result.structured_content is not None
    assert result.structured_content["code"] == "UNSUPPORTED_FORMAT"
    assert "PDF" in result.structured_content["error"]


@pytest.mark.parametrize(
    ("data", "name", "size", "words"),
    [(ACTIVE, "c.svg", (512, 256), "SVG of"), (pdf(), "c.pdf", (125, 188), "page 1 of")],
)
async def test_a_preview_shows_a_drawing_and_the_first_page(
    server: Served, data: bytes, name: str, size: tuple[int, int], words: str
) -> None:
    sent = await uploaded(server, data, name)
    result = await call(server, "view_image", image=sent["image"])
    shown, said = result.content
    assert isinstance(shown, ImageContent)
    assert isinstance(said, TextContent)
    assert words in said.text
    assert PIL.Image.open(io.BytesIO(base64.b64decode(shown.data))).size == size


async def test_a_drawing_is_served_as_a_file_that_cannot_act(server: Served) -> None:
    made = await facts(server, "qr_generate", data="x", format="svg")
    answer = httpx2.get(made["url"])
    assert answer.headers["content-type"] == "image/svg+xml"
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert answer.headers["content-security-policy"] == "default-src 'none'; style-src 'unsafe-inline'; sandbox"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b'<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + SVG, "UNSAFE_SVG"),
        (SVG.replace(b'width="40" height="20"', b'width="1e9" height="1e9"', 1), "OUTPUT_TOO_LARGE"),
        (SVG.replace(b"<rect", b"<g>" * 200, 1), "IMAGE_TOO_COMPLEX"),
    ],
)
async def test_hostile_drawings_are_refused_with_their_code(server: Served, data: bytes, code: str) -> None:
    sent = await uploaded(server, data, "hostile.svg")
    result = await call(server, "svg_to_raster", svg=sent["image"])
    assert result.is_error
    assert result.structured_content is not None
    assert result.structured_content["code"] == code
    assert "passwd" not in str(result)


async def test_a_packed_drawing_is_refused_with_words(server: Served) -> None:
    import gzip

    slot = await facts(server, "create_upload")
    refused = httpx2.put(slot["url"], content=gzip.compress(SVG))
    assert (refused.status_code, refused.json()["code"]) == (415, "UNSUPPORTED_FORMAT")
    assert "gzip" in refused.json()["error"]


async def test_a_call_without_an_image_makes_a_code_that_another_tool_reads(server: Served) -> None:
    made = await facts(server, "qr_generate", data="https://example.com")
    assert (made["width"], made["height"], made["format"]) == (400, 400, "png")
    assert made["facts"]["scans"] is True
    (code,) = zxingcpp.read_barcodes(downloaded(made["url"]).convert("L"))
    assert code.text == "https://example.com"
    read = await facts(server, "barcode_read", image=made["image"])
    assert read["untrustedText"]["fields"] == {"0": "https://example.com"}
    again = await facts(server, "qr_generate", data="https://example.com")
    assert again["image"] == made["image"]


async def test_health_shows_both_kinds_of_workers(server: Served) -> None:
    health = httpx2.get(f"{server.url}/api/health").json()
    assert health["workers"]["workers"] >= 1
    assert health["vectorWorkers"]["workers"] == 1


def test_the_command_line_makes_a_code_without_a_file(tmp_path: Path) -> None:
    done = darkroom(
        "run", "--data-dir", tmp_path / "data", "qr-generate", "--data", "https://example.com", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    (made,) = tmp_path.glob("*.png")
    assert zxingcpp.read_barcodes(PIL.Image.open(made).convert("L"))[0].text == "https://example.com"
