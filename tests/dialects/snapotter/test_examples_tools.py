"""Every example of the public description that runs something, sent as `curl` sends it, and its table of tools."""

import io
import json
import sys
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import httpx2
import PIL.Image
import pytest
from support.forms import file, photo, size_of
from support.web_room import PASSWORD, PHOTOS, Web, web_room

pytestmark = pytest.mark.anyio

EXAMPLE = Path(__file__).parents[3] / "examples" / "rest_snapotter.py"

TABLE = {
    "resize": "width height fit percentage withoutEnlargement preset",
    "crop": "left top width height aspectRatio shape",
    "rotate": "angle flip background",
    "convert": "format quality",
    "compress": "quality format targetSizeKB",
    "optimize-for-web": "format quality maxWidthPx stripMetadata",
    "strip-metadata": "",
    "edit-metadata": "title description author copyright keywords gps dateTime",
    "bulk-rename": "pattern startIndex padding",
    "image-to-pdf": "pageSize orientation margin fitMode",
    "favicon": "padding backgroundColor borderRadius",
    "color-adjustments": "brightness contrast exposure saturation temperature sharpness vibrance effects",
    "sharpening": "mode amount radius threshold",
    "replace-color": "targetColor replacementColor tolerance invert",
    "remove-background": "model alphaMattingForeground alphaMattingBackground returnMask backgroundColor",
    "upscale": "scale model faceEnhance denoise format quality",
    "erase-object": "maskData maskThreshold",
    "ocr": "quality language enhance",
    "blur-faces": "blurRadius sensitivity",
    "smart-crop": "mode width height facePreset",
    "image-enhancement": "mode strength",
    "enhance-faces": "model strength sensitivity centerFace",
    "colorize": "intensity model",
    "noise-removal": "quality strength preserveDetail colorNoise",
    "red-eye-removal": "sensitivity strength",
    "restore-photo": "mode scratchRemoval faceEnhancement fidelity denoise denoiseStrength colorize",
    "passport-photo": "country printLayout backgroundColor",
    "content-aware-resize": "width height protectFaces blurRadius sobelThreshold square",
    "watermark-text": "text font fontSize color opacity position rotation tile",
    "watermark-image": "opacity position scale",
    "text-overlay": "text font fontSize color x y background padding borderRadius",
    "compose": "x y opacity blend",
    "info": "",
    "compare": "mode diffThreshold",
    "find-duplicates": "threshold",
    "color-palette": "count format",
    "qr-generate": "data size margin colorDark colorLight errorCorrectionLevel dotStyle cornerStyle",
    "barcode-read": "",
    "image-to-base64": "format mimeType",
    "collage": "template gap backgroundColor borderRadius",
    "stitch": "direction gap backgroundColor alignment",
    "split": "mode rows cols tileWidth tileHeight",
    "border": "width color style borderRadius padding shadow",
    "svg-to-raster": "format width height scale dpi background",
    "vectorize": "colorMode threshold colorPrecision filterSpeckle pathMode",
    "gif-tools": "action",
    "pdf-to-image": "pages format dpi quality",
}


@pytest.fixture(scope="module")
async def web(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Web]:
    async with web_room(tmp_path_factory.mktemp("room")) as room:
        yield room


@pytest.fixture
async def session(web: Web) -> AsyncIterator[httpx2.AsyncClient]:
    """Logged in as the first example does."""
    async with web.client() as nobody:
        said = await nobody.post("/api/auth/login", json={"username": "admin", "password": PASSWORD})
        token = said.json()["token"]
    async with web.client(token) as client:
        yield client


def field(name: str, text: str) -> Any:
    return name, (None, text.encode())


async def test_a_session_and_a_key_show_a_tool(web: Web, session: httpx2.AsyncClient) -> None:
    assert (await session.get("/api/v1/tools/resize")).json()["id"] == "resize"
    key = (await session.post("/api/v1/api-keys", json={"name": "my-script"})).json()["key"]
    async with web.client(key) as client:
        assert (await client.get("/api/v1/tools/resize")).json()["id"] == "resize"


async def test_a_single_file(session: httpx2.AsyncClient) -> None:
    form = [file(photo(1200, 900), "input.jpg"), field("settings", '{"width":800,"height":600}')]
    answer = await session.post("/api/v1/tools/resize", files=form)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    assert size_of(answer.content) == (800, 600)


async def test_a_batch(session: httpx2.AsyncClient) -> None:
    sent = [file(photo(40 + n, 30), f"{name}.jpg", "files") for n, name in enumerate("abc")]
    answer = await session.post("/api/v1/tools/compress/batch", files=[*sent, field("settings", '{"quality":80}')])
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert {"a.jpg", "b.jpg", "c.jpg"} <= set(archive.namelist())


async def test_a_pipeline_and_its_progress(session: httpx2.AsyncClient) -> None:
    pipeline = """[
    {"toolId":"resize","settings":{"width":1200}},
    {"toolId":"compress","settings":{"quality":80}},
    {"toolId":"watermark-text","settings":{"text":"© 2025"}}
  ]"""
    answer = await session.post(
        "/api/v1/pipeline/execute", files=[file(photo(), "input.jpg"), field("pipeline", pipeline)]
    )
    assert answer.status_code == 200, answer.text
    assert size_of(answer.content) == (1200, 800)
    async with session.stream("GET", f"/api/v1/jobs/{answer.headers['X-Job-Id']}/progress") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        frames = [json.loads(line[5:]) async for line in stream.aiter_lines() if line.startswith("data:")]
    assert frames[-1].items() >= {"progress": 100, "status": "completed"}.items()


async def test_a_pipeline_over_many_files(session: httpx2.AsyncClient) -> None:
    pipeline = field("pipeline", '[{"toolId":"resize","settings":{"width":800}}]')
    sent = [file(photo(40, 30), "a.jpg", "files"), file(photo(50, 30), "b.jpg", "files"), pipeline]
    answer = await session.post("/api/v1/pipeline/batch", files=sent)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert [size_of(archive.read(name))[0] for name in ("a.jpg", "b.jpg")] == [800, 800]


@pytest.mark.parametrize("tool", TABLE)
async def test_every_tool_of_the_reference_has_its_key_settings(session: httpx2.AsyncClient, tool: str) -> None:
    shown = (await session.get(f"/api/v1/tools/{tool}")).json()
    assert set(TABLE[tool].split()) <= set(shown["settings"].get("properties", {}))


def test_a_client_that_was_written_from_the_document_alone_works(tmp_path: Path) -> None:
    anyio.run(_run_the_example, tmp_path)


async def _run_the_example(folder: Path) -> None:
    async with web_room(folder / "room") as web:
        for place, access in (("by-password", ["--password", PASSWORD]), ("by-key", ["--key", web.user])):
            command = [sys.executable, str(EXAMPLE), web.url, str(PHOTOS), str(folder / place), *access]
            done = await anyio.run_process(command, check=False)
            assert done.returncode == 0, done.stderr.decode()
            assert b"100 % completed" in done.stdout
            with PIL.Image.open(folder / place / "small.jpg") as small:
                assert max(small.size) <= 800
            with PIL.Image.open(folder / place / "marked.jpg") as marked:
                assert marked.width == 1200
            with zipfile.ZipFile(folder / place / "compressed.zip") as archive:
                assert {path.name for path in PHOTOS.glob("*.jpg")} <= set(archive.namelist())
