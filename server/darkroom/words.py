"""The words after `darkroom run TOOL`: which are files and patterns of files, and which are settings."""

import glob
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

__all__ = ["Source", "Wanted", "as_source", "expand", "parse_words"]

PICTURES: Final = frozenset(
    (
        *(".avif", ".bmp", ".gif", ".heic", ".heif", ".hif", ".ico", ".jp2", ".jpe", ".jpeg", ".jpg"),
        *(".jxl", ".png", ".psd", ".qoi", ".svg", ".tga", ".tif", ".tiff", ".webp"),
    )
)
"""Endings of the files that a folder stands for."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a command line asks for.

    Attributes:
        files: Images in order, as written.
        settings: By wire name.
    """

    files: tuple[str, ...]
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Source:
    """A picture that goes in.

    Attributes:
        value: What the server is told: a whole path, a handle or an address.
        file: What its results are named after; for handles and addresses a name in the working directory.
        below: Its folder, seen from where a pattern began to vary; a folder of results repeats it.
    """

    value: str
    file: Path
    below: Path = Path()


def parse_words(words: Sequence[str], schema: Mapping[str, Any]) -> Wanted:
    """Tell files from settings; a value is text where the schema says so, else JSON if it can be.

    Raises:
        ValueError: A setting has no value.
    """
    properties = schema["properties"]
    known = {_squeezed(name): name for name in properties}
    files: list[str] = []
    settings: dict[str, Any] = {}
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if not word.startswith("--"):
            files.append(word)
            continue
        option, equals, value = word[2:].partition("=")
        name = known.get(_squeezed(option)) or _camel(option)
        kind = properties.get(name, {}).get("type")
        if not equals:
            value = _next_value(waiting, option, is_switch=kind == "boolean")
        settings[name] = value if kind == "string" else _as_json(value)
    return Wanted(tuple(files), settings)


def expand(words: Iterable[str]) -> list[Source]:
    """The pictures that words name, each once: files, handles, addresses, patterns, and the pictures in a folder.

    Patterns are those of shells (`*`, `?`, `[a-z]`, `**` for any folders) and are put into alphabetical order.

    Raises:
        ValueError: There is no such file, or none like that.
    """
    found = {source.value: source for word in words for source in _sources(word)}
    return list(found.values())


def as_source(word: str) -> Source:
    """One file, handle or address.

    Raises:
        ValueError: There is no such file.
    """
    if re.match(r"img_|[a-z]+://|data:", word):
        address = "" if word.startswith("data:") else urlsplit(word).path
        return Source(word, Path.cwd() / (Path(address).name[:80] or "result"))
    if not _is(word, Path.is_file):
        raise ValueError(f"There is no file {word!r}.")
    file = Path(word).absolute()
    return Source(str(file), file)


def _sources(word: str) -> Iterator[Source]:
    if _is(word, Path.is_dir):
        files = sorted(path for path in Path(word).iterdir() if path.suffix.lower() in PICTURES and path.is_file())
        if not files:
            raise ValueError(f"There are no pictures in the folder {word!r}.")
        yield from (as_source(str(path)) for path in files if not path.name.startswith("."))
    elif glob.has_magic(word) and not _is(word, Path.is_file) and "://" not in word:
        yield from _matching(word)
    else:
        yield as_source(word)


def _matching(pattern: str) -> Iterator[Source]:
    fixed = Path(*_until(Path(pattern).parent.parts)).absolute()
    found = glob.glob(pattern, recursive=True)  # noqa: PTH207 - of a path it would find hidden files too
    files = [path for path in sorted(found) if _is(path, Path.is_file)]
    if not files:
        raise ValueError(f"No file is like {pattern!r}.")
    for path in files:
        file = Path(path).absolute()
        yield Source(str(file), file, file.parent.relative_to(fixed))


def _until(parts: Sequence[str]) -> list[str]:
    """The parts of a path before the first that varies."""
    fixed = []
    for part in parts:
        if glob.has_magic(part):
            break
        fixed.append(part)
    return fixed


def _is(word: str, kind: Any) -> bool:
    try:
        return bool(word) and bool(kind(Path(word)))
    except (OSError, ValueError):
        return False


def _next_value(waiting: list[str], option: str, *, is_switch: bool) -> str:
    if is_switch:
        return waiting.pop(0) if waiting and waiting[0] in ("true", "false") else "true"
    if not waiting or waiting[0].startswith("--"):
        raise ValueError(f"--{option} needs a value.")
    return waiting.pop(0)


def _as_json(value: str) -> Any:
    with suppress(ValueError):
        return json.loads(value)
    return value


def _squeezed(option: str) -> str:
    return option.replace("-", "").replace("_", "").lower()


def _camel(option: str) -> str:
    head, *tail = option.split("-")
    return head + "".join(part[:1].upper() + part[1:] for part in tail)
