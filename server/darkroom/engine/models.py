"""The server's side of the models: which are installed, and one process that runs them for everybody."""

import asyncio
import functools
import importlib.util
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import darkroom
from darkroom.engine.model_process import ModelProcess, Reply
from darkroom.engine.model_store import MANIFEST, ModelFile, installed_models
from darkroom.engine.packaged_models import packaged_models
from darkroom_tools.errors import DarkroomError, ProcessingFailed, RuntimeNotInstalled
from darkroom_tools.models import cards, missing

__all__ = ["ModelService"]

logger = logging.getLogger(__name__)


class ModelService:
    """Runs models in one process, which starts with the first request and ends after a while without any.

    With models to keep it starts with `start` and does not end by itself.

    When the process dies, the requests in flight fail with `ProcessingCrashed` and the next one starts a new process.

    Args:
        models_dir: The folder of `model_store`.
        memory_bytes: Budget for all loaded models together.
        providers: Devices to try, by name (`tensorrt`, `cuda`, `coreml`, `directml`, `openvino`, `cpu`); None tries
            all in this order.
        idle_seconds: The process ends after so long without a request.
        keep: Ids of models that are loaded ahead and dropped last of all.
    """

    def __init__(
        self,
        models_dir: Path,
        *,
        memory_bytes: int,
        providers: Sequence[str] | None = None,
        idle_seconds: float = 600.0,
        keep: Sequence[str] = (),
    ) -> None:
        self._models_dir = models_dir
        self._known: tuple[object, Mapping[str, ModelFile]] = (None, {})
        self._keep = tuple(keep)
        self._loading_ahead: asyncio.Task[None] | None = None
        self._settings = {
            "models": str(models_dir),
            "memory": memory_bytes,
            "providers": None if providers is None else list(providers),
        }
        self._idle_seconds = idle_seconds
        self._starting = asyncio.Lock()
        self._process: ModelProcess | None = None
        self._start: asyncio.Future[ModelProcess] | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._in_use = 0
        self._starts = 0
        self._crashes = 0

    def installed(self) -> Mapping[str, ModelFile]:
        """The models that have a file here, by id: those of the models folder, then those that came with packages.

        Raises:
            ModelInvalid: The manifest is damaged.
        """
        try:
            status = (self._models_dir / MANIFEST).stat()
            manifest = (status.st_ino, status.st_mtime_ns, status.st_size)
        except OSError:
            manifest = None
        version = (manifest, self.runtime_installed())
        if self._known[0] != version:
            packaged = packaged_models() if self.runtime_installed() else {}
            self._known = (version, {**packaged, **installed_models(self._models_dir)})
        return self._known[1]

    def runtime_installed(self) -> bool:
        """Whether ONNX Runtime is there; the question does not load it."""
        return _has_runtime()

    def start(self) -> None:
        """Load the models to keep, in the background; nothing to do without any."""
        if self._keep and self._loading_ahead is None:
            self._loading_ahead = asyncio.create_task(self._load_ahead())

    async def infer(self, request: Mapping[str, Any], fds: Sequence[int], job: str) -> Reply:
        """Run a model.

        Args:
            request: `{"model": id, "inputs": [{"dtype", "shape"}]}`; `many` is true for one of many requests, whose
                caller asks for smaller pieces where the memory is short.
            fds: Shared memory of each input (`shared.write_array`); they stay the caller's to close.
            job: Whom the request counts for: jobs take turns.

        Returns:
            `{"outputs": [{"dtype", "shape"}], "device": name, "notes": [sentence]}` and the outputs' memory, which is
            the caller's to close.

        Raises:
            ModelNotInstalled: The manifest has no such model.
            RuntimeNotInstalled: ONNX Runtime is missing.
            ModelInvalid: The model's file changed, cannot be loaded, or takes other arrays than these.
            ProcessingCrashed: The model process died meanwhile.
            OutOfMemory: The model is over the budget, or the device has too little memory.
            Overloaded: Too much waits already.
            Cancelled: `cancel` was called for the job.
        """
        model, inputs = request.get("model"), request.get("inputs")
        if not isinstance(model, str) or not isinstance(inputs, list) or len(inputs) != len(fds) or not fds:
            raise ProcessingFailed("A request for a model is malformed.")
        file = self.installed().get(model)
        if file is None:
            raise missing(model[:40])
        if not self.runtime_installed():
            raise _not_installed()
        message = {"model": self._wire(file), "inputs": inputs, "many": bool(request.get("many")), "job": job}
        self._use()
        try:
            process = await self._running()
            return await process.call(message, fds)
        finally:
            self._release()

    def cancel(self, job: str) -> None:
        """Give up every request of a job: its callers get `Cancelled` at once, and native work ends within seconds."""
        if self._process is not None:
            self._process.cancel(job)

    def stats(self) -> dict[str, Any]:
        """Counters for people; those of the process are as of its last answer."""
        process = self._process
        return {
            "alive": process is not None,
            "starts": self._starts,
            "crashes": self._crashes,
            "inFlight": self._in_use,
            **(process.stats if process is not None else {}),
        }

    async def aclose(self) -> None:
        """End the process; requests in flight fail."""
        if self._idle is not None:
            self._idle.cancel()
        if self._loading_ahead is not None:
            self._loading_ahead.cancel()
            await asyncio.wait([self._loading_ahead])
        async with self._starting:
            if self._start is not None:
                self._process, self._start = await self._start, None
            if self._process is not None:
                await self._process.stop()

    def _use(self) -> None:
        self._in_use += 1
        if self._idle is not None:
            self._idle.cancel()

    def _release(self) -> None:
        self._in_use -= 1
        if self._in_use == 0 and self._process is not None and not self._keep:
            self._idle = asyncio.get_running_loop().call_later(self._idle_seconds, self._process.end)

    async def _running(self) -> ModelProcess:
        async with self._starting:
            if self._process is None or self._process.ended:
                # The process can be given rights to a folder only while that is there, and the first import may be later.
                self._models_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
                settings = {**self._settings, "keep": self._files_to_keep()}
                if self._start is None:
                    self._starts += 1
                    self._start = asyncio.ensure_future(ModelProcess.start(settings, self._gone))
                try:
                    # However often the caller is cancelled, whoever comes next meets the same start.
                    self._process = await asyncio.shield(self._start)
                finally:
                    if self._start.done():
                        self._start = None
            return self._process

    async def _load_ahead(self) -> None:
        if not self.runtime_installed():
            logger.warning("models cannot be loaded ahead: ONNX Runtime is not installed")
        elif self._files_to_keep():
            await self._running()

    def _files_to_keep(self) -> list[dict[str, Any]]:
        try:
            installed = self.installed()
        except DarkroomError:  # whoever asks for a model next is told
            return []
        for model in self._keep:
            if model not in installed:
                logger.warning("the model %r cannot be loaded ahead: it is not installed", model)
        return [self._wire(installed[model]) for model in self._keep if model in installed]

    def _wire(self, file: ModelFile) -> dict[str, Any]:
        """A model as `sessions.Model` reads it."""
        card = cards().get(file.id)
        half = self.installed().get(card.half) if card is not None and card.half is not None else None
        return {
            **_file_wire(file),
            "half": _file_wire(half) if half is not None else None,
            "side": card.tile + 2 * card.margin if card is not None else 0,
        }

    def _gone(self, process: ModelProcess) -> None:
        if not process.told_to_end:
            self._crashes += 1
            logger.error("the model process died; the next request starts a new one")
        if self._process is process:
            self._process = None


def _file_wire(file: ModelFile) -> dict[str, Any]:
    return {"id": file.id, "path": str(file.path), "sha256": file.sha256, "bytes": file.bytes}


def _not_installed() -> RuntimeNotInstalled:
    in_checkout = (Path(darkroom.__file__).parents[2] / "pyproject.toml").is_file()
    command = "uv sync --extra ai" if in_checkout else 'uv tool install "darkroom-mcp[ai]"'
    return RuntimeNotInstalled(
        f"ONNX Runtime, which runs the models, is not installed. Install it with: {command}", command=command
    )


@functools.cache
def _has_runtime() -> bool:
    return importlib.util.find_spec("onnxruntime") is not None
