"""Generations over Nextry beside the examples: types, pictures by role, settings, states and owners."""

import asyncio
import io
from typing import Any

import httpx2
import pytest
from PIL import Image
from support.gallery_room import PICTURES
from support.image_engine import ImageEngine, Misbehaviour, error_body
from support.web_room import Web

from darkroom.faces.rest import nextry
from darkroom.workflows.document import WorkflowDocument
from darkroom_prompts.gallery import load_gallery

pytestmark = pytest.mark.anyio

GENERATE = "/generation/generate_image_v2/"
HISTORY = "/user/generation-history"


def part(field: str, picture: str) -> tuple[str, tuple[str, bytes]]:
    return field, (f"{picture}.jpg", PICTURES[picture]())


async def types_of(client: httpx2.AsyncClient, tool: str) -> dict[str, dict[str, Any]]:
    found = (await client.get("/generation/generationTypes", params={"tool": tool})).json()
    return {each["title"]: each for each in found}


async def generate(client: httpx2.AsyncClient, tool: str, files: Any, **fields: Any) -> httpx2.Response:
    return await client.post(GENERATE, files=files, data={"tool": tool, **fields})


async def test_every_workflow_of_the_gallery_is_a_generation_type_of_one_tool(client: httpx2.AsyncClient) -> None:
    every = (await client.get("/generation/generationTypes")).json()
    documents = load_gallery().values()
    known = {each["id"]: each["tool"] for each in every}
    assert {document["id"]: document.get("feature", "default") for document in documents}.items() <= known.items()
    assert len(known) == len(every)


async def test_a_feature_may_have_several_types(client: httpx2.AsyncClient) -> None:
    assert list(await types_of(client, "lego_clothes")) == ["Lego Clothes", "Lego Clothes, flat lay"]
    assert list(await types_of(client, "furniture")) == ["Furniture", "Furniture, new style"]
    assert list(await types_of(client, "fabric")) == ["Fabric", "Fabric, new pattern"]


async def test_a_type_says_what_it_takes(client: httpx2.AsyncClient) -> None:
    swap = (await types_of(client, "fashion_swap"))["Fashion Swap"]
    assert [(each["name"], each["role"], each["required"], each["many"]) for each in swap["images"]] == [
        ("person", "person", True, False),
        ("clothes", "clothes", True, False),
    ]
    keep = next(each for each in swap["fields"] if each["name"] == "keep")
    assert keep["multiple"] is True
    assert set(keep["default"]) <= set(keep["options"])


async def test_a_type_that_needs_no_engine_runs_without_one(client: httpx2.AsyncClient, engine: ImageEngine) -> None:
    asked = len(engine.asked)
    answer = await generate(client, "fashion_card", [part("clothes", "product")], title="Flask", ground="sage")
    assert answer.status_code == 200, answer.text
    assert len(engine.asked) == asked
    stock = Image.open(io.BytesIO((await client.get(f"/{answer.json()['stock_image']}")).content))
    corner = stock.convert("RGB").getpixel((5, 5))
    assert all(abs(got - sage) <= 2 for got, sage in zip(corner, (0xD3, 0xDB, 0xCB), strict=True))


async def test_a_generation_type_is_chosen_by_its_id(client: httpx2.AsyncClient, engine: ImageEngine) -> None:
    pattern = (await types_of(client, "fabric"))["Fabric, new pattern"]["id"]
    form = [("tool", (None, "fabric")), ("generation_type", (None, pattern)), ("motif", (None, "small foxes"))]
    answer = await client.post(GENERATE, files=form)
    assert answer.status_code == 200, answer.text
    assert "small foxes" in engine.asked[-1].fields["prompt"]
    item = (await client.get(f"{HISTORY}/{answer.json()['history_item_id']}")).json()
    assert item["generation_type"] == pattern


async def test_pictures_of_one_role_fill_all_places_for_it(client: httpx2.AsyncClient, engine: ImageEngine) -> None:
    flat = (await types_of(client, "lego_clothes"))["Lego Clothes, flat lay"]["id"]
    pictures = ["product", "photo", "portrait"]
    answer = await generate(
        client, "lego_clothes", [part("clothes", picture) for picture in pictures], generation_type=flat
    )
    assert answer.status_code == 200, answer.text
    assert len(engine.asked[-1].images) == 3
    sent = [each.opened().size for each in engine.asked[-1].images]
    assert sent == [Image.open(io.BytesIO(PICTURES[picture]())).size for picture in pictures]


async def test_settings_come_as_texts(client: httpx2.AsyncClient, engine: ImageEngine, outfit: Any) -> None:
    swap = (await types_of(client, "fashion_swap"))["Fashion Swap"]
    options = next(each for each in swap["fields"] if each["name"] == "keep")["options"][:2]
    answer = await generate(client, "fashion_swap", outfit, wishes="No jewellery", keep=options, quality="draft")
    assert answer.status_code == 200, answer.text
    assert "No jewellery" in engine.asked[-1].fields["prompt"]
    assert engine.asked[-1].fields["quality"] == "low"


async def test_shape_and_size_may_be_asked_for(client: httpx2.AsyncClient) -> None:
    answer = await generate(client, "fashion_card", [part("image", "product")], aspect_ratio="1:1", title="Square")
    assert answer.status_code == 200, answer.text
    stock = Image.open(io.BytesIO((await client.get(f"/{answer.json()['stock_image']}")).content))
    assert stock.width == stock.height


async def test_ones_own_workflows_are_types_of_the_default_tool(web: Web, client: httpx2.AsyncClient) -> None:
    document = {
        "name": "Thumb",
        "components": [{"type": "resize", "settings": {"image": "${{ inputs.image }}", "width": "${{ inputs.wide }}"}}],
    }
    made = await web.room.workflows.save(web.ann, WorkflowDocument.model_validate(document))
    try:
        types = await types_of(client, "default")
        assert list(types)[:2] == ["Default", "Thumb"]
        answer = await generate(
            client, "default", [part("image", "photo")], generation_type=types["Thumb"]["id"], wide="64"
        )
        assert answer.status_code == 200, answer.text
        stock = Image.open(io.BytesIO((await client.get(f"/{answer.json()['stock_image']}")).content))
        assert stock.width == 64
        async with web.client(web.other) as ben:
            assert "Thumb" not in await types_of(ben, "default")
            theirs = await generate(
                ben, "default", [part("image", "photo")], generation_type=types["Thumb"]["id"], wide="64"
            )
            assert theirs.status_code == 422
    finally:
        await web.room.workflows.delete(web.ann, made.id)
    item = (await client.get(f"{HISTORY}/{answer.json()['history_item_id']}")).json()
    assert item["generation_type"] == types["Thumb"]["id"]  # the record stays when its workflow is gone


async def test_an_animation_and_a_document_come_as_they_are(client: httpx2.AsyncClient) -> None:
    types = await types_of(client, "default")
    for title, picture, ending, head, more in (
        ("GIF with caption", "animation", ".file.gif", b"GIF8", {"caption": "A bar"}),
        ("Page to PDF", "page", ".file.pdf", b"%PDF", {}),
    ):
        identifier = types[title]["id"]
        answer = await generate(client, "default", [part("image", picture)], generation_type=identifier, **more)
        assert answer.status_code == 200, answer.text
        said = answer.json()
        assert said["stock_image"].endswith(ending)
        assert (await client.get(f"/{said['stock_image']}")).content.startswith(head)
        preview = await client.get(f"/{said['preview_image']}")
        assert preview.headers["content-type"] == "image/webp"


async def test_a_generation_that_takes_long_is_asked_for_later(
    web: Web, client: httpx2.AsyncClient, engine: ImageEngine, outfit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nextry, "SYNC_SECONDS", 0.01)
    engine.gate.clear()
    try:
        answer = await generate(client, "fashion_swap", outfit, wishes="Slowly")
        await asyncio.to_thread(engine.wait_for)
        said = answer.json()
        assert answer.status_code == 201
        assert (said["preview_image"], said["stock_image"]) == (None, None)
        path = f"{HISTORY}/{said['history_item_id']}"
        item = (await client.get(path)).json()
        assert (item["status"], item["preview_url"], item["stock_url"]) == ("pending", None, None)
        pending = (await client.get(HISTORY, params={"status": "pending"})).json()
        assert [each["id"] for each in pending["items"]] == [said["history_item_id"]]
    finally:
        engine.gate.set()
    job = nextry.job_id_of(said["history_item_id"])
    assert (await web.room.jobs.wait(web.ann, job, 60)).state == "succeeded"
    assert (await client.get(path)).json()["status"] == "complete"


async def test_a_generation_under_way_is_stopped_and_deleted(
    client: httpx2.AsyncClient, engine: ImageEngine, outfit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nextry, "SYNC_SECONDS", 0.01)
    engine.gate.clear()
    try:
        said = (await generate(client, "fashion_swap", outfit, wishes="Never")).json()
        path = f"{HISTORY}/{said['history_item_id']}"
        assert (await client.delete(path)).status_code == 204
        assert (await client.get(path)).status_code == 404
    finally:
        engine.gate.set()


async def test_a_generation_that_fails_stays_in_the_history(
    client: httpx2.AsyncClient, engine: ImageEngine, outfit: Any
) -> None:
    engine.next.append(Misbehaviour(400, error_body("refused", "moderation_blocked")))
    answer = await generate(client, "fashion_swap", outfit, wishes="What no engine draws")
    assert answer.status_code == 422
    said = answer.json()
    assert said["code"] == "CONTENT_REFUSED"
    assert isinstance(said["detail"], str)
    item = (await client.get(f"{HISTORY}/{said['history_item_id']}")).json()
    assert (item["status"], item["error"], item["preview_url"]) == ("error", said["detail"], None)
    failed = (await client.get(HISTORY, params={"status": "error"})).json()
    assert said["history_item_id"] in [each["id"] for each in failed["items"]]


async def test_the_history_has_pages_and_several_states(client: httpx2.AsyncClient) -> None:
    for title in ("One", "Two", "Three"):
        answer = await generate(client, "fashion_card", [part("clothes", "product")], title=title)
        assert answer.status_code == 200, answer.text
    both = {"status": ["complete", "error"], "limit": 2}
    first, second = [(await client.get(HISTORY, params={**both, "page": page})).json() for page in (1, 2)]
    assert (first["count"], first["page"], second["page"]) == (2, 1, 2)
    assert first["pages"] == -(-first["total_count"] // 2)
    ids = [each["id"] for each in [*first["items"], *second["items"]]]
    assert len(set(ids)) == len(ids)
    assert [each["created_at"] for each in first["items"]] == sorted(
        (each["created_at"] for each in first["items"]), reverse=True
    )
    beyond = (await client.get(HISTORY, params={"page": 1000})).json()
    assert (beyond["count"], beyond["items"]) == (0, [])
    other = {"generation_type": "00000000-0000-4000-8000-000000000000"}
    assert (await client.get(HISTORY, params=other)).json()["total_count"] == 0


async def test_what_other_faces_ran_is_in_the_history_where_it_was_a_workflow(
    web: Web, client: httpx2.AsyncClient
) -> None:
    before = (await client.get(HISTORY)).json()["total_count"]
    async with web.client(web.user) as ann:
        stored = (await ann.post("/v1/storage/upload", files={"file": ("photo.jpg", PICTURES["photo"]())})).json()
    saved = await web.room.catalog.workflow(web.ann, "web-ready")
    await web.room.jobs.accept(web.ann, web.room.catalog.find(web.ann, "resize"), {"image": stored["id"], "width": 20})
    job = await web.room.jobs.accept(web.ann, saved.runnable(), {"image": stored["id"]})
    await web.room.jobs.wait(web.ann, job.id, 60)
    said = (await client.get(HISTORY)).json()
    assert said["total_count"] == before + 1
    assert said["items"][0]["generation_type"] == load_gallery()["web-ready"]["id"]


async def test_an_idempotency_key_makes_one_generation(
    web: Web, engine: ImageEngine, outfit: Any, client: httpx2.AsyncClient
) -> None:
    asked = len(engine.asked)
    key = {"idempotency-key": "once"}
    form = {"tool": "fashion_swap", "wishes": "Only once"}
    answers = [await client.post(GENERATE, files=outfit, data=form, headers=key) for _ in range(3)]
    assert len({answer.json()["history_item_id"] for answer in answers}) == 1
    assert len(engine.asked) == asked + 1
    other = await client.post(GENERATE, files=outfit, data={**form, "wishes": "Else"}, headers=key)
    assert (other.status_code, other.json()["code"]) == (409, "CONFLICT")


async def test_the_history_of_others_is_as_if_it_were_not(web: Web, client: httpx2.AsyncClient, outfit: Any) -> None:
    made = (await generate(client, "fashion_swap", outfit, wishes="Mine alone")).json()
    missing = "00000000-0000-4000-8000-000000000000"

    async def answers(ben: httpx2.AsyncClient, identifier: str) -> list[tuple[int, Any, Any]]:
        found = [
            await ben.get(f"{HISTORY}/{identifier}"),
            await ben.patch(f"{HISTORY}/feedback/{identifier}", json={"like": True}),
            await ben.delete(f"{HISTORY}/{identifier}"),
        ]
        return [(each.status_code, each.json()["detail"], each.json()["code"]) for each in found]

    async with web.client(web.other) as ben:
        assert await answers(ben, made["history_item_id"]) == await answers(ben, missing)
        assert {status for status, _, _ in await answers(ben, missing)} == {404}
        assert made["history_item_id"] not in (await ben.get(HISTORY)).text
    assert (await client.get(f"{HISTORY}/{made['history_item_id']}")).json()["like"] is None


async def test_an_address_of_a_result_works_only_as_it_was_made(
    web: Web, client: httpx2.AsyncClient, outfit: Any
) -> None:
    made = (await generate(client, "fashion_swap", outfit, wishes="Signed")).json()
    right = made["preview_image"]
    assert (await client.get(f"/{right}")).status_code == 200
    head, ending = right.rsplit(".", 1)
    handle, expires, signature = head.rsplit("/", 1)[1].rsplit("-", 2)
    wrong = [
        f"image/generation_result/{handle}-{int(expires) + 1}-{signature}.{ending}",
        f"image/generation_result/{handle}-{expires}-{'0' * 32}.{ending}",
        f"{head}.png",
        f"{head}.file.webp",
        f"{head}.jpg",
        "image/generation_result/nothing.webp",
    ]
    async with web.client() as anybody:
        answers = [await anybody.get(f"/{path}") for path in wrong]
    assert {answer.status_code for answer in answers} == {404}
    assert {answer.json()["detail"] for answer in answers} == {"This link is not valid, or no longer."}
