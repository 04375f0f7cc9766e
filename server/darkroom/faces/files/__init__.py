"""Bytes in and out over HTTP: one-time uploads with a drop page, and signed downloads."""

import secrets
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from urllib.parse import unquote

import anyio
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from darkroom.app import Darkroom
from darkroom.errors import NotFound
from darkroom.intake import too_large
from darkroom.library.names import content_disposition
from darkroom.principal import LOCAL

__all__ = ["file_routes"]

UNTRUSTED = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
"""Served pictures can neither run scripts nor reach anything (an SVG could)."""


def file_routes(room: Darkroom) -> Sequence[BaseRoute]:
    """`PUT /u/{token}`, its drop page, and `GET /files/…`."""

    async def upload(request: Request) -> Response:
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > room.limits.file_bytes:
            raise too_large(room.limits.file_bytes)
        token = request.path_params["token"]
        name = unquote(request.headers.get("x-file-name", "")) or "upload"
        record = await room.uploads.receive(token, request.stream(), name)
        return JSONResponse(
            {
                "image": record.id,
                "width": record.width,
                "height": record.height,
                "format": record.format,
                "bytes": record.bytes,
            },
            201,
        )

    async def drop_page(request: Request) -> Response:
        await room.uploads.check(request.path_params["token"])
        nonce = secrets.token_urlsafe(16)
        page = (files(__package__) / "drop.html").read_text(encoding="utf-8").replace("NONCE", escape(nonce))
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
            "connect-src 'self'; img-src blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        return HTMLResponse(page, headers={"content-security-policy": policy, "referrer-policy": "no-referrer"})

    async def download(request: Request) -> Response:
        values = request.path_params
        room.links.check(values["image"], values["expires"], values["signature"])
        record = await room.library.get(LOCAL, values["image"])
        path = anyio.Path(room.blobs.path(record.sha256))
        if not await path.exists():
            raise NotFound("The file of this picture is gone.")
        headers = {
            "content-disposition": content_disposition(record.name, inline=_shows(record.media_type)),
            "content-security-policy": UNTRUSTED,
            "x-content-type-options": "nosniff",
            "cache-control": "private, max-age=86400, immutable",
            "etag": f'"{record.sha256}"',
        }
        return FileResponse(path, media_type=record.media_type, headers=headers)

    return [
        Route("/u/{token}", upload, methods=["PUT", "POST"]),
        Route("/u/{token}", drop_page, methods=["GET"]),
        Route("/files/{image}/{expires:int}/{signature}/{name}", download, methods=["GET"]),
    ]


def _shows(media_type: str) -> bool:
    """Whether a browser may show the file in its place: pictures made of pixels, which hold nothing that acts."""
    return media_type.startswith("image/") and media_type != "image/svg+xml"
