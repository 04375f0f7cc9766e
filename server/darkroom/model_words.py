"""How models are shown to the person who asked for them: a table, facts for programs, and what to pull first."""

import shutil
import textwrap
from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final

from darkroom.engine.model_registry import Entry
from darkroom.pull_progress import human_size

__all__ = ["TRUSTS", "advice", "facts_of", "table", "task_of"]

MARKS: Final = {"installed": "✓", "packaged": "●", "needs-extra": "!"}
LEGEND: Final = {
    "✓": "installed",
    "●": "in a package",
    "!": "needs the extra [ai]",
    "·": "not installed",
    "○": "import only",
    "*": "no commercial use",
}
TRUSTS: Final = {"sha256": "SHA-256", "md5": "MD5", "first-use": "first use", None: "–"}
FIRST_USE: Final = "first use: nobody publishes a digest; the first pull records one, and every later use is checked."
LEAST_TITLE: Final = 16
LONGEST_LICENSE: Final = 16
HARD_SPACE: Final = "\u00a0"


def task_of(entry: Entry) -> str:
    """The task of a model, `other` for one without a card."""
    return entry.card.task if entry.card is not None else "other"


def facts_of(entry: Entry) -> dict[str, Any]:
    """All that is known of a model, ready for JSON."""
    card, file = entry.card, entry.file
    facts = {
        "id": entry.id,
        "task": card.task if card is not None else None,
        "title": card.title if card is not None else None,
        "license": card.license if card is not None else None,
        "commercial": card.commercial if card is not None else None,
        "state": entry.state,
        "bytes": entry.bytes,
        "trust": entry.trust,
        "sha256": file.sha256 if file is not None else card.sha256 if card is not None else None,
        "file": card.file if card is not None else None,
        "path": str(file.path if file is not None else entry.packaged or "") or None,
        "added": file.added if file is not None else None,
        "source": file.source or None if file is not None else None,
        "sources": list(card.sources) if card is not None else [],
        "tools": list(entry.tools),
        "command": entry.command,
    }
    return {key: value for key, value in facts.items() if value is not None}


def table(entries: Sequence[Entry]) -> list[str]:
    """Lines of all models by task, as wide as the terminal."""
    cells = [[entry.id, _license(entry), human_size(entry.bytes), TRUSTS[entry.trust]] for entry in entries]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    columns = shutil.get_terminal_size((100, 24)).columns
    room = columns - sum(widths) - 2 * len(widths) - 4
    lines = []
    for task, group in groupby(entries, task_of):
        models = list(group)
        tools = ", ".join(dict.fromkeys(tool for entry in models for tool in entry.tools))
        lines += ["", *_wrapped(f"{task}  ({tools})" if tools else task, columns, indent=2)]
        for entry in models:
            lines += _rows(entry, widths, room)
    marks = set(map(_mark, entries)) | {"*" for entry in entries if _is_limited(entry)}
    legend = [_unbroken(f"{mark} {words}") for mark, words in LEGEND.items() if mark in marks]
    lines += ["", *_wrapped(",  ".join(legend), columns)]
    if any(entry.trust == "first-use" for entry in entries):
        lines += _wrapped(FIRST_USE, columns)
    return lines[1:]


def _wrapped(text: str, columns: int, *, first: str = "", indent: int = 0) -> list[str]:
    """Lines that are broken at plain spaces only."""
    lines = textwrap.wrap(text, columns, initial_indent=first, subsequent_indent=" " * indent, break_on_hyphens=False)
    return [line.replace(HARD_SPACE, " ") for line in lines]


def _unbroken(words: str) -> str:
    return words.replace(" ", HARD_SPACE)


def _rows(entry: Entry, widths: Sequence[int], room: int) -> list[str]:
    name, license, size, trust = widths
    title = entry.card.title if entry.card is not None else "imported by hand"
    title = f"{_cut(title, room):{room}}  " if room >= LEAST_TITLE else ""
    line = (
        f"  {_mark(entry)} {entry.id:{name}}  {title}{_license(entry):{license}}  "
        f"{human_size(entry.bytes):>{size}}  {TRUSTS[entry.trust]:{trust}}"
    )
    if entry.file is None:
        return [line.rstrip()]
    how = f"pulled {entry.file.added[:10]}" if entry.file.source else f"imported {entry.file.added[:10]}"
    return [line.rstrip(), f"      {how}, {entry.file.path.name}"]


def _mark(entry: Entry) -> str:
    can_be_pulled = entry.card is not None and entry.card.sources
    return MARKS.get(entry.state, "·" if can_be_pulled else "○")


def _license(entry: Entry) -> str:
    license = _cut(entry.card.license, LONGEST_LICENSE) if entry.card is not None else "–"
    return f"{license} *" if _is_limited(entry) else license


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _is_limited(entry: Entry) -> bool:
    """Whether its licence forbids commercial use."""
    return entry.card is not None and not entry.card.commercial


def advice(entries: Sequence[Entry]) -> list[str]:
    """Which models there are to pull, and for each task for which none was what would serve best."""
    lacking = [entry for entry in entries if entry.state == "not-installed" and entry.card and entry.card.sources]
    if not lacking:
        return ["Every model that can be pulled is installed."]
    lines = ["Which one? Write darkroom models pull ID", ""]
    wide = max(len(task_of(entry)) for entry in lacking)
    served = {task_of(entry) for entry in entries if entry.file is not None}
    best: list[str] = []
    columns = shutil.get_terminal_size((100, 24)).columns
    for task, group in groupby(lacking, task_of):
        models = list(group)
        names = ", ".join(_unbroken(f"{entry.id} *") if _is_limited(entry) else entry.id for entry in models)
        lines += _wrapped(names, columns, first=f"  {task:{wide}}  ", indent=wide + 4)
        best += [entry.id for entry in models if task not in served and not _is_limited(entry)][:1]
    if any(map(_is_limited, lacking)):
        lines += ["", f"* {LEGEND['*']}, only with --accept-license"]
    return [*lines, "", f"The best of each task: darkroom models pull {' '.join(best)}"] if best else lines
