"""`darkroom run` over many files: one batch, one bar, a line for each file, one ZIP, and what is done already left out."""

import json
import re
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from support.processes import PHOTOS, darkroom, files_under, on_terminal


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("data")
    yield folder
    darkroom("stop", "--data-dir", folder)


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder with photos, one of them in a folder below, and a file that is none."""
    for name in ("coffee.jpg", "rocket.jpg", "in/dahlia.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((PHOTOS / Path(name).name).read_bytes())
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more than a beginning" * 9)
    return tmp_path


def run(data: Path, desk: Path, *words: object) -> "subprocess.CompletedProcess[str]":
    return darkroom("run", "--data-dir", data, *words, cwd=desk)


def width(path: Path) -> int:
    with Image.open(path) as image:
        return image.width


def test_a_quoted_pattern_is_one_batch_and_a_bad_file_does_not_stop_the_others(data: Path, desk: Path) -> None:
    done = run(data, desk, "resize", "*.jpg", "--width", 100)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "bad.jpg: The file starts like JPEG but is damaged or incomplete. Send the original file again."
    ]
    written = [line.split("  ") for line in done.stdout.splitlines()]
    assert [line[0] for line in written] == [str(desk / "coffee-resize.jpg"), str(desk / "rocket-resize.jpg")]
    assert written[0][1] == "100×67"
    assert width(desk / "rocket-resize.jpg") == 100


def test_a_tree_is_repeated_in_the_folder_of_results(data: Path, desk: Path) -> None:
    (desk / "bad.jpg").unlink()
    done = run(data, desk, "convert", "**/*.jpg", "--format", "webp", "--out", "web")
    assert done.returncode == 0, done.stderr
    assert files_under(desk / "web") == {"coffee-convert.webp", "rocket-convert.webp", "in/dahlia-convert.webp"}


def test_a_second_run_does_only_what_is_missing(data: Path, desk: Path) -> None:
    (desk / "bad.jpg").unlink()
    run(data, desk, "resize", "coffee.jpg", "--width", 80)
    kept = (desk / "coffee-resize.jpg").stat()
    done = run(data, desk, "resize", "coffee.jpg", "rocket.jpg", "--width", 80, "--skip-existing")
    assert (done.returncode, done.stderr) == (0, "1 of 2 files have a result already.\n")
    assert done.stdout.startswith(str(desk / "rocket-resize.jpg"))
    assert (desk / "coffee-resize.jpg").stat().st_mtime_ns == kept.st_mtime_ns
    idle = run(data, desk, "resize", "coffee.jpg", "rocket.jpg", "--width", 80, "--skip-existing")
    assert (idle.returncode, idle.stdout) == (0, "")


def test_all_results_come_as_one_zip_that_says_what_failed(data: Path, desk: Path) -> None:
    before = files_under(desk)
    done = run(data, desk, "resize", ".", "--width", 90, "--zip", "out/small.zip")
    assert done.returncode == 1
    assert done.stdout.startswith(f"{desk / 'out' / 'small.zip'}  ")
    assert "fileCount: 2  failed: 1" in done.stdout
    assert files_under(desk) == before | {"out/small.zip"}
    with zipfile.ZipFile(desk / "out" / "small.zip") as archive:
        assert archive.namelist() == ["_report.json", "errors.json", "coffee.jpg", "rocket.jpg"]
        assert json.loads(archive.read("_report.json"))["items"][0]["source"] == "bad.jpg"
        with archive.open("rocket.jpg") as file, Image.open(file) as image:
            assert image.width == 90
    kept = run(data, desk, "resize", ".", "--width", 90, "--zip", "out/small.zip")
    assert kept.returncode == 1
    assert "small.zip exists. Replace it with --overwrite" in kept.stderr
    assert run(data, desk, "resize", "*t.jpg", "--width", 90, "--zip", "out/small.zip", "--overwrite").returncode == 0


def test_a_batch_of_which_nothing_works_says_why_for_each_file(data: Path, desk: Path) -> None:
    (desk / "worse.jpg").write_text("no picture")
    done = run(data, desk, "resize", "bad.jpg", "worse.jpg", "--width", 10)
    assert (done.returncode, done.stdout) == (1, "")
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["bad.jpg", "worse.jpg"]


def test_a_wrong_setting_is_said_once_for_all_files(data: Path, desk: Path) -> None:
    done = run(data, desk, "resize", "coffee.jpg", "rocket.jpg", "--widht", 10)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("resize: Unknown setting 'widht'. Did you mean 'width'?")
    assert len(done.stderr.splitlines()) == 1


def test_reports_on_several_files_name_their_file(data: Path, desk: Path) -> None:
    done = run(data, desk, "info", "coffee.jpg", "rocket.jpg")
    first, second = re.split(r"(?<=^\})\n", done.stdout, maxsplit=1, flags=re.MULTILINE)
    assert [(json.loads(text)["file"], json.loads(text)["width"]) for text in (first, second)] == [
        ("coffee.jpg", 600),
        ("rocket.jpg", 640),
    ]


def test_steps_come_from_a_file_whose_name_the_results_get(data: Path, desk: Path) -> None:
    steps = [{"tool": "resize", "settings": {"width": 50}}, {"tool": "convert", "settings": {"format": "png"}}]
    (desk / "thumb.json").write_text(json.dumps(steps))
    (desk / "saved.json").write_text(json.dumps({"name": "Thumb", "steps": steps}))
    assert run(data, desk, "run-pipeline", "thumb.json", "coffee.jpg", "rocket.jpg").returncode == 0
    assert run(data, desk, "run-pipeline", "saved.json", "coffee.jpg").returncode == 0
    assert width(desk / "rocket-thumb.png") == width(desk / "coffee-saved.png") == 50
    wrong = run(data, desk, "run-pipeline", "coffee.jpg")
    assert "Which steps? Write darkroom run run-pipeline steps.json image.jpg" in wrong.stderr


def test_a_tool_of_many_images_gets_all_files_at_once(data: Path, desk: Path) -> None:
    done = run(data, desk, "stitch", "coffee.jpg", "in/*", "--direction", "vertical", "--out", "sheet")
    assert done.returncode == 0, done.stderr
    assert files_under(desk / "sheet") == {"coffee-stitch.png"}


def test_a_tool_of_no_image_works_without_files(data: Path, desk: Path) -> None:
    done = run(data, desk, "qr-generate", "--data", "hello", "--out", "codes")
    assert done.returncode == 0, done.stderr
    assert files_under(desk / "codes") == {"qr-generate.png"}


def test_files_and_several_pictures_are_saved_with_endings_and_numbers(data: Path, desk: Path) -> None:
    made = run(data, desk, "image-to-pdf", "coffee.jpg", "rocket.jpg")
    assert made.stdout.startswith(f"{desk / 'coffee-image-to-pdf.pdf'}  "), made.stderr
    pages = run(data, desk, "pdf-to-image", "coffee-image-to-pdf.pdf", "--dpi", 36, "--out", "pages")
    assert pages.returncode == 0, pages.stderr
    assert files_under(desk / "pages") == {f"coffee-image-to-pdf-pdf-to-image-{n}.png" for n in (1, 2)}


def test_a_tool_answers_to_its_other_name(data: Path, desk: Path) -> None:
    done = run(data, desk, "adjust-colors", "coffee.jpg", "--saturation=-100")
    assert done.returncode == 0, done.stderr
    assert (desk / "coffee-color-adjustments.jpg").exists()
    assert darkroom("tools", "adjust-colors", "--data-dir", data).stdout.startswith("Adjust Colors.")


def test_a_batch_that_the_library_knows_comes_whole_though_in_pages(data: Path, desk: Path) -> None:
    (desk / "many").mkdir()
    for number in range(130):
        Image.new("RGB", (4, 3), (number, 0, 0)).save(desk / "many" / f"{number:03}.png")
    for folder in ("first", "second"):
        done = run(data, desk, "rotate", "many", "--angle", 90, "--out", folder)
        assert done.returncode == 0, done.stderr
        assert len(files_under(desk / folder)) == 130
    for name in files_under(desk / "first"):
        assert (desk / "first" / name).read_bytes() == (desk / "second" / name).read_bytes()
        with Image.open(desk / "second" / name) as image:
            assert image.getpixel((0, 0)) == (int(name[:3]), 0, 0)


def test_one_bar_shows_how_many_are_done(data: Path, desk: Path) -> None:
    (desk / "bad.jpg").unlink()
    words = ["run", "--data-dir", data, "rotate", "coffee.jpg", "rocket.jpg", "in/dahlia.jpg", "--angle", "11"]
    drawn = on_terminal(*words, cwd=desk)
    assert re.search(r"rotate [█░]{24} +\d+% \d of 3 done", drawn)
    assert drawn.endswith("\r\x1b[K")
