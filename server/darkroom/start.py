"""Start a server process: read the configuration, and say plainly what keeps it from starting."""

import logging
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
from pydantic import ValidationError

from darkroom.asgi import is_loopback
from darkroom.config import Config, wrong_variables
from darkroom.errors import DarkroomError
from darkroom.serve import CannotListen, serve_standalone
from darkroom.serve import serve as serve_process

__all__ = ["serve", "standalone"]

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def serve(
    chosen_data_dir: str | None, host: str | None, port: int | None, *, background: bool, idle_seconds: float | None
) -> int:
    """Serve in the foreground, or for a relay; the exit status. The caller holds the lock."""
    try:
        config = _config(chosen_data_dir, host, port)
    except ValidationError as error:
        return _fail(wrong_variables(error))
    if not is_loopback(config.host) and config.auth == "off" and not background:
        return _fail(
            f"{config.host} can be reached from other machines, and DARKROOM_AUTH=off would let everybody in. Unset it, "
            "or listen on 127.0.0.1."
        )
    try:
        return _run(_serving, config, background, idle_seconds)
    except CannotListen as error:
        return _fail(f"{error} Choose another with --port; 0 takes a free one.")


def standalone(chosen_data_dir: str | None, roots: Sequence[Path]) -> int:
    """Serve one client on standard input and output; the exit status. The caller holds the lock."""
    try:
        config = _config(chosen_data_dir, None, None)
    except ValidationError as error:
        return _fail(wrong_variables(error))
    return _run(serve_standalone, config, roots)


def _run(work: Callable[..., Awaitable[None]], *arguments: Any) -> int:
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format=LOG_FORMAT)
    try:
        anyio.run(work, *arguments)
    except DarkroomError as error:
        return _fail(error.message)
    return 0


def _config(chosen_data_dir: str | None, host: str | None, port: int | None) -> Config:
    chosen = {"data_dir": chosen_data_dir, "host": host, "port": port}
    return Config(**{key: value for key, value in chosen.items() if value is not None})  # type: ignore[arg-type]


async def _serving(config: Config, background: bool, idle_seconds: float | None) -> None:
    await serve_process(config, background=background, idle_seconds=idle_seconds)


def _fail(text: str) -> int:
    sys.stderr.write(f"darkroom: {text}\n")
    return 1
