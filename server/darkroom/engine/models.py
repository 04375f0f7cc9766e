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
from darkroom_tools.errors import ProcessingFailed, RuntimeNotInstalled
from darkroom_tools.models import missing

__all__ = ["ModelService"]

logger = logging.getLogger(__name__)


class ModelService:
    """Runs models in one process, which starts with the first request and ends after a while without any.

    When the process dies, the requests in flight fail with `ProcessingCrashed` and the next one starts a new process.

    Args:
        models_dir: The folder of `model_store`.
        memory_bytes: Budget for all loaded models together.
        providers: Devices to try, by name (`tensorrt`, `cuda`, `coreml`, `directml`, `openvino`, `cpu`); None tries
            all in this order.
        idle_seconds: The process ends after so long without a request.
    """

    def __init__(
        self,
        models_dir: Path,
        *,
        memory_bytes: int,
        providers: Sequence[str] | None = None,
        idle_seconds: float = 600.0,
    ) -> None:
        self._models_dir = models_dir
        self._manifest: tuple[object, Mapping[str, ModelFile]] = (None, {})
        self._settings = {
            "models": str(models_dir),
            "memory": memory_bytes,
            "providers": None if providers is None else list(providers),
        }
        self._idle_seconds = idle_seconds
        self._starting = asyncio.Lock()
        self._process: ModelProcess | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._in_use = 0
        self._starts = 0
        self._crashes = 0

    def installed(self) -> Mapping[str, ModelFile]:
        """The models that have a file here, by id.

        Raises:
            ModelInvalid: The manifest is damaged.
        """
        try:
            status = (self._models_dir / MANIFEST).stat()
        except OSError:
            return {}
        version = (status.st_ino, status.st_mtime_ns, status.st_size)
        if self._manifest[0] != version:
            self._manifest = (version, installed_models(self._models_dir))
        return self._manifest[1]

    def runtime_installed(self) -> bool:
        """Whether ONNX Runtime is there; the question does not load it."""
        return _has_runtime()

    async def infer(self, request: Mapping[str, Any], fds: Sequence[int], job: str) -> Reply:
        """Run a model.

        Args:
            request: `{"model": id, "inputs": [{"dtype", "shape"}]}`.
            fds: Shared memory of each input (`shared.write_array`); they stay the caller's to close.
            job: Whom the request counts for: jobs take turns.

        Returns:
            `{"outputs": [{"dtype", "shape"}], "device": name}` and the outputs' memory, which is the caller's to close.

        Raises:
            ModelNotInstalled: The manifest has no such model.
            RuntimeNotInstalled: ONNX Runtime is missing.
            ModelInvalid: The model's file changed, cannot be loaded, or takes other arrays than these.
            ProcessingCrashed: The model process died meanwhile.
            OutOfMemory: The model is over the budget, or the device has too little memory.
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
        wire = {"id": file.id, "path": str(file.path), "sha256": file.sha256, "bytes": file.bytes}
        self._use()
        try:
            process = await self._running()
            return await process.call({"model": wire, "inputs": inputs, "job": job}, fds)
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
        async with self._starting:
            if self._process is not None:
                await self._process.stop()

    def _use(self) -> None:
        self._in_use += 1
        if self._idle is not None:
            self._idle.cancel()

    def _release(self) -> None:
        self._in_use -= 1
        if self._in_use == 0 and self._process is not None:
            self._idle = asyncio.get_running_loop().call_later(self._idle_seconds, self._process.end)

    async def _running(self) -> ModelProcess:
        async with self._starting:
            if self._process is None or self._process.ended:
                start = asyncio.ensure_future(ModelProcess.start(self._settings, self._gone))
                self._starts += 1
                try:
                    self._process = await asyncio.shield(start)
                except asyncio.CancelledError:
                    self._process = await start
                    raise
            return self._process

    def _gone(self, process: ModelProcess) -> None:
        if not process.told_to_end:
            self._crashes += 1
            logger.error("the model process died; the next request starts a new one")
        if self._process is process:
            self._process = None


def _not_installed() -> RuntimeNotInstalled:
    in_checkout = (Path(darkroom.__file__).parents[2] / "pyproject.toml").is_file()
    command = "uv sync --extra ai" if in_checkout else 'uv tool install "darkroom-mcp[ai]"'
    return RuntimeNotInstalled(
        f"ONNX Runtime, which runs the models, is not installed. Install it with: {command}", command=command
    )


@functools.cache
def _has_runtime() -> bool:
    return importlib.util.find_spec("onnxruntime") is not None
