"""The generated documentation over HTTP."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from darkroom.docs import Page, llms_full_txt, llms_txt, render
from darkroom.errors import NotFound

__all__ = ["docs_routes"]


def docs_routes(pages: Sequence[Page]) -> Sequence[BaseRoute]:
    """`/llms.txt`, `/llms-full.txt` and `/tools/<id>.md`; ids in kebab-case or snake_case."""
    texts = {"/llms.txt": llms_txt(pages), "/llms-full.txt": llms_full_txt(pages)}
    by_name = {page.name: render(page) for page in pages}

    async def text(request: Request) -> Response:
        return PlainTextResponse(texts[request.url.path])

    async def page(request: Request) -> Response:
        found = by_name.get(request.path_params["name"].replace("-", "_"))
        if found is None:
            raise NotFound("There is no page of that tool; /llms.txt lists them all.")
        return Response(found, media_type="text/markdown; charset=utf-8")

    return [*(Route(path, text) for path in texts), Route("/tools/{name}.md", page)]
