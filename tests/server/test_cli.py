"""The command line as a person uses it: real files, a real server behind it."""

import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from support.onnx_models import times
from support.processes import COMMAND, PHOTOS, darkroom, files_under, on_terminal

from darkroom.lock import running_pid
from darkroom.paths import DataDir


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("data")
    yield folder
    darkroom("stop", "--data-dir", folder)


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder with two photos."""
    for name in ("coffee.jpg", "rocket.jpg"):
        (tmp_path / name).write_bytes((PHOTOS / name).read_bytes())
    return tmp_path


def run(data: Path, desk: Path, *words: object) -> "subprocess.CompletedProcess[str]":
    return darkroom("run", "--data-dir", data, *words, cwd=desk)


def test_every_file_gets_its_result_beside_it(data: Path, desk: Path) -> None:
    done = run(data, desk, "resize", "coffee.jpg", "rocket.jpg", "--width", 200)
    assert done.returncode == 0, done.stderr
    assert [line.split("  ")[0] for line in done.stdout.splitlines()] == [
        str(desk / "coffee-resize.jpg"),
        str(desk / "rocket-resize.jpg"),
    ]
    for name in ("coffee-resize.jpg", "rocket-resize.jpg"):
        with Image.open(desk / name) as image:
            assert image.width == 200
    assert done.stderr == ""


def test_results_go_to_a_folder_of_choice_that_is_made(data: Path, desk: Path) -> None:
    done = run(data, desk, "--out", "small/ones", "resize", "--width=50", "coffee.jpg")
    assert done.returncode == 0, done.stderr
    assert files_under(desk / "small") == {"ones/coffee-resize.jpg"}


def test_files_that_exist_are_kept_unless_told_otherwise(data: Path, desk: Path) -> None:
    precious = desk / "coffee-resize.jpg"
    precious.write_bytes(b"precious")
    kept = run(data, desk, "resize", "coffee.jpg", "rocket.jpg", "--width", 60)
    assert kept.returncode == 1
    assert precious.read_bytes() == b"precious"
    assert "coffee.jpg: coffee-resize.jpg exists. Replace it with --overwrite" in kept.stderr
    assert (desk / "rocket-resize.jpg").exists()
    assert run(data, desk, "resize", "coffee.jpg", "--width", 60, "--overwrite").returncode == 0
    with Image.open(precious) as image:
        assert image.width == 60


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["resize", "coffee.jpg", "--widht", "20"], "coffee.jpg: Unknown setting 'widht'. Did you mean 'width'?"),
        (["resize", "coffee.jpg", "--width", "wide"], "coffee.jpg: Setting 'width'"),
        (["resise", "coffee.jpg"], "Did you mean 'resize'?"),
        (["resize", "nothing.jpg", "--width", "20"], "There is no file 'nothing.jpg'."),
        (["resize", "--width", "20"], "Which file? Write darkroom run resize image.jpg"),
        (["resize", "coffee.jpg", "--width"], "--width needs a value."),
        (["compare", "coffee.jpg"], "compare takes 2 files: darkroom run compare image.jpg target.jpg"),
        (["list-images", "coffee.jpg"], "list-images takes no more files."),
        (["resize", "text.jpg", "--width", "20"], "text.jpg: The file is no image that is known here."),
    ],
)
def test_a_mistake_is_explained_and_writes_nothing(data: Path, desk: Path, words: list[str], said: str) -> None:
    (desk / "text.jpg").write_text("no picture")
    before = files_under(desk)
    done = run(data, desk, "--out", "new", *words)
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stdout == ""
    assert not re.search(r"Traceback|Corrected call|INVALID_SETTINGS|\{", done.stderr)
    assert files_under(desk) == before
    assert not (desk / "new").exists()


def test_one_bad_file_does_not_stop_the_others(data: Path, desk: Path) -> None:
    (desk / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    done = run(data, desk, "resize", "bad.png", "coffee.jpg", "--width", 70)
    assert done.returncode == 1
    assert done.stderr.startswith("bad.png: ")
    assert (desk / "coffee-resize.jpg").exists()


def test_a_second_picture_is_named_as_a_setting_or_in_order(data: Path, desk: Path) -> None:
    (desk / "other").mkdir()
    (desk / "rocket.jpg").rename(desk / "other" / "rocket.jpg")
    named = run(data, desk, "compare", "coffee.jpg", "--target", "other/rocket.jpg")
    assert named.returncode == 0, named.stderr
    assert "similarity: " in named.stdout
    assert named.stderr.startswith("coffee.jpg: The target was stretched")
    ordered = run(data, desk, "compare", "coffee.jpg", "other/rocket.jpg", "--overwrite")
    assert ordered.stdout == named.stdout


def test_a_report_is_printed_as_json(data: Path, desk: Path) -> None:
    done = run(data, desk, "info", "coffee.jpg")
    with Image.open(desk / "coffee.jpg") as image:
        assert (json.loads(done.stdout)["width"], json.loads(done.stdout)["height"]) == image.size
    assert files_under(desk) == {"coffee.jpg", "rocket.jpg"}


def test_settings_are_written_with_dashes_and_switches_need_no_value(data: Path, desk: Path) -> None:
    done = run(data, desk, "resize", "--without-enlargement", "coffee.jpg", "--width", 5000)
    assert "600×400" in done.stdout, done.stderr
    small = run(data, desk, "compress", "coffee.jpg", "--target-size-kb", "20")
    assert (desk / "coffee-compress.jpg").stat().st_size <= 20 * 1024, small.stderr


def test_text_that_looks_like_a_number_stays_text(data: Path, desk: Path) -> None:
    done = run(data, desk, "watermark-text", "coffee.jpg", "--text", "2026", "--color", "#FF0000")
    assert done.returncode == 0, done.stderr


def test_a_handle_is_a_picture_too(data: Path, desk: Path) -> None:
    run(data, desk, "resize", "coffee.jpg", "--width", 90)
    listed = json.loads(run(data, desk, "list-images", "--limit", 1).stdout)
    handle = listed["items"][0]["image"]
    done = run(data, desk, "rotate", handle, "--angle", "-90")
    assert done.returncode == 0, done.stderr
    with Image.open(desk / f"{handle}-rotate.jpg") as image:
        assert (image.width, image.height) == (60, 90)


def test_a_bar_shows_on_a_terminal_how_far_it_is_and_leaves_nothing(data: Path, desk: Path) -> None:
    drawn = on_terminal("run", "--data-dir", data, "rotate", "coffee.jpg", "--angle", "7", cwd=desk)
    assert re.search(r"coffee\.jpg [█░]{24} +\d+% ", drawn)
    assert drawn.endswith("\r\x1b[K")


def test_ctrl_c_cancels_what_runs(data: Path, desk: Path) -> None:
    Image.effect_noise((3000, 3000), 90).convert("RGB").save(desk / "large.png", compress_level=1)
    leader, follower = pty.openpty()
    words = ["run", "--data-dir", str(data), "convert", "large.png", "--format", "avif", "--quality", "95"]
    # Tests that run in the background of a shell would pass on that Ctrl-C is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen([*COMMAND, *words], cwd=desk, stdout=subprocess.PIPE, stderr=follower, text=True)
    signal.signal(signal.SIGINT, before)
    os.close(follower)
    os.read(leader, 64)  # it is at work
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    os.close(leader)
    assert (process.returncode, said) == (130, "")
    assert files_under(desk) == {"coffee.jpg", "rocket.jpg", "large.png"}


def test_the_tools_are_listed_with_what_they_do(data: Path, desk: Path) -> None:
    done = darkroom("tools", "--data-dir", data, cwd=desk, env={"COLUMNS": "70"})
    assert done.returncode == 0
    assert re.search(r"^watermark-text +Write text", done.stdout, re.MULTILINE)
    assert max(map(len, done.stdout.splitlines())) <= 70


def test_one_tool_is_described_with_its_settings(data: Path, desk: Path) -> None:
    for words in (("tools", "watermark_text"), ("run", "watermark-text", "--help")):
        done = darkroom(*words, "--data-dir", data, cwd=desk)
        assert "darkroom run watermark-text IMAGE" in done.stdout
        assert re.search(r"^  --font-size +\S", done.stdout, re.MULTILINE)
        assert "--image" not in done.stdout
    unknown = darkroom("tools", "nothing", "--data-dir", data, cwd=desk)
    assert (unknown.returncode, unknown.stdout) == (1, "")


def test_a_reader_that_closes_early_is_no_error(data: Path, desk: Path) -> None:
    command = " ".join([*COMMAND, "tools", "--data-dir", str(data)])
    done = subprocess.run(
        ["bash", "-c", f"{command} | true"], capture_output=True, text=True, timeout=60, cwd=desk, check=False
    )
    assert done.stderr == ""


@pytest.mark.parametrize(
    "words",
    [[], ["mcp"], ["serve"], ["stop"], ["run"], ["tools"], ["models"], ["models", "pull"], ["docs"], ["doctor"]],
)
def test_every_command_explains_itself(words: list[str], tmp_path: Path) -> None:
    done = darkroom(*words, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: darkroom{''.join(f' {word}' for word in words)}")
    assert "SUPPRESS" not in done.stdout
    assert "--background" not in done.stdout


@pytest.mark.parametrize("words", [[], ["nothing"], ["stop", "--now"], ["run"], ["models", "download"]])
def test_what_is_no_command_is_refused(words: list[str], tmp_path: Path) -> None:
    done = darkroom(*words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: darkroom")


def test_the_version_is_told(tmp_path: Path) -> None:
    assert re.fullmatch(r"darkroom \d+\.\d+\.\d+\n", darkroom("--version", cwd=tmp_path).stdout)


def test_models_are_handed_in_and_checked(tmp_path: Path) -> None:
    data, file = tmp_path / "data", tmp_path / "small.onnx"
    file.write_bytes(times(2.0))

    imported = darkroom("models", "import", "small", file, "--data-dir", data)
    assert imported.returncode == 0, imported.stderr
    assert imported.stdout.startswith(f"small  {len(times(2.0))} bytes, sha256 ")
    next((data / "models").rglob("*.onnx")).write_bytes(b"other bytes")
    verified = darkroom("models", "verify", "small", "--data-dir", data)
    assert (verified.returncode, verified.stdout) == (1, "small  BAD\n")
    assert "Traceback" not in verified.stderr


def test_the_doctor_names_what_is_missing_and_its_fix(tmp_path: Path) -> None:
    done = darkroom("doctor", "--data-dir", tmp_path)
    assert done.returncode == 0, done.stdout
    assert f"✓ data directory: {tmp_path}" in done.stdout
    assert "✓ libvips: 8." in done.stdout
    assert re.search(r"! models: none installed.*\n    See which would help: darkroom models pull", done.stdout)
    (tmp_path / "file").write_text("")
    broken = darkroom("doctor", "--data-dir", tmp_path / "file")
    assert broken.returncode == 1
    assert "✗ data directory" in broken.stdout


def test_the_doctor_finds_the_sandbox_that_workers_have(data: Path, desk: Path) -> None:
    run(data, desk, "info", "coffee.jpg")
    assert running_pid(DataDir(data))
    said = darkroom("doctor", "--data-dir", data).stdout
    log = (data / "run" / "server.log").read_text()
    assert "✓ model engine: no model has run yet" in said
    assert ("✓ sandbox: full" in said) == ("with a sandbox that is" not in log)
