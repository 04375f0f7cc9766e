"""Stored images, saved workflows and the documentation as MCP resources."""

import base64
from urllib.parse import unquote

import mcp_types as types
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from darkroom.errors import NotFound
from darkroom.faces.mcp.replies import dumps, image_uri
from darkroom.faces.mcp.room import Context, Room
from darkroom.principal import Principal
from darkroom.workflows.exchange import export_document

__all__ = ["DOCS_URI", "IMAGE_TEMPLATE", "WORKFLOWS", "WORKFLOW_TEMPLATE", "Resources"]

DOCS_URI = "darkroom://docs/llms.txt"

IMAGE_TEMPLATE = "darkroom://images/{id}"

WORKFLOW_TEMPLATE = "darkroom://workflows/{id}"

WORKFLOWS = "darkroom://workflows/"

LARGEST_BLOB = 700_000
"""Bytes that still fit into one message of every client once they are base64."""

LEGACY_NOT_FOUND = -32002


class Resources:
    """resources/list, resources/templates/list and resources/read."""

    def __init__(self, room: Room) -> None:
        self._room = room

    async def list_resources(
        self, _ctx: Context, _params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        """The documentation; images are found by list_images and by links in replies."""
        docs = types.Resource(
            uri=DOCS_URI, name="llms.txt", title="Darkroom for models", mime_type="text/plain", description="All tools."
        )
        return types.ListResourcesResult(resources=[docs])

    async def list_templates(
        self, _ctx: Context, _params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        """An image by its handle, and a workflow's document by its id."""
        image = types.ResourceTemplate(
            uri_template=IMAGE_TEMPLATE, name="image", title="Stored image", description="An image by its handle."
        )
        workflow = types.ResourceTemplate(
            uri_template=WORKFLOW_TEMPLATE, name="workflow", title="Saved workflow", description="Its JSON document."
        )
        return types.ListResourceTemplatesResult(resource_templates=[image, workflow])

    async def read(self, ctx: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        """The bytes of an image, or words on how to get them where they are too many for a message."""
        if params.uri == DOCS_URI:
            text = types.TextResourceContents(uri=DOCS_URI, mime_type="text/plain", text=self._room.docs())
            return types.ReadResourceResult(contents=[text])
        principal = self._room.principal(ctx)
        try:
            if not principal.may("workflows:read" if params.uri.startswith(WORKFLOWS) else "files:read"):
                raise NotFound("There is no such resource.")
            if params.uri.startswith(WORKFLOWS):
                return types.ReadResourceResult(contents=[await self._workflow(principal, params.uri)])
            if not params.uri.startswith(image_uri("")):
                raise NotFound("There is no such resource.")
            record = await self._room.library.get(principal, params.uri.removeprefix(image_uri("")))
            if record.bytes > LARGEST_BLOB:
                return types.ReadResourceResult(contents=[self._too_large(params.uri, record.bytes, record.name)])
            data = await self._room.library.read(principal, record.id)
        except NotFound as error:
            raise _not_found(ctx, params.uri) from error
        blob = types.BlobResourceContents(
            uri=params.uri, mime_type=record.media_type, blob=base64.b64encode(data).decode()
        )
        return types.ReadResourceResult(contents=[blob])

    async def _workflow(self, principal: Principal, uri: str) -> types.TextResourceContents:
        saved = await self._room.catalog.workflow(principal, unquote(uri.removeprefix(WORKFLOWS)))
        document = export_document(saved.document, published=saved.published or not saved.owner)
        return types.TextResourceContents(uri=uri, mime_type="application/json", text=dumps(document))

    def _too_large(self, uri: str, size: int, name: str) -> types.TextResourceContents:
        url = self._room.links.url(uri.removeprefix(image_uri("")), name)
        where = f"download {url}, or call" if url else "call"
        text = (
            f"This image has {size} bytes; resources hold at most {LARGEST_BLOB}. "
            f"To get it, {where} export_image; view_image shows a preview."
        )
        return types.TextResourceContents(uri=uri, mime_type="text/plain", text=text)


def _not_found(ctx: Context, uri: str) -> MCPError:
    modern = ctx.protocol_version in MODERN_PROTOCOL_VERSIONS
    code = types.INVALID_PARAMS if modern else LEGACY_NOT_FOUND
    return MCPError(code, "Resource not found. Images are darkroom://images/img_….", {"uri": uri[:200]})
