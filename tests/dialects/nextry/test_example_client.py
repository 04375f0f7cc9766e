"""The example's client, which knows Nextry from its public text, as a person runs it."""

import subprocess
import sys
from pathlib import Path

import anyio
import httpx2
import pytest
from PIL import Image
from support.gallery_room import PICTURES
from support.web_room import Web

pytestmark = pytest.mark.anyio

CLIENT = Path(__file__).parents[3] / "examples" / "rest_nextry.py"


async def run(web: Web, key: str, *words: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, str(CLIENT), web.url, key, *map(str, words), "--every", "0.05"]
    return await anyio.run_process(command, check=False)


async def test_it_makes_a_picture_saves_it_and_likes_it(web: Web, client: httpx2.AsyncClient, tmp_path: Path) -> None:
    for name, picture in (("clothes", "product"), ("person", "portrait")):
        (tmp_path / f"{name}.jpg").write_bytes(PICTURES[picture]())
    words = [f"clothes=@{tmp_path}/clothes.jpg", f"person=@{tmp_path}/person.jpg", "wishes=As the example has it"]
    done = await run(web, web.user, "fashion_swap", tmp_path / "out", *words)
    told = done.stdout.decode()
    assert done.returncode == 0, done.stderr.decode()
    assert "fashion: lengerie (Lengerie)" in told
    for ending, format in (("webp", "WEBP"), ("png", "PNG")):
        with Image.open(tmp_path / "out" / f"fashion_swap.{ending}") as picture:
            assert picture.format == format
    newest = (await client.get("/user/generation-history?limit=1")).json()["items"][0]
    assert newest["like"] is True


async def test_it_chooses_a_type_and_forgets_what_it_made(web: Web, client: httpx2.AsyncClient, tmp_path: Path) -> None:
    before = (await client.get("/user/generation-history")).json()["total_count"]
    words = ["--type", "Fabric, new pattern", "motif=herons", "--forget"]
    done = await run(web, web.user, "fabric", tmp_path, *words)
    assert done.returncode == 0, done.stderr.decode()
    assert (tmp_path / "fabric.png").exists()
    assert (await client.get("/user/generation-history")).json()["total_count"] == before


async def test_it_says_what_is_wrong(web: Web, tmp_path: Path) -> None:
    done = await run(web, "wrong", "fashion_swap", tmp_path)
    assert done.returncode == 1
    assert done.stderr.decode().startswith("401: ")
    done = await run(web, web.user, "lingerie", tmp_path)
    assert done.stderr.decode().startswith("422: There is no tool 'lingerie'. Did you mean 'lengerie'?")
