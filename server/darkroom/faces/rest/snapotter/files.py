"""The file library: uploads, lists, versions, downloads, thumbnails, and deleting whole chains."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from typing_extensions import TypedDict

from darkroom.app import Darkroom
from darkroom.errors import NotFound
from darkroom.faces.rest.common import timestamp
from darkroom.faces.serving import picture_answer
from darkroom.forms import MOST_FILES, read_form
from darkroom.library.record import ImageRecord
from darkroom.principal import Principal
from darkroom.routing import FILE, Door, Says, principal_of, read_json, read_query
from darkroom.store.ids import new_id
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.settings import Settings

__all__ = ["file_routes"]


class FilesQuery(Settings):
    """Which of the files."""

    search: Annotated[str, Field(max_length=200)] | None = None
    """Only names that contain this; upper and lower case are the same"""

    limit: Annotated[int, Field(ge=1, le=200)] = 50

    offset: Annotated[int, Field(ge=0, le=2**31)] = 0


class ManyFiles(Settings):
    """Several files at once."""

    ids: Annotated[list[Annotated[str, Field(max_length=100)]], Field(min_length=1, max_length=200)]
    """Of any version; each goes with its whole chain"""


class FileAnswer(TypedDict):
    """A file of the library; width and height are null for one that is no picture."""

    id: str
    originalName: str
    mimeType: str
    size: int
    width: int | None
    height: int | None
    version: int
    parentId: str | None
    toolChain: list[str]
    createdAt: str


class UploadedFile(FileAnswer):
    """A file as both ways to upload one show it."""

    name: str
    format: str


class UploadAnswer(TypedDict):
    """What came in; `jobId` names this upload, which is over once it is answered."""

    jobId: str
    files: list[UploadedFile]


class LibraryUploadAnswer(TypedDict):
    """What came in."""

    files: list[UploadedFile]


class FilesAnswer(TypedDict):
    """The newest version of each file, newest first, and how many there are in all."""

    files: list[FileAnswer]
    total: int
    limit: int
    offset: int


class FileWithVersions(TypedDict):
    """A file and its chain, the first version first."""

    file: FileAnswer
    versions: list[FileAnswer]


class SavedAnswer(TypedDict):
    """The new version."""

    file: FileAnswer


class Deleted(TypedDict):
    """How many versions went."""

    ok: bool
    deleted: int


def file_routes(room: Darkroom) -> list[Door]:
    """`/api/v1/upload` and `/api/v1/files`."""
    files = _Files(room)
    return [*_arriving_doors(files), *_many_doors(files), *_one_doors(files)]


async def _shown(room: Darkroom, records: Sequence[ImageRecord]) -> list[FileAnswer]:
    """Files as this dialect shows them."""
    chains = await room.files.tool_chains(records)
    return [
        {
            "id": record.id,
            "originalName": record.name,
            "mimeType": record.media_type,
            "size": record.bytes,
            "width": record.width,
            "height": record.height,
            "version": record.version,
            "parentId": record.parent,
            "toolChain": list(chains[record.id]),
            "createdAt": timestamp(record.created_at),
        }
        for record in records
    ]


class _Files:
    """Answers for `/api/v1/upload` and `/api/v1/files`."""

    def __init__(self, room: Darkroom) -> None:
        self._room = room

    async def upload(self, request: Request) -> Response:
        answer: UploadAnswer = {"jobId": new_id("upl"), "files": await self._received(request)}
        return JSONResponse(answer)

    async def upload_to_library(self, request: Request) -> Response:
        answer: LibraryUploadAnswer = {"files": await self._received(request)}
        return JSONResponse(answer, 201)

    async def listed(self, request: Request) -> Response:
        query = read_query(request, FilesQuery)
        records, total = await self._room.files.page(
            principal_of(request), query.search, query.limit, query.offset, everyone=True
        )
        answer: FilesAnswer = {
            "files": await _shown(self._room, records),
            "total": total,
            "limit": query.limit,
            "offset": query.offset,
        }
        return JSONResponse(answer)

    async def one(self, request: Request) -> Response:
        acting, handle = await self._named(request)
        versions = await _shown(self._room, await self._room.files.chain(acting, handle))
        answer: FileWithVersions = {
            "file": next(version for version in versions if version["id"] == handle),
            "versions": versions,
        }
        return JSONResponse(answer)

    async def download(self, request: Request) -> Response:
        record = await self._record(request)
        path = self._room.blobs.path(record.sha256)
        return await picture_answer(request, record, path, record.media_type, inline=False, max_age=0)

    async def thumbnail(self, request: Request) -> Response:
        record = await self._record(request)
        path, media_type = await self._room.renditions.of(record, "thumbnail")
        return await picture_answer(request, record, path, media_type)

    async def delete(self, request: Request) -> Response:
        acting, handle = await self._named(request)
        return _deleted(await self._room.files.delete_chain(acting, handle))

    async def delete_many(self, request: Request) -> Response:
        body = await read_json(request, ManyFiles)
        deleted = 0
        for handle in dict.fromkeys(body.ids):
            try:
                acting = await self._room.files.acting_for(principal_of(request), handle)
                deleted += await self._room.files.delete_chain(acting, handle)
            except NotFound:
                continue  # also what went with its chain just now
        return _deleted(deleted)

    async def save_result(self, request: Request) -> Response:
        async with read_form(request, self._room.intake, self._room.library.discard, most_files=1) as form:
            parts, parent = form.parts(), form.text("parentId")
            if not parts or not parent:
                raise InvalidSettings("Send file, parentId and toolId as parts of the form.", field="parentId")
            tool = self._tool_id(principal_of(request), form.text("toolId"))
            acting = await self._room.files.acting_for(principal_of(request), parent)
            made = await self._room.files.receive(acting, parts[0].file, listed=False)
            record = await self._room.files.keep_version(acting, made.id, parent, tool)
        [shown] = await _shown(self._room, [record])
        answer: SavedAnswer = {"file": shown}
        return JSONResponse(answer, 201)

    async def _received(self, request: Request) -> list[UploadedFile]:
        principal = principal_of(request)
        async with read_form(request, self._room.intake, self._room.library.discard) as form:
            arrived = [part.file for part in form.parts()]
            if not arrived:
                raise InvalidSettings("Send at least one file as a part of the form.", field="files")
            records = [await self._room.files.receive(principal, each) for each in arrived]
        shown = await _shown(self._room, records)
        return [
            {**answer, "name": record.name, "format": record.format}
            for answer, record in zip(shown, records, strict=True)
        ]

    async def _named(self, request: Request) -> tuple[Principal, str]:
        """Whom to act for with the file that the address names, and its handle.

        Raises:
            NotFound: There is none, or it is somebody else's: the answer is the same.
        """
        handle = request.path_params["id"]
        return await self._room.files.acting_for(principal_of(request), handle), handle

    async def _record(self, request: Request) -> ImageRecord:
        """The file that the address names.

        Raises:
            NotFound: There is none, or it is somebody else's: the answer is the same.
        """
        return await self._room.files.get(principal_of(request), request.path_params["id"])

    def _tool_id(self, principal: Principal, name: str) -> str:
        try:
            return self._room.catalog.find(principal, name).id
        except NotFound as error:
            raise InvalidSettings(error.message, field="toolId") from error


def _deleted(count: int) -> Response:
    answer: Deleted = {"ok": True, "deleted": count}
    return JSONResponse(answer)


def _arriving_doors(files: _Files) -> Sequence[Door]:
    sent: dict[str, dict[str, Any]] = {
        "files": {"type": "array", "items": dict(FILE), "minItems": 1, "maxItems": MOST_FILES}
    }
    return [
        Door(
            "/api/v1/upload",
            files.upload,
            needs="files:write",
            methods=["POST"],
            says=Says(
                "Put files into the library, at most 200 at once; parts of any name.",
                form=sent,
                required=["files"],
                answer=UploadAnswer,
                inferred="The answer. jobId names the upload; there is no progress to follow.",
            ),
        ),
        Door(
            "/api/v1/files/upload",
            files.upload_to_library,
            needs="files:write",
            methods=["POST"],
            says=Says(
                "The same as /api/v1/upload.",
                form=sent,
                required=["files"],
                answer=LibraryUploadAnswer,
                status=201,
                inferred="This address.",
            ),
        ),
        Door(
            "/api/v1/files/save-result",
            files.save_result,
            needs="files:write",
            methods=["POST"],
            says=Says(
                "Keep a file that was made elsewhere as the next version of one of the library.",
                form={"file": FILE, "parentId": {"type": "string"}, "toolId": {"type": "string"}},
                required=["file", "parentId", "toolId"],
                answer=SavedAnswer,
                status=201,
                inferred="This address.",
            ),
        ),
    ]


def _many_doors(files: _Files) -> Sequence[Door]:
    return [
        Door(
            "/api/v1/files",
            files.listed,
            needs="files:read",
            says=Says(
                "The newest version of each file, newest first; who may see everybody's files sees everybody's.",
                query=FilesQuery,
                answer=FilesAnswer,
                inferred="Names in query and answer.",
            ),
        ),
        Door(
            "/api/v1/files",
            files.delete_many,
            needs="files:write",
            methods=["DELETE"],
            says=Says(
                "Delete files with their chains; ids that are not there are passed over.",
                body=ManyFiles,
                answer=Deleted,
                inferred="This address.",
            ),
        ),
    ]


def _one_doors(files: _Files) -> Sequence[Door]:
    one = "/api/v1/files/{id}"
    return [
        Door(
            one,
            files.one,
            needs="files:read",
            says=Says("A file and its versions.", answer=FileWithVersions, inferred="Names in the answer."),
        ),
        Door(
            one,
            files.delete,
            needs="files:write",
            methods=["DELETE"],
            says=Says("Delete a file with all its versions.", answer=Deleted, inferred="The answer."),
        ),
        Door(
            f"{one}/download",
            files.download,
            needs="files:read",
            says=Says("The bytes of a file; a Range is understood.", answer=["image/*", "application/*"]),
        ),
        Door(
            f"{one}/thumbnail",
            files.thumbnail,
            needs="files:read",
            says=Says("A JPEG of at most 300 pixels across.", answer="image/jpeg"),
        ),
    ]
