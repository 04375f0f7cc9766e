"""A client of the shared server in plain JSON-RPC: what `darkroom run` and `darkroom tools` speak."""

import itertools
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from darkroom import __version__
from darkroom.paths import data_dir
from darkroom.relay import connect, hello

__all__ = ["Client", "Refused"]

PROTOCOL = "2025-11-25"


class Refused(Exception):
    """The server's own words for why a call failed.

    Attributes:
        facts: The structured answer; that of a batch tells what became of each item.
    """

    def __init__(self, text: str, facts: dict[str, Any] | None = None) -> None:
        super().__init__(text)
        self.facts = facts or {}


class Client:
    """One conversation with the server of a data directory.

    Args:
        chosen_data_dir: As on the command line.
        roots: Folders whose files may be named.
        start: Whether a server may be started.

    Raises:
        ConnectionError: No server could be started, or it went away.
    """

    def __init__(
        self, chosen_data_dir: str | os.PathLike[str] | None, roots: Sequence[Path], *, start: bool = True
    ) -> None:
        self._link = connect(data_dir(chosen_data_dir), start=start)
        self._link.sendall(hello(roots))
        self._lines = self._link.makefile("rb")
        self._ids = itertools.count(1)
        info = {"name": "darkroom-cli", "version": __version__}
        self._request("initialize", {"protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": info})
        self._send({"method": "notifications/initialized"})

    def __enter__(self) -> Self:
        """The conversation itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Hang up."""
        self._lines.close()
        self._link.close()

    def tools(self) -> list[dict[str, Any]]:
        """Every tool as tools/list describes it."""
        listed: list[dict[str, Any]] = self._request("tools/list", {})["tools"]
        return listed

    def call(
        self, name: str, arguments: dict[str, Any], watch: Callable[[float, str], None] | None = None
    ) -> dict[str, Any]:
        """Call a tool; its structured content. What is given up with Ctrl-C is cancelled.

        Args:
            name: MCP name.
            arguments: Of the tool.
            watch: Hears how much is done, 0..1, and what is being done.

        Raises:
            Refused: With the tool's error text.
        """
        result = self._request("tools/call", {"name": name, "arguments": arguments}, watch)
        structured: dict[str, Any] = result.get("structuredContent") or {}
        if result.get("isError"):
            raise Refused(structured.get("error") or result["content"][0]["text"], structured)
        return structured

    def read(self, uri: str) -> str:
        """The text of a resource.

        Raises:
            Refused: There is no such resource.
        """
        contents = self._request("resources/read", {"uri": uri})["contents"]
        return str(contents[0]["text"])

    def _request(
        self, method: str, params: dict[str, Any], watch: Callable[[float, str], None] | None = None
    ) -> dict[str, Any]:
        number = next(self._ids)
        if watch is not None:
            params = {**params, "_meta": {"progressToken": number}}
        self._send({"id": number, "method": method, "params": params})
        try:
            return self._answer(number, watch)
        except KeyboardInterrupt:
            self._send({"method": "notifications/cancelled", "params": {"requestId": number}})
            raise

    def _answer(self, number: int, watch: Callable[[float, str], None] | None) -> dict[str, Any]:
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

    def _send(self, message: dict[str, Any]) -> None:
        self._link.sendall(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
