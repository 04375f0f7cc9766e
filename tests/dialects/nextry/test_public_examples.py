"""Every example of Nextry's public text, sent by a real client to a running server."""

import io
import re
from typing import Any
from uuid import UUID

import httpx2
import pytest
from PIL import Image
from support.image_engine import ImageEngine
from support.web_room import Web

pytestmark = pytest.mark.anyio

TOOLS = [
    {"group_tool": "fashion", "tool": "lego_clothes", "title": "Lego Clothes"},
    {"group_tool": "fashion", "tool": "mamasfit", "title": "MamasFit"},
    {"group_tool": "fashion", "tool": "lengerie", "title": "Lengerie"},
    {"group_tool": "fashion", "tool": "fashion_card", "title": "Fashion Card"},
    {"group_tool": "fashion", "tool": "fashion_swap", "title": "Fashion Swap"},
    {"group_tool": "fashion", "tool": "fashion_swap_half", "title": "Fashion Swap Half"},
    {"group_tool": "interior", "tool": "furniture", "title": "Furniture"},
    {"group_tool": "textile", "tool": "fabric", "title": "Fabric"},
    {"group_tool": "default", "tool": "default", "title": "Default"},
]
NAME = re.compile(r"image/generation_result/[A-Za-z0-9_-]+\.(webp|png)")


async def picture_at(web: Web, path: str) -> Image.Image:
    """The picture behind a path, fetched as anybody may."""
    async with web.client() as anybody:
        answer = await anybody.get(f"{web.url}/{path}")
    assert answer.status_code == 200
    return Image.open(io.BytesIO(answer.content))


async def generated(client: httpx2.AsyncClient, outfit: Any, **fields: str) -> dict[str, Any]:
    answer = await client.post("/generation/generate_image_v2/", files=outfit, data={"tool": "fashion_swap", **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_the_tools_are_those_of_the_public_text(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/generation/tools")
    assert (answer.status_code, answer.json()) == (200, TOOLS)


async def test_every_tool_has_generation_types(client: httpx2.AsyncClient) -> None:
    for row in TOOLS:
        types = (await client.get("/generation/generationTypes", params={"tool": row["tool"]})).json()
        assert types[0]["title"] == row["title"]
        assert all(each["tool"] == row["tool"] for each in types)
        assert all(str(UUID(each["id"])) == each["id"] for each in types)


async def test_a_generation_answers_with_its_pictures_and_its_place_in_the_history(
    web: Web, client: httpx2.AsyncClient, engine: ImageEngine, outfit: Any
) -> None:
    said = await generated(client, outfit)
    assert list(said) == ["preview_image", "stock_image", "history_item_id"]
    assert NAME.fullmatch(said["preview_image"]) and said["preview_image"].endswith(".webp")
    assert NAME.fullmatch(said["stock_image"]) and said["stock_image"].endswith(".png")
    assert str(UUID(said["history_item_id"])) == said["history_item_id"]
    assert [part.name for part in engine.asked[-1].images] == ["image[]", "image[]"]
    preview = await picture_at(web, said["preview_image"])
    stock = await picture_at(web, said["stock_image"])
    assert (preview.format, stock.format) == ("WEBP", "PNG")
    assert stock.size >= preview.size


async def test_a_generation_is_asked_for(client: httpx2.AsyncClient, outfit: Any) -> None:
    [swap] = (await client.get("/generation/generationTypes?tool=fashion_swap")).json()
    made = await generated(client, outfit, wishes="Asked for")
    item = (await client.get(f"/user/generation-history/{made['history_item_id']}")).json()
    assert list(item) == ["id", "generation_type", "status", "created_at", "preview_url", "stock_url", "like"]
    assert (item["id"], item["generation_type"]) == (made["history_item_id"], swap["id"])
    assert (item["status"], item["like"]) == ("complete", None)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z", item["created_at"])
    assert NAME.fullmatch(item["preview_url"]) and NAME.fullmatch(item["stock_url"])


async def test_the_history_is_paged_and_filtered(client: httpx2.AsyncClient, outfit: Any) -> None:
    made = await generated(client, outfit, wishes="In the history")
    [swap] = (await client.get("/generation/generationTypes?tool=fashion_swap")).json()
    path = f"/user/generation-history?page=1&limit=20&status=complete&generation_type={swap['id']}"
    said = (await client.get(path)).json()
    assert list(said) == ["page", "count", "total_count", "pages", "items"]
    assert (said["page"], said["pages"]) == (1, 1)
    assert said["count"] == said["total_count"] == len(said["items"]) >= 1
    assert said["items"][0]["id"] == made["history_item_id"]
    assert {item["status"] for item in said["items"]} == {"complete"}
    assert {item["generation_type"] for item in said["items"]} == {swap["id"]}


async def test_feedback_is_kept_and_taken_back(client: httpx2.AsyncClient, outfit: Any) -> None:
    made = await generated(client, outfit, wishes="Judged")
    path = made["history_item_id"]
    for like in (True, False, None):
        answer = await client.patch(f"/user/generation-history/feedback/{path}", json={"like": like})
        assert (answer.status_code, answer.json()["like"]) == (200, like)
        assert (await client.get(f"/user/generation-history/{path}")).json()["like"] is like


async def test_a_record_is_deleted_with_its_picture(web: Web, client: httpx2.AsyncClient, outfit: Any) -> None:
    made = await generated(client, outfit, wishes="To be deleted")
    path = f"/user/generation-history/{made['history_item_id']}"
    answer = await client.delete(path)
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await client.get(path)).status_code == 404
    assert (await client.delete(path)).status_code == 404
    assert (await client.get(f"/{made['stock_image']}")).status_code == 404
