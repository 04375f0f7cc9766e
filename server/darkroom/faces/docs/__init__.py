"""The generated documentation over HTTP: for models, for programs, and as a page to try the API on."""

import functools
import gzip
import json
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Final

import anyio
import yaml
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from darkroom.docs import WORKFLOW_SCHEMA, Api, Page, llms_full_txt, llms_txt, render, workflow_schema
from darkroom.errors import NotFound
from darkroom.routing import PUBLIC, Door, Endpoint, Says

__all__ = ["docs_routes"]

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
OPENAPI_YAML: Final = "/api/v1/openapi.yaml"
PAGE_FILES: Final = {
    "page.js": "text/javascript",
    "page.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
}


def docs_routes(pages: Callable[[], Sequence[Page]], api: Callable[[], Api]) -> Sequence[Door]:
    """The routes of the documentation.

    They are `/llms.txt`, `/llms-full.txt`, `/workflow.schema.json`, `/tools/<id>.md` (ids in kebab-case or snake_case),
    `/api/v1/openapi.yaml`, `/openapi.json` and the page `/api/docs`.

    Args:
        pages: Asked for the pages once somebody wants to read them.
        api: Asked for the OpenAPI document.
    """

    known, document = functools.cache(pages), functools.cache(api)

    async def page(request: Request) -> Response:
        wanted = request.path_params["name"].replace("-", "_")
        found = next((page for page in known() if page.name == wanted), None)
        if found is None:
            raise NotFound("There is no page of that tool; /llms.txt lists them all.")
        return Response(render(found), media_type="text/markdown; charset=utf-8")

    texts: dict[str, tuple[str, Callable[[], str]]] = {
        "/llms.txt": ("text/plain", lambda: llms_txt(known(), document())),
        "/llms-full.txt": ("text/plain", lambda: llms_full_txt(known(), document())),
        f"/{WORKFLOW_SCHEMA}": ("application/schema+json", workflow_schema),
        "/openapi.json": ("application/json", lambda: json.dumps(document(), ensure_ascii=False)),
        OPENAPI_YAML: ("application/yaml", lambda: _as_yaml(document())),
    }
    says = {OPENAPI_YAML: Says("This API as OpenAPI 3.1, in YAML.", answer="application/yaml")}
    return [
        *(Door(path, _answers(*text), needs=PUBLIC, says=says.get(path)) for path, text in texts.items()),
        Door("/tools/{name}.md", page, needs=PUBLIC),
        Door("/api/docs", _try_out, needs=PUBLIC),
        Door("/docs", _try_out, needs=PUBLIC),
        Door("/api/docs/{name}", _page_file, needs=PUBLIC),
    ]


def _answers(media_type: str, make: Callable[[], str]) -> Endpoint:
    """A text that is made once somebody asks for it, beside the event loop."""
    made = functools.cache(make)

    async def answer(_request: Request) -> Response:
        return Response(await anyio.to_thread.run_sync(made), media_type=media_type)

    return answer


def _as_yaml(document: Api) -> str:
    text: str = yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True, width=120)
    return text


async def _try_out(_request: Request) -> Response:
    page = (files(__package__) / "page.html").read_text(encoding="utf-8")
    return HTMLResponse(page, headers={"content-security-policy": POLICY, "referrer-policy": "no-referrer"})


async def _page_file(request: Request) -> Response:
    """A file of the page; what is not ours is kept compressed, and sent so to whoever takes it."""
    name = request.path_params["name"]
    if name not in PAGE_FILES:
        raise NotFound("The documentation has no such file.")
    headers = {"cache-control": "public, max-age=3600"}
    ours = files(__package__) / name
    if ours.is_file():
        return Response(ours.read_bytes(), media_type=PAGE_FILES[name], headers=headers)
    data = (files(__package__) / "swagger_ui" / f"{name}.gz").read_bytes()
    headers["vary"] = "accept-encoding"
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["content-encoding"] = "gzip"
    else:
        data = await anyio.to_thread.run_sync(gzip.decompress, data)
    return Response(data, media_type=PAGE_FILES[name], headers=headers)
