"""What is published: the wheel alone, in a new environment, in a folder that has packages of the same names."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from support.processes import PHOTOS

ROOT = Path(__file__).parents[2]
UV = shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")
MEGABYTE = 1_000_000

pytestmark = [
    pytest.mark.skipif(not Path(UV).exists(), reason="needs uv, and a package index or its cache"),
    pytest.mark.timeout(600),
]


def ran(*command: object, cwd: Path) -> str:
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={
            key: value for key, value in os.environ.items() if not key.startswith(("VIRTUAL_ENV", "PYTHON", "DARKROOM"))
        },
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    ran(UV, "build", "--wheel", "--quiet", "--out-dir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Somebody's project, with a photo."""
    folder = tmp_path_factory.mktemp("foreign")
    for name in ("server", "tools", "prompts"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise RuntimeError('not yours')\n")
    shutil.copy(PHOTOS / "coffee.jpg", folder)
    return folder


@pytest.fixture(scope="module")
def installed(wheel: Path, foreign: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of an environment that holds the wheel and what it needs."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    ran(UV, "venv", "--quiet", "--python", sys.executable, folder, cwd=foreign)
    ran(UV, "pip", "install", "--quiet", "--python", folder / "bin" / "python", wheel, cwd=foreign)
    return folder / "bin"


def test_the_wheel_holds_everything_that_is_no_module(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for source in ("server/darkroom", "tools/darkroom_tools", "prompts/darkroom_prompts"):
        files = {path for path in (ROOT / source).rglob("*") if path.is_file() and "__pycache__" not in path.parts}
        assert {str(path.relative_to((ROOT / source).parent)) for path in files} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith(("tests", "examples", "benchmarks"))]


def test_it_works_in_a_folder_with_packages_of_the_same_names(installed: Path, foreign: Path) -> None:
    data = ("--data-dir", foreign / "data")
    try:
        assert "watermark-text" in ran(installed / "darkroom", "tools", *data, cwd=foreign)
        ran(installed / "darkroom", "run", "resize", "coffee.jpg", "--width", 123, *data, cwd=foreign)
        ran(installed / "darkroom", "run", "watermark-text", "coffee-resize.jpg", "--text", "mine", *data, cwd=foreign)
    finally:
        ran(installed / "darkroom", "stop", *data, cwd=foreign)
    with Image.open(foreign / "coffee-resize.jpg") as image:
        assert image.width == 123
    assert ran(installed / "darkroom", "doctor", *data, cwd=foreign).count("✗") == 0
    prompts = "from darkroom_prompts import load_prompts; print(len(load_prompts()))"
    assert int(ran(installed / "python", "-P", "-c", prompts, cwd=foreign)) >= 5


def test_it_is_small_and_brings_no_model_runtime(installed: Path, foreign: Path) -> None:
    listed = json.loads(ran(UV, "pip", "list", "--format", "json", "--python", installed / "python", cwd=foreign))
    assert not {package["name"] for package in listed} & {"onnxruntime", "onnxruntime-gpu", "rembg", "torch", "opencv"}
    site = next(installed.parent.glob("lib/python3*/site-packages"))
    assert sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) < 250 * MEGABYTE


def test_uvx_runs_it_without_an_installation(wheel: Path, foreign: Path) -> None:
    said = ran(UV, "tool", "run", "--python", sys.executable, "--from", wheel, "darkroom", "--version", cwd=foreign)
    assert said.startswith("darkroom ")
