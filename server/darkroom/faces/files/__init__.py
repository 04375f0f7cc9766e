"""Bytes in and out over HTTP: one-time uploads with a drop page, and signed downloads."""

import secrets
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from darkroom.app import Darkroom
from darkroom.faces.serving import picture_answer
from darkroom.intake import too_large
from darkroom.routing import PUBLIC, Door

__all__ = ["file_routes"]


def file_routes(room: Darkroom) -> Sequence[Door]:
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
        rendition = values.get("rendition", "")
        room.links.check(values["image"], values["expires"], values["signature"], rendition)
        record = await room.library.opened(values["image"])
        path, media_type = room.blobs.path(record.sha256), record.media_type
        if rendition:
            path, media_type = await room.renditions.of(record, rendition)
        return await picture_answer(request, record, path, media_type)

    return [
        Door("/u/{token}", upload, needs=PUBLIC, methods=["PUT", "POST"]),
        Door("/u/{token}", drop_page, needs=PUBLIC, methods=["GET"]),
        Door("/files/{image}/{expires:int}/{signature}/{name}", download, needs=PUBLIC, methods=["GET"]),
        Door("/files/{image}/{expires:int}/{signature}/{rendition}/{name}", download, needs=PUBLIC, methods=["GET"]),
    ]
