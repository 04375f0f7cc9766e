"""Answers of the library are those of one build: an update computes the same call anew."""

from pathlib import Path

import pytest
from support.jobs_room import open_room

from darkroom.engine import build as module
from darkroom.engine.build import build
from darkroom.jobs import request

pytestmark = pytest.mark.anyio


async def test_after_an_update_the_same_call_is_computed_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_room(tmp_path) as room:
        for version, runs in (("old", 1), ("old", 1), ("new", 2), ("new", 2), ("old", 2)):
            monkeypatch.setattr(request, "build", lambda version=version: version)
            job = await room.tint()
            if not job.ended:
                await room.done(job)
            assert len(room.executor.runs) == runs


def test_a_build_differs_by_one_line_of_a_tool_and_by_a_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "package"
    (package / "essentials").mkdir(parents=True)
    (package / "__init__.py").touch()
    source = package / "essentials" / "resize.py"
    source.write_text("width = 1\n")
    monkeypatch.setattr(module.darkroom_tools, "__file__", str(package / "__init__.py"))
    seen = {build.__wrapped__(), build.__wrapped__()}
    assert len(seen) == 1
    source.write_text("width = 2\n")
    seen.add(build.__wrapped__())
    monkeypatch.setattr(module, "_version", lambda name: "99.0" if name == "numpy" else "")
    seen.add(build.__wrapped__())
    assert len(seen) == 3


def test_compiled_files_say_nothing_of_a_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "__init__.py").touch()
    monkeypatch.setattr(module.darkroom_tools, "__file__", str(tmp_path / "__init__.py"))
    before = build.__wrapped__()
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "resize.pyc").write_bytes(b"compiled")
    assert build.__wrapped__() == before
