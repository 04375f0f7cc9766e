"""`darkroom workflows`: list, show, run, export, import, publish and delete, over the same calls as agents."""

from __future__ import annotations

import argparse
import sys

TYPE_CHECKING = False  # the command line reads this module whatever it runs, so it imports nothing slow
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from darkroom.client import Client
    from darkroom.errands import Errand

__all__ = ["add_parser"]


def add_parser(add: Callable[..., argparse.ArgumentParser], commands: object) -> None:
    """Add the subcommand; `add` is the command line's own way of adding one."""
    workflows = add(
        commands,
        "workflows",
        "list, show, run, export, import or delete saved workflows",
        "A NAME is the workflow's name, tool name or id; name@2 is its second version, gallery/… one that comes with "
        "Darkroom.",
    )
    workflows.set_defaults(handler=_guarded(_list), query="")
    actions = workflows.add_subparsers(dest="action", metavar="ACTION")
    workflows.epilog = "`darkroom workflows ACTION --help` says more; without an action it is `list`."

    def action(name: str, does: str, handler: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        parser = actions.add_parser(name, help=does, description=f"{does[0].upper()}{does[1:]}.")
        parser.add_argument("--data-dir", metavar="DIR", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        parser.set_defaults(handler=_guarded(handler))
        return parser

    listing = action("list", "which there are, yours and those of the gallery", _list)
    listing.add_argument("query", metavar="TEXT", nargs="?", default="", help="in the name, the description or a tag")
    show = action("show", "all about one: inputs, steps, versions", _show)
    export = action("export", "write one as a JSON document", _export)
    run = action("run", "run one on files; results stand beside each file", _run)
    publish = action("publish", "make one a tool in every agent's list", _publish)
    unpublish = action("unpublish", "take one out of the list; it still runs", _publish)
    delete = action("delete", "delete one with all its versions; pictures stay", _delete)
    for parser in (show, export, run, publish, unpublish, delete):
        parser.add_argument("name", metavar="NAME", help="of the workflow")
    export.add_argument("file", metavar="FILE", help="to write; - is standard output")
    export.add_argument("--overwrite", action="store_true", help="replace the file if it exists")
    imported = action("import", "save a JSON document as a workflow, or as the next version of one", _import)
    imported.add_argument("file", metavar="FILE", help="that export wrote; - is standard input")
    imported.add_argument("--name", metavar="NAME", help="save it under this name instead")
    run.set_defaults(takes_settings=True)
    run.epilog = "Inputs of the workflow are given as --NAME VALUE; `darkroom workflows show NAME` tells them."
    run.add_argument("files", metavar="FILE", nargs="*", help="pictures, patterns of files, folders")
    run.add_argument(
        "--input", action="append", default=[], metavar="NAME=VALUE", help="an input with the name of an option here"
    )
    run.add_argument("--out", metavar="DIR", help="folder for the results (default: beside each file)")
    run.add_argument("--zip", metavar="FILE", help="write one ZIP of all results instead of files")
    run.add_argument("--overwrite", action="store_true", help="replace files that exist")
    run.add_argument("--skip-existing", action="store_true", help="leave out files that have a result already")


def _guarded(handler: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """The handler with errors told in one line."""

    def run(chosen: argparse.Namespace) -> int:
        from darkroom.client import Refused
        from darkroom_tools.errors import DarkroomError

        try:
            return handler(chosen)
        except (Refused, OSError, ValueError, DarkroomError) as error:
            sys.stderr.write(f"darkroom: {error}\n")
            return 1

    return run


def _client(chosen: argparse.Namespace) -> Client:
    from darkroom.client import Client

    return Client(chosen.data_dir, [])


def _list(chosen: argparse.Namespace) -> int:
    with _client(chosen) as client:
        found = client.call("list_workflows", {"query": chosen.query})
    mine, gallery = found["items"], found["gallery"]
    if mine:
        _table([("NAME", "VERSION", "TOOL", "INPUTS"), *map(_row, mine)])
    else:
        wanted = " like that" if chosen.query else ""
        sys.stdout.write(f"No workflow{wanted} is saved. Agents save them with save_workflow.\n")
    if gallery:
        sys.stdout.write("\n")
        _table([("GALLERY", "RUN AS"), *((each["name"], each["workflow"]) for each in gallery)])
    return 0


def _row(facts: Mapping[str, Any]) -> tuple[str, str, str, str]:
    called = facts.get("tool") or ("broken" if "problem" in facts else "not published")
    return facts["name"], str(facts.get("version", "")), called, facts.get("problem") or _inputs(facts)


def _inputs(facts: Mapping[str, Any]) -> str:
    return ", ".join(facts.get("inputs", ()))


def _table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns; the last column takes what is left of the line, and is broken there."""
    import shutil
    import textwrap

    widths = [max(map(_width, column)) + 2 for column in zip(*rows, strict=True)][:-1]
    indent = sum(widths)
    columns = max(shutil.get_terminal_size((100, 24)).columns, indent + 30)
    for *cells, last in rows:
        left = "".join(cell + " " * (width - _width(cell)) for cell, width in zip(cells, widths, strict=True))
        lines = textwrap.wrap(last, columns - indent) or [""]
        sys.stdout.write((left + f"\n{'':{indent}}".join(lines)).rstrip() + "\n")


def _width(text: str) -> int:
    """Columns of a terminal that a text takes: two for each wide character, such as Chinese."""
    import unicodedata

    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _show(chosen: argparse.Namespace) -> int:
    with _client(chosen) as client:
        facts = client.call("list_workflows", {"workflow": chosen.name})
    sys.stdout.write(f"{facts['name']}: {facts.get('tool') or facts['workflow']}\n")
    for line in (facts.get("description"), facts.get("problem")):
        if line:
            sys.stdout.write(f"{line}\n")
    sys.stdout.write(f"Steps: {', '.join(facts['steps'])}\n")
    if facts.get("inputs"):
        sys.stdout.write("Inputs:\n")
        _table([(f"  {name}", _words(says)) for name, says in facts["inputs"].items()])
    if facts.get("versions"):
        sys.stdout.write("Versions:\n")
        _table([(f"  {row['number']}", row["savedAt"], row["id"], row["author"]) for row in facts["versions"]])
    return 0


def _words(says: Mapping[str, Any]) -> str:
    """What an input takes, in one line."""
    import json

    kind = "one of " + ", ".join(map(str, says["enum"])) if "enum" in says else str(says.get("type", "value"))
    words = ["several images" if says.get("many") else kind, says.get("description") or says.get("title") or ""]
    words += [f"{sign} {says[key]}" for key, sign in (("minimum", "≥"), ("maximum", "≤")) if key in says]
    if "default" in says:
        words.append(f"default {json.dumps(says['default'], ensure_ascii=False)}")
    return "; ".join(word for word in (["required", *words] if says["required"] else words) if word)


def _export(chosen: argparse.Namespace) -> int:
    import json
    from pathlib import Path

    file = Path(chosen.file)
    if chosen.file != "-" and file.exists() and not chosen.overwrite:
        raise FileExistsError(f"{file.name} exists. Replace it with --overwrite.")
    with _client(chosen) as client:
        facts = client.call("list_workflows", {"workflow": chosen.name})
        document = facts.get("document")
        if document is None:
            document = json.loads(client.read(f"darkroom://workflows/{facts['versionId']}"))
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    if chosen.file == "-":
        sys.stdout.write(text)
    else:
        file.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{file}  {facts['name']}\n")
    return 0


def _import(chosen: argparse.Namespace) -> int:
    from pathlib import Path

    from darkroom.workflows.exchange import MOST_BYTES, read_document

    if chosen.file == "-":
        data = sys.stdin.buffer.read(MOST_BYTES + 1)
    else:
        with Path(chosen.file).open("rb") as source:
            data = source.read(MOST_BYTES + 1)
    # Read here too, so that a file of another kind is refused before anything of it goes anywhere.
    document = {**read_document(data).to_wire(), **({"name": chosen.name} if chosen.name else {})}
    with _client(chosen) as client:
        _tell(client.call("save_workflow", document))
    return 0


def _tell(facts: Mapping[str, Any]) -> None:
    called = facts.get("tool") or "not published; run it with `darkroom workflows run`"
    sys.stdout.write(f"{facts['name']}  version {facts['version']}  {called}\n")


def _publish(chosen: argparse.Namespace) -> int:
    with _client(chosen) as client:
        _tell(client.call("save_workflow", {"name": chosen.name, "published": chosen.action == "publish"}))
    return 0


def _delete(chosen: argparse.Namespace) -> int:
    with _client(chosen) as client:
        deleted = client.call("delete_workflow", {"workflow": chosen.name})["deleted"]
    sys.stdout.write(f"{deleted} is deleted.\n")
    return 0


def _run(chosen: argparse.Namespace) -> int:
    import re
    from functools import partial
    from pathlib import Path

    from darkroom.errands import Results
    from darkroom.run import run_errands
    from darkroom.words import parse_words

    if odd := [given for given in chosen.input if "=" not in given]:
        raise ValueError(f"An input is written --input NAME=VALUE, but got {odd[0]!r}.")
    with _client(chosen) as client:
        facts = client.call("list_workflows", {"workflow": chosen.name})
    if "problem" in facts:
        raise ValueError(f"The workflow {facts['name']!r} cannot run any more. {facts['problem']}")
    schema = _as_schema(facts["inputs"])
    words = [*chosen.files, *chosen.rest, *(f"--{given}" for given in chosen.input)]
    wanted = parse_words(words, schema)
    out, zip = (Path(path) if path else None for path in (chosen.out, chosen.zip))
    to = Results(out, chosen.overwrite, chosen.skip_existing, zip)
    label = re.sub(r"[^\w]+", "-", facts["name"]).strip("-").lower() or "workflow"
    lacks = [name for name, says in facts["inputs"].items() if _is_single(says) and name not in wanted.settings]
    called = partial(_as_called, chosen.name, lacks[0] if lacks else "image")
    return run_errands(chosen.data_dir, "run_workflow", label, schema, wanted, to, as_called=called)


def _is_single(says: Mapping[str, Any]) -> bool:
    return bool(says["type"] == "image" and says["required"] and not says.get("many"))


def _as_schema(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs as the schema of a tool, in which files find their places."""
    from darkroom_tools.base import IMAGE_HELP

    one = {"type": "string", "description": IMAGE_HELP}
    properties = {
        name: ({"type": "array", "items": one} if says.get("many") else one) if says.get("type") == "image" else says
        for name, says in inputs.items()
    }
    return {"properties": properties, "required": [name for name, says in inputs.items() if says["required"]]}


def _as_called(workflow: str, single: str, errand: Errand) -> Errand:
    """A call of the workflow as the call of run_workflow; the pictures of a batch are a list of its one image."""
    from dataclasses import replace

    if errand.rest is None:
        return replace(errand, arguments={"workflow": workflow, "inputs": dict(errand.arguments)})
    settings = errand.arguments["steps"][0]["settings"]
    images = errand.arguments["images"]
    zip = {"zip": True} if errand.zip else {}

    def arguments(start: int) -> dict[str, Any]:
        return {"workflow": workflow, "inputs": {**settings, single: images[start:]}}

    return replace(errand, tool="run_workflow", arguments={**arguments(0), **zip}, rest=arguments)
