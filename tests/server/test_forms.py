"""Forms over HTTP: read as they arrive, bounded, and nothing left behind."""

import io
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from darkroom import forms
from darkroom.forms import read_form
from darkroom.intake import Intake, Resolved
from darkroom.library.library import Library
from darkroom.store.blobs import BlobStore
from darkroom.store.database import Database
from darkroom_tools.errors import DarkroomError

pytestmark = pytest.mark.anyio


def picture(shade: int = 0) -> bytes:
    encoded = io.BytesIO()
    PIL.Image.new("RGB", (4, 3), (shade, 0, 0)).save(encoded, "png")
    return encoded.getvalue()


class Desk:
    """An application that tells what a form held, and its store."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.blobs = BlobStore(folder / "blobs")
        self.folder = folder
        library = Library(database, self.blobs)
        intake = Intake(self.blobs, 100_000, library.resolve)

        async def tell(request: Request) -> Response:
            async with read_form(request, intake, library.discard, most_files=3) as form:
                files = [
                    [part.field, part.came.name if isinstance(part.came, Resolved) else part.came.code]
                    for part in form.files
                ]
                return JSONResponse({"fields": form.fields, "files": files, "stored": len(self.stored())})

        async def refuse(_request: Request, error: Exception) -> Response:
            assert isinstance(error, DarkroomError)
            return JSONResponse(error.to_wire(), error.status)

        app = Starlette(routes=[Route("/", tell, methods=["POST"])], exception_handlers={DarkroomError: refuse})
        self.http = httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://127.0.0.1")

    def stored(self) -> list[Path]:
        return [path for path in (self.folder / "blobs").rglob("*") if path.is_file()]

    async def send(self, **form: Any) -> httpx2.Response:
        return await self.http.post("/", **form)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with Database(f"sqlite:///{tmp_path / 'test.db'}") as database:
        yield Desk(tmp_path, database)


async def test_texts_and_files_come_in_their_order_and_files_go_again(desk: Desk) -> None:
    files = [("file", ("b.png", picture(1))), ("file", ("a.png", picture(2))), ("mask", ("ü ñ.png", picture(3)))]
    answer = await desk.send(data={"settings": "{}", "note": "über"}, files=files)
    assert answer.json() == {
        "fields": {"settings": ["{}"], "note": ["über"]},
        "files": [["file", "b.png"], ["file", "a.png"], ["mask", "ü ñ.png"]],
        "stored": 3,
    }
    assert desk.stored() == []


async def test_a_file_that_is_refused_fails_alone(desk: Desk) -> None:
    files = [("a", ("a.png", b"no picture")), ("b", ("b.png", b"")), ("c", ("c.png", picture()))]
    answer = await desk.send(files=files)
    assert answer.json()["files"] == [["a", "UNSUPPORTED_FORMAT"], ["b", "EMPTY_FILE"], ["c", "c.png"]]


async def test_too_large_a_file_fails_alone(desk: Desk) -> None:
    answer = await desk.send(files=[("a", ("a.png", picture() + bytes(200_000))), ("b", ("b.png", picture()))])
    assert answer.json()["files"] == [["a", "FILE_TOO_LARGE"], ["b", "b.png"]]


async def test_too_many_files_are_refused_and_those_before_are_gone(desk: Desk) -> None:
    answer = await desk.send(files=[("file", (f"{n}.png", picture(n))) for n in range(4)])
    assert (answer.status_code, answer.json()["code"]) == (400, "TOO_MANY_FILES")
    assert desk.stored() == []


async def test_a_long_text_is_refused(desk: Desk) -> None:
    answer = await desk.send(data={"settings": "x" * (forms.FIELD_BYTES + 1)}, files={"file": picture()})
    assert (answer.status_code, answer.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")


async def test_a_whole_request_has_a_limit(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "MOST_BYTES", 300)
    answer = await desk.send(files=[("file", ("a.png", picture() + bytes(5000)))])
    assert (answer.status_code, answer.json()["code"]) == (413, "FILE_TOO_LARGE")
    assert desk.stored() == []


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b"--x--"),
        ("multipart/form-data; boundary=", b"--"),
        (f"multipart/form-data; boundary={'b' * 300}", b""),
        ("multipart/form-data; boundary=x", b"nothing of the kind"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nhalf'),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Type: text/plain\r\n\r\nnameless\r\n--x--\r\n"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xff\r\n--x--\r\n',
        ),
    ],
)
async def test_what_is_no_form_is_refused_in_words(desk: Desk, kind: str, body: bytes) -> None:
    answer = await desk.send(content=body, headers={"content-type": kind})
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_SETTINGS")
    assert answer.json()["error"].endswith(".")


@given(cuts=st.lists(st.integers(0, 700), max_size=12))
async def test_it_does_not_matter_how_the_bytes_arrive(desk: Desk, cuts: list[int]) -> None:
    built = httpx2.Request("POST", "http://127.0.0.1/", data={"a": "1"}, files={"file": ("p.png", picture())})
    whole = built.read()
    places = sorted({0, *(cut for cut in cuts if cut < len(whole)), len(whole)})

    async def pieces() -> AsyncIterator[bytes]:
        for start, end in pairwise(places):
            yield whole[start:end]

    answer = await desk.send(content=pieces(), headers={"content-type": built.headers["content-type"]})
    assert answer.json() == {"fields": {"a": ["1"]}, "files": [["file", "p.png"]], "stored": 1}
