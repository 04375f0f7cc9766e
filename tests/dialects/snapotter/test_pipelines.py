"""Pipelines over HTTP, as dialect 001 has them."""

import io
import json
import zipfile
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx2
import PIL.Image
import pytest
from support.forms import file, photo, size_of
from support.web_room import Web, web_room

from darkroom.faces.rest.snapotter.steps import can_be_step
from darkroom.store.ids import as_uuid
from darkroom_tools.registry import builtin_tools

pytestmark = pytest.mark.anyio

STEPS = [
    {"toolId": "resize", "settings": {"width": 60}},
    {"toolId": "rotate", "settings": {"angle": 90}},
    {"toolId": "convert", "settings": {"format": "png"}},
]


@pytest.fixture(scope="module")
async def web(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Web]:
    async with web_room(tmp_path_factory.mktemp("room")) as room:
        yield room


@pytest.fixture
async def ann(web: Web) -> AsyncIterator[httpx2.AsyncClient]:
    async with web.client(web.user) as client:
        yield client


async def execute(
    client: httpx2.AsyncClient, pipeline: Any = None, *files: Any, to: str = "execute", **form: Any
) -> httpx2.Response:
    headers = form.pop("headers", {})
    fields = {**form, **({"pipeline": json.dumps(pipeline)} if pipeline is not None else {})}
    sent = [(name, (None, value.encode())) for name, value in fields.items()] + list(files or [file(photo())])
    return await client.post(f"/api/v1/pipeline/{to}", files=sent, headers=headers)


async def save(client: httpx2.AsyncClient, name: str, steps: Sequence[Any] = STEPS, **more: Any) -> dict[str, Any]:
    answer = await client.post("/api/v1/pipeline/save", json={"name": name, "steps": list(steps), **more})
    assert answer.status_code == 201, answer.text
    row: dict[str, Any] = answer.json()
    return row


async def listed(client: httpx2.AsyncClient) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (await client.get("/api/v1/pipeline/list")).json()["pipelines"]
    return rows


@pytest.mark.parametrize("form", [STEPS, {"steps": STEPS}])
async def test_the_steps_run_one_after_the_other(ann: httpx2.AsyncClient, form: Any) -> None:
    answer = await execute(ann, form)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    assert size_of(answer.content) == (40, 60)
    told = (await execute(ann, form, headers={"accept": "application/json"})).json()
    assert told["stepsCompleted"] == 3
    assert [step["toolId"] for step in told["steps"]] == ["resize", "rotate", "convert"]
    assert (await ann.get(told["downloadUrl"])).content == answer.content


async def test_every_step_is_checked_before_the_first_one_runs(web: Web, ann: httpx2.AsyncClient) -> None:
    before = (await web.room.jobs.history.page(web.ann))[1]
    wrong = [{"toolId": "resize", "settings": {"width": 50}}, {"toolId": "compress", "settings": {"qualitty": 80}}]
    answer = await execute(ann, [*wrong, {"toolId": "no-such-tool"}])
    told = answer.json()
    assert (answer.status_code, told["code"]) == (400, "VALIDATION_ERROR")
    assert told["details"]["field"] == "steps[1].settings.qualitty"
    assert told["details"]["nearest"] == "quality"
    assert [problem["field"] for problem in told["details"]["problems"]] == [
        "steps[1].settings.qualitty",
        "steps[2].tool",
    ]
    assert (await web.room.jobs.history.page(web.ann))[1] == before


@pytest.mark.parametrize(
    ("pipeline", "code"),
    [
        ([], "VALIDATION_ERROR"),
        ([{"toolId": "rotate"}] * 21, "TOO_MANY_STEPS"),
        ({"steps": "resize"}, "VALIDATION_ERROR"),
        ([{"toolId": "split"}, {"toolId": "resize", "settings": {"width": 5}}], "VALIDATION_ERROR"),
        ([{"toolId": "watermark-image"}], "VALIDATION_ERROR"),
        ([{"toolId": "resize", "settings": {"width": "${{ inputs.width }}"}}], "VALIDATION_ERROR"),
        ([{"toolId": "resize", "settings": {"width": 5}, "more": 1}], "VALIDATION_ERROR"),
    ],
)
async def test_what_is_no_pipeline_is_refused(ann: httpx2.AsyncClient, pipeline: Any, code: str) -> None:
    answer = await execute(ann, pipeline)
    assert (answer.status_code, answer.json()["code"]) == (400, code), answer.text


@pytest.mark.parametrize("text", ["", "[", '[],"x":1', '{"steps":[]}}', "[" * 200 + "]" * 200, "[NaN]"])
async def test_what_is_no_json_is_refused(ann: httpx2.AsyncClient, text: str) -> None:
    sent = [("pipeline", (None, text.encode())), file(photo())]
    answer = await ann.post("/api/v1/pipeline/execute", files=sent)
    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_ERROR")


async def test_twenty_steps_run(ann: httpx2.AsyncClient) -> None:
    answer = await execute(ann, [{"toolId": "rotate", "settings": {"angle": 90}}] * 20)
    assert size_of(answer.content) == (96, 64)


async def test_a_step_that_fails_is_named_with_its_reason(ann: httpx2.AsyncClient) -> None:
    steps = [STEPS[0], {"toolId": "crop", "settings": {"left": 500, "top": 0, "width": 10, "height": 10}}, STEPS[1]]
    answer = await execute(ann, steps)
    told = answer.json()
    assert answer.status_code == 422, told
    assert told["error"].startswith("Step 2 (crop): ")
    assert told["completedSteps"] == 1


async def test_a_damaged_file_is_no_fault_of_a_step(ann: httpx2.AsyncClient) -> None:
    answer = await execute(ann, STEPS, file(photo()[:500]))
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_IMAGE")


async def test_many_files_go_through_all_steps_into_a_zip(ann: httpx2.AsyncClient) -> None:
    sent = [
        file(photo(90, 60), "a.jpg", "files"),
        file(b"none", "b.jpg", "files"),
        file(photo(80, 80), "c.jpg", "files"),
    ]
    answer = await execute(ann, STEPS, *sent, to="batch")
    assert answer.headers["content-disposition"].startswith('attachment; filename="pipeline-batch-')
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == ["_report.json", "errors.json", "a.png", "c.png"]
        assert [size_of(archive.read(name)) for name in ("a.png", "c.png")] == [(40, 60), (60, 60)]


async def test_a_saved_pipeline_is_listed_run_by_its_id_and_deleted(ann: httpx2.AsyncClient) -> None:
    row = await save(ann, "Turned", description="Small, turned, as PNG")
    assert (row["name"], row["description"], row["steps"]) == ("Turned", "Small, turned, as PNG", STEPS)
    assert row["createdAt"].endswith("Z")
    assert row in await listed(ann)
    for identifier in (row["id"], as_uuid(row["id"])):
        assert size_of((await execute(ann, pipelineId=identifier)).content) == (40, 60)
    batch = await execute(ann, None, file(photo(), "x.jpg", "files"), to="batch", pipelineId=row["id"])
    with zipfile.ZipFile(io.BytesIO(batch.content)) as archive:
        assert archive.namelist() == ["_report.json", "x.png"]
    assert (await ann.delete(f"/api/v1/pipeline/{row['id']}")).json() == {"ok": True}
    assert row["id"] not in [each["id"] for each in await listed(ann)]
    assert (await ann.delete(f"/api/v1/pipeline/{row['id']}")).status_code == 404
    assert (await execute(ann, pipelineId=row["id"])).status_code == 404


async def test_a_saved_pipeline_keeps_its_id_when_it_is_saved_again(ann: httpx2.AsyncClient) -> None:
    first = await save(ann, "Again")
    second = await save(ann, "Again", STEPS[:1])
    assert first["id"] == second["id"]
    assert [row["steps"] for row in await listed(ann) if row["id"] == first["id"]] == [STEPS[:1]]


async def test_a_name_has_up_to_100_characters_and_a_description_500(ann: httpx2.AsyncClient) -> None:
    row = await save(ann, "n" * 100, description="d" * 500)
    assert (row["name"], row["description"]) == ("n" * 100, "d" * 500)
    for wrong in ({"name": "n" * 101}, {"name": ""}, {"name": "n", "description": "d" * 501}):
        answer = await ann.post("/api/v1/pipeline/save", json={"steps": STEPS, **wrong})
        assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_ERROR")


async def test_a_pipeline_that_would_not_run_is_not_saved(ann: httpx2.AsyncClient) -> None:
    for steps in ([], [{"toolId": "resize"}], [{"toolId": "crop", "settings": {"shape": "star"}}]):
        answer = await ann.post("/api/v1/pipeline/save", json={"name": "Wrong", "steps": steps})
        assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_ERROR")
    assert "Wrong" not in [row["name"] for row in await listed(ann)]


async def test_users_see_and_delete_their_own_and_admins_all(web: Web, ann: httpx2.AsyncClient) -> None:
    row = await save(ann, "Of Ann")
    async with web.client(web.other) as ben, web.client(web.admin) as admin:
        assert row["id"] not in [each["id"] for each in await listed(ben)]
        assert (await ben.delete(f"/api/v1/pipeline/{row['id']}")).status_code == 404
        assert (await execute(ben, pipelineId=row["id"])).status_code == 404
        [shown] = [each for each in await listed(admin) if each["id"] == row["id"]]
        assert shown["userId"] == web.ann.id
        assert (await admin.delete(f"/api/v1/pipeline/{row['id']}")).status_code == 200
    assert row["id"] not in [each["id"] for each in await listed(ann)]


async def test_a_workflow_with_inputs_is_no_pipeline_to_show(web: Web, ann: httpx2.AsyncClient) -> None:
    from darkroom.workflows.document import WorkflowDocument

    component = {"type": "resize", "settings": {"width": "${{ inputs.width }}"}}
    document = WorkflowDocument.parse({"name": "With a width", "components": [component]})
    await web.room.workflows.save(web.ann, document)
    assert "With a width" not in [row["name"] for row in await listed(ann)]


async def test_a_file_of_the_library_goes_through_a_pipeline_and_gets_a_version(ann: httpx2.AsyncClient) -> None:
    sent = await ann.post("/api/v1/upload", files=[file(photo(88, 44), "kept.jpg", "files")])
    first = sent.json()["files"][0]["id"]
    form = [("pipeline", (None, json.dumps(STEPS).encode())), ("fileId", (None, first.encode()))]
    answer = await ann.post("/api/v1/pipeline/execute", files=form)
    assert answer.status_code == 200, answer.text
    versions = (await ann.get(f"/api/v1/files/{first}")).json()["versions"]
    assert [each["id"] for each in versions] == [first, answer.headers["x-saved-file-id"]]


async def test_the_tools_for_steps_are_those_that_can_follow_a_step(ann: httpx2.AsyncClient) -> None:
    ids = (await ann.get("/api/v1/pipeline/tools")).json()["toolIds"]
    assert {tool.id for tool in builtin_tools().values() if tool.pipeline_step} <= set(ids)
    assert {"info", "ocr", "color-palette", "favicon"} <= set(ids)
    assert not {"compose", "watermark-image", "collage", "svg-to-raster", "generate-image", "bulk-rename"} & set(ids)


@pytest.mark.parametrize("name", [name for name in builtin_tools() if can_be_step(name)])
async def test_every_tool_that_is_listed_for_steps_runs_as_one(ann: httpx2.AsyncClient, name: str) -> None:
    tool = builtin_tools()[name]
    steps = [{"toolId": "rotate", "settings": {"angle": 180}}, {"toolId": name, "settings": dict(tool.example)}]
    answer = await execute(ann, steps)
    if answer.status_code == 501:
        assert tool.models or tool.generative
        assert answer.json()["code"] == "FEATURE_NOT_INSTALLED"
        return
    assert answer.status_code == 200, answer.text
    if tool.output == "image":
        with PIL.Image.open(io.BytesIO(answer.content)) as image:
            image.load()
