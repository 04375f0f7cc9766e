"""`darkroom run` and `darkroom tools`: a person's calls, on the same server as every agent's."""

import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from darkroom.client import Client, Refused

__all__ = ["describe_tool", "list_tools", "run"]

BAR = 24
EXTENSIONS = {"jpeg": "jpg"}
LIMIT_SIGNS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
SAID_OTHERWISE = frozenset(
    {"image", "width", "height", "format", "bytes", "url", "source", "kept", "removed", "warnings", "cached", "note"}
)
"""Facts of a picture that the line about its file says, or that matter to agents alone."""


class ProgressBar:
    """A line on standard error that fills while a call runs; silent where nobody watches."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._shown = sys.stderr.isatty()

    def __call__(self, fraction: float, message: str) -> None:
        """Draw the bar anew."""
        if self._shown:
            filled = round(BAR * min(fraction, 1.0))
            bar = "█" * filled + "░" * (BAR - filled)
            sys.stderr.write(f"\r\x1b[K{self._label} {bar} {fraction:4.0%} {message[:40]}")
            sys.stderr.flush()

    def clear(self) -> None:
        """Leave an empty line for what comes next."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a command line asks for.

    Attributes:
        files: Images in order, as written.
        settings: By wire name.
    """

    files: tuple[str, ...]
    settings: Mapping[str, Any]


def run(chosen_data_dir: str | None, tool: str, words: Sequence[str], out: Path | None, *, overwrite: bool) -> int:
    """Run a tool on each file and write the results; the exit status.

    Args:
        chosen_data_dir: As on the command line.
        tool: Its name, with dashes or underscores.
        words: Files and `--setting value` in any order.
        out: Folder for the results; beside each file if None.
        overwrite: Replace files that exist.
    """
    name = tool.replace("-", "_")
    values = (word.partition("=")[2] if word.startswith("--") else word for word in words)
    folders = {Path(value).absolute().parent for value in values if value and _is_file(value)}
    roots = sorted(folders | {out.absolute() if out else Path.cwd()})
    try:
        with Client(chosen_data_dir, roots) as client:
            schema = _schema(client, name)
            failed = False
            for call in _calls(name, schema, parse_words(words, schema)):
                failed |= not _run_one(client, name, call, out, overwrite=overwrite)
            return int(failed)
    except (Refused, OSError, ValueError) as error:
        return _fail(str(error))


def list_tools(chosen_data_dir: str | None) -> int:
    """Print every tool with its first sentence; the exit status."""
    try:
        with Client(chosen_data_dir, []) as client:
            tools = client.tools()
    except (Refused, OSError) as error:
        return _fail(str(error))
    width = max(len(each["name"]) for each in tools) + 2
    for each in tools:
        _print_beside(_dashed(each["name"]), width, each["description"])
    return 0


def describe_tool(chosen_data_dir: str | None, tool: str) -> int:
    """Print one tool with its settings; the exit status."""
    try:
        with Client(chosen_data_dir, []) as client:
            tools = client.tools()
    except (Refused, OSError) as error:
        return _fail(str(error))
    found = next((each for each in tools if each["name"] == tool.replace("-", "_")), None)
    if found is None:
        return _fail(f"There is no tool {tool!r}; `darkroom tools` lists them.")
    schema = found["inputSchema"]
    required = schema.get("required", [])
    files = [name for name in _image_arguments(schema) if name in required]
    usage = " ".join(["darkroom run", _dashed(found["name"]), *(name.upper() for name in files)])
    settings = {name: prop for name, prop in schema["properties"].items() if name not in files}
    sys.stdout.write(f"{found['title']}. {found['description']}\n\n{usage} {'[--setting value]...' * bool(settings)}\n")
    width = max((len(_option(name)) for name in settings), default=0) + 4
    for name, prop in settings.items():
        words = _words(prop)
        _print_beside(f"  {_option(name)}", width, f"required; {words}" if name in required else words)
    return 0


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


def _schema(client: Client, name: str) -> dict[str, Any]:
    for tool in client.tools():
        if tool["name"] == name:
            schema: dict[str, Any] = tool["inputSchema"]
            return schema
    # The server names the nearest tool.
    client.call(name, {})
    raise Refused(f"There is no tool {name!r}.")


def _calls(name: str, schema: Mapping[str, Any], wanted: Wanted) -> list[dict[str, Any]]:
    """One call per file, or one with all files where the tool takes several.

    Raises:
        ValueError: The tool wants files and got none, or others than it takes.
    """
    images = _image_arguments(schema)
    settings = {key: _image(value) if key in images else value for key, value in wanted.settings.items()}
    files = [_image(file) for file in wanted.files]
    open_names = [key for key in schema.get("required", []) if key in images and key not in settings]
    example = f"darkroom run {_dashed(name)} {' '.join(f'{key}.jpg' for key in open_names)}"
    if not open_names:
        if files:
            raise ValueError(f"{_dashed(name)} takes no more files.")
        return [settings]
    if not files:
        raise ValueError(f"Which file? Write {example}")
    if images[open_names[0]]:
        return [{open_names[0]: files, **settings}]
    if len(open_names) == 1:
        return [{open_names[0]: file, **settings} for file in files]
    if len(files) != len(open_names):
        raise ValueError(f"{_dashed(name)} takes {len(open_names)} files: {example}")
    return [{**dict(zip(open_names, files, strict=True)), **settings}]


def _image_arguments(schema: Mapping[str, Any]) -> dict[str, bool]:
    """The arguments that are images, and whether each takes several."""
    from darkroom_tools.base import IMAGE_HELP, SAME_FORMS

    return {
        name: "items" in prop
        for name, prop in schema["properties"].items()
        if (prop.get("items") or prop).get("description") in (IMAGE_HELP, SAME_FORMS)
    }


def _image(value: Any) -> Any:
    """A file as its whole path; handles and addresses as they are."""
    if isinstance(value, list):
        return [_image(each) for each in value]
    if not isinstance(value, str) or re.match(r"img_|[a-z]+://|data:", value):
        return value
    if not _is_file(value):
        raise ValueError(f"There is no file {value!r}.")
    return str(Path(value).absolute())


def _is_file(value: str) -> bool:
    try:
        return Path(value).is_file()
    except (OSError, ValueError):
        return False


def _run_one(client: Client, name: str, arguments: dict[str, Any], out: Path | None, *, overwrite: bool) -> bool:
    source = _source(next(iter(arguments.values()), ""))
    bar = ProgressBar(source.name)
    try:
        answer = client.call(name, arguments, bar)
        target = None
        if handle := answer.get("image"):
            folder = out.absolute() if out else source.parent
            target = _target(folder, source.stem, name, answer["format"], overwrite=overwrite)
            client.call("export_image", {"image": handle, "path": str(target), "overwrite": overwrite})
    except (Refused, FileExistsError) as error:
        bar.clear()
        sys.stderr.write(f"{source.name}: {error}\n")
        return False
    bar.clear()
    _print_answer(answer, target)
    for warning in answer.get("warnings", []):
        sys.stderr.write(f"{source.name}: {warning}\n")
    return True


def _source(value: Any) -> Path:
    """The file that results are named after; for addresses, one in the working directory."""
    first = str(value[0] if isinstance(value, list) and value else value)
    if Path(first).is_absolute():
        return Path(first)
    address = "" if first.startswith("data:") else urlsplit(first).path
    return Path.cwd() / (Path(address).name[:80] or "result")


def _target(folder: Path, stem: str, name: str, format: str, *, overwrite: bool) -> Path:
    target = folder / f"{stem}-{_dashed(name)}{os.path.extsep}{EXTENSIONS.get(format, format)}"
    if target.exists() and not overwrite:
        raise FileExistsError(f"{target.name} exists. Replace it with --overwrite, or choose a folder with --out.")
    folder.mkdir(parents=True, exist_ok=True)
    return target


def _print_answer(answer: Mapping[str, Any], target: Path | None) -> None:
    if target is None:
        sys.stdout.write(json.dumps(answer, indent=2, ensure_ascii=False) + "\n")
        return
    facts = [f"{answer['width']}×{answer['height']}", f"{answer['bytes']:,} bytes"]
    more = {**answer, **answer.get("facts", {})}
    facts += [f"{key}: {value}" for key, value in more.items() if key not in SAID_OTHERWISE and _is_short(value)]
    sys.stdout.write("  ".join([str(target), *facts]) + "\n")


def _is_short(value: Any) -> bool:
    return isinstance(value, str | int | float)


def _words(schema: Mapping[str, Any]) -> str:
    words = [schema.get("description", "").rstrip(".")]
    if "enum" in schema:
        words.append("one of " + ", ".join(map(str, schema["enum"])))
    words += [f"{sign} {schema[key]}" for key, sign in LIMIT_SIGNS.items() if key in schema]
    if "default" in schema:
        words.append(f"default {json.dumps(schema['default'], ensure_ascii=False)}")
    return "; ".join(word for word in words if word)


def _print_beside(left: str, width: int, text: str) -> None:
    columns = max(shutil.get_terminal_size((100, 24)).columns, width + 30)
    lines = textwrap.wrap(" ".join(text.split()), columns - width) or [""]
    sys.stdout.write(f"{left:{width}}" + f"\n{'':{width}}".join(lines) + "\n")


def _option(name: str) -> str:
    """`withoutEnlargement` as `--without-enlargement`."""
    return "--" + re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _squeezed(option: str) -> str:
    return option.replace("-", "").replace("_", "").lower()


def _camel(option: str) -> str:
    head, *tail = option.split("-")
    return head + "".join(part[:1].upper() + part[1:] for part in tail)


def _fail(text: str) -> int:
    sys.stderr.write(f"darkroom: {text}\n")
    return 1
