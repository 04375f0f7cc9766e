"""Pictures in and out by content hash."""

from collections.abc import Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from darkroom.app import Darkroom
from darkroom.faces.rest.autoretouch.dialect import check_organization
from darkroom.faces.rest.autoretouch.wire import Organised, StoredQuery, UploadBody, Uploaded
from darkroom.faces.serving import picture_answer
from darkroom.forms import read_form
from darkroom.principal import Principal
from darkroom.routing import FILE, Door, Says, principal_of, read_json, read_query
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.kit.clean import clean_text

__all__ = ["FORM", "storage_routes"]

FORM: Final = "multipart/form-data"


def storage_routes(room: Darkroom) -> Sequence[Door]:
    """Uploads with and without `/v1`, and what was uploaded or made."""

    async def upload(request: Request) -> Response:
        principal = principal_of(request)
        check_organization(principal, read_query(request, Organised).organization)
        if not request.headers.get("content-type", "").lower().startswith(FORM):
            came = await read_json(request, UploadBody)
            hashes = {name: await _fetched(room, principal, name, url) for name, url in came.urls.items()}
            return JSONResponse(Uploaded(urls=hashes), 201)
        async with read_form(request, room.intake, room.library.discard, most_files=1) as form:
            parts = form.parts("file")
            if not parts:
                raise InvalidSettings("Send the picture as the field 'file' of the form.", field="file")
            record = await room.files.receive(principal, parts[0].file)
        return PlainTextResponse(record.sha256, 201)

    async def stored(request: Request) -> Response:
        asked = read_query(request, StoredQuery)
        check_organization(principal_of(request), asked.organization)
        await room.files.by_digest(principal_of(request), asked.content_hash.lower())
        return Response()

    async def picture(request: Request) -> Response:
        principal = principal_of(request)
        check_organization(principal, read_query(request, Organised).organization)
        record = await room.files.by_digest(principal, request.path_params["hash"].lower())
        return await picture_answer(request, record, room.blobs.path(record.sha256), record.media_type)

    takes = Says(
        "Hand in a picture, or web addresses of some.",
        query=Organised,
        body=UploadBody,
        form={"file": FILE},
        required=["file"],
        answer=["text/plain", Uploaded],
        status=201,
        inferred="If one of several addresses cannot be fetched, the call fails, and what came before it stays.",
    )
    tells = Says("Whether a picture of yours has this content hash.", query=StoredQuery)
    gives = Says(
        "A picture of yours, handed in or made.",
        query=Organised,
        answer=["image/*", "application/pdf", "application/zip"],
    )
    return [
        *(Door(path, upload, needs="files:write", methods=["POST"], says=takes) for path in ("/upload", "/v1/upload")),
        *(Door(path, stored, needs="files:read", methods=["HEAD"], says=tells) for path in ("/upload", "/v1/upload")),
        *(
            Door(path, picture, needs="files:read", methods=["GET"], says=gives)
            for path in ("/image/{hash}/{name}", "/v1/image/{hash}/{name}")
        ),
    ]


async def _fetched(room: Darkroom, principal: Principal, name: str, url: str) -> str:
    """The content hash of what is at a web address."""
    if not url.strip().lower().startswith(("http://", "https://")):
        shown = clean_text(name, 60)
        raise InvalidSettings(f"The address of {shown!r} is no http or https URL.", field=f"urls.{shown}")
    came = await room.intake.resolve(principal, {"download_url": url}, "urls")
    try:
        return (await room.files.receive(principal, came, name=name)).sha256
    finally:
        await room.library.discard(came.sha256)  # unless an image needs them, which is so where all went well
