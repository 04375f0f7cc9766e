"""`darkroom jobs`: what was run, how it goes, and what you think of it."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # the command line reads this module whatever it runs, so it imports nothing slow
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from typing import Any

    from darkroom.client import Client

__all__ = ["add_parser"]

STATES = ("queued", "running", "succeeded", "failed", "canceled")
WAIT_SECONDS = 45
ACTIONS = (
    ("list", "the newest jobs first"),
    ("show", "everything about one, with its results"),
    ("watch", "follow one until it ends"),
    ("cancel", "stop one; what a batch finished stays"),
    ("like", "say that its result is good"),
    ("dislike", "say that it is not"),
    ("pin", "keep a job and its images, or one image, however old it is"),
    ("unpin", "let it go again when it is old"),
    ("delete", "forget one that ended; its images stay"),
)


def add_parser(add: Callable[..., argparse.ArgumentParser], commands: object) -> None:
    """Add the subcommand; `add` is the command line's own way of adding one."""
    parser = add(
        commands,
        "jobs",
        "list, watch, cancel, rate, pin or delete jobs",
        "Everything that was run and had something to do is a job. Without an action it is `list`.",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    plain: dict[str, Any] = {"state": None, "tool": None, "since": None, "until": None, "label": [], "liked": None}
    parser.set_defaults(handler=_run, action="list", limit=20, json=False, **plain)
    for name, does in ACTIONS:
        action = actions.add_parser(name, help=does, description=f"{does[0].upper()}{does[1:]}.")
        if name == "list":
            _add_filters(action)
            continue
        pins = name in ("pin", "unpin")
        action.add_argument("job", metavar="JOB|IMAGE" if pins else "JOB", help="its id, such as job_…")
        if name in ("like", "dislike"):
            action.add_argument("--note", metavar="TEXT", help="why")
            action.add_argument("--expected", metavar="IMAGE", action="append", help="an image as it should have been")
        if name == "delete":
            action.add_argument("--images", action="store_true", help="with the images that it made and nobody pinned")


def _add_filters(action: argparse.ArgumentParser) -> None:
    action.add_argument("--state", choices=STATES, help="only those")
    action.add_argument("--tool", metavar="NAME", help="only of this tool or saved workflow")
    action.add_argument("--since", metavar="DATE", help="from then on, such as 2026-11-22 (UTC)")
    action.add_argument("--until", metavar="DATE", help="until then")
    action.add_argument(
        "--label", metavar="NAME=VALUE", action="append", default=[], help="with this label; repeatable"
    )
    action.add_argument("--liked", action="store_true", default=None, help="that were liked")
    action.add_argument("--disliked", dest="liked", action="store_false", help="that were disliked")
    action.add_argument("--limit", type=int, default=20, metavar="N", help="at most so many (default: 20, up to 100)")
    action.add_argument("--json", action="store_true", help="every fact, for programs")


def _run(chosen: argparse.Namespace) -> int:
    from darkroom.client import Client, Refused

    try:
        with Client(chosen.data_dir, []) as client:
            return _act(client, chosen)
    except (Refused, OSError, ValueError) as error:
        sys.stderr.write(f"darkroom: {error}\n")
        return 1


def _act(client: Client, chosen: argparse.Namespace) -> int:
    if chosen.action == "list":
        return _list(client, chosen)
    if chosen.action == "show":
        return _show(client, chosen.job)
    if chosen.action == "watch":
        return _watch(client, chosen.job)
    if chosen.action == "cancel":
        facts = client.call("cancel_job", {"job": chosen.job})
        return _say(f"{facts['job']} is {facts['state']}.")
    if chosen.action == "delete":
        facts = client.call("rate_job", {"job": chosen.job, "delete": True, "images": chosen.images})
        images = f", and {facts['imagesDeleted']} images" if chosen.images else "; its images stay"
        return _say(f"{facts['deleted']} is deleted{images}.")
    if chosen.action in ("pin", "unpin"):
        client.call("rate_job", {"job": chosen.job, "pin": chosen.action == "pin"})
        return _say(f"{chosen.job} is {chosen.action}ned.")
    said = {"note": chosen.note, "expected": chosen.expected}
    given = {key: value for key, value in said.items() if value is not None}
    client.call("rate_job", {"job": chosen.job, "like": chosen.action == "like", **given})
    return _say(f"{chosen.job} is {chosen.action}d.")


def _list(client: Client, chosen: argparse.Namespace) -> int:
    labels = dict(_label(text) for text in chosen.label)
    names = ("state", "tool", "since", "until", "liked", "limit")
    wanted = {name: value for name in names if (value := getattr(chosen, name)) is not None}
    facts = client.call("list_jobs", {**wanted, **({"labels": labels} if labels else {})})
    items: list[dict[str, Any]] = facts["items"]
    if chosen.json:
        import json

        return _say(json.dumps(items, indent=2, ensure_ascii=False))
    for item in items:
        _say(_line(item))
    if not items:
        sys.stderr.write("No such jobs.\n")
    if "next" in facts:
        sys.stderr.write("There are older ones: see --limit and --until.\n")
    return 0


def _label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"A label is NAME=VALUE, but got {text!r}.")
    return name, value


def _line(item: dict[str, Any]) -> str:
    """One job: `job_…  2026-11-22 10:30:05  succeeded  resize  0.4 s  img_…`."""
    when = item["createdAt"].replace("T", " ").rstrip("Z")
    images = item.get("images", [])
    many = item.get("imageCount", len(images))
    words = [
        item["job"],
        when,
        item["state"],
        item["tool"].replace("_", "-"),
        f"{item['done']} of {item['total']} done" if "total" in item else "",
        f"{item['seconds']:.1f} s" if "seconds" in item else "",
        item.get("error", ""),
        images[0] if many == 1 else f"{many} images" if many else "",
        "" if "like" not in item else "liked" if item["like"] else "disliked",
        "pinned" if item.get("pinned") else "",
        *(f"{name}={value}" for name, value in item.get("labels", {}).items()),
    ]
    return "  ".join(word for word in words if word)


def _show(client: Client, job: str) -> int:
    import json

    facts = client.call("get_job", {"job": job, "wait": 0})
    return _say(json.dumps(facts, indent=2, ensure_ascii=False))


def _watch(client: Client, job: str) -> int:
    from darkroom.run import ProgressBar

    bar = ProgressBar(job)
    while True:
        try:
            facts = client.call("get_job", {"job": job, "wait": WAIT_SECONDS}, bar)
        finally:
            bar.clear()
        if facts.get("state") not in ("queued", "running"):
            break
    images = [item for item in facts.get("items", [facts]) if "image" in item or "images" in item]
    for item in images:
        _say(item.get("image") or ", ".join(image["image"] for image in item["images"]))
    failed = facts.get("failed", 0)
    how = f"; {failed} of {facts['total']} failed" if failed else ""
    sys.stderr.write(f"{job} has ended{how}.\n")
    return int(bool(failed))


def _say(text: str) -> int:
    sys.stdout.write(f"{text}\n")
    return 0
