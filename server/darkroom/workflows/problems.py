"""What is wrong with a document: every problem with the path to it, not only the first."""

import re
from collections.abc import Sequence
from typing import Any

from darkroom_tools.errors import DarkroomError, InvalidSettings
from darkroom_tools.kit.clean import clean_text
from darkroom_tools.settings import nearest

__all__ = ["Problems", "shown"]

NUMBER = re.compile(r"\[(\d+)\]")
LAST = 1_000


def shown(value: Any) -> str:
    """A value of the document as an error may repeat it."""
    if isinstance(value, str):
        return repr(clean_text(value, 60))
    return "a list" if isinstance(value, list | tuple) else "an object" if isinstance(value, dict) else repr(value)[:60]


class Problems:
    """Collects what is wrong, so that one look at a document finds all of it."""

    def __init__(self) -> None:
        self._found: list[InvalidSettings] = []

    def add(self, path: str, text: str, **details: Any) -> None:
        """Note a problem at `path`; `text` is one or two sentences."""
        error = InvalidSettings(f"{path}: {text}", field=path, **details)
        if all(error.message != known.message for known in self._found):
            self._found.append(error)

    def unknown(self, path: str, text: str, name: str, allowed: Sequence[str], *, what: str) -> None:
        """Note a name that there is not, with the nearest one and all that there are."""
        near = nearest(name, list(allowed))
        hint = f" Did you mean {near!r}?" if near else ""
        known = f" {what}: {', '.join(allowed)}." if allowed else ""
        self.add(path, f"{text}{hint}{known}", got=clean_text(name, 60), allowed=list(allowed), nearest=near)

    def include(self, path: str, error: DarkroomError) -> None:
        """Note what validation said of the value at `path`."""
        details = {**error.details, "field": path}
        self._found.append(InvalidSettings(f"{path}: {error.message}", **details))

    @property
    def all(self) -> list[InvalidSettings]:
        """Everything found: by component, then what is about the document itself."""
        return sorted(self._found, key=_place)

    def raise_first(self) -> None:
        """Raises the first problem, if there is one."""
        if self._found:
            raise self.all[0]


def _place(error: InvalidSettings) -> int:
    path = str(error.details.get("field", ""))
    number = NUMBER.search(path) if path.startswith(("components", "steps")) else None
    return int(number[1]) if number else LAST
