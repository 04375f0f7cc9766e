"""All models that are known here: the cards, the files that are installed, and what each one still lacks."""

import importlib.metadata
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from darkroom.engine.model_store import ModelFile, Trust, installed_models
from darkroom.engine.packaged_models import packaged_path
from darkroom_tools.models import Card, cards, missing

if TYPE_CHECKING:
    from darkroom_tools.base import Tool

__all__ = ["AI_COMMAND", "Entry", "State", "all_entries", "runtime_version"]

AI_COMMAND: Final = "uv tool install 'darkroom-mcp[ai]' (in a checkout: uv sync --extra ai)"

RUNTIMES: Final = ("onnxruntime-gpu", "onnxruntime", "onnxruntime-directml", "onnxruntime-openvino")
"""Distributions that bring the module `onnxruntime`."""

State = Literal["installed", "packaged", "needs-extra", "not-installed"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A model as this machine has it.

    Attributes:
        id: What settings and commands call it.
        card: Its card; None for a file that was imported under an id of its own.
        file: The file that was pulled or imported; None if there is none.
        packaged: Where its file lies in an installed package; None if it does not, or if nothing can run it.
        tools: Names of the tools that can use it.
    """

    id: str
    card: Card | None
    file: ModelFile | None
    packaged: Path | None
    tools: tuple[str, ...]

    @property
    def state(self) -> State:
        """Whether it can be used, and if not, why."""
        if self.file is not None:
            return "installed"
        if self.packaged is not None:
            return "packaged"
        return "needs-extra" if self.card is not None and self.card.packaged is not None else "not-installed"

    @property
    def bytes(self) -> int | None:
        """Size of its file; None where nobody has told."""
        if self.file is not None:
            return self.file.bytes
        if self.packaged is not None:
            return self.packaged.stat().st_size
        return self.card.bytes if self.card is not None else None

    @property
    def trust(self) -> Trust | None:
        """Why its file is, or will be, believed to be the model; None where nothing but its origin says so."""
        if self.card is None:
            return None
        if self.file is not None:
            return self.file.trust
        pinned: Trust | None = "sha256" if self.card.sha256 else "md5" if self.card.md5 else None
        return pinned or (None if self.card.packaged is not None else "first-use")

    @property
    def command(self) -> str | None:
        """What installs it; None if it is here."""
        if self.state == "needs-extra":
            return AI_COMMAND
        return str(missing(self.id).details["command"]) if self.state == "not-installed" else None


def all_entries(models_dir: Path, tools: "Iterable[Tool]") -> list[Entry]:
    """Every card in its order, then what was imported without one.

    Args:
        models_dir: The folder of `model_store`.
        tools: Those that may use models.

    Raises:
        ModelInvalid: The manifest is damaged.
    """
    installed, using = installed_models(models_dir), list(tools)
    has_runtime = importlib.util.find_spec("onnxruntime") is not None
    entries = []
    for model in [*cards(), *(model for model in installed if model not in cards())]:
        card = cards().get(model)
        users = tuple(tool.id for tool in using if model in tool.models)
        packaged = packaged_path(card) if card is not None and has_runtime else None
        entries.append(Entry(model, card, installed.get(model), packaged, users))
    return entries


def runtime_version() -> str | None:
    """Version and build of ONNX Runtime, such as `1.31.1 (onnxruntime-gpu)`; None if it is missing. Loads nothing."""
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    for name in RUNTIMES:
        try:
            return f"{importlib.metadata.version(name)} ({name})"
        except importlib.metadata.PackageNotFoundError:
            continue
    return "of unknown version"
