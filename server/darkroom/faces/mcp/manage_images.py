"""Tools that look after images: see, bring in, list, delete, take out."""

import base64
import time
from typing import Annotated, Any, ClassVar

import mcp_types as types
from pydantic import Field

from darkroom.engine.outcome import Picture
from darkroom.engine.sniff import DOCUMENTS
from darkroom.errors import NotFound
from darkroom.faces.mcp.calls import Call
from darkroom.faces.mcp.manage import Manager
from darkroom.faces.mcp.replies import facts_reply, image_facts, image_uri
from darkroom.library.record import ImageRecord
from darkroom_tools.errors import OutputTooLarge, UnsupportedFormat
from darkroom_tools.plan import Plan, Step, input_ref, step_ref
from darkroom_tools.settings import Settings

__all__ = ["IMAGE_MANAGERS"]

PREVIEW_BYTES = 150_000

PREVIEW_TRIES = ((1, 75), (1, 45), (2, 60), (4, 50))
"""Divisor of the size and quality, in the order in which a preview is made small enough."""

HANDLE_HELP = "Handle img_…"


class ViewImage(Settings):
    """Arguments of view_image."""

    image: Annotated[str, Field(description=HANDLE_HELP)]
    max_size: Annotated[int, Field(ge=64, le=1024)] = 512
    """Longest side in pixels"""


class CreateUpload(Settings):
    """Arguments of create_upload: none."""


class ListImages(Settings):
    """Arguments of list_images."""

    aliases: ClassVar = {"search": "query", "name": "query", "cursor": "before"}

    query: Annotated[str, Field(max_length=200)] | None = None
    """Part of the file name"""
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    before: Annotated[str, Field(max_length=200)] | None = None
    """Value of next from the last reply"""


class DeleteImage(Settings):
    """Arguments of delete_image."""

    image: Annotated[str, Field(description=HANDLE_HELP)]


class ExportImage(Settings):
    """Arguments of export_image."""

    aliases: ClassVar = {"to": "path", "destination": "path", "output": "path", "outputPath": "path"}

    image: Annotated[str, Field(description=HANDLE_HELP)]
    path: Annotated[str, Field(min_length=1, max_length=4096)]
    """File to write, inside an allowed folder"""
    overwrite: bool = False


def handle_of(value: str) -> str:
    """The handle in a handle or a resource address."""
    return value.removeprefix(image_uri(""))


def preview_plan(size: int, quality: int, format: str = "") -> Plan:
    """A WebP that fits into a square of `size` pixels, a picture never enlarged; the first page of a PDF."""
    if format == "svg":
        drawn = {"width": size, "height": size, "format": "webp", "quality": quality}
        return Plan((Step("draw", "svg-to-raster", drawn, {"svg": (input_ref(0),)}),))
    if format == "pdf":
        drawn = {"pages": "1", "longestSide": size, "format": "webp", "quality": quality}
        return Plan((Step("draw", "pdf-to-image", drawn, {"pdf": (input_ref(0),)}),))
    fit = {"width": size, "height": size, "fit": "inside", "withoutEnlargement": True}
    return Plan(
        (
            Step("fit", "resize", fit, {"image": (input_ref(0),)}),
            Step("encode", "convert", {"format": "webp", "quality": quality}, {"image": (step_ref("fit"),)}),
        )
    )


async def view_image(call: Call, wanted: ViewImage) -> types.CallToolResult:
    """The picture itself, small enough for every client."""
    handle = handle_of(wanted.image)
    record = await call.room.library.get(call.principal, handle)
    if record.width is None and record.format not in DOCUMENTS:
        raise UnsupportedFormat(
            f"{record.id} is a {record.format.upper()} file, which cannot be shown. Write it to a file with "
            "export_image.",
            got=record.format,
        )
    data, picture = await _preview(call, record, wanted.max_size)
    size = f"{record.width}×{record.height} {record.format}" if record.width else record.format.upper()
    page = "page 1 of " if record.format == "pdf" else ""
    said = f"{picture.width}×{picture.height} preview of {page}{record.id}, which is {size} of {record.bytes} bytes."
    return types.CallToolResult(
        content=[
            types.ImageContent(data=base64.b64encode(data).decode(), mime_type=picture.media_type),
            types.TextContent(text=said),
        ]
    )


async def _preview(call: Call, record: ImageRecord, size: int) -> tuple[bytes, Picture]:
    for divisor, quality in PREVIEW_TRIES:
        plan = preview_plan(max(size // divisor, 16), quality, record.format)
        data, picture = await call.room.jobs.render(call.principal, record.id, plan)
        if len(data) <= PREVIEW_BYTES:
            return data, picture
    raise OutputTooLarge("No preview of this image is small enough to show. Use its url or export_image.")


async def create_upload(call: Call, _wanted: CreateUpload) -> types.CallToolResult:
    """A one-time address that takes a file by PUT, and is a drop page in a browser."""
    base = call.room.links.base
    if base is None:
        raise NotFound(
            "There is no HTTP listener to upload to. Give the image as a path inside an allowed folder, or run "
            "`darkroom serve`."
        )
    slot = await call.room.uploads.create(call.principal)
    url = f"{base}/u/{slot.token}"
    facts = {
        "url": url,
        "method": "PUT",
        "expiresInSeconds": max(0, round(slot.expires_at - time.time())),
        "next": f"curl -T photo.jpg {url}, or open it in a browser to drop a file. The answer holds the handle.",
    }
    return facts_reply(facts)


async def list_images(call: Call, wanted: ListImages) -> types.CallToolResult:
    """The newest images first."""
    listed = await call.room.library.list(call.principal, limit=wanted.limit, before=wanted.before, query=wanted.query)
    items = [
        {
            **{key: value for key, value in image_facts(record, call.room.links).items() if key != "url"},
            "name": record.name,
            **({"tool": record.tool.replace("-", "_")} if record.tool else {}),
            **({"source": record.parent} if record.parent else {}),
        }
        for record in listed.images
    ]
    facts = {"items": items, "next": listed.next}
    reply = facts_reply({key: value for key, value in facts.items() if value is not None})
    lines = [f"{i['image']} {_size(i)}{i['format']} {i['bytes']} B {i['name']}" for i in items]
    tail = [f'Older ones: list_images with {{"before":"{listed.next}"}}.'] if listed.next else []
    text = "\n".join([*lines, *tail]) or "No images yet."
    return reply.model_copy(update={"content": [types.TextContent(text=text)]})


def _size(item: dict[str, Any]) -> str:
    return f"{item['width']}×{item['height']} " if "width" in item else ""


async def delete_image(call: Call, wanted: DeleteImage) -> types.CallToolResult:
    """Forget one image; those made from it stay."""
    handle = handle_of(wanted.image)
    await call.room.library.delete(call.principal, handle)
    return facts_reply({"deleted": handle})


async def export_image(call: Call, wanted: ExportImage) -> types.CallToolResult:
    """Write an image's file to a path of the caller's."""
    handle = handle_of(wanted.image)
    record = await call.room.library.get(call.principal, handle)
    path = await call.room.exporter.export(
        call.principal, record.sha256, record.format, record.name, wanted.path, overwrite=wanted.overwrite
    )
    return facts_reply({"image": handle, "path": path})


IMAGE_MANAGERS = (
    Manager(
        "view_image",
        "View image",
        "Show a stored image as a small WebP preview; other tools answer with facts only.",
        ViewImage,
        view_image,
        read_only=True,
        structured=False,
        example={"image": "img_…"},
        needs="files:read",
    ),
    Manager(
        "create_upload",
        "Create upload",
        "One-time address to send an image to: HTTP PUT, or a drop page in a browser. For files that no path, "
        "URL or handle reaches.",
        CreateUpload,
        create_upload,
        needs="files:write",
    ),
    Manager(
        "list_images",
        "List images",
        "Stored images, newest first, with handles and facts.",
        ListImages,
        list_images,
        read_only=True,
        example={"limit": 5},
        needs="files:read",
    ),
    Manager(
        "delete_image",
        "Delete image",
        "Delete one stored image for good.",
        DeleteImage,
        delete_image,
        destructive=True,
        idempotent=True,
        example={"image": "img_…"},
        needs="files:write",
    ),
    Manager(
        "export_image",
        "Export image",
        "Write a stored image to a file, byte for byte.",
        ExportImage,
        export_image,
        destructive=True,
        idempotent=True,
        example={"image": "img_…", "path": "photo-copy.jpg"},
        needs="files:read",
    ),
)
