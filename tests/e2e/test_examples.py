"""The recipes of `examples/`, run as a person runs them; what they make is read with other libraries."""

import io
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pikepdf
import pytest
from PIL import Image, ImageChops, ImageStat

from darkroom_tools.kit.presets import social_presets

EXAMPLES = Path(__file__).parents[2] / "examples"
PHOTOS = sorted((EXAMPLES / "photos").glob("*.jpg"))
RECIPES = (
    "contact_sheet",
    "save_what_i_did",
    "scan_to_pdf",
    "shop_listing",
    "social_kit",
    "watermark_portfolio",
    "web_folder",
)


def cook(recipe: str, source: Path, results: Path) -> list[str]:
    """Run a recipe; the lines it printed."""
    command = [sys.executable, str(EXAMPLES / f"{recipe}.py"), str(source), str(results)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False, cwd=results.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two photos, one of them with a name that needs care."""
    (tmp_path / "photos").mkdir()
    for photo, name in zip(PHOTOS, ("Chelsea & co.jpg", "coffee.jpg"), strict=False):
        (tmp_path / "photos" / name).write_bytes(photo.read_bytes())
    return tmp_path / "photos"


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean difference of two pictures of one size, 0 to 255."""
    return sum(ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).mean) / 3


def test_a_shop_listing_has_the_product_on_a_white_square(tmp_path: Path) -> None:
    said = cook("shop_listing", EXAMPLES / "photos" / "coffee.jpg", tmp_path / "out")
    assert said[0].startswith("Cut out with ")
    with Image.open(tmp_path / "out" / "main.jpg") as main:
        assert (main.format, main.size) == ("JPEG", (1200, 1200))
        corners = [main.getpixel(at) for at in ((2, 2), (1197, 2), (2, 1197), (1197, 1197))]
        assert all(min(corner) >= 250 for corner in corners)
        red, green, blue = main.getpixel((250, 700))
        assert red > green + 30 and red > blue + 30  # the saucer
    with Image.open(tmp_path / "out" / "cutout.png") as cutout:
        alpha = cutout.getchannel("A")
        assert alpha.getextrema() == (0, 255)
    with (
        Image.open(tmp_path / "out" / "detail-left.jpg") as left,
        Image.open(tmp_path / "out" / "detail-right.jpg") as right,
    ):
        assert left.size == right.size == (600, 533)
        assert difference(left, right) > 10


def test_a_social_kit_holds_every_preset_in_its_size(tmp_path: Path) -> None:
    cook("social_kit", EXAMPLES / "photos" / "dahlia.jpg", tmp_path / "out")
    wanted = {
        re.sub(r"[^a-z0-9]+", "-", preset.lower()).strip("-") + ".jpg": size
        for preset, size in social_presets().items()
    }
    assert len(wanted) == 23
    with zipfile.ZipFile(tmp_path / "out" / "social-kit.zip") as archive:
        assert archive.testzip() is None
        sizes = {}
        for name in archive.namelist():
            with Image.open(io.BytesIO(archive.read(name))) as image:
                image.load()
                sizes[name] = image.size
    assert sizes == wanted


def test_a_web_folder_is_smaller_and_looks_the_same(tmp_path: Path, folder: Path) -> None:
    (folder / "notes.txt").write_text("no picture")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more than a beginning" * 9)
    said = cook("web_folder", folder, tmp_path / "out")
    assert any(line.startswith("broken.jpg: ") for line in said)
    before = sum(path.stat().st_size for path in folder.glob("[!b]*.jpg"))
    made = [path for path in (tmp_path / "out").iterdir() if path.is_file()]
    after = sum(path.stat().st_size for path in made)
    assert {path.stem for path in made} == {"Chelsea & co", "coffee"}
    assert said[-1] == f"{before:,} bytes before, {after:,} after: {1 - after / before:.0%} saved"
    assert after < before
    for path in made:
        with Image.open(path) as web, Image.open(folder / f"{path.stem}.jpg") as photo:
            assert web.size == photo.size
            assert difference(web, photo) < 6


def test_a_contact_sheet_shows_every_photo_in_its_cell(tmp_path: Path, folder: Path) -> None:
    said = cook("contact_sheet", folder, tmp_path / "out")
    assert said[-1] == "2 photos in 2 columns"
    with Image.open(tmp_path / "out" / "contact-sheet.jpg") as sheet:
        assert sheet.size == (24 + 480 + 12 + 480 + 24, 24 + 360 + 24)
        assert min(sheet.getpixel((5, 5))) >= 250
        for number, photo in enumerate(sorted(folder.glob("*.jpg"))):
            left = 24 + number * (480 + 12)
            with Image.open(photo) as source:
                height = round(source.height * 480 / source.width)
                cell = source.convert("RGB").resize((480, height), Image.Resampling.BICUBIC)
            top = 24 + (360 - height) // 2
            middle = (100, 50, 380, height - 80)  # away from the caption
            shown = sheet.crop((left, top, left + 480, top + height)).crop(middle)
            assert difference(shown, cell.crop(middle)) < 8
            caption = sheet.crop((left + 60, 24 + 300, left + 420, 24 + 360)).convert("L")
            dark = sum(caption.histogram()[:90])
            assert dark > 50  # letters on the caption's light ground


def test_a_watermarked_portfolio_is_one_zip_of_marked_photos(tmp_path: Path, folder: Path) -> None:
    said = cook("watermark_portfolio", folder, tmp_path / "out")
    assert said[-1] == "2 of 2 photos, 0 failed"
    with zipfile.ZipFile(tmp_path / "out" / "portfolio.zip") as archive:
        assert archive.namelist() == ["_report.json", "Chelsea & co.jpg", "coffee.jpg"]
        assert json.loads(archive.read("_report.json"))["failed"] == 0
        with Image.open(io.BytesIO(archive.read("coffee.jpg"))) as marked, Image.open(folder / "coffee.jpg") as photo:
            assert marked.size == photo.size
            corner = (photo.width - 160, photo.height - 40, photo.width, photo.height)
            everywhere = difference(marked, photo)
            assert 1 < everywhere < 15
            assert difference(marked.crop(corner), photo.crop(corner)) > 2 * everywhere


def test_a_scan_is_a_pdf_of_grey_pages_in_order(tmp_path: Path, folder: Path) -> None:
    said = cook("scan_to_pdf", folder, tmp_path / "out")
    assert said[-1] == "2 pages"
    with pikepdf.open(tmp_path / "out" / "scan.pdf") as document, Image.open(folder / "Chelsea & co.jpg") as first:
        assert len(document.pages) == 2
        for page in document.pages:
            assert [round(float(edge)) for edge in page.mediabox] == [0, 0, 595, 842]
        [embedded] = document.pages[0].get_images().values()
        picture = pikepdf.PdfImage(embedded).as_pil_image()
        assert picture.size == first.size
        red, green, blue = picture.convert("RGB").split()
        assert ImageChops.difference(red, green).getextrema()[1] <= 2
        assert ImageChops.difference(red, blue).getextrema()[1] <= 2
        assert ImageStat.Stat(picture.convert("L")).stddev[0] > ImageStat.Stat(first.convert("L")).stddev[0]


def test_a_recipe_that_cannot_work_says_why(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_text("no picture")
    command = [sys.executable, str(EXAMPLES / "shop_listing.py"), str(tmp_path / "photo.jpg"), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip().startswith("remove_background: UNSUPPORTED_FORMAT: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_short_and_explains_itself(recipe: str) -> None:
    text = (EXAMPLES / f"{recipe}.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 80
    assert f"python examples/{recipe}.py" in text
    command = [sys.executable, str(EXAMPLES / f"{recipe}.py"), "--help"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "RESULTS" in said


def test_what_was_done_by_hand_once_is_done_to_the_whole_folder(folder: Path, tmp_path: Path) -> None:
    said = cook("save_what_i_did", folder, tmp_path / "out")
    assert re.fullmatch(r"Saved as wf_my_look_\w{6}", said[0])
    predicted = re.fullmatch(r"It will be (\d+)x(\d+) jpeg", said[1])
    assert predicted is not None
    with zipfile.ZipFile(tmp_path / "out" / "my-look.zip") as archive:
        names = sorted(name for name in archive.namelist() if not name.startswith("_"))
        assert names == sorted(path.name for path in folder.iterdir())
        sizes = {}
        for name in names:
            with Image.open(io.BytesIO(archive.read(name))) as image:
                image.load()
                sizes[name] = image.size
    assert {width for width, _ in sizes.values()} == {480}
    assert sizes["Chelsea & co.jpg"] == (int(predicted[1]), int(predicted[2]))
