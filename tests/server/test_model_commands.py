"""`darkroom models` as a person uses it, against a server on this machine."""

import hashlib
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnx as onnx_package
import pytest
from onnx import numpy_helper
from support import onnx_models as onnx
from support.file_server import FileServer, serving_files
from support.processes import on_terminal

from darkroom import cli
from darkroom.engine.model_store import import_model, installed_models
from darkroom.pull_progress import PullProgress, human_size
from darkroom_tools import models
from darkroom_tools.models import Card, Tensor
from darkroom_tools.registry import builtin_tools

GOOD = onnx.luminance()
PINNED = Card(
    "tiny",
    "cutout",
    "A tiny model",
    "tiny.onnx",
    "MIT",
    sources=("https://models.invalid/tiny.onnx",),
    bytes=len(GOOD),
    sha256=hashlib.sha256(GOOD).hexdigest(),
    inputs=(Tensor("input", ("n", 3, 320, 320)),),
    outputs=(Tensor("output", ("n", 1, 320, 320)),),
)
LOOSE = replace(PINNED, id="loose", title="Another", file="loose.onnx", bytes=None, sha256=None)
LIMITED = replace(LOOSE, id="limited", task="upscale", file="limited.onnx", license="CC-BY-NC-4.0", commercial=False)
BY_HAND = replace(LOOSE, id="by-hand", file="by-hand.onnx", sources=())
ELSEWHERE = replace(LOOSE, id="elsewhere", task="ocr", sources=(), packaged="no_such_package/model.onnx")
INSIDE = replace(ELSEWHERE, id="inside", packaged="darkroom_tools/data/models/cutout.toml")
CARDS = MappingProxyType({card.id: card for card in (PINNED, LOOSE, BY_HAND, LIMITED, ELSEWHERE, INSIDE)})

SCRIPT = """
import sys
import darkroom.engine.model_registry as registry
from darkroom.cli import main
from darkroom_tools import models
card = models.Card("tiny", "cutout", "Tiny", "tiny.onnx", "MIT")
models.cards = registry.cards = lambda: {"tiny": card}
sys.exit(main(sys.argv[1:]))
"""
WITH_TINY = (sys.executable, "-c", SCRIPT)
"""The command in a process of its own, where one model is known, whatever its bytes."""

REAL, TOOLS = models.cards, builtin_tools()
"""Loaded while the real cards stand: a tool reads there which models it may use."""

Models = Callable[..., int]


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cards of its own, so that these tests do not depend on what is published."""
    monkeypatch.setattr(models, "cards", lambda: CARDS)
    monkeypatch.setattr("darkroom.engine.model_registry.cards", lambda: CARDS)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data" / "models"


@pytest.fixture
def run(tmp_path: Path) -> Models:
    """Runs the command; its exit status."""
    return lambda *words: cli.main(["models", *map(str, words), "--data-dir", str(tmp_path / "data")])


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving_files(**{card.file: GOOD for card in CARDS.values()}) as shown:
        yield shown


Said = pytest.CaptureFixture[str]


def test_a_pull_installs_and_says_by_what_the_file_is_trusted(
    run: Models, server: FileServer, folder: Path, capsys: Said
) -> None:
    assert run("pull", "tiny", "loose", "--from", server.url) == 0
    said = capsys.readouterr()
    digest = hashlib.sha256(GOOD).hexdigest()
    assert said.out.splitlines() == [
        f"tiny  {len(GOOD)} bytes, MIT, sha256 {digest}",
        "  It has the SHA-256 that its publisher pins.",
        f"loose  {len(GOOD)} bytes, MIT, sha256 {digest}",
        "  Nobody publishes a digest of it: this one is recorded, and every later use is checked.",
    ]
    assert said.err.startswith("tiny: from 127.0.0.1:")
    assert {name: file.trust for name, file in installed_models(folder).items()} == {
        "tiny": "sha256",
        "loose": "first-use",
    }


def test_what_is_here_and_good_is_not_pulled_again(run: Models, server: FileServer, folder: Path, capsys: Said) -> None:
    run("pull", "tiny", "--from", server.url)
    assert run("pull", "tiny") == 0
    assert "tiny is installed already, and its file is unchanged." in capsys.readouterr().out
    installed_models(folder)["tiny"].path.write_bytes(b"changed")
    assert run("pull", "tiny", "--from", server.url) == 0
    assert installed_models(folder)["tiny"].path.read_bytes() == GOOD
    assert len(server.asked) == 2


def test_one_model_that_fails_does_not_stop_the_next(
    run: Models, server: FileServer, folder: Path, capsys: Said
) -> None:
    server.statuses["tiny.onnx"] = 404
    assert run("pull", "tiny", "loose", "--from", server.url) == 1
    assert "answers with status 404" in capsys.readouterr().err
    assert set(installed_models(folder)) == {"loose"}


def test_a_wrong_file_is_refused_with_both_digests_and_not_kept(
    run: Models, server: FileServer, folder: Path, capsys: Said
) -> None:
    server.files["tiny.onnx"] = other = onnx.luminance(batch=1).ljust(len(GOOD), b"\0")[: len(GOOD)]
    assert run("pull", "tiny", "--from", server.url) == 1
    said = capsys.readouterr()
    assert hashlib.sha256(other).hexdigest() in said.err
    assert str(PINNED.sha256) in said.err
    assert said.out == ""
    assert [path.name for path in folder.iterdir()] == [".lock"]


@pytest.mark.parametrize("words", [("pull", "limited"), ("import", "limited", "FILE"), ("import", "FILE")])
def test_a_licence_against_commercial_use_must_be_accepted(
    run: Models, server: FileServer, folder: Path, tmp_path: Path, words: tuple[str, ...], capsys: Said
) -> None:
    (tmp_path / "limited.onnx").write_bytes(onnx.luminance(batch=1))
    given = [str(tmp_path / "limited.onnx") if word == "FILE" else word for word in words]
    given += ["--from", server.url] if "pull" in words else []
    assert run(*given) == 1
    assert "CC-BY-NC-4.0, which forbids commercial use" in capsys.readouterr().err
    assert not folder.exists()
    assert server.asked == []
    assert run(*given, "--accept-license") == 0
    assert set(installed_models(folder)) == {"limited"}


def test_a_pull_without_a_name_tells_which_there_are_and_the_best(
    run: Models, server: FileServer, capsys: Said
) -> None:
    assert run("pull") == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "  cutout   tiny, loose\n  upscale  limited *\n" in said.err
    assert said.err.endswith("The best of each task: darkroom models pull tiny\n")
    run("pull", "tiny", "--from", server.url)
    capsys.readouterr()
    run("pull")
    said = capsys.readouterr()
    assert "  cutout   loose\n" in said.err
    assert "The best" not in said.err
    run("pull", "tiny", "loose", "limited", "--accept-license", "--from", server.url)
    capsys.readouterr()
    run("pull")
    assert capsys.readouterr().err == "Every model that can be pulled is installed.\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("pull", "tinny"), "There is no model 'tinny'. Did you mean tiny?"),
        (("pull", "by-hand"), "Get by-hand.onnx and hand it in: darkroom models import by-hand FILE."),
        (("pull", "elsewhere"), "comes with a package and is not pulled.\nInstall it with: uv tool install"),
        (("pull", "tiny", "--from", "http://example.com/"), "over https only"),
        (("pull", "tiny", "--from", "http://127.0.0.1:9/"), "cannot be reached. Check the network"),
        (("import", "missing.onnx"), "The file could not be read"),
        (("import", "tiny", "a", "b"), "Give one file"),
        (("verify", "nothing"), "There is no model 'nothing'"),
        (("verify", "tiny"), "The model 'tiny' is not installed. Install it with: darkroom models pull tiny"),
        (("remove", "tiny"), "The model 'tiny' is not installed."),
        (("path", "tiny"), "The model 'tiny' is not installed."),
        (("list", "nothing"), "No model, task or tool is called nothing."),
    ],
)
def test_a_mistake_is_explained(run: Models, words: tuple[str, ...], said: str, capsys: Said) -> None:
    assert run(*words) == 1
    assert said in capsys.readouterr().err


def test_a_packaged_model_is_not_pulled_and_that_is_fine(run: Models, capsys: Said) -> None:
    assert run("pull", "inside") == 0
    assert capsys.readouterr().err == "inside comes with a package and is not pulled.\n"


@pytest.mark.parametrize("name", ["tiny.onnx", "download(3).onnx"])
def test_a_file_is_recognised_by_its_name_or_its_digest(
    run: Models, folder: Path, tmp_path: Path, name: str, capsys: Said
) -> None:
    (tmp_path / name).write_bytes(GOOD)
    assert run("import", tmp_path / name) == 0
    assert "It has the SHA-256 that its publisher pins." in capsys.readouterr().out
    assert installed_models(folder)["tiny"].trust == "sha256"


def test_a_file_that_nothing_is_known_of_needs_an_id(run: Models, folder: Path, tmp_path: Path, capsys: Said) -> None:
    (tmp_path / "mine.onnx").write_bytes(onnx.identity())
    assert run("import", tmp_path / "mine.onnx") == 1
    assert "darkroom models import ID FILE" in capsys.readouterr().err
    assert run("import", "mine", tmp_path / "mine.onnx") == 0
    assert set(installed_models(folder)) == {"mine"}
    assert run("pull", "mine") == 0
    assert "mine was imported by hand" in capsys.readouterr().err


@pytest.mark.parametrize("words", [("import", "FILE"), ("import", "tiny", "FILE")])
def test_a_file_that_contradicts_its_card_is_not_imported(
    run: Models, folder: Path, tmp_path: Path, words: tuple[str, ...], capsys: Said
) -> None:
    (tmp_path / "tiny.onnx").write_bytes(onnx.luminance(batch=1))
    assert run(*(str(tmp_path / "tiny.onnx") if word == "FILE" else word for word in words)) == 1
    assert "its publisher pins" in capsys.readouterr().err
    assert installed_models(folder) == {}


def test_verify_checks_all_or_one_and_fails_for_a_bad_one(
    run: Models, server: FileServer, folder: Path, capsys: Said
) -> None:
    run("pull", "tiny", "loose", "--from", server.url)
    installed_models(folder)["tiny"].path.write_bytes(GOOD[:-1])
    capsys.readouterr()
    assert run("verify") == 1
    said = capsys.readouterr()
    assert said.out.splitlines() == ["tiny  BAD", "loose  ok", "inside  BAD"]
    assert "Install it again with `darkroom models pull tiny`" in said.err
    assert run("verify", "loose") == 0


def test_a_model_that_somebody_slipped_in_contradicts_its_card(
    run: Models, folder: Path, tmp_path: Path, capsys: Said
) -> None:
    (tmp_path / "other.onnx").write_bytes(onnx.luminance(batch=1))
    import_model(folder, "tiny", tmp_path / "other.onnx")
    assert run("verify", "tiny") == 1
    assert "its publisher pins" in capsys.readouterr().err


def test_removal_deletes_files_and_what_was_begun(run: Models, server: FileServer, folder: Path, capsys: Said) -> None:
    run("pull", "loose", "--from", server.url)
    server.breaks = [50, 0]
    assert run("pull", "tiny", "--from", server.url) == 1
    assert (folder / ".pull-tiny").stat().st_size == 50
    capsys.readouterr()
    assert run("remove", "tiny", "loose") == 0
    assert capsys.readouterr().out == "tiny is removed.\nloose is removed.\n"
    assert {path.name for path in folder.iterdir()} == {".lock", "manifest.json"}


def test_paths_are_printed_for_scripts(run: Models, server: FileServer, folder: Path, capsys: Said) -> None:
    run("pull", "tiny", "--from", server.url)
    capsys.readouterr()
    assert (run("path"), run("path", "tiny"), run("path", "inside")) == (0, 0, 0)
    whole, tiny, inside = capsys.readouterr().out.splitlines()
    assert whole == str(folder)
    assert Path(tiny).read_bytes() == GOOD
    assert inside.endswith("darkroom_tools/data/models/cutout.toml")


def test_the_list_has_every_model_under_its_task_with_its_state(run: Models, server: FileServer, capsys: Said) -> None:
    run("pull", "tiny", "--from", server.url)
    capsys.readouterr()
    assert run() == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[1]: line.split() for line in lines if line.startswith("  ") and line[2] != " "}
    assert {name: row[0] for name, row in rows.items()} == {
        "tiny": "✓",
        "loose": "·",
        "by-hand": "○",
        "limited": "·",
        "elsewhere": "!",
        "inside": "●",
    }
    assert rows["tiny"][-1] == "SHA-256"
    assert rows["loose"][-2:] == ["first", "use"]
    assert "*" in rows["limited"]
    assert "* no commercial use" in "\n".join(lines)
    assert [line for line in lines if line and not line.startswith(" ")][:3] == ["cutout", "upscale", "ocr"]
    assert any("pulled 20" in line and line.endswith(".onnx") for line in lines)


@pytest.mark.parametrize("columns", [70, 80, 100])
def test_every_published_model_fits_into_the_terminal(
    run: Models, monkeypatch: pytest.MonkeyPatch, columns: int, capsys: Said
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(models, "cards", REAL)
    monkeypatch.setattr("darkroom.engine.model_registry.cards", REAL)
    run("list")
    run("pull")
    said = capsys.readouterr()
    lines = (said.out + said.err.partition("The best of each")[0]).splitlines()
    assert len(lines) > len(REAL())
    assert max(map(len, lines)) <= columns


@pytest.mark.parametrize("columns", [70, 80, 100])
def test_the_list_fits_into_the_terminal(
    run: Models, server: FileServer, monkeypatch: pytest.MonkeyPatch, columns: int, capsys: Said
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    run("pull", "tiny", "--from", server.url)
    capsys.readouterr()
    run("list")
    assert max(map(len, capsys.readouterr().out.splitlines())) <= columns


def test_the_list_narrows_to_a_model_a_task_or_a_tool_and_speaks_json(run: Models, capsys: Said) -> None:
    assert run("list", "upscale", "tiny", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [(each["id"], each["state"], each["commercial"]) for each in told] == [
        ("tiny", "not-installed", True),
        ("limited", "not-installed", False),
    ]
    assert told[0]["sha256"] == PINNED.sha256
    assert told[0]["command"] == "darkroom models pull tiny"


def test_options_stand_before_or_after_the_action(tmp_path: Path, capsys: Said) -> None:
    for words in (["models", "--data-dir", "DIR", "path"], ["models", "path", "--data-dir", "DIR"]):
        assert cli.main([word.replace("DIR", str(tmp_path)) for word in words]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/models\n" * 2


def test_ctrl_c_keeps_what_came_and_the_same_command_goes_on(tmp_path: Path) -> None:
    words = ["models", "pull", "tiny", "--data-dir", str(tmp_path), "--from"]
    with serving_files(**{"tiny.onnx": GOOD}) as server:
        server.breaks, server.hold = [len(GOOD) - 7], threading.Event()
        # Tests that run in the background of a shell would pass on that Ctrl-C is ignored.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        process = subprocess.Popen(
            [*WITH_TINY, *words, server.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        signal.signal(signal.SIGINT, before)
        assert process.stderr
        said = [process.stderr.readline() for _ in range(2)]
        process.send_signal(signal.SIGINT)
        out, rest = process.communicate(timeout=60)
        assert (process.returncode, out) == (130, "")
        assert said[0].startswith("tiny: from 127.0.0.1:")
        assert (
            rest == f"darkroom: tiny is not pulled. {len(GOOD) - 7} B are kept; the same command goes on from there.\n"
        )
        server.hold.set()
        server.hold = None
        again = subprocess.run([*WITH_TINY, *words, server.url], capture_output=True, text=True, check=False)
        assert again.returncode == 0, again.stderr
    assert server.asked[-1][1] == f"bytes={len(GOOD) - 7}-"


def test_a_bar_on_a_terminal_tells_how_far_it_is(tmp_path: Path) -> None:
    body = fat()
    with serving_files(**{"tiny.onnx": body}) as server:
        words = ("models", "pull", "tiny", "--from", server.url, "--data-dir", tmp_path)
        drawn = on_terminal(*words, cwd=tmp_path, command=WITH_TINY)
    assert f"tiny {'█' * 24} 100% 2.0 MB of 2.0 MB, " in drawn
    assert drawn.endswith("\r\x1b[K")
    assert max(len(line) for line in re.split(r"\r\x1b\[K|\r\n", drawn)) < 80


def fat() -> bytes:
    """A model of two megabytes."""
    model = onnx_package.load_model_from_string(GOOD)
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(500_000, np.float32), "weights"))
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("count", "words"),
    [(None, "?"), (0, "0 B"), (999, "999 B"), (1_500, "1.5 kB"), (4_700_000, "4.7 MB"), (176_000_000, "176 MB")],
)
def test_sizes_are_told_in_the_unit_that_suits_them(count: int | None, words: str) -> None:
    assert human_size(count) == words


def test_progress_in_a_log_is_a_line_for_each_tenth(capsys: Said) -> None:
    seconds = iter(range(100))
    progress = PullProgress("tiny", clock=lambda: float(next(seconds)))
    for done in range(0, 2_000_001, 50_000):
        progress(done, 2_000_000)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[0] == "tiny: 10%, 200 kB of 2.0 MB, 50 kB/s, 36 s left"
    assert lines[-1] == "tiny: 100%, 2.0 MB of 2.0 MB, 50 kB/s"
