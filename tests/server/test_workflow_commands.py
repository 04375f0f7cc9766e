"""`darkroom workflows`: what a person sees and gets, on a server of its own."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import PIL.Image
import pytest
from support.processes import PHOTOS, darkroom, files_under

from darkroom.cli import main

WEB: dict[str, Any] = {
    "format": "darkroom-workflow",
    "formatVersion": 1,
    "name": "Web photo",
    "description": "For the shop.",
    "inputs": {"width": {"default": 120, "description": "Long side"}},
    "components": [
        {"type": "resize", "settings": {"width": "${{ inputs.width }}"}},
        {"type": "convert", "settings": {"format": "webp"}},
    ],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("data")
    darkroom("tools", "--data-dir", folder)
    yield folder
    darkroom("stop", "--data-dir", folder)


class Done(NamedTuple):
    """What became of a command."""

    status: int
    out: str
    err: str


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with two photos and a workflow's document."""
    for name in ("coffee.jpg", "rocket.jpg"):
        (tmp_path / name).write_bytes((PHOTOS / name).read_bytes())
    (tmp_path / "web.json").write_text(json.dumps(WEB))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


@pytest.fixture
def workflows(data: Path, desk: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """`darkroom workflows ACTION WORDS`, in this process; the server has one of its own."""

    def run(action: str, *words: object) -> Done:
        status = main(["workflows", action, "--data-dir", str(data), *map(str, words)])
        return Done(status, *capsys.readouterr())

    return run


@pytest.fixture
def said(workflows: Callable[..., Done]) -> Callable[..., str]:
    def run(*words: object) -> str:
        done = workflows(*words)
        assert (done.status, done.err) == (0, "")
        return done.out

    return run


@pytest.fixture
def refused(workflows: Callable[..., Done]) -> Callable[..., str]:
    def run(*words: object) -> str:
        done = workflows(*words)
        assert (done.status, done.out) == (1, "")
        return done.err

    return run


Words = Callable[..., str]


def test_a_workflow_goes_in_is_seen_runs_goes_out_and_is_deleted(
    desk: Path, workflows: Callable[..., Done], said: Words, refused: Words
) -> None:
    name, version, tool = said("import", "web.json").strip().split("  ")
    assert (name, version, tool.startswith("wf_web_photo_")) == ("Web photo", "version 1", True)
    table, gallery = said("list").split("\n\n")
    assert [line.split() for line in table.splitlines()] == [
        ["NAME", "VERSION", "TOOL", "INPUTS"],
        ["Web", "photo", "1", tool, "image,", "width"],
    ]
    assert gallery.startswith("GALLERY")
    shown = said("show", "web photo").splitlines()
    assert shown[:3] == [f"Web photo: {tool}", "For the shop.", "Steps: resize, convert"]
    assert "  width  integer; Long side; ≥ 1; ≤ 16384; default 120" in shown
    assert shown[-1].startswith("  1  20")

    lines = said("run", "Web photo", "*.jpg", "--input", "width=90", "--out", "out").splitlines()
    assert [line.split("  ")[1] for line in lines] == ["90×60", "90×60"]
    assert files_under(desk / "out") == {"coffee-web-photo.webp", "rocket-web-photo.webp"}
    with PIL.Image.open(desk / "out" / "rocket-web-photo.webp") as image:
        assert (image.format, image.width) == ("WEBP", 90)
    again = workflows("run", tool, "*.jpg", "--input", "width=90", "--out", "out", "--skip-existing")
    assert (again.status, again.err) == (0, "2 of 2 files have a result already.\n")
    said("run", "Web photo", "coffee.jpg", "rocket.jpg", "--zip", "all.zip")
    assert (desk / "all.zip").exists()

    (desk / "web.json").write_text(json.dumps({**WEB, "description": "For the shop, again."}))
    assert said("import", "web.json") == f"Web photo  version 2  {tool}\n"
    assert "export" not in said("export", "Web photo@1", "old.json")
    assert json.loads((desk / "old.json").read_text()) == WEB
    assert json.loads(said("export", "Web photo", "-"))["description"] == "For the shop, again."
    assert "old.json exists" in refused("export", "Web photo", "old.json")
    said("export", "Web photo", "old.json", "--overwrite")

    assert said("unpublish", "Web photo").startswith("Web photo  version 2  not published")
    assert "not published" in said("list")
    assert said("publish", tool) == f"Web photo  version 2  {tool}\n"
    assert said("delete", "Web photo") == "Web photo is deleted.\n"
    assert said("list").startswith("No workflow is saved.")
    assert "There is no workflow 'Web photo'" in refused("delete", "Web photo")


def test_what_is_wrong_is_said_in_one_line(desk: Path, workflows: Callable[..., Done], refused: Words) -> None:
    (desk / "steps.json").write_text('[{"tool": "resize"}]')
    (desk / "newer.json").write_text(json.dumps({**WEB, "formatVersion": 2}))
    (desk / "unknown.json").write_text(json.dumps({**WEB, "components": [{"type": "resise"}], "inputs": {}}))
    for words, text in (
        (("import", "steps.json"), "A workflow is one JSON object"),
        (("import", "newer.json"), "Update Darkroom to read it."),
        (("import", "unknown.json"), "steps[0].tool: 'resise' is no tool. Did you mean 'resize'?"),
        (("import", "missing.json"), "missing.json"),
        (("show", "web-redy"), "Did you mean 'Web-ready picture'?"),
        (("run", "gallery/web-ready", "coffee.jpg", "--input", "width"), "An input is written --input NAME=VALUE"),
        (("run", "gallery/web-ready"), "Which file?"),
        (("export", "gallery/none", "x.json"), "There is no workflow 'gallery/none'."),
    ):
        lines = refused(*words).splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith("darkroom: ")
        assert text in lines[0]
    done = workflows("run", "gallery/web-ready", "coffee.jpg", "--input", "format=pdf")
    assert (done.status, done.err.startswith("coffee.jpg: ")) == (1, True)
    assert files_under(desk) == {"coffee.jpg", "rocket.jpg", "web.json", "steps.json", "newer.json", "unknown.json"}


def test_a_workflow_of_the_gallery_is_found_shown_run_and_copied_by_export_and_import(said: Words) -> None:
    assert "gallery/web-ready" in said("list", "web-ready")
    assert said("show", "gallery/web-ready").startswith("Web-ready picture: gallery/web-ready\n")
    assert "coffee-web-ready-picture" in said("run", "gallery/web-ready", "coffee.jpg")
    said("export", "gallery/web-ready", "mine.json")
    assert said("import", "mine.json", "--name", "Mine").startswith("Mine  version 1  wf_mine_")
    assert "rocket-mine" in said("run", "Mine", "rocket.jpg")


def test_without_an_action_it_is_the_list(data: Path, desk: Path) -> None:
    assert "GALLERY" in darkroom("workflows", "--data-dir", data, cwd=desk).stdout
