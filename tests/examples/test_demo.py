"""The examples run, and do what they say."""

import re
import subprocess
import sys
from pathlib import Path

from PIL import Image

from darkroom.lock import running_pid
from darkroom.paths import DataDir

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_demo_does_the_main_job(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "demo.py"), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^\d+ tools: .*remove_background.*watermark_text", done.stdout, re.MULTILINE)
    for name in ("resize", "remove_background", "watermark_text", r"wf_shop_photo_\w+"):
        assert re.search(rf"^  {name}: img_\w+  480x\d+ jpeg", done.stdout, re.MULTILINE), name
    assert len(re.findall(r"^ +\d+%  \w", done.stdout, re.MULTILINE)) >= 4
    *_, first, second = done.stdout.splitlines()
    for line in (first, second):
        with Image.open(line.strip()) as image:
            assert image.width == 480
            corner = image.convert("RGB").getpixel((2, 2))
        assert all(abs(got - wanted) < 8 for got, wanted in zip(corner, (0xF4, 0xEF, 0xE6), strict=True))
    assert running_pid(DataDir(tmp_path / "out" / "data")) is None


def test_every_photo_has_its_licence_on_record() -> None:
    recorded = (EXAMPLES / "photos" / "LICENSES.md").read_text(encoding="utf-8")
    photos = {path.name for path in (EXAMPLES / "photos").iterdir() if path.suffix != ".md"}
    assert photos == set(re.findall(r"^\| (\S+) \| .+ \| CC.+ \|$", recorded, re.MULTILINE))
