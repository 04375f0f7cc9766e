"""Loaded models: one ONNX Runtime session per (file digest, device, threads), within a memory budget.

Only the model process imports this.
"""

import contextlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from darkroom.engine.devices import CPU, Device, open_session
from darkroom.engine.inference import Session
from darkroom.engine.model_store import verify_file
from darkroom_tools.errors import ModelInvalid, OutOfMemory

__all__ = ["Model", "Sessions"]

logger = logging.getLogger(__name__)

MEMORY_FACTOR: Final = 2
"""A session's share of the budget over its file size: weights, and their copies in the kernels' own layout."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model file as a request names it.

    Attributes:
        id: What callers call it.
        path: The ONNX file.
        sha256: Digest that it must have.
        bytes: Its size.
        half: The same model in 16-bit floats, where that is installed.
        side: A size for its free axes that tools use; 0 if nobody knows.
    """

    id: str
    path: Path
    sha256: str
    bytes: int
    half: "Model | None" = None
    side: int = 0

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> "Model":
        """From what the server sent: a mapping of the attributes."""
        half = cls.from_wire(wire["half"]) if wire.get("half") else None
        return cls(wire["id"], Path(wire["path"]), wire["sha256"], wire["bytes"], half, wire.get("side", 0))

    def for_device(self, device: Device) -> "Model":
        """The file that the device runs: in 16-bit floats, where it is there, on anything but a CPU."""
        return self if self.half is None or device is CPU else self.half


@dataclass(eq=False, slots=True)
class _Entry:
    bytes: int
    session: Session | None = None
    users: int = field(default=1)


class Sessions:
    """Loads models when they are needed and drops the least recently used ones that nobody uses.

    Args:
        memory_bytes: Budget for all loaded models together.

    Attributes:
        loads: Sessions built so far.
        evictions: Sessions dropped for others so far.
        budget: As given.
    """

    def __init__(self, memory_bytes: int) -> None:
        self.budget = memory_bytes
        self._kept: set[str] = set()
        self._changed = threading.Condition()
        self._entries: OrderedDict[tuple[str, str, int], _Entry] = OrderedDict()
        self.loads = 0
        self.evictions = 0

    def __len__(self) -> int:
        """Loaded sessions."""
        return len(self._entries)

    @property
    def used_bytes(self) -> int:
        """What the loaded models take of the budget."""
        with self._changed:
            return sum(entry.bytes for entry in self._entries.values())

    def keep(self, model: Model) -> None:
        """Drop this model last of all."""
        self._kept.add(model.sha256)

    @contextlib.contextmanager
    def lease(self, model: Model, device: Device, threads: int) -> Iterator[Session]:
        """Use a model; it stays loaded at least until the end of the block.

        Waits while other models in use leave no room for it.

        Raises:
            ModelInvalid: The file changed since its import, or ONNX Runtime cannot run it.
            OutOfMemory: The model alone is over the budget.
        """
        key = (model.sha256, device.name, threads)
        entry = self._enter(key, model)
        try:
            if entry.session is None:
                session = _load(model, device, threads)
                with self._changed:
                    entry.session = session
                    self.loads += 1
                    self._changed.notify_all()
            yield entry.session
        finally:
            with self._changed:
                entry.users -= 1
                if entry.session is None:
                    del self._entries[key]
                self._changed.notify_all()

    def _enter(self, key: tuple[str, str, int], model: Model) -> _Entry:
        """Count as a user of the loaded session, or make the entry that the caller has to load."""
        need = model.bytes * MEMORY_FACTOR
        if need > self.budget:
            raise OutOfMemory(
                f"The model {model.id!r} needs about {need // 2**20} MiB; models may take {self.budget // 2**20} MiB "
                "together. Raise the memory limit for models, or use a smaller model.",
                model=model.id,
            )
        with self._changed:
            while True:
                entry = self._entries.get(key)
                if entry is not None and entry.session is not None:
                    entry.users += 1
                    self._entries.move_to_end(key)
                    return entry
                if entry is None and self._make_room(need):
                    self._entries[key] = _Entry(need)
                    return self._entries[key]
                self._changed.wait()

    def _make_room(self, need: int) -> bool:
        """Drop idle sessions, the least recently used first and kept ones last, if that makes room enough."""
        free = self.budget - sum(entry.bytes for entry in self._entries.values())
        idle = [(key, entry.bytes) for key, entry in self._entries.items() if entry.users == 0]
        if free + sum(size for _, size in idle) < need:
            return False
        for key, size in sorted(idle, key=lambda entry: entry[0][0] in self._kept):
            if free >= need:
                break
            del self._entries[key]
            free += size
            self.evictions += 1
        return True


def _load(model: Model, device: Device, threads: int) -> Session:
    verify_file(model.path, model.sha256, model.id)
    note = ""
    if device is not CPU:
        try:
            session = Session(open_session(str(model.path), device, threads), memory=device.memory)
            session.note = _cannot(device, model) if session.device == CPU.name else ""
            return session
        except Exception as error:  # whatever a provider's library throws; the CPU may still run the model
            logger.warning("%s cannot load model %s; the CPU runs it", device.name, model.id, exc_info=error)
            note = _cannot(device, model)
    try:
        return Session(open_session(str(model.path), CPU, threads), note=note)
    except Exception as error:
        raise ModelInvalid(
            f"The model {model.id!r} cannot be loaded: it is damaged or made for a newer ONNX Runtime. "
            f"Import a working file with `darkroom models import {model.id} FILE`.",
            model=model.id,
        ) from error


def _cannot(device: Device, model: Model) -> str:
    return f"The device {device.name!r} cannot run the model {model.id!r}, so the CPU did."
