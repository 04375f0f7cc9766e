"""The example's client, which knows autoRetouch from its public text, as a person runs it."""

import re
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from anyio.streams.text import TextReceiveStream
from PIL import Image
from support.web_room import PASSWORD, Web

from .conftest import Versions

pytestmark = pytest.mark.anyio

CLIENT = Path(__file__).parents[3] / "examples" / "rest_autoretouch.py"


def command(web: Web, *words: object) -> list[str]:
    return [sys.executable, str(CLIENT), web.url, *map(str, words)]


async def run(web: Web, *words: object) -> subprocess.CompletedProcess[bytes]:
    return await anyio.run_process(command(web, *words), check=False)


async def test_it_runs_a_workflow_over_a_folder(web: Web, removal: Versions, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("one.jpg", "two.jpg", "notes.txt"):
        (tmp_path / "photos" / name).write_bytes(web.photo)
    words = ["Background Removal", tmp_path / "out", tmp_path / "photos", "width=48", "--label", "order=7"]
    done = await run(web, *words, "--key", web.user)
    assert done.returncode == 0, done.stderr.decode()
    said = done.stdout.decode()
    assert "Workflow: Background Removal\nPrice: 0 credits\nComponents: input, Small, export\n" in said
    assert said.count("COMPLETED") == 2
    made = sorted((tmp_path / "out").iterdir())
    assert [path.name.split("-")[0] for path in made] == ["one", "two"]
    for path in made:
        with Image.open(path) as picture:
            assert (picture.format, picture.mode, picture.width) == ("PNG", "RGBA", 48)
    async with web.client(web.user) as client:
        newest = (await client.get("/v1/workflow/execution", params={"limit": 1})).json()["entries"][0]
    assert (newest["labels"], newest["inputFileName"]) == ({"order": "7"}, "two.jpg")


async def test_it_can_be_signed_in_by_a_code(web: Web, removal: Versions, tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(web.photo)
    words = command(web, "Background Removal", tmp_path / "out", photo)
    async with await anyio.open_process(words) as process, web.client() as browser:
        assert process.stdout is not None
        said, approved = "", False
        async for text in TextReceiveStream(process.stdout):
            said += text
            if not approved and (found := re.search(r"approve ([A-Z]{4}-[A-Z]{4})\b", said)):
                form = {"user_code": found[1], "username": "ann", "password": PASSWORD, "decision": "approve"}
                assert (await browser.post("/oauth/device", data=form)).status_code == 200
                approved = True
    assert process.returncode == 0
    assert len(list((tmp_path / "out").iterdir())) == 1


async def test_it_says_what_is_wrong(web: Web, removal: Versions, tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(web.photo)
    wrong = await run(web, "Background Removal", tmp_path / "out", photo, "--key", "nonsense")
    assert wrong.returncode == 1
    assert wrong.stderr.decode().startswith("401 Unauthorized: ")
    done = await run(web, "Background Removal", tmp_path / "out", photo, "widht=9", "--key", web.user)
    assert done.stderr.decode().startswith("400 Bad Request: Unknown setting 'widht'. Did you mean 'width'?")
    other = await run(web, "No such", tmp_path / "out", photo, "--key", web.user)
    assert "There is no workflow 'No such'" in other.stderr.decode()
