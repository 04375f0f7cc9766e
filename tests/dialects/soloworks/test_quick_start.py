"""The Quick Start of the API's documentation, call by call, to the two files at its end."""

import io
import sys
from pathlib import Path

import anyio
import httpx2
import pytest
from PIL import Image
from support.web_room import Web

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[3]
STUDIO = "79c9e172-637f-44db-9beb-39092ff4d462"
MUSTARD = (0xD9, 0xA9, 0x3F)


async def opened(http: httpx2.AsyncClient, url: str) -> Image.Image:
    """The picture at an address, which needs no key."""
    answer = await http.get(url)
    assert answer.status_code == 200, answer.text
    picture = Image.open(io.BytesIO(answer.content))
    assert answer.headers["content-type"] == Image.MIME[picture.format or ""]
    return picture


async def test_the_quick_start_leads_to_a_jpg_and_a_png(web: Web, photo: str) -> None:
    base = f"{web.url}/api/v1"
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {web.user}"}, timeout=60) as http:
        listed = (await http.get(f"{base}/workflows")).json()
        assert listed["total"] == len(listed["workflows"]) >= 20
        (studio,) = [each for each in listed["workflows"] if each["id"] == STUDIO]
        assert (studio["name"], studio["tags"]) == ("單色棚拍風", ["Fashion", "Model"])
        assert studio["creditCost"] == {"min": 4, "max": 4}

        inputs = (await http.get(f"{base}/workflows/{STUDIO}")).json()["inputs"]
        (image,) = [field["fieldId"] for field in inputs["imageFields"] if field["required"]]
        presets = {field["fieldId"]: field["presetOptions"] for field in inputs["textFields"]}
        assert {"optionId": "mustard", "label": "Mustard"} in presets["backdrop"]

        body = {"images": {image: photo}, "texts": {"backdrop": "mustard", "light": "even", "shadow": "none"}}
        answer = await http.post(f"{base}/workflows/{STUDIO}/execute", json=body)
        assert answer.status_code == 202
        started = answer.json()
        assert started == {"executionId": started["id"], "id": started["id"], "status": "running"}

        seen = []
        while not seen or seen[-1]["status"] == "running":
            seen.append((await http.get(f"{base}/executions/{started['executionId']}")).json())
            await anyio.lowlevel.checkpoint()
    percents = [state["progress"] for state in seen]
    assert percents == sorted(percents)
    assert all(0 <= percent <= 99 for percent in percents[:-1])
    done = seen[-1]
    assert (done["status"], done["progress"], done["workflowId"]) == ("completed", 100, STUDIO)
    assert done["error"] is None
    assert done["createdAt"] <= done["completedAt"]
    assert (done["jpgUrl"], done["pngUrl"]) == (done["results"][0]["jpgUrl"], done["results"][0]["pngUrl"])

    size = Image.open(io.BytesIO(web.photo)).size
    async with httpx2.AsyncClient(timeout=60) as anybody:
        for url, format in ((done["jpgUrl"], "JPEG"), (done["pngUrl"], "PNG")):
            picture = await opened(anybody, url)
            assert (picture.format, picture.size) == (format, size)
            corner = picture.convert("RGB").getpixel((2, 2))
            assert all(abs(got - wanted) <= 8 for got, wanted in zip(corner, MUSTARD, strict=True))
        forged = done["pngUrl"].replace("/png/", "/jpg/")
        assert (await anybody.get(forged)).status_code == 404


async def test_the_example_client_saves_what_the_workflow_made(web: Web, tmp_path: Path) -> None:
    photo = tmp_path / "flower.jpg"
    photo.write_bytes(web.photo)
    words = [f"{web.url}/api/v1", web.user, str(photo), str(tmp_path / "out"), "--every", "0.1"]
    done = await anyio.run_process([sys.executable, str(ROOT / "examples" / "rest_soloworks.py"), *words], check=False)
    told = done.stdout.decode()
    assert done.returncode == 0, told + done.stderr.decode()
    assert f"{STUDIO}  4 credits  單色棚拍風 (Fashion, Model)" in told
    assert "completed 100 %" in told
    for ending, format in (("jpg", "JPEG"), ("png", "PNG")):
        with Image.open(tmp_path / "out" / f"flower-1.{ending}") as picture:
            assert picture.format == format


async def test_the_example_client_says_what_is_wrong(web: Web, tmp_path: Path) -> None:
    words = [f"{web.url}/api/v1", "sk_live_wrong", __file__, str(tmp_path)]
    done = await anyio.run_process([sys.executable, str(ROOT / "examples" / "rest_soloworks.py"), *words], check=False)
    assert done.returncode == 1
    assert done.stderr.decode().startswith("401: ")
