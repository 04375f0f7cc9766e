"""Calls of tools by forms, and small real files to send."""

import io
import json
from typing import Any

import httpx2
import PIL.Image

from support.web_room import PHOTOS


def photo(width: int = 96, height: int = 64, name: str = "rocket.jpg") -> bytes:
    """A real photo, small."""
    with PIL.Image.open(PHOTOS / name) as image:
        return written(image.resize((width, height)), "JPEG")


def written(image: PIL.Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def pdf(pages: int = 1) -> bytes:
    leaves = [PIL.Image.new("RGB", (60, 80), color) for color in ("white", "red", "blue")[:pages]]
    return written(leaves[0], "PDF", save_all=True, append_images=leaves[1:])


def size_of(data: bytes) -> tuple[int, int]:
    with PIL.Image.open(io.BytesIO(data)) as image:
        image.load()
        return image.size


async def run(client: httpx2.AsyncClient, tool: str, *files: Any, **form: Any) -> httpx2.Response:
    """Run a tool; settings are written as JSON, everything else goes as it is. A form without files is one too."""
    headers = form.pop("headers", {})
    fields = {name: json.dumps(value) if name == "settings" else value for name, value in form.items()}
    parts = [(name, (None, value.encode())) for name, value in fields.items()] + list(files)
    return await client.post(f"/api/v1/tools/{tool}", files=parts, headers=headers)


def file(data: bytes, name: str = "photo.jpg", field: str = "file") -> tuple[str, tuple[str, bytes]]:
    return field, (name, data)
