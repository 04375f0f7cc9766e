"""One server for the tests of this dialect, and a client's few habits."""

import base64
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from support.web_room import Web, web_room

from darkroom.faces.rest.common import job_id_of
from darkroom.principal import Principal
from darkroom.workflows.exchange import read_document
from darkroom.workflows.service import Saved

STUDIO = "79c9e172-637f-44db-9beb-39092ff4d462"
"""The workflow that the API's own documentation lists."""


@dataclass(frozen=True)
class Solo:
    """A client with a key, and whose it is."""

    web: Web
    http: httpx2.AsyncClient
    who: Principal

    async def get(self, path: str, **options: Any) -> Any:
        """The body of an answer that must be a success."""
        answer = await self.http.get(f"/api/v1{path}", **options)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def execute(self, workflow: str, body: Mapping[str, Any], **headers: str) -> httpx2.Response:
        return await self.http.post(f"/api/v1/workflows/{workflow}/execute", json=body, headers=headers)

    async def run(self, workflow: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The execution once it ended."""
        answer = await self.execute(workflow, body)
        assert answer.status_code == 202, answer.text
        return await self.ended(answer.json()["executionId"])

    async def ended(self, execution: str) -> dict[str, Any]:
        """Ask for it when it is over."""
        await self.web.room.jobs.wait(self.who, job_id_of(execution), None)
        state: dict[str, Any] = await self.get(f"/executions/{execution}")
        assert state["status"] != "running"
        return state

    async def refused(self, workflow: str, body: Mapping[str, Any], status: int, code: str) -> dict[str, Any]:
        """What is said of an execution that is not taken on, in the form of every error."""
        answer = await self.execute(workflow, body)
        assert answer.status_code == status, answer.text
        error = answer.json()["error"]
        assert set(answer.json()) == {"error"}
        assert set(error) == {"code", "message", "details", "requestId"}
        assert error["code"] == code
        return error

    async def save(self, who: Principal, document: Mapping[str, Any]) -> Saved:
        """Save a workflow for somebody."""
        return await self.web.room.workflows.save(who, read_document(document))


def data_url(data: bytes, kind: str = "image/jpeg") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


@pytest.fixture(scope="session")
async def web(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Web]:
    async with web_room(tmp_path_factory.mktemp("soloworks")) as web:
        yield web


@pytest.fixture
async def solo(web: Web) -> AsyncIterator[Solo]:
    """The user `ann`."""
    async with web.client(web.user) as http:
        yield Solo(web, http, web.ann)


@pytest.fixture
async def ben(web: Web) -> AsyncIterator[Solo]:
    async with web.client(web.other) as http:
        yield Solo(web, http, web.ben)


@pytest.fixture
def photo(web: Web) -> str:
    """A photo as a data URL."""
    return data_url(web.photo)
