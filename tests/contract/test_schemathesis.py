"""Every address under made-up calls, right and wrong: answers are as the OpenAPI document says, and none is an accident."""

import hashlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import anyio
import pytest
from support.image_engine import serving_images
from support.odd import TEST_PHOTO
from support.onnx_models import install, stand_ins
from support.web_room import PASSWORD, Web, web_room

from darkroom.faces.rest.snapotter import progress
from darkroom.jobs.terms import Terms
from darkroom.principal import LOCAL
from darkroom.store.ids import as_uuid
from darkroom.web import api_document
from darkroom_prompts.gallery import load_gallery

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(900)]

TESTS = Path(__file__).parents[1]
THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
CONFIGURATION = """\
continue-on-failure = true
request-timeout = 120
[generation]
deterministic = true
max-examples = {each}
[phases.examples]
enabled = false
[phases.stateful]
enabled = false
[phases.coverage]
generate-duplicate-query-parameters = true
unexpected-methods = ["TRACE"]
[checks.positive_data_acceptance]
enabled = false
[[operations]]
include-path-regex = "^/api/v1/tools/[a-z0-9-]+$"
generation.max-examples = {tool}
phases.coverage.enabled = false
"""
"""What fits a schema may still name what there is not, or be no picture: it need not be accepted. All tools are handled by
the same code, so few calls of each will do."""


@pytest.fixture(scope="module")
async def web(tmp_path_factory: pytest.TempPathFactory, anyio_backend: str) -> AsyncIterator[Web]:
    where = tmp_path_factory.mktemp("data")
    install(where, stand_ins())
    # Who follows a made-up id need not wait for its call.
    with serving_images() as engine, patch.object(progress, "PING_SECONDS", 0.01):
        async with web_room(where, fetch=False, **engine.settings) as served:
            yield served


@pytest.fixture(scope="module")
async def found(web: Web, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with ids of things that there are, and bodies that name them."""
    async with web.client(web.admin) as http:
        form = [("files", (f"{number}.jpg", TEST_PHOTO + bytes(number), "image/jpeg")) for number in range(6)]
        uploaded = (await http.post("/api/v1/upload", files=form)).json()
        images = [file["id"] for file in uploaded["files"]]
        steps = {"name": "Small", "steps": [{"toolId": "resize", "settings": {"width": 20}}]}
        pipelines = [(await http.post("/api/v1/pipeline/save", json=steps)).json()["id"] for _ in range(3)]
        teams = [(await http.post("/api/v1/teams", json={"name": name})).json()["id"] for name in ("Red", "Blue")]
        keys = [(await http.post("/api/v1/api-keys", json={"name": name})).json()["id"] for name in ("a", "b")]
        people = [
            (await http.post("/api/auth/register", json={"username": name, "password": PASSWORD})).json()["id"]
            for name in ("cleo", "dora")
        ]
        project = (await http.post("/v1/projects", json={"name": "First"})).json()["id"]
    workflow = load_gallery()["web-ready"]["id"]
    small = (await web.room.catalog.workflow(LOCAL, "web-ready")).runnable()
    jobs = [
        (await web.room.jobs.accept(LOCAL, small, {"image": image}, terms=Terms(kept=True))).id for image in images[:4]
    ]
    for job in jobs:
        await web.room.jobs.wait(LOCAL, job, 60)
    digest = hashlib.sha256(form[-1][1][1]).hexdigest()
    told = facts(images, jobs, [workflow, *pipelines], digest)
    told["ids"] |= {"/api/v1/pipeline": pipelines, "/api/v1/teams": teams, "/api/v1/api-keys": keys}
    told["ids"] |= {"/api/auth/users": people, "/v1/projects": [project]}
    path = tmp_path_factory.mktemp("found") / "found.json"
    path.write_text(json.dumps(told), encoding="utf-8")
    return path


def facts(images: list[str], jobs: list[str], workflows: list[str], digest: str) -> dict[str, dict[str, Any]]:
    """Ids, and bodies that name them, by the beginnings of the paths where they fit."""
    executions = [as_uuid(job) for job in jobs]
    picture = {"image": {"name": "a.jpg", "contentHash": digest}, "settings": {"maxWidth": 40}}
    return {
        "ids": {
            "/api/v1/workflows": workflows,
            "/api/v1/executions": executions,
            "/api/v1/jobs": jobs,
            "/api/v1/files": images[:3],
            "/api/v1/settings": ["loginAttemptLimit"],
            "/api/v1/tools": ["resize", "info", "compose"],
            "/v1/workflows": workflows,
            "/v1/workflows/executions": [job.replace("job_", "exec_") for job in jobs],
            "/v1/storage": images[:3],
            "/v1/workflow": workflows,
            "/v1/workflow/execution": executions,
            "/image": [digest],
            "/v1/image": [digest],
            "/user": executions,
        },
        "values": {
            "fileId": images[-1],
            "parentId": images[-1],
            "pipelineId": None,
            "projectId": None,
            "toolId": "resize",
            "organization": None,
            "version": None,
            "workflow": workflows[0],
            "contentHash": digest,
            "tool": "default",
            "generation_type": workflows[0],
            "clothes": None,
            "person": None,
            "pipeline": '[{"toolId": "resize", "settings": {"width": 20}}]',
        },
        "forms": {"/generation/generate_image_v2": {"image": images[-1]}},
        "bodies": {
            "/api/v1/workflows": [{"images": {"image": images[-1]}}, {"images": {}, "texts": {"nope": "1"}}],
            "/v1/workflows/execute": [{"workflowId": workflows[0], "parameters": {"image": images[-1]}}],
            "/v1/workflow/execution/create": [picture],
            "/api/auth/login": [{"username": "ann", "password": PASSWORD}],
            "/api/auth/register": [{"username": "eve", "password": PASSWORD}],
            "/api/auth/users/{id}/reset-password": [{"newPassword": PASSWORD}],
            "/api/v1/pipeline/save": [{"name": "Small", "steps": [{"toolId": "resize", "settings": {"width": 20}}]}],
            "/api/v1/settings": [{"loginAttemptLimit": 5}],
            "/api/v1/settings/{key}": [{"value": 5}],
        },
    }


async def test_no_call_is_answered_otherwise_than_the_document_says(
    web: Web, found: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    written = CONFIGURATION.format(each=10 if THOROUGH else 2, tool=3 if THOROUGH else 1)
    (tmp_path / "schemathesis.toml").write_text(written, encoding="utf-8")
    calls = tmp_path / "calls.txt"
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", tmp_path / "schemathesis.toml"]
    command += ["run", f"{web.url}/openapi.json", "--header", f"Authorization: Bearer {web.admin}", "--no-color"]
    env = {**os.environ, "SCHEMATHESIS_HOOKS": "support.api_hooks", "PYTHONPATH": str(TESTS)}
    env |= {"DARKROOM_FOUND": str(found), "DARKROOM_CALLS": str(calls)}
    with caplog.at_level(logging.ERROR):
        done = await anyio.run_process(
            [*map(str, command)], env=env, cwd=tmp_path, check=False, stderr=subprocess.STDOUT
        )
    assert done.returncode == 0, done.stdout.decode()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
    told = {(method.upper(), path) for path, place in api_document()["paths"].items() for method in place}
    answers = [line.split(" ") for line in calls.read_text(encoding="utf-8").splitlines()]
    assert told <= {(method, path) for method, path, _ in answers}
    right = {(method, path) for method, path, status in answers if status.startswith("2")} & told
    assert len(right) > (0.9 if THOROUGH else 0.8) * len(told), sorted(told - right)
