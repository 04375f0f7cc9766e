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

import anyio
import pytest
from support.image_engine import serving_images
from support.odd import TEST_PHOTO
from support.onnx_models import install, stand_ins
from support.web_room import PASSWORD, Web, web_room

from darkroom.jobs.terms import Terms
from darkroom.principal import LOCAL
from darkroom.store.ids import as_uuid
from darkroom.web import DIALECTS, api_document
from darkroom_prompts.gallery import load_gallery

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(900)]

TESTS = Path(__file__).parents[1]
NOT_CHECKED = "positive_data_acceptance"
"""What fits a schema may still name what there is not, or be no picture."""
CONFIGURATION = """\
[phases.coverage]
generate-duplicate-query-parameters = true
unexpected-methods = ["DELETE", "PUT", "TRACE"]
"""


@pytest.fixture(scope="module")
async def web(tmp_path_factory: pytest.TempPathFactory, anyio_backend: str) -> AsyncIterator[Web]:
    where = tmp_path_factory.mktemp("data")
    install(where, stand_ins())
    with serving_images() as engine:
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
    digest = hashlib.sha256(TEST_PHOTO).hexdigest()
    told = facts(images, jobs, [workflow, *pipelines], digest)
    told["ids"] |= {"/api/v1/pipeline": pipelines, "/api/v1/teams": teams, "/api/v1/api-keys": keys}
    told["ids"] |= {"/api/auth/users": people, "/v1/projects": [project]}
    path = tmp_path_factory.mktemp("found") / "found.json"
    path.write_text(json.dumps(told), encoding="utf-8")
    return path


def facts(images: list[str], jobs: list[str], workflows: list[str], digest: str) -> dict[str, dict[str, list[Any]]]:
    """Ids, and bodies that name them, by the beginnings of the paths where they fit."""
    executions = [as_uuid(job) for job in jobs]
    picture = {"image": {"name": "a.jpg", "contentHash": digest}, "settings": {"maxWidth": 40}}
    return {
        "ids": {
            "/api/v1/workflows": workflows,
            "/api/v1/executions": executions,
            "/api/v1/jobs": jobs,
            "/api/v1/files": images,
            "/api/v1/settings": ["loginAttemptLimit", "disabledTools"],
            "/api/v1/tools": ["resize", "info", "compose"],
            "/v1/workflows": workflows,
            "/v1/workflows/executions": [job.replace("job_", "exec_") for job in jobs],
            "/v1/storage": images,
            "/v1/workflow": workflows,
            "/v1/workflow/execution": executions,
            "/image": [digest],
            "/v1/image": [digest],
            "/user": executions,
        },
        "bodies": {
            "/api/v1/workflows": [{"images": {"image": images[0]}}, {"images": {}, "texts": {"nope": "1"}}],
            "/v1/workflows/execute": [{"workflowId": workflows[0], "parameters": {"image": images[0]}}],
            "/v1/workflow/execution/create": [picture],
            "/api/auth/login": [{"username": "ann", "password": PASSWORD}],
            "/api/auth/register": [{"username": "eve", "password": PASSWORD}],
            "/api/auth/users/{id}/reset-password": [{"newPassword": PASSWORD}],
            "/api/v1/pipeline/save": [{"name": "Small", "steps": [{"toolId": "resize", "settings": {"width": 20}}]}],
            "/api/v1/settings": [{"loginAttemptLimit": 5}],
            "/api/v1/settings/{key}": [{"value": 5}],
        },
    }


def of_dialect(name: str, *, tools: bool = False) -> list[str]:
    """The paths of a dialect, those of single tools apart."""
    document = api_document()
    (group,) = (group for group in document["x-tagGroups"] if group["name"] == name)
    return [
        path
        for path, place in document["paths"].items()
        for operation in place.values()
        if operation["tags"][0] in group["tags"] and ("x-tool" in operation) == tools
    ]


PARTS = {
    "tools": (of_dialect("Stirling Image", tools=True), "fuzzing", 2),
    **{dialect.name: (of_dialect(dialect.name), "coverage,fuzzing", 5) for dialect in DIALECTS},
}
"""Paths, phases and made-up calls for each operation; tools come before an admin may have switched any off."""


@pytest.mark.parametrize("part", PARTS)
async def test_no_call_is_answered_otherwise_than_the_document_says(
    part: str, web: Web, found: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths, phases, examples = PARTS[part]
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION, encoding="utf-8")
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", tmp_path / "schemathesis.toml", "run"]
    command += [f"{web.url}/openapi.json", "--header", f"Authorization: Bearer {web.admin}"]
    command += ["--phases", phases, "--max-examples", examples, "--exclude-checks", NOT_CHECKED]
    command += ["--request-timeout", "120"]
    command += ["--generation-deterministic", "--continue-on-failure", "--no-color"]
    command += [word for path in dict.fromkeys(paths) for word in ("--include-path", path)]
    calls = tmp_path / "calls.txt"
    env = {**os.environ, "SCHEMATHESIS_HOOKS": "support.api_hooks", "PYTHONPATH": str(TESTS)}
    env |= {"DARKROOM_FOUND": str(found), "DARKROOM_CALLS": str(calls)}
    with caplog.at_level(logging.ERROR):
        done = await anyio.run_process(
            [*map(str, command)], env=env, cwd=tmp_path, check=False, stderr=subprocess.STDOUT
        )
    assert done.returncode == 0, done.stdout.decode()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
