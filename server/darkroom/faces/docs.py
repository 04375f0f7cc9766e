"""The generated documentation over HTTP."""

import functools
from collections.abc import Callable, Sequence

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from darkroom.docs import WORKFLOW_SCHEMA, Page, llms_full_txt, llms_txt, render, workflow_schema
from darkroom.errors import NotFound

__all__ = ["docs_routes"]


def docs_routes(pages: Callable[[], Sequence[Page]]) -> Sequence[BaseRoute]:
    """`/llms.txt`, `/llms-full.txt`, `/workflow.schema.json` and `/tools/<id>.md`; ids in kebab-case or snake_case.

    Args:
        pages: Asked for the pages once somebody wants to read them.
    """
    known = functools.cache(pages)

    async def index(_request: Request) -> Response:
        return PlainTextResponse(llms_txt(known()))

    async def full(_request: Request) -> Response:
        return PlainTextResponse(llms_full_txt(known()))

    async def schema(_request: Request) -> Response:
        return Response(workflow_schema(), media_type="application/schema+json")

    async def page(request: Request) -> Response:
        wanted = request.path_params["name"].replace("-", "_")
        found = next((page for page in known() if page.name == wanted), None)
        if found is None:
            raise NotFound("There is no page of that tool; /llms.txt lists them all.")
        return Response(render(found), media_type="text/markdown; charset=utf-8")

    return [
        Route("/llms.txt", index),
        Route("/llms-full.txt", full),
        Route(f"/{WORKFLOW_SCHEMA}", schema),
        Route("/tools/{name}.md", page),
    ]
