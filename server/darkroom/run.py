"""`darkroom run` and `darkroom tools`: a person's calls, on the same server as every agent's."""

import json
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from darkroom.client import Client, Refused
from darkroom.errands import Errand, Results, image_arguments, plan_errands, without_results
from darkroom.words import Source, Wanted, as_source, expand, parse_words

__all__ = ["describe_tool", "list_tools", "run", "run_errands"]

BAR = 24
EXTENSIONS = {"jpeg": "jpg"}
LIMIT_SIGNS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
SAID_OTHERWISE = frozenset(
    {"image", "width", "height", "format", "bytes", "url", "source", "kept", "removed", "warnings", "cached", "note"}
    | {"item", "job", "images", "zip"}
)
"""Facts of a picture that the line about its file says, or that matter to agents alone."""

STEP = re.compile(r"^steps\[0\]\.settings[^:]*: ")
"""How errors of a batch begin where the setting is one that the command line named itself."""


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
            room = max(shutil.get_terminal_size().columns - len(self._label) - BAR - 8, 0)
            sys.stderr.write(f"\r\x1b[K{self._label} {bar} {fraction:4.0%} {message[: min(room, 40)]}")
            sys.stderr.flush()

    def clear(self) -> None:
        """Leave an empty line for what comes next."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def run(chosen_data_dir: str | None, tool: str, words: Sequence[str], to: Results) -> int:
    """Run a tool on files and write the results; the exit status.

    Args:
        chosen_data_dir: As on the command line.
        tool: Its name, with dashes or underscores.
        words: Files, patterns of files, folders, and `--setting value` in any order.
        to: Where results go.
    """
    try:
        with Client(chosen_data_dir, []) as client:
            name, schema = _published(client, tool.replace("-", "_"))
        wanted, label = parse_words(words, schema), _dashed(name)
        if name == "run_pipeline":
            wanted, label = _pipeline(wanted)
        return run_errands(chosen_data_dir, name, label, schema, wanted, to)
    except (Refused, OSError, ValueError) as error:
        return _fail(str(error))


def run_errands(
    chosen_data_dir: str | None,
    name: str,
    label: str,
    schema: Mapping[str, Any],
    wanted: Wanted,
    to: Results,
    *,
    as_called: Callable[[Errand], Errand] = lambda errand: errand,
) -> int:
    """Make the calls for files and write the results; the exit status.

    Args:
        chosen_data_dir: As on the command line.
        name: MCP name of the tool.
        label: What results are named after, beside their file.
        schema: The tool's input schema.
        wanted: Files and settings.
        to: Where results go.
        as_called: Turns a call of the tool into the one that is made.
    """
    try:
        images = image_arguments(schema)
        settings = {key: _image(value) if key in images else value for key, value in wanted.settings.items()}
        sources = expand(wanted.files)
        if to.skip_existing and sources:
            count, sources = len(sources), without_results(sources, label, to.out)
            sys.stderr.write(f"{count - len(sources)} of {count} files have a result already.\n")
            if not sources:
                return 0
        errands = [as_called(errand) for errand in plan_errands(name, label, schema, sources, settings, to)]
        named = [value for key, value in settings.items() if key in images]
        with Client(chosen_data_dir, _roots(errands, named)) as client:
            parts = [f" (part {n} of {len(errands)})" if len(errands) > 1 else "" for n in range(1, len(errands) + 1)]
            outcomes = [
                _carry_out(client, label + part, errand, to) for part, errand in zip(parts, errands, strict=True)
            ]
        return int(not all(outcomes))
    except (Refused, OSError, ValueError) as error:
        return _fail(str(error))


def _published(client: Client, name: str) -> tuple[str, dict[str, Any]]:
    """The listed name and the schema of a tool that may be meant by another name."""
    listed = {tool["name"]: tool["inputSchema"] for tool in client.tools()}
    name = name if name in listed else _listed_name(name)
    if name not in listed:
        client.call(name, {})  # the server names the nearest tool
        raise Refused(f"There is no tool {name!r}.")
    return name, listed[name]


def _listed_name(name: str) -> str:
    """The MCP name of the tool that has this one as an alias; else the name itself."""
    from darkroom_tools.registry import builtin_tools

    wanted = _dashed(name)
    return next((tool.name for tool in builtin_tools().values() if wanted in tool.aliases), name.replace("-", "_"))


def _pipeline(wanted: Wanted) -> tuple[Wanted, str]:
    """Steps from a JSON file: a list, or a document with `steps`; and what its results are named after."""
    if not wanted.files or not wanted.files[0].endswith(".json"):
        raise ValueError("Which steps? Write darkroom run run-pipeline steps.json image.jpg")
    file = as_source(wanted.files[0]).file
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file.name} holds no valid JSON: {error}.") from error
    steps = document.get("steps") if isinstance(document, dict) else document
    return Wanted(wanted.files[1:], {**wanted.settings, "steps": steps}), file.stem


def _image(value: Any) -> Any:
    """An image argument as the server takes it."""
    if isinstance(value, list):
        return [_image(each) for each in value]
    return as_source(value).value if isinstance(value, str) else value


def _roots(errands: Sequence[Errand], images: Sequence[Any]) -> list[Path]:
    """The folders that these calls may read and write; `images` are those given as settings."""
    values = [each for value in images for each in (value if isinstance(value, list) else [value])]
    named = {Path(value).parent for value in values if isinstance(value, str) and value.startswith("/")}
    folders = {path.parent for errand in errands for path in (*errand.places, *_files_of(errand))} | named
    return sorted(folder for folder in folders if not folders.intersection(folder.parents))


def _files_of(errand: Errand) -> list[Path]:
    return [source.file for source in errand.sources] + ([errand.zip.absolute()] if errand.zip else [])


def _carry_out(client: Client, label: str, errand: Errand, to: Results) -> bool:
    """Make one call and write its results; whether all of it worked."""
    several = len(errand.sources) > 1 or errand.zip is not None
    name = label if several else errand.sources[0].file.name
    bar = ProgressBar(name)
    try:
        if errand.tool == "check_workflow" or errand.arguments.get("dryRun"):
            return _foretell(client, errand, bar)
        if errand.zip and errand.zip.exists() and not to.overwrite:
            raise FileExistsError(f"{errand.zip.name} exists. Replace it with --overwrite.")
        items, archive = _call(client, errand, bar)
        bar.clear()
        good = True
        for item, source, place in zip(items, errand.sources, errand.places, strict=False):
            good &= _receive(client, item, source, None if errand.zip else place, to, several=several)
        if errand.zip:
            good &= _receive_zip(client, archive, errand.zip, to)
        return good
    except (Refused, FileExistsError) as error:
        bar.clear()
        sys.stderr.write(f"{name}: {STEP.sub('', str(error))}\n")
        return False


def _foretell(client: Client, errand: Errand, bar: ProgressBar) -> bool:
    """Print what a call would come to; whether it would work. Nothing is made, so nothing is written."""
    told = client.call(errand.tool, dict(errand.arguments), bar)
    bar.clear()
    sys.stdout.write(json.dumps(told, indent=2, ensure_ascii=False) + "\n")
    return bool(told["ok"])


def _call(
    client: Client, errand: Errand, watch: Callable[[float, str], None]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """All items that a call came to, and the ZIP of them; answers of large batches come in pages."""
    answer = _answer(client, errand.tool, dict(errand.arguments), watch)
    archive: dict[str, Any] = answer.get("zip", {})
    items: list[dict[str, Any]] = answer.get("items", [answer]) if len(errand.sources) > 1 else [answer]
    while "next" in answer and len(items) < len(errand.sources):
        if "job" in answer:
            answer = _answer(client, "get_job", {"job": answer["job"], "offset": len(items)}, watch)
        elif errand.rest is None:
            break
        else:  # the library knew everything, and does so again
            answer = _answer(client, errand.tool, dict(errand.rest(len(items))), watch)
        items += answer.get("items", [answer])
    return items, archive


def _answer(
    client: Client, tool: str, arguments: dict[str, Any], watch: Callable[[float, str], None]
) -> dict[str, Any]:
    """The structured answer of a call, also of a batch of which nothing worked."""
    try:
        return client.call(tool, arguments, watch)
    except Refused as error:
        if "items" not in error.facts:
            raise
        return error.facts


def _receive(
    client: Client, item: Mapping[str, Any], source: Source, place: Path | None, to: Results, *, several: bool
) -> bool:
    """Write the results of one file, or print its report; whether it worked."""
    name = source.file.name
    for warning in item.get("warnings", []):
        sys.stderr.write(f"{name}: {warning}\n")
    if "error" in item:
        sys.stderr.write(f"{name}: {item['error']['error']}\n")
        return False
    pictures = item.get("images", [item] if "image" in item else [])
    if not pictures:
        report = {key: value for key, value in item.items() if key != "item"}
        sys.stdout.write(
            json.dumps({"file": name} | report if several else report, indent=2, ensure_ascii=False) + "\n"
        )
        return True
    if place is None:
        return True
    try:
        for number, picture in enumerate(pictures, 1):
            target = place.with_name(f"{place.name}-{number}") if len(pictures) > 1 else place
            extension = EXTENSIONS.get(picture["format"], picture["format"])
            file = _export(client, picture["image"], target.with_name(f"{target.name}.{extension}"), to)
            _print_line(file, {**item, **picture})
    except (Refused, FileExistsError) as error:
        sys.stderr.write(f"{name}: {error}\n")
        return False
    return True


def _receive_zip(client: Client, archive: Mapping[str, Any], target: Path, to: Results) -> bool:
    if "error" in archive:
        raise Refused(archive["error"]["error"])
    if "image" not in archive:
        return False  # nothing was made, and every file has its error
    _print_line(_export(client, archive["image"], target.absolute(), to), {"bytes": 0, **archive})
    return True


def _export(client: Client, handle: str, target: Path, to: Results) -> Path:
    if target.exists() and not to.overwrite:
        raise FileExistsError(f"{target.name} exists. Replace it with --overwrite, or choose a folder with --out.")
    target.parent.mkdir(parents=True, exist_ok=True)
    client.call("export_image", {"image": handle, "path": str(target), "overwrite": to.overwrite})
    return target


def _print_line(file: Path, facts: Mapping[str, Any]) -> None:
    size = [f"{facts['width']}×{facts['height']}"] if "width" in facts else []
    more = {**facts, **facts.get("facts", {})}
    said = [f"{key}: {value}" for key, value in more.items() if key not in SAID_OTHERWISE and _is_short(value)]
    sys.stdout.write("  ".join([str(file), *size, f"{facts['bytes']:,} bytes", *said]) + "\n")


def _is_short(value: Any) -> bool:
    return isinstance(value, str | int | float)


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
    names = (tool.replace("-", "_"), _listed_name(tool))
    found = next((each for each in tools if each["name"] in names), None)
    if found is None:
        return _fail(f"There is no tool {tool!r}; `darkroom tools` lists them.")
    schema = found["inputSchema"]
    required = schema.get("required", [])
    images = image_arguments(schema)
    files = [name for name in images if name in required]
    words = [f"{name.upper()}..." if images[name] else name.upper() for name in files]
    usage = " ".join(["darkroom run", _dashed(found["name"]), *words])
    settings = {name: prop for name, prop in schema["properties"].items() if name not in files}
    sys.stdout.write(f"{found['title']}. {found['description']}\n\n{usage} {'[--setting value]...' * bool(settings)}\n")
    width = max((len(_option(name)) for name in settings), default=0) + 4
    for name, prop in settings.items():
        words_of = _words(prop)
        _print_beside(f"  {_option(name)}", width, f"required; {words_of}" if name in required else words_of)
    return 0


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


def _fail(text: str) -> int:
    sys.stderr.write(f"darkroom: {text}\n")
    return 1
