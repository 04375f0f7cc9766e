"""Start a server process: read the configuration, take the lock, and say plainly what keeps it from starting."""

import logging
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
from pydantic import ValidationError

from darkroom.asgi import is_loopback
from darkroom.config import Config
from darkroom.errors import DarkroomError
from darkroom.lock import AlreadyRunning, hold_lock, running_pid
from darkroom.paths import DataDir, data_dir
from darkroom.serve import CannotListen, serve_standalone
from darkroom.serve import serve as serve_process

__all__ = ["serve", "standalone"]

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def serve(
    chosen_data_dir: str | None, host: str | None, port: int | None, *, background: bool, idle_seconds: float | None
) -> int:
    """Serve in the foreground, or for a relay; the exit status."""
    try:
        config = _config(chosen_data_dir, host, port)
    except ValidationError as error:
        return _fail(_words(error))
    if not is_loopback(config.host) and config.token is None and not background:
        return _fail(
            f"{config.host} can be reached from other machines. Set DARKROOM_TOKEN to a long random value first; "
            "every request must then carry it."
        )
    where = data_dir(config.data_dir)
    try:
        return _run_server(where, _serving, config, background, idle_seconds)
    except CannotListen as error:
        return _fail(f"{error} Choose another with --port; 0 takes a free one.")
    except AlreadyRunning:
        if background:
            return 0
        return _fail(
            f"Process {running_pid(where)} already serves this data directory. End it with `darkroom stop`, or "
            "choose another folder with --data-dir."
        )


def standalone(chosen_data_dir: str | None, roots: Sequence[Path]) -> int:
    """Serve one client on standard input and output without a shared server; the exit status."""
    try:
        config = _config(chosen_data_dir, None, None)
    except ValidationError as error:
        return _fail(_words(error))
    try:
        return _run_server(data_dir(config.data_dir), serve_standalone, config, roots)
    except AlreadyRunning:
        return _fail("A server already runs on this data directory; `darkroom mcp` without --standalone joins it.")


def _run_server(where: DataDir, work: Callable[..., Awaitable[None]], *arguments: Any) -> int:
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format=LOG_FORMAT)
    try:
        where.create()
    except OSError as error:
        return _fail(f"The data directory {where.root} cannot be used: {error.strerror or error}.")
    try:
        with hold_lock(where):
            anyio.run(work, *arguments)
    except DarkroomError as error:
        return _fail(error.message)
    return 0


def _config(chosen_data_dir: str | None, host: str | None, port: int | None) -> Config:
    chosen = {"data_dir": chosen_data_dir, "host": host, "port": port}
    return Config(**{key: value for key, value in chosen.items() if value is not None})  # type: ignore[arg-type]


def _words(error: ValidationError) -> str:
    """Which variables are wrong, and how."""
    return " ".join(
        f"DARKROOM_{'_'.join(str(part) for part in found['loc']).upper()}: {found['msg']}, got {found['input']!r}."
        for found in error.errors()
    )


async def _serving(config: Config, background: bool, idle_seconds: float | None) -> None:
    await serve_process(config, background=background, idle_seconds=idle_seconds)


def _fail(text: str) -> int:
    sys.stderr.write(f"darkroom: {text}\n")
    return 1
