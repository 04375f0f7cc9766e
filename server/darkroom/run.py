"""`darkroom run` and `darkroom tools`: a client of the shared server, like any agent, in plain JSON-RPC."""

import itertools
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from darkroom import __version__
from darkroom.paths import data_dir
from darkroom.relay import connect, hello

__all__ = ["list_tools", "run"]

PROTOCOL = "2025-11-25"
BAR = 24


class Refused(Exception):
    """The server's own words for why a call failed."""


class Client:
    """One conversation with the server of a data directory.

    Raises:
        ConnectionError: No server could be started, or it went away.
    """

    def __init__(self, chosen_data_dir: str | None, roots: Sequence[Path]) -> None:
        self._link = connect(data_dir(chosen_data_dir))
        self._link.sendall(hello(roots))
        self._lines = self._link.makefile("rb")
        self._ids = itertools.count(1)
        info = {"name": "darkroom-cli", "version": __version__}
        self.request("initialize", {"protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": info})
        self._send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def __enter__(self) -> Self:
        """The conversation itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Hang up; what still runs for this client is cancelled by the server."""
        self._lines.close()
        self._link.close()

    def request(
        self, method: str, params: dict[str, Any], watch: Callable[[float, str], None] | None = None
    ) -> dict[str, Any]:
        """Ask, report progress to `watch` while waiting, and answer with the result.

        Raises:
            Refused: The server answered with an error.
        """
        number = next(self._ids)
        if watch is not None:
            params = {**params, "_meta": {"progressToken": number}}
        self._send({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        for line in self._lines:
            message = json.loads(line)
            if message.get("method") == "notifications/progress" and watch is not None:
                told = message["params"]
                watch(told["progress"] / (told.get("total") or 1.0), told.get("message", ""))
            if message.get("id") == number and "method" not in message:
                if "error" in message:
                    raise Refused(message["error"]["message"])
                result: dict[str, Any] = message["result"]
                return result
        raise ConnectionError("the server closed the connection")

    def call(
        self, name: str, arguments: dict[str, Any], watch: Callable[[float, str], None] | None = None
    ) -> dict[str, Any]:
        """Call a tool; its structured content.

        Raises:
            Refused: With the tool's error text.
        """
        result = self.request("tools/call", {"name": name, "arguments": arguments}, watch)
        if result.get("isError"):
            raise Refused("\n".join(part["text"] for part in result["content"] if part["type"] == "text"))
        structured: dict[str, Any] = result.get("structuredContent") or {}
        return structured

    def _send(self, message: dict[str, Any]) -> None:
        self._link.sendall(json.dumps(message).encode() + b"\n")


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


def run(
    chosen_data_dir: str | None,
    tool: str,
    files: Sequence[str],
    rest: Sequence[str],
    out: Path | None,
    *,
    overwrite: bool,
) -> int:
    """Run a tool on each file and write the results; the exit status."""
    try:
        settings = parse_options(rest)
    except ValueError as error:
        return _fail(str(error))
    name = tool.replace("-", "_")
    paths = [Path(file).absolute() for file in files]
    named = [Path(value).absolute() for value in settings.values() if isinstance(value, str) and Path(value).is_file()]
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    roots = {path.parent for path in (*paths, *named)} | ({out.absolute()} if out else set())
    try:
        with Client(chosen_data_dir, sorted(roots)) as client:
            schema = _schema(client, name)
            arguments = {
                key: str(Path(value).absolute()) if key in _image_arguments(schema) else value
                for key, value in settings.items()
            }
            failed = False
            for call in _calls(schema, paths, arguments):
                failed |= not _run_one(client, name, call, out, overwrite=overwrite)
            return int(failed)
    except (Refused, OSError) as error:
        return _fail(str(error))


def list_tools(chosen_data_dir: str | None, tool: str | None) -> int:
    """Print every tool in one line, or one tool with its settings; the exit status."""
    try:
        with Client(chosen_data_dir, []) as client:
            tools = client.request("tools/list", {})["tools"]
    except (Refused, OSError) as error:
        return _fail(str(error))
    if tool is None:
        width = max(len(each["name"]) for each in tools)
        for each in tools:
            first = each.get("description", "").split("\n", 1)[0]
            sys.stdout.write(f"{each['name']:{width}}  {first}\n")
        return 0
    wanted = tool.replace("-", "_")
    found = next((each for each in tools if each["name"] == wanted), None)
    if found is None:
        return _fail(f"There is no tool {tool!r}; `darkroom tools` lists them.")
    sys.stdout.write(f"{found['title']}\n{found['description']}\n\n")
    for name, schema in found["inputSchema"]["properties"].items():
        sys.stdout.write(f"  --{name:<24} {_words(schema)}\n")
    return 0


def parse_options(rest: Sequence[str]) -> dict[str, Any]:
    """Turn `--width 800 --without-enlargement` into settings; values are JSON where they can be.

    Raises:
        ValueError: Something does not start with `--`.
    """
    settings: dict[str, Any] = {}
    waiting = list(rest)
    while waiting:
        option = waiting.pop(0)
        if not option.startswith("--") or option == "--":
            raise ValueError(f"{option!r} is no setting; write --name value.")
        name, equals, value = option[2:].partition("=")
        head, *tail = name.split("-")
        key = head + "".join(part[:1].upper() + part[1:] for part in tail)
        if not equals:
            value = waiting.pop(0) if waiting and not waiting[0].startswith("--") else "true"
        settings[key] = value
        with suppress(ValueError):
            settings[key] = json.loads(value)
    return settings


def _schema(client: Client, name: str) -> dict[str, Any]:
    tools = client.request("tools/list", {})["tools"]
    for tool in tools:
        if tool["name"] == name:
            schema: dict[str, Any] = tool["inputSchema"]
            return schema
    # The server names the nearest tool.
    client.call(name, {})
    raise Refused(f"There is no tool {name!r}.")


def _image_arguments(schema: dict[str, Any]) -> set[str]:
    from darkroom_tools.base import IMAGE_HELP, SAME_FORMS

    return {
        name
        for name, prop in schema["properties"].items()
        if (prop.get("items") or prop).get("description") in (IMAGE_HELP, SAME_FORMS)
    }


def _calls(schema: dict[str, Any], paths: Sequence[Path], settings: dict[str, Any]) -> list[dict[str, Any]]:
    properties = schema["properties"]
    if "image" in properties and paths:
        return [{"image": str(path), **settings} for path in paths]
    if "images" in properties and paths:
        return [{"images": [str(path) for path in paths], **settings}]
    return [settings]


def _run_one(client: Client, name: str, arguments: dict[str, Any], out: Path | None, *, overwrite: bool) -> bool:
    source = Path(str(arguments.get("image") or "result"))
    bar = ProgressBar(source.name)
    try:
        answer = client.call(name, arguments, bar)
        if handle := answer.get("image"):
            folder = out.absolute() if out else source.parent
            suffix = os.path.extsep + EXTENSIONS.get(answer["format"], answer["format"])
            target = folder / f"{source.stem}-{name.replace('_', '-')}{suffix}"
            client.call("export_image", {"image": handle, "path": str(target), "overwrite": overwrite})
            bar.clear()
            sys.stdout.write(f"{target}  {answer['width']}×{answer['height']}  {answer['bytes']:,} bytes\n")
        else:
            bar.clear()
            sys.stdout.write(json.dumps(answer, indent=2, ensure_ascii=False) + "\n")
    except Refused as error:
        bar.clear()
        sys.stderr.write(f"{source.name}: {error}\n")
        return False
    for warning in answer.get("warnings", []):
        sys.stderr.write(f"{source.name}: {warning}\n")
    return True


def _words(schema: dict[str, Any]) -> str:
    words = [schema.get("description", "")]
    if "enum" in schema:
        words.append("one of " + ", ".join(map(str, schema["enum"])))
    limits = [f"{sign} {schema[key]}" for key, sign in LIMIT_SIGNS.items() if key in schema]
    words += limits
    if "default" in schema:
        words.append(f"default {json.dumps(schema['default'], ensure_ascii=False)}")
    return "; ".join(word for word in words if word)


LIMIT_SIGNS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
EXTENSIONS = {"jpeg": "jpg"}


def _fail(text: str) -> int:
    sys.stderr.write(f"darkroom: {text}\n")
    return 1
