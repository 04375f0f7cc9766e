"""The graphics processors of this machine, asked without ONNX Runtime: is there one, and how full is its memory."""

import platform
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final, Literal

__all__ = ["Gpu", "VideoMemory", "present_gpu"]

Gpu = Literal["NVIDIA", "Apple"]

SECONDS_BETWEEN_LOOKS: Final = 1.0


def present_gpu() -> Gpu | None:
    """Whose graphics processor this process could use; None if there is none."""
    if sys.platform == "darwin":
        return "Apple" if platform.machine() == "arm64" else None
    return "NVIDIA" if any(Path("/dev").glob("nvidia[0-9]*")) else None


class VideoMemory:
    """Memory of the first NVIDIA device, by NVML where its Python package is installed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._looked_at = float("-inf")
        self._seen: dict[str, int] | None = None
        self._library: Any = None
        self._device: Any = None
        try:
            import pynvml

            pynvml.nvmlInit()
            self._library, self._device = pynvml, pynvml.nvmlDeviceGetHandleByIndex(0)
        except Exception:  # noqa: BLE001 (no package, no driver, no right to ask: then nobody knows)
            self._library = None

    def stats(self) -> dict[str, int] | None:
        """`usedBytes`, `freeBytes` and `totalBytes`, at most a second old; None where nobody can tell."""
        if self._library is None:
            return None
        with self._lock:
            now = time.monotonic()
            if now - self._looked_at >= SECONDS_BETWEEN_LOOKS:
                self._looked_at, self._seen = now, self._look()
            return self._seen

    def _look(self) -> dict[str, int] | None:
        try:
            memory = self._library.nvmlDeviceGetMemoryInfo(self._device)
        except self._library.NVMLError:
            return None
        return {"usedBytes": memory.used, "freeBytes": memory.free, "totalBytes": memory.total}
