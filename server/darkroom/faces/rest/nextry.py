"""Nextry: pictures of fashion, rooms and fabrics, made by tool and generation type, with a history."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from darkroom.app import Darkroom
from darkroom.engine.sniff import DOCUMENTS, FORMATS, READ_ONLY
from darkroom.errors import NotFound
from darkroom.faces.rest.common import (
    SYNC_SECONDS,
    error_of,
    facts_of,
    finished,
    job_id_of,
    records_of,
    run_terms,
    timestamp,
    uuid_of,
    workflows_for,
)
from darkroom.faces.rest.nextry_calls import arguments_of, by_tool, chosen_from, types_of
from darkroom.faces.rest.nextry_wire import (
    ErrorBody,
    Feedback,
    Generated,
    GenerationType,
    HistoryItem,
    HistoryPage,
    HistoryQuery,
    ProductRow,
    Shown,
    TypesQuery,
    type_of,
)
from darkroom.faces.serving import picture_answer
from darkroom.forms import read_form
from darkroom.jobs.history import Filter
from darkroom.jobs.record import Job, State
from darkroom.library.record import ImageRecord
from darkroom.principal import Principal
from darkroom.routing import FILE, PUBLIC, Dialect, Door, Says, principal_of, read_json, read_query
from darkroom.store.ids import as_uuid, from_uuid
from darkroom.workflows.gallery import GALLERY
from darkroom_prompts.gallery import load_gallery
from darkroom_tools.errors import DarkroomError, InvalidSettings

__all__ = ["DIALECT", "nextry_routes"]

STATUS: Final[Mapping[State, Shown]] = {
    "queued": "pending",
    "running": "pending",
    "in_review": "pending",
    "payment_required": "error",
    "succeeded": "complete",
    "failed": "error",
    "canceled": "error",
}

RESULTS: Final = "/image/generation_result"
NAME: Final = re.compile(r"(img_[a-z2-7]{26})-(\d{1,15})-([0-9a-f]{32})\.(?:(webp|png)|file\.[a-z0-9]{1,16})")
"""Of a result: the picture, when the address ends, its signature, and the form; `file` for the file as it is stored."""

PICTURES: Final = FORMATS.keys() | READ_ONLY.keys()
CLIENT_CLOSED: Final = 499

BLURB: Final = """
Pictures of fashion, rooms and fabrics. A tool is a feature, a generation type one way to make its pictures; every type is
a workflow that comes with Darkroom or, with all that stand for no feature, one of your own under the tool `default`.

- Pictures of a generation are parts of a form, named by what they show (`clothes`, `person`) or as the type names them.
  Several with one name are a list. A text in their place is an https URL, an `img_…` or a data URI.
- Most types make pictures with an image engine. Without one they answer 501 and say what to set; `fashion_card` and most
  types of `default` need none.
- Addresses of pictures are paths on this server, without a slash before them. They are signed and work for a day.

Not in Nextry's public text, so inferred or our own: `generation_type` of a generation (the first type of the tool without
it), the further fields of its form, which are the settings of the type; `images` and `fields` of a type; 201 and null
pictures where a generation takes over 60 seconds, then ask the history; `error` of a history item; deleting a generation
stops it if it is under way, and takes the pictures that it made along; the answer of feedback; `code`, `request_id`,
`retry_after` and `history_item_id` beside `detail`; `Idempotency-Key`; the statuses 402, 409, 413, 415 and 501 to 507.
"""


def _refuse(request: Request, error: DarkroomError, reference: str) -> Response:
    body: dict[str, Any] = {"detail": error.message, "code": error.code, "request_id": reference}
    status = error.status
    if isinstance(error, InvalidSettings):
        place = "query" if request.method in ("GET", "HEAD", "DELETE") else "body"
        field = str(error.details.get("field", ""))
        loc = [place, *(part for part in field.split(".") if part and part != place)]
        body["detail"], status = [{"loc": loc, "msg": error.message, "type": "value_error"}], 422
    if "retryAfter" in error.details:
        body["retry_after"] = error.details["retryAfter"]
    if "history_item_id" in error.details:
        body["history_item_id"] = error.details["history_item_id"]
    return JSONResponse(body, 409 if status == CLIENT_CLOSED else status)


DIALECT: Final = Dialect("Nextry", ("/generation", "/user", RESULTS), _refuse, blurb=BLURB.strip(), error=ErrorBody)


class _Nextry:
    """The addresses, over a running Darkroom."""

    def __init__(self, room: Darkroom) -> None:
        self._room = room

    async def tools(self, request: Request) -> Response:
        """The features that there are workflows for."""
        found = by_tool(await workflows_for(self._room, principal_of(request)))
        rows = [
            ProductRow(group_tool=facts_of(types[0])["group"], tool=tool, title=types[0].name)
            for tool, types in found.items()
            if "feature" in facts_of(types[0])
        ]
        return JSONResponse(rows)

    async def types(self, request: Request) -> Response:
        """The ways in which a tool makes pictures."""
        asked = read_query(request, TypesQuery)
        found = by_tool(await workflows_for(self._room, principal_of(request)))
        chosen = {asked.tool: types_of(found, asked.tool)} if asked.tool is not None else found
        return JSONResponse([type_of(tool, saved) for tool, types in chosen.items() for saved in types])

    async def generate(self, request: Request) -> Response:
        """Make a picture."""
        principal, room = principal_of(request), self._room
        async with read_form(request, room.intake, room.library.discard) as form:
            found = by_tool(await workflows_for(room, principal))
            saved = chosen_from(found, form.text("tool"), form.text("generation_type"))
            job = await room.jobs.accept(
                principal, saved.runnable(), arguments_of(saved, form), terms=run_terms(request)
            )
        job = await finished(room, principal, job, SYNC_SECONDS)
        identifier = as_uuid(job.id)
        if STATUS[job.state] == "error":
            error = error_of(job)
            error.details["history_item_id"] = identifier
            raise error
        preview, stock = self._addresses(await records_of(room, principal, job))
        answer = Generated(preview_image=preview, stock_image=stock, history_item_id=identifier)
        return JSONResponse(answer, 200 if job.ended else 201)

    async def item(self, request: Request) -> Response:
        """A generation."""
        principal = principal_of(request)
        job = await self._find(principal, request)
        return JSONResponse((await self._items(principal, [job]))[0])

    async def history(self, request: Request) -> Response:
        """A page of the caller's generations."""
        principal, asked = principal_of(request), read_query(request, HistoryQuery)
        wanted = Filter(
            states=[state for state, shown in STATUS.items() if shown in asked.status],
            workflows=[_workflow_of(str(asked.generation_type))] if asked.generation_type is not None else [],
            of_workflows=True,
        )
        offset = (asked.page - 1) * asked.limit
        found, total = await self._room.jobs.history.page(principal, wanted, limit=asked.limit, offset=offset)
        answer = HistoryPage(
            page=asked.page,
            count=len(found),
            total_count=total,
            pages=math.ceil(total / asked.limit),
            items=await self._items(principal, found),
        )
        return JSONResponse(answer)

    async def feedback(self, request: Request) -> Response:
        """Keep what the caller says of a generation."""
        principal, said = principal_of(request), await read_json(request, Feedback)
        job = await self._find(principal, request)
        rated = await self._room.jobs.history.rate(principal, job.id, {"like": said.like})
        return JSONResponse((await self._items(principal, [rated]))[0])

    async def delete(self, request: Request) -> Response:
        """Forget a generation with what it made; one that is under way is stopped first."""
        principal = principal_of(request)
        job = await self._find(principal, request)
        if not job.ended:
            await self._room.jobs.cancel(principal, job.id)
        await self._room.jobs.history.delete(principal, job.id, with_images=True)
        return Response(status_code=204)

    async def picture(self, request: Request) -> Response:
        """The picture behind a signed address."""
        room, name = self._room, NAME.fullmatch(request.path_params["file"])
        if name is None:
            raise NotFound("This link is not valid, or no longer.")
        handle, expires, signature, rendition = name[1], int(name[2]), name[3], name[4] or ""
        room.links.check(handle, expires, signature, rendition)
        record = await room.library.opened(handle)
        if rendition:
            path, media_type = await room.renditions.of(record, rendition)
        else:
            path, media_type = room.blobs.path(record.sha256), record.media_type
        return await picture_answer(request, record, path, media_type)

    async def _find(self, principal: Principal, request: Request) -> Job:
        try:
            job = await self._room.jobs.get(principal, job_id_of(request.path_params["id"]))
        except NotFound:
            job = None
        if job is None or job.workflow is None:
            raise NotFound("There is no such generation, or it is no longer kept.")
        return job

    async def _items(self, principal: Principal, found: Sequence[Job]) -> list[HistoryItem]:
        handles = {job.id: job.result.images() if job.result is not None else [] for job in found}
        known = await self._room.library.find(principal, [handle for made in handles.values() for handle in made])
        return [self._item(job, [known[handle] for handle in handles[job.id] if handle in known]) for job in found]

    def _item(self, job: Job, made: Sequence[ImageRecord]) -> HistoryItem:
        preview, stock = self._addresses(made)
        item = HistoryItem(
            id=as_uuid(job.id),
            generation_type=uuid_of(job.workflow or ""),
            status=STATUS[job.state],
            created_at=timestamp(job.created_at),
            preview_url=preview,
            stock_url=stock,
            like=job.liked,
        )
        if item["status"] == "error":
            item["error"] = error_of(job).message
        return item

    def _addresses(self, made: Sequence[ImageRecord]) -> tuple[str | None, str | None]:
        """Where the first picture that was made is: small as WebP, and large as PNG.

        What a PNG cannot hold, such as an animation or a document, comes as it is.
        """
        if not made:
            return None, None
        record = made[0]
        still = record.format in PICTURES and record.frames == 1
        shown = record.format in PICTURES or record.format in DOCUMENTS
        stock = self._address(record, "png") if still else self._address(record)
        return self._address(record, "webp") if shown else None, stock

    def _address(self, record: ImageRecord, rendition: str = "") -> str:
        expires, signature = self._room.links.sign(record.id, rendition)
        ending = rendition or f"file.{'jpg' if record.format == 'jpeg' else record.format}"
        return f"{RESULTS.lstrip('/')}/{record.id}-{expires}-{signature}.{ending}"


def _workflow_of(uuid: str) -> str:
    """The id of the workflow with that UUID, as jobs name it; whether there is one, does not matter."""
    slug = next((slug for slug, document in load_gallery().items() if document["id"] == uuid), None)
    return f"{GALLERY}{slug}" if slug is not None else from_uuid(uuid, "wf") or uuid


def nextry_routes(room: Darkroom) -> Sequence[Door]:
    """All addresses of Nextry."""
    nextry = _Nextry(room)
    return [*_generation_doors(nextry), *_history_doors(nextry)]


def _generation_doors(nextry: _Nextry) -> list[Door]:
    text = {"type": "string"}
    form = {"tool": text, "generation_type": {**text, "format": "uuid"}, "clothes": FILE, "person": FILE}
    generate = Says(
        "Make a picture. The form has the pictures and settings of the generation type, by name.",
        form=form,
        required=["tool"],
        answer=Generated,
        more={201: Generated},
        inferred="`generation_type`, settings as fields; 201 with null pictures for what is not done after 60 seconds.",
    )
    return [
        Door(
            "/generation/tools",
            nextry.tools,
            needs="workflows:read",
            says=Says("The features that pictures are made for.", answer=list[ProductRow]),
        ),
        Door(
            "/generation/generationTypes",
            nextry.types,
            needs="workflows:read",
            says=Says(
                "The ways in which a tool makes pictures.",
                query=TypesQuery,
                answer=list[GenerationType],
                inferred="The answer.",
            ),
        ),
        Door("/generation/generate_image_v2", nextry.generate, needs="tools:run", methods=["POST"], says=generate),
        Door(
            f"{RESULTS}/{{file}}",
            nextry.picture,
            needs=PUBLIC,
            says=Says(
                "A picture, by its signed address.",
                answer=["image/*", "application/*"],
                inferred="The address is the permission.",
            ),
        ),
    ]


def _history_doors(nextry: _Nextry) -> list[Door]:
    item = "/user/generation-history/{id}"
    return [
        Door(
            "/user/generation-history",
            nextry.history,
            needs="tools:run",
            says=Says(
                "Your generations, newest first.", query=HistoryQuery, answer=HistoryPage, inferred="The answer."
            ),
        ),
        Door(
            "/user/generation-history/feedback/{id}",
            nextry.feedback,
            needs="tools:run",
            methods=["PATCH"],
            says=Says("Say what you think of it.", body=Feedback, answer=HistoryItem, inferred="The answer; null."),
        ),
        Door(
            item,
            nextry.item,
            needs="tools:run",
            methods=["GET"],
            says=Says("One generation.", answer=HistoryItem, inferred="The answer."),
        ),
        Door(
            item,
            nextry.delete,
            needs="tools:run",
            methods=["DELETE"],
            says=Says("Forget a generation, with the pictures that it made.", status=204, inferred="The pictures."),
        ),
    ]
