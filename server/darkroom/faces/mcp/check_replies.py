"""What an agent reads of a dry run: whether it would work, what it would make, and what that takes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import mcp_types as types

from darkroom.faces.mcp.replies import dumps, facts_reply
from darkroom.jobs.checking import Check, CheckedItem
from darkroom.library.record import ImageRecord
from darkroom.workflows.estimates import Range
from darkroom.workflows.preview import NOMINAL, Outlook
from darkroom_tools.errors import DarkroomError

__all__ = ["Paths", "check_reply", "refused_reply"]

MOST_PROBLEMS: Final = 40
MOST_ITEMS: Final = 20
MOST_ALLOWED: Final = 60
MOST_RESULTS: Final = 20
MOST_LINES: Final = 12
LONGEST_LINE: Final = 300
LONGEST_TEXT: Final = 300

Paths = Callable[[str], str]
"""From the id of a step, or the name of an argument, to where the caller wrote it."""

NOTES: Final = {
    "seen": "Sizes are exact where exact is true; estimates are [least, most].",
    "unseen": f"Images that were not given, or are web addresses, are taken for a {NOMINAL.width}×{NOMINAL.height} photo.",
}


def refused_reply(
    problems: Sequence[DarkroomError], written: Callable[[str], str] = str, **facts: Any
) -> types.CallToolResult:
    """The answer for what does not compile; `written` turns the path of an error into the words of the caller."""
    told = [_problem(error, written(str(error.details.get("field", "")))) for error in problems[:MOST_PROBLEMS]]
    return _reply({"ok": False, **facts, "problems": told}, [])


def check_reply(check: Check, step: Paths, argument: Paths, **facts: Any) -> types.CallToolResult:
    """The answer for a call that was looked at: its one item, or a summary and the first items.

    Args:
        check: What was found.
        step: Where a step stands.
        argument: Where an argument stands.
        facts: What else the answer begins with.
    """
    items = [_item(item, step, argument) for item in check.items]
    whole = [_problem(error, argument(str(error.details.get("field", "")))) for error in check.problems]
    good = not whole and not any("problems" in item for item in items)
    known = sum(item.known for item in check.items)
    costs: dict[str, Any] = {
        "seconds": check.seconds.to_wire() if check.items else None,
        "waitSeconds": check.waiting.to_wire() if check.waiting is not None else None,
        "credits": check.credits,
        "free": None if check.charged else True,
    }
    if len(items) == 1:
        return _reply(
            {"ok": good, **facts, **items[0], **(_shown(costs) if good else {}), **_joined(whole, items[0])}, []
        )
    summary = {
        "total": len(items),
        "failing": sum("problems" in item for item in items) or None,
        "cached": known or None,
        "exact": bool(items) and all(item.get("exact", False) for item in items),
        "estimatedBytes": _sum(check.items),
        **costs,
        "problems": whole,
    }
    if not items:
        return _reply({"ok": good, **facts, "problems": whole}, [])
    shown = [{"item": number, **item} for number, item in enumerate(items[:MOST_ITEMS], 1)]
    if len(items) > MOST_ITEMS:
        failing = [{"item": n, **item} for n, item in enumerate(items, 1) if n > MOST_ITEMS and "problems" in item]
        shown += failing[:MOST_ITEMS]
    return _reply({"ok": good, **facts, **_shown(summary)}, shown)


def _joined(whole: Sequence[Mapping[str, Any]], item: Mapping[str, Any]) -> dict[str, Any]:
    problems = [*whole, *item.get("problems", ())]
    return {"problems": problems} if problems else {}


def _item(item: CheckedItem, step: Paths, argument: Paths) -> dict[str, Any]:
    """What is known of one item."""
    facts: dict[str, Any] = {"source": item.labels[0] if len(item.labels) == 1 else list(item.labels)}
    if item.error is not None:
        field = str(item.error.details.get("field", ""))
        return _shown({**facts, "problems": [_problem(item.error, argument(field))]})
    if item.made is not None:
        return _shown({**facts, **_made(item.made), "exact": True, "cached": True})
    found = item.forecast
    if found is None:
        return _shown(facts)
    problems = [_problem(error, _inside(step(name), error)) for name, error in found.problems]
    if not problems:
        facts |= _results(found.results, found.count, exact=found.exact)
    assumed = any(not seen.given.seen for seen in item.sources)
    return _shown(
        {
            **facts,
            "assumed": f"{NOMINAL.width}×{NOMINAL.height} {NOMINAL.format}" if assumed else None,
            "warnings": list(found.warnings),
            "problems": problems,
        }
    )


def _results(results: Sequence[Outlook], count: int | None, *, exact: bool) -> dict[str, Any]:
    """What will be made: one result flat, several in a list, none of a report."""
    if count == 0:
        return {"makes": "a report", "exact": True}
    if len(results) == 1:
        return {**_outlook(results[0]), "exact": exact}
    if not results:
        return {"makes": "files whose number the content decides", "exact": False}
    shown = [_outlook(result) for result in results[:MOST_RESULTS]]
    return {"count": count, "images": shown, "exact": exact}


def _outlook(result: Outlook) -> dict[str, Any]:
    shape = result.shape
    most = "" if shape.exact else "max"
    sides = {"width": shape.width, "height": shape.height} if shape.width else {}
    return _shown(
        {
            **{f"{most}{name.title()}" if most else name: side for name, side in sides.items()},
            "frames": shape.frames if shape.frames > 1 else None,
            "format": " or ".join(shape.formats) or shape.format,
            "files": shape.files or None,
            "estimatedBytes": result.bytes.to_wire(whole=True) if result.bytes is not None else None,
        }
    )


def _made(records: Sequence[ImageRecord]) -> dict[str, Any]:
    """An answer that is in the library already."""
    if not records:
        return {"makes": "a report"}
    made = [
        _shown(
            {
                "image": record.id,
                "width": record.width,
                "height": record.height,
                "frames": record.frames if record.frames > 1 else None,
                "format": record.format,
                "bytes": record.bytes,
            }
        )
        for record in records
    ]
    return made[0] if len(made) == 1 else {"count": len(made), "images": made[:MOST_RESULTS]}


def _sum(items: Sequence[CheckedItem]) -> list[Any] | None:
    """Bytes of all pictures together, None if nobody can say."""
    total = Range()
    for item in items:
        if item.made is not None:
            weight = sum(record.bytes for record in item.made)
            total += Range(weight, weight)
        elif item.forecast is not None and not item.forecast.problems:
            for result in item.forecast.results:
                if result.bytes is None:
                    return None
                total += result.bytes
    return total.to_wire(whole=True) if total.high else None


def _problem(error: DarkroomError, path: str) -> dict[str, Any]:
    """A problem as data: where, what, and what would be right."""
    details = error.details
    allowed = details.get("allowed")
    text = error.message.removeprefix(f"{details.get('field')}: ")
    return _shown(
        {
            "path": path,
            "code": error.code,
            # What is allowed stands beside it.
            "text": text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT].rpartition(' ')[0]} …",
            "nearest": details.get("nearest"),
            "allowed": allowed[:MOST_ALLOWED] if isinstance(allowed, list) else allowed,
            "command": details.get("command"),
        }
    )


def _inside(step: str, error: DarkroomError) -> str:
    """The path of what is wrong in a step."""
    field = str(error.details.get("field", ""))
    return f"{step}.settings.{field}" if step and field and field != "steps" else step or field


def _line(problem: Mapping[str, Any]) -> str:
    where = f"{problem['path']}: " if "path" in problem else ""
    return f"{problem['code']} {where}{problem['text']}"


def _shown(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in facts.items() if value is not None and value not in ("", [], {})}


def _reply(facts: dict[str, Any], items: list[dict[str, Any]]) -> types.CallToolResult:
    """Structured facts, and the same in a few lines."""
    every = [facts, *items]
    notes = ["seen", *(["unseen"] if any("assumed" in each for each in every) else [])] if "seconds" in facts else []
    note = {"note": " ".join(NOTES[name] for name in notes)} if notes else {}
    reply = facts_reply({**facts, **({"items": items} if items else {}), **note})
    brief = {key: value for key, value in facts.items() if key not in ("problems", "warnings")}
    lines = [dumps(brief)[: 2 * LONGEST_LINE]]
    for each in every:
        told = [_line(problem) for problem in each.get("problems", [])]
        number = f"image {each['item']}: " if "item" in each else ""
        lines += [f"{number}{text}"[:LONGEST_LINE] for text in (*told, *each.get("warnings", []))]
    more = [f"… and {len(lines) - MOST_LINES} more, see structuredContent."] if len(lines) > MOST_LINES else []
    text = types.TextContent(text="\n".join([*lines[:MOST_LINES], *more]))
    return types.CallToolResult(content=[text], structured_content=reply.structured_content)
