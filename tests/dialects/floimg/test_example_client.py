"""The example's client, which knows FloImg from its public text, as a person runs it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from PIL import Image
from support.web_room import Web

pytestmark = pytest.mark.anyio

CLIENT = Path(__file__).parents[3] / "examples" / "rest_floimg.py"


async def run(web: Web, key: str, *words: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, str(CLIENT), f"{web.url}/v1", key, *map(str, words), "--every", "0.05"]
    return await anyio.run_process(command, check=False)


async def test_it_uploads_a_picture_runs_a_workflow_and_saves_the_result(
    web: Web, client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    photo = tmp_path / "dahlia.jpg"
    photo.write_bytes(web.photo)
    words = ["Web-ready picture", tmp_path / "out", f"image=@{photo}", "width=800", "format=webp", "quality=60"]
    done = await run(web, web.user, *words, "--project", "Example")
    assert done.returncode == 0, done.stderr.decode()
    assert "image (string, required)" in done.stdout.decode()
    [made] = (tmp_path / "out").iterdir()
    with Image.open(made) as picture:
        assert (picture.format, made.suffix) == ("WEBP", ".webp")
        assert picture.width <= 800
    project = next(
        row["id"] for row in (await client.get("/v1/projects")).json()["projects"] if row["name"] == "Example"
    )
    kept = (await client.get("/v1/storage/images", params={"projectId": project})).json()["images"]
    assert [each["name"].rsplit(".", 1)[1] for each in kept] == ["webp", "jpg"]  # what was made of it lies beside it


async def test_it_asks_for_a_run_until_it_is_done(web: Web, social: dict[str, Any], tmp_path: Path) -> None:
    done = await run(
        web, web.user, social["name"], tmp_path, "prompt=A lighthouse", "width=320", "height=200", "--async"
    )
    assert done.returncode == 0, done.stderr.decode()
    assert "completed" in done.stdout.decode()
    with Image.open(next(tmp_path.glob("*.png"))) as picture:
        assert picture.size == (320, 200)


async def test_it_says_what_is_wrong(web: Web, tmp_path: Path) -> None:
    done = await run(web, "fsk_live_wrong", "Web-ready picture", tmp_path)
    assert done.returncode == 1
    assert done.stderr.decode().startswith("unauthorized: ")
    done = await run(web, web.user, "Web-ready picture", tmp_path, "width=800")
    assert done.stderr.decode().startswith("invalid_request: 'image' is required")
