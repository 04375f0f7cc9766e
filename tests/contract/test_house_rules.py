"""The rules that keep the house, as far as the source itself shows them.

Other tests hold the rest: one file per tool (`test_every_schema.py`), generated descriptions (`test_docs_are_fresh.py`),
sessions by file, provider and options (`tests/server/test_sessions.py`), and the direction of imports (`.importlinter`).
"""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

from darkroom_tools.errors import DarkroomError
from darkroom_tools.registry import builtin_tools

ROOT = Path(__file__).parents[2]
PACKAGES = ("server/darkroom", "tools/darkroom_tools", "prompts/darkroom_prompts")
SOURCES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}
TREES = {name: ast.parse(text) for name, text in SOURCES.items()}
SERVER = "server/darkroom/"
TOOLS = "tools/darkroom_tools/"
CONFIGURATION = {SERVER + name for name in ("app.py", "commands.py", "config.py", "paths.py", "serve.py", "start.py")}
"""Files that may know where configuration comes from: the composition root, and the process around it."""
ENCODERS = {SERVER + "engine/" + name for name in ("encode.py", "fit.py", "worker.py")}
"""Writing a file, searching a quality that fits a size, and the warm-up of every encoder before the sandbox closes."""
SPEAKERS = {name for name in SOURCES if re.fullmatch(SERVER + r"(cli|run|(\w+_)?commands)\.py", name)}
"""Commands whose answers are for people."""
OUTSIDE = {
    *(
        "asyncio",
        "datetime",
        "http",
        "httpx2",
        "io",
        "logging",
        "multiprocessing",
        "os",
        "pathlib",
        "random",
        "secrets",
    ),
    *("shutil", "socket", "sqlite3", "subprocess", "tempfile", "threading", "time", "urllib", "uuid"),
}
"""Modules with which a tool would reach a disk, a network, a clock or chance."""


def offenders(pattern: str, *, among: str = "", besides: set[str] | frozenset[str] = frozenset()) -> list[str]:
    """`file:line` of every line that the pattern is found in."""
    return [
        f"{name}:{number}"
        for name, text in SOURCES.items()
        if name.startswith(among) and name not in besides
        for number, line in enumerate(text.splitlines(), 1)
        if re.search(pattern, line)
    ]


def nodes(among: str = "") -> Iterator[tuple[str, ast.AST]]:
    for name, tree in TREES.items():
        if name.startswith(among):
            yield from ((name, node) for node in ast.walk(tree))


def is_tool_module(name: str) -> bool:
    """Whether a file is one of the tools: in a category's folder, and not a helper."""
    return name.startswith(TOOLS) and name.count("/") == 3 and "/kit/" not in name and not name.endswith("__init__.py")


def test_every_module_of_a_category_is_a_tool() -> None:
    modules = {Path(name).stem for name in SOURCES if is_tool_module(name)}
    assert modules == {tool.name for tool in builtin_tools().values()}


def test_tools_reach_no_disk_network_clock_or_chance() -> None:
    found = [
        f"{name}:{node.lineno}"
        for name, node in nodes(TOOLS)
        if (isinstance(node, ast.Import) and OUTSIDE & {alias.name.partition(".")[0] for alias in node.names})
        or (isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in OUTSIDE)
        or (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open")
    ]
    assert found == []


def test_only_the_codec_encodes_pictures() -> None:
    assert offenders(r"\.(write_to_file|write_to_buffer|[a-z]+save(_buffer)?)\(", besides=ENCODERS) == []


def test_no_file_is_longer_than_its_cap() -> None:
    lengths = {name: len(text.splitlines()) for name, text in SOURCES.items()}
    assert [name for name, length in lengths.items() if length > (250 if is_tool_module(name) else 400)] == []


def test_no_function_is_longer_than_sixty_lines() -> None:
    assert [
        f"{name}:{node.lineno}"
        for name, node in nodes()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno >= 60
    ] == []


def test_only_the_composition_root_reads_the_environment() -> None:
    pattern = r"os\.environ(\.get|\[\"DARKROOM)|os\.getenv|\bConfig\(\)"
    assert offenders(pattern, besides=CONFIGURATION) == []


def test_what_blocks_the_event_loop_is_looked_for() -> None:
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]
    assert "ASYNC" in lint["extend-select"]
    assert not any(rule.startswith("ASYNC2") for rules in lint["per-file-ignores"].values() for rule in rules)
    assert offenders(r"# noqa: ASYNC2") == []


def error_classes(base: type[DarkroomError] = DarkroomError) -> Iterator[type[DarkroomError]]:
    yield base
    for child in base.__subclasses__():
        yield from error_classes(child)


def test_every_error_has_a_code_of_its_own_and_an_http_status() -> None:
    import darkroom.errors  # noqa: F401 - the server's errors are part of the hierarchy

    ours = [kind for kind in error_classes() if kind.__module__.startswith("darkroom") and "code" in vars(kind)]
    codes = [code for kind in ours for code in (kind.code, *vars(kind).get("other_codes", ()))]
    assert len(codes) == len(set(codes))
    assert all(re.fullmatch(r"[A-Z][A-Z_]+", code) for code in codes)
    assert all(400 <= kind.status <= 599 for kind in ours)


def test_every_text_of_an_error_is_a_sentence() -> None:
    names = {kind.__name__ for kind in error_classes()}
    found = []
    for name, node in nodes():
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names and node.args:
            text = node.args[0]
            last = text.values[-1] if isinstance(text, ast.JoinedStr) else text
            # What ends in a value is put together elsewhere.
            if isinstance(last, ast.Constant) and not str(last.value).endswith((".", "?")):
                found.append(f"{name}:{node.lineno}")
    assert found == []


def test_no_interface_comes_before_its_second_implementation() -> None:
    interfaces = [
        f"{name}:{node.name}"
        for name, node in nodes()
        if isinstance(node, ast.ClassDef) and {"Protocol", "ABC"} & {ast.unparse(base) for base in node.bases}
    ]
    # The engine's `Run` and the one that tests hand to a tool.
    assert interfaces == [f"{TOOLS}base.py:Run"]


def test_every_module_class_and_function_says_what_it_is() -> None:
    silent = [name for name, tree in TREES.items() if not ast.get_docstring(tree)]
    for name, tree in TREES.items():
        silent += [
            f"{name}:{node.lineno}"
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and not node.name.startswith("_")
            and not ast.get_docstring(node)
        ]
    assert silent == []


def test_nothing_is_left_for_later() -> None:
    assert offenders(r"\b(TODO|FIXME|XXX)\b|NotImplementedError|for now\b") == []


def test_standard_output_belongs_to_the_protocol() -> None:
    assert offenders(r"\bprint\(|sys\.stdout\.write", besides=SPEAKERS) == []


def test_types_and_lint_are_never_silenced_without_a_reason() -> None:
    assert offenders(r"# type: ignore(?!\[)|# noqa(?!: )") == []


def test_the_project_speaks_of_itself_alone() -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    # Written in two halves so that this file does not find itself.
    forbidden = re.compile("|".join(["/wo" + "rk/", r"\.\./sha" + "red", "sub" + "agent"]))
    found = [
        name
        for name in tracked.split("\0")
        if (ROOT / name).suffix in {".py", ".md", ".toml", ".txt", ".yml", ".json", ".sh", ""}
        and (ROOT / name).is_file()
        and forbidden.search((ROOT / name).read_text(encoding="utf-8", errors="ignore"))
    ]
    assert found == []
