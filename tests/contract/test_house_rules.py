"""The rules that keep the house, over the source itself."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for root in ("server", "tools", "prompts") for path in (ROOT / root).rglob("*.py"))
CONFIGURATION = {"app.py", "commands.py", "config.py", "paths.py", "serve.py"}
"""Files that may know where configuration comes from: the composition root, and the process around it."""
ENCODERS = {"encode.py", "fit.py", "worker.py"}
"""Writing a file, searching a quality that fits a size, and the warm-up of every encoder before the sandbox closes."""


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_file_is_longer_than_its_cap(path: Path) -> None:
    is_tool = path.parent.parent.name == "darkroom_tools" and path.parent.name != "kit"
    assert len(path.read_text(encoding="utf-8").splitlines()) <= (250 if is_tool else 400)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_function_is_longer_than_sixty_lines(path: Path) -> None:
    long = [f.name for f in functions(path) if (f.end_lineno or f.lineno) - f.lineno + 1 > 60]
    assert long == []


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_every_module_and_public_function_says_what_it_is(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "the module has no docstring"
    silent = [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert silent == []


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_nothing_is_left_for_later(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\b(TODO|FIXME|XXX)\b|NotImplementedError|for now\b", text)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_only_the_codec_encodes_pictures(path: Path) -> None:
    if path.name in ENCODERS:
        return
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\.(write_to_file|write_to_buffer|\w+save(_buffer)?)\(", text)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_only_the_composition_root_reads_the_environment(path: Path) -> None:
    if path.name in CONFIGURATION:
        return
    assert not re.search(
        r"os\.environ\.get|os\.getenv|DARKROOM_DATA_DIR\"\]|\bConfig\(\)", path.read_text(encoding="utf-8")
    )


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_standard_output_belongs_to_the_protocol(path: Path) -> None:
    if path.name in {"commands.py", "run.py", "cli.py"}:
        return
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\bprint\(|sys\.stdout\.write", text)


def test_types_are_never_silenced_without_a_reason() -> None:
    ignores = [
        f"{name_of(path)}:{number}"
        for path in SOURCES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"# type: ignore(?!\[)|# noqa(?!: )", line)
    ]
    assert ignores == []


def test_the_project_speaks_of_itself_alone() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    # Written in two halves so that this file does not find itself.
    forbidden = re.compile("|".join(["/wo" + "rk/", r"\.\./sha" + "red", "sub" + "agent"]))
    found = [
        name
        for name in tracked
        if (ROOT / name).suffix in {".py", ".md", ".toml", ".txt", ".yml", ".json", ".sh", ""}
        and (ROOT / name).is_file()
        and forbidden.search((ROOT / name).read_text(encoding="utf-8", errors="ignore"))
    ]
    assert found == []
