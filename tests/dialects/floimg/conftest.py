"""A server with an image engine and a workflow, and who calls it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.image_engine import ImageEngine
from support.web_room import Web, web_room

from darkroom.workflows.document import WorkflowDocument

SOCIAL = {
    "name": "Social Media Image",
    "description": "Generate OG images for blog posts",
    "inputs": {
        "prompt": {"type": "text"},
        "width": {"type": "number", "default": 1200},
        "height": {"type": "number", "default": 630},
    },
    "components": [
        {"id": "drawn", "type": "generate-image", "settings": {"prompt": "${{ inputs.prompt }}"}},
        {
            "type": "resize",
            "settings": {"width": "${{ inputs.width }}", "height": "${{ inputs.height }}", "fit": "cover"},
        },
        {"type": "export", "settings": {"targetFormat": "PNG", "targetMode": "RGB"}},
    ],
}
"""The workflow of the public text, as it may be saved here."""


@pytest.fixture(scope="session")
async def web(tmp_path_factory: pytest.TempPathFactory, engine: ImageEngine, anyio_backend: str) -> AsyncIterator[Web]:
    async with web_room(tmp_path_factory.mktemp("floimg"), max_file_mb=1, **engine.settings) as running:
        yield running


@pytest.fixture(scope="session")
async def social(web: Web) -> dict[str, Any]:
    """The workflow, in a project of ann's, as the list shows it."""
    async with web.client(web.user) as client:
        made = (await client.post("/v1/projects", json={"name": "Blog"})).json()
    await web.room.workflows.save(web.ann, WorkflowDocument.model_validate({**SOCIAL, "project": "Blog"}))
    async with web.client(web.user) as client:
        rows = (await client.get("/v1/workflows", params={"projectId": made["id"]})).json()["workflows"]
    assert len(rows) == 1
    return rows[0]
