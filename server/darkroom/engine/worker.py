"""The process that touches pixels: confines itself, then runs one plan after the other until it is replaced.

Messages from the pool: `{"type": "plan", "plan", "inputs", "names", "models", "seconds"}`, `{"type": "cancel"}`, and the
answer to a request for a model, `{"type": "inferred", "id", "reply" | "error"}`. What goes back stands in `messages`.
A second thread receives, so that a cancel arrives while the main thread is inside native code.
"""

import ctypes
import dataclasses
import faulthandler
import gc
import importlib
import json
import logging
import os
import queue
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from darkroom.engine.asking import Asking
from darkroom.engine.channel import Channel, ChannelClosed
from darkroom.engine.limits import Limits
from darkroom.engine.messages import MAX_ANSWER, failure
from darkroom.engine.outcome import Outcome
from darkroom.engine.sandbox import Confinement, confine, limit_cpu, readable_paths
from darkroom.engine.toolset import known_tools
from darkroom.engine.work import Work
from darkroom_tools.base import Worker
from darkroom_tools.errors import DarkroomError, ProcessingFailed
from darkroom_tools.kit.text import fonts_conf
from darkroom_tools.native import pyvips
from darkroom_tools.plan import Plan

__all__ = ["main"]

log = logging.getLogger(__name__)

NICENESS = 5
"""Workers can take every core; the server must still answer at once."""

IMPORTED_BEFORE_CONFINING = ("numpy", "pyvips", "PIL.Image", "darkroom.engine.runner", "darkroom.engine.shared")

PARSERS = ("pypdfium2",)
"""What only a worker of the kind `vector` loads."""


def main(sock: socket.socket, spec: Mapping[str, Any]) -> None:
    """Serve plans on `sock` until the other side closes it.

    Args:
        sock: The connection to the pool.
        spec: `folder` with its `in`, `out` and `tmp`, the `limits`, the names of extra tool modules as `tools`, and the
            `kind` of worker it is to be.
    """
    logging.basicConfig(level=logging.WARNING, format=f"%(levelname)s worker {os.getpid()}: %(message)s")
    faulthandler.enable()
    os.nice(NICENESS)
    folder, limits = Path(spec["folder"]), Limits(**spec["limits"])
    tools = known_tools(spec["tools"])
    confinement = _settle(folder, limits, spec["kind"])
    channel = Channel(sock)
    worker = _Worker(channel, folder, limits, tools)
    gc.collect()
    gc.freeze()
    channel.send({"type": "ready", "sandbox": confinement.level, "missing": list(confinement.missing)})
    worker.serve()


def _settle(folder: Path, limits: Limits, kind: Worker) -> Confinement:
    """Load the native libraries, give up all rights, then touch every codec once.

    The warm-up comes last because it starts libvips' own threads, which would stay outside the sandbox otherwise.
    """
    os.umask(0o077)
    tempfile.tempdir = os.environ["TMPDIR"] = os.environ["HOME"] = str(folder / "tmp")
    os.environ["FONTCONFIG_FILE"] = fonts_conf()
    for name in (*IMPORTED_BEFORE_CONFINING, *(PARSERS if kind == "vector" else ())):
        importlib.import_module(name)
    pyvips.block_untrusted_set(True)
    pyvips.operation_block_set("VipsForeignLoadMatrix", True)
    if kind == "vector":
        # From memory only, where an SVG has no neighbours that it could name.
        pyvips.operation_block_set("VipsForeignLoadSvg", False)
        pyvips.operation_block_set("VipsForeignLoadSvgFile", True)
        pyvips.operation_block_set("VipsForeignLoadSvgSource", True)
    pyvips.cache_set_max(0)
    confinement = confine(
        read=[*readable_paths(), folder / "in"], write=[folder / "out", folder / "tmp"], limits=limits
    )
    _warm_up()
    return confinement


def _warm_up() -> None:
    small = pyvips.Image.black(16, 16, bands=3).copy(interpretation="srgb")
    for kind in ("jpeg", "png", "webp", "tiff", "gif", "heif"):
        options = {"compression": "av1", "effort": 0} if kind == "heif" else {}
        try:
            data = getattr(small, f"{kind}save_buffer")(**options)
            getattr(pyvips.Image, f"{kind}load_buffer")(data).avg()
        except pyvips.Error:
            log.warning("this build of libvips lacks %s", kind)
    try:
        with _silence():
            pyvips.Image.text("Ag", font="DejaVu Sans 12").avg()
    except pyvips.Error:
        log.warning("this build of libvips cannot draw text")


@contextmanager
def _silence() -> Iterator[None]:
    """Let nobody hear that fontconfig may not write a cache: three fonts are read in some milliseconds without one."""
    kept = os.dup(2)
    try:
        with tempfile.TemporaryFile() as unheard:
            os.dup2(unheard.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


REST_SECONDS = 1.0
"""After so long without a plan freed memory goes back to the system; sooner the next plan would fetch it again."""


class _Worker:
    def __init__(self, channel: Channel, folder: Path, limits: Limits, tools: Mapping[str, Any]) -> None:
        self._channel = channel
        self._folder = folder
        self._limits = limits
        self._tools = tools
        self._plans: queue.SimpleQueue[tuple[dict[str, Any], Work]] = queue.SimpleQueue()
        self._asking = Asking(channel.send)
        self._work: Work | None = None
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)

    def serve(self) -> None:
        threading.Thread(target=self._receive, daemon=True).start()
        used = False
        while True:
            try:
                order, work = self._plans.get(timeout=REST_SECONDS if used else None)
            except queue.Empty:
                gc.collect()
                self._trim(0)
                used = False
                continue
            answer = self._answer(order, work)
            self._work = None
            self._channel.send(answer)
            used = True

    def _receive(self) -> None:
        try:
            while True:
                message, fds = self._channel.receive()
                kind = message["type"]
                if kind == "plan":
                    self._asking = Asking(self._channel.send)
                    self._work = Work(self._report, self._asking.ask, message["models"])
                    self._plans.put((message, self._work))
                elif kind == "inferred":
                    self._asking.take(message, fds)
                elif kind == "cancel" and self._work is not None:
                    self._work.cancel()
                    self._asking.cancel()
        except ChannelClosed:
            os._exit(0)
        except BaseException:
            log.exception("the connection to the pool failed")
            os._exit(1)

    def _answer(self, order: Mapping[str, Any], work: Work) -> dict[str, Any]:
        from darkroom.engine.runner import run_plan

        limit_cpu(order["seconds"])
        plan = Plan.from_wire(order["plan"])
        paths = [self._folder / "in" / name for name in order["inputs"]]
        try:
            out = self._folder / "out"
            outcome = run_plan(plan, paths, out, self._limits, work, self._tools, order["names"])
            return _done(outcome)
        except DarkroomError as error:
            return _failed(error)
        except Exception:
            log.exception("the answer could not be built")
            return _failed(ProcessingFailed("The operation failed on this image."))

    def _report(self, fraction: float, message: str) -> None:
        self._channel.send({"type": "progress", "fraction": fraction, "message": message})


def _done(outcome: Outcome) -> dict[str, Any]:
    """The outcome as `messages.Done` reads it."""
    answer = {
        "type": "done",
        "inputs": [dataclasses.asdict(picture) for picture in outcome.inputs],
        "outputs": [{"name": o.path.name, "picture": dataclasses.asdict(o.picture)} for o in outcome.outputs],
        "report": outcome.report,
        "facts": dict(outcome.facts),
        "kept": list(outcome.kept),
        "removed": list(outcome.removed),
        "warnings": list(outcome.warnings)[:50],
    }
    if len(json.dumps(answer, allow_nan=False)) > MAX_ANSWER:
        raise ProcessingFailed(f"The result has more than {MAX_ANSWER // 1024} KB of facts. Ask for less at a time.")
    return answer


def _failed(error: DarkroomError) -> dict[str, Any]:
    answer = failure(error)
    try:
        small = len(json.dumps(answer, allow_nan=False)) <= MAX_ANSWER
    except (TypeError, ValueError):
        small = False
    return answer if small else {**answer, "details": {}}
