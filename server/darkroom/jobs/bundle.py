"""All results of a batch in one ZIP, with a report of what is not in it."""

import json
import mmap
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from darkroom.engine.limits import MIB
from darkroom.engine.outcome import Picture
from darkroom.errors import Conflict
from darkroom.jobs.record import ItemResult
from darkroom.jobs.recording import Entry as Finished
from darkroom.jobs.recording import Made
from darkroom.jobs.request import Request
from darkroom.library.record import ImageRecord
from darkroom.store.blobs import BlobStore
from darkroom_tools.errors import Cancelled, OutputTooLarge
from darkroom_tools.image import Entry
from darkroom_tools.kit.archive import unique_names, write_zip

__all__ = ["MOST_BYTES", "Contents", "list_contents", "pack"]

MOST_BYTES: Final = 1024 * MIB
REPORT: Final = "_report.json"
ERRORS: Final = "errors.json"
"""In a ZIP of which something is missing: what, and why."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What goes into the ZIP: the files, how many bytes they have together, and a line about every item."""

    files: Sequence[Entry]
    bytes: int
    report: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Result:
    """A file that an item came to."""

    extension: str
    size: int
    read: Callable[[], bytes | memoryview]


def list_contents(
    blobs: BlobStore, request: Request, entries: Mapping[int, Finished], known: Mapping[str, ImageRecord]
) -> Contents:
    """The results under names made from those of their sources: `photo.jpg` gives `photo.webp`, a report `photo.json`.

    Args:
        blobs: Where the results are.
        request: What was asked for.
        entries: What became of every item.
        known: Images of items that the library had answered, by handle.
    """
    found = {number: _results(blobs, entries[number], known) for number in range(len(request.items))}
    wanted = [
        f"{_stem(request, number)}{f'-{n}' if len(results) > 1 else ''}.{result.extension}"
        for number, results in found.items()
        for n, result in enumerate(results, 1)
    ]
    names = iter(unique_names([REPORT, ERRORS, *wanted])[2:])
    files: list[Entry] = []
    lines: list[dict[str, Any]] = []
    for number, results in found.items():
        members = [Entry(next(names), result.read) for result in results]
        files += members
        source = "".join(request.items[number].names[:1])
        said = _said(entries[number], source, [member.name for member in members])
        lines.append({"item": number + 1, "source": source, **said})
    failed = sum("error" in line for line in lines)
    size = sum(result.size for results in found.values() for result in results)
    return Contents(files, size, {"total": len(lines), "failed": failed, "items": lines})


def pack(blobs: BlobStore, contents: Contents, given_up: threading.Event) -> Made:
    """Write the ZIP into the store; it blocks, and stops between two files once `given_up` is set.

    Raises:
        OutputTooLarge: The files have over 1 GiB together.
        StorageFull: There is no room for them.
        Conflict: One of them was deleted meanwhile.
        Cancelled: It was given up.
    """
    if contents.bytes > MOST_BYTES:
        raise OutputTooLarge(
            f"The results have {contents.bytes / MIB:,.0f} MiB together; a ZIP holds {MOST_BYTES // MIB:,} MiB. They are stored "
            "one by one. For a ZIP run fewer images at once.",
            got=contents.bytes,
            limit=MOST_BYTES,
        )
    blobs.check_space(contents.bytes)
    report, failed = _written(contents.report), _written(_failed(contents.report))

    def members() -> Iterator[Entry]:
        yield Entry(REPORT, lambda: report)
        if contents.report["failed"]:
            yield Entry(ERRORS, lambda: failed)
        for file in contents.files:
            if given_up.is_set():
                raise Cancelled("The work was cancelled.")
            yield file

    with blobs.temporary() as path:
        with path.open("wb") as target:
            write_zip(target, members())
        size = path.stat().st_size
        digest = blobs.adopt(path)
    picture = Picture("zip", "application/zip", size)
    facts = {"fileCount": len(contents.files), "failed": contents.report["failed"]}
    return Made([], [{"digest": digest, "extension": "zip", "picture": asdict(picture)}], facts=facts)


def _read(path: Path) -> memoryview:
    """The bytes of a stored file, through the page cache: whatever its size, our own memory does not grow."""
    try:
        with path.open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except FileNotFoundError as error:
        raise Conflict("A result was deleted while the ZIP was made. Try again.") from error


def _results(blobs: BlobStore, entry: Finished, known: Mapping[str, ImageRecord]) -> list[_Result]:
    """Everything that an item came to."""
    if entry.report is not None:
        report = _written(entry.report)
        return [_Result("json", len(report), lambda: report)]
    if isinstance(entry, Made):
        return [
            _Result(made["extension"], made["picture"]["bytes"], partial(_read, blobs.path(made["digest"])))
            for made in entry.outputs
        ]
    records = [known[handle] for handle in entry.images if handle in known]
    return [
        _Result(record.name.rpartition(".")[2], record.bytes, partial(_read, blobs.path(record.sha256)))
        for record in records
    ]


def _written(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=2).encode()


def _failed(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The lines of the report that tell of an error, as clients of one file each want them."""
    return [
        {"filename": line["source"], "error": line["error"]["error"], "code": line["error"]["code"]}
        for line in report["items"]
        if "error" in line
    ]


def _stem(request: Request, number: int) -> str:
    name = "".join(request.items[number].names[:1]) or "image"
    return name.rpartition(".")[0] or name


def _said(entry: Finished, source: str, names: list[str]) -> dict[str, Any]:
    if isinstance(entry, ItemResult) and entry.error is not None:
        text, got = entry.error["error"], entry.error["details"].get("got")
        # A ZIP is made to be handed on, so a path that the caller wrote does not go into it.
        shown = text.replace(got, source) if isinstance(got, str) and "/" in got else text
        return {"error": {"code": entry.error["code"], "error": shown}}
    return {"files": names, **({"warnings": entry.warnings} if entry.warnings else {})}
