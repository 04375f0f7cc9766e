"""The logo over dialect 001: pictures of every kind become one kind, and nothing else gets in."""

import io
from collections.abc import AsyncIterator

import httpx2
import numpy as np
import PIL.Image
import pytest
import pyvips
from support.web_room import Web

pytestmark = pytest.mark.anyio

LOGO = "/api/v1/branding/logo"
RED, BLUE = (255, 0, 0), (0, 0, 255)


def halves() -> PIL.Image.Image:
    """200 x 100 pixels: red left, blue right."""
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[:, :100], pixels[:, 100:] = RED, BLUE
    return PIL.Image.fromarray(pixels)


def saved(image: PIL.Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def animated() -> bytes:
    turned = halves().transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT)
    return saved(halves(), "GIF", save_all=True, append_images=[turned, turned], duration=100)


def deep() -> bytes:
    wide = pyvips.Image.new_from_array(np.asarray(halves())).cast("ushort") * 257
    return wide.cast("ushort").copy(interpretation="rgb16").write_to_buffer(".png")


async def sent(client: httpx2.AsyncClient, data: bytes, name: str = "logo.png") -> httpx2.Response:
    return await client.post(LOGO, files={"file": (name, data)})


@pytest.fixture
async def clean(web: Web) -> AsyncIterator[Web]:
    yield web
    async with web.client(web.admin) as client:
        await client.delete(LOGO)


@pytest.mark.parametrize(
    ("data", "tolerance"),
    [
        (saved(halves(), "PNG"), 0),
        (saved(halves(), "JPEG", quality=95), 4),
        (saved(halves().convert("CMYK"), "JPEG", quality=95), 145),  # inks cannot be as bright as a screen
        (animated(), 0),
        (deep(), 0),
        (saved(halves().resize((8, 4)), "PNG"), 40),
        (saved(halves().convert("P"), "BMP"), 0),
    ],
    ids=["png", "jpeg", "cmyk", "animated", "16-bit", "tiny", "bmp"],
)
async def test_any_picture_becomes_a_square_png_with_transparent_padding(
    clean: Web, data: bytes, tolerance: int
) -> None:
    async with clean.client(clean.admin) as client:
        assert (await sent(client, data)).json() == {"ok": True}
    async with clean.client() as nobody:
        answer = await nobody.get(LOGO)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    with PIL.Image.open(io.BytesIO(answer.content)) as logo:
        assert (logo.format, logo.mode, logo.size, getattr(logo, "n_frames", 1)) == ("PNG", "RGBA", (128, 128), 1)
        pixels = np.asarray(logo).astype(int)
    assert (pixels[:32, :, 3] == 0).all()
    assert (pixels[96:, :, 3] == 0).all()
    assert (pixels[33:95, :, 3] == 255).all()
    assert np.abs(pixels[40:88, 16:48, :3] - RED).max() <= tolerance
    assert np.abs(pixels[40:88, 80:112, :3] - BLUE).max() <= tolerance


async def test_what_the_file_held_beside_the_picture_is_gone(clean: Web) -> None:
    exif = PIL.Image.Exif()
    exif[0x010E] = "secret place"
    async with clean.client(clean.admin) as client:
        await sent(client, saved(halves(), "JPEG", exif=exif))
        logo = (await client.get(LOGO)).content
    assert b"secret" not in logo
    with PIL.Image.open(io.BytesIO(logo)) as image:
        assert not image.getexif()


@pytest.mark.parametrize(
    "data",
    [
        b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        b'<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg><text>&x;</text></svg>',
        b'<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"/>',
        b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
        b"<html><script>alert(1)</script></html>",
        saved(halves(), "PNG")[:200],
        b"",
    ],
    ids=["script", "entity", "plain svg", "pdf", "html", "damaged", "empty"],
)
async def test_what_is_no_picture_of_pixels_is_refused(clean: Web, data: bytes) -> None:
    async with clean.client(clean.admin) as client:
        refused = await sent(client, data)
        assert refused.status_code == 400, refused.text
        assert b"passwd" not in refused.content
        assert (await client.get(LOGO)).status_code == 404


async def test_a_file_over_500_kb_is_refused_however_it_comes(clean: Web) -> None:
    noise = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (500, 500, 3), np.uint8))
    large = saved(noise, "PNG")
    assert 500 * 1024 < len(large) < 1024 * 1024
    boundary = b"--x\r\ncontent-disposition: form-data; name=file; filename=logo.png\r\n\r\n"

    async def in_pieces() -> AsyncIterator[bytes]:
        yield boundary + large[:1000]
        yield large[1000:] + b"\r\n--x--\r\n"

    async with clean.client(clean.admin) as client:
        announced = await sent(client, large)
        form = {"content-type": "multipart/form-data; boundary=x"}
        surprising = await client.post(LOGO, content=in_pieces(), headers=form)
        assert (await client.get(LOGO)).status_code == 404
    for answer in (announced, surprising):
        assert (answer.status_code, answer.json()["code"]) == (413, "FILE_TOO_LARGE")


async def test_a_logo_stays_until_it_is_replaced_or_removed(clean: Web) -> None:
    async with clean.client(clean.admin) as client:
        assert (await client.get("/api/v1/settings")).json()["settings"]["customLogo"] == "false"
        await sent(client, saved(halves(), "PNG"))
        first = (await client.get(LOGO)).content
        assert (await client.get("/api/v1/settings")).json()["settings"]["customLogo"] == "true"
        await sent(client, saved(PIL.Image.new("RGB", (50, 50), "green"), "PNG"))
        assert (await client.get(LOGO)).content != first
        await sent(client, b"no picture")
        assert (await client.get(LOGO)).status_code == 200
        assert (await client.delete(LOGO)).json() == {"ok": True}
        assert (await client.delete(LOGO)).json() == {"ok": True}
        missing = await client.get(LOGO)
        assert (missing.status_code, missing.json()["code"]) == (404, "NOT_FOUND")
        assert (await client.get("/api/v1/settings")).json()["settings"]["customLogo"] == "false"


async def test_a_logo_is_no_file_of_the_library(clean: Web) -> None:
    async with clean.client(clean.admin) as client:
        before = (await client.get("/api/v1/files")).json()["total"]
        await sent(client, saved(halves(), "PNG"))
        assert (await client.get("/api/v1/files")).json()["total"] == before
        without = await client.post(LOGO, files={"note": (None, "text")})
    assert (without.status_code, without.json()["code"]) == (400, "VALIDATION_ERROR")
