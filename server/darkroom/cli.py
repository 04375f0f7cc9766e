"""The command `darkroom`. Each subcommand imports what it needs when it runs: `mcp` must start at once."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from darkroom import (
    __version__,
    account_commands,
    credit_commands,
    job_commands,
    webhook_commands,
    workflow_commands,
)

__all__ = ["main"]

IDLE_SECONDS = 600.0

TYPE_CHECKING = False  # importing typing takes longer than all of this module
if TYPE_CHECKING:
    from typing import Any

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    parser = _parser()
    chosen, rest = parser.parse_known_args(arguments)
    if rest and not getattr(chosen, "takes_settings", False):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    chosen.rest = rest
    try:
        status: int = chosen.handler(chosen)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone; nothing of ours is written there at the exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="darkroom",
        description="The image tool server for agents, and its tools on the command line.",
        epilog="`darkroom COMMAND --help` says more. Everything lives in one folder: DARKROOM_DATA_DIR or --data-dir.",
    )
    parser.add_argument("--version", action="version", version=f"darkroom {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_servers(commands)
    _add_tools(commands)
    _add_models(commands)
    _add_upkeep(commands)
    account_commands.add_parser(_add, commands)
    job_commands.add_parser(_add, commands)
    webhook_commands.add_parser(_add, commands)
    credit_commands.add_parser(_add, commands)
    workflow_commands.add_parser(_add, commands)
    return parser


def _add(commands: Commands, name: str, does: str, more: str = "", **options: Any) -> argparse.ArgumentParser:
    """A subcommand; `does` is its line in the list of commands."""
    parser = commands.add_parser(name, help=does, description=f"{does[0].upper()}{does[1:]}. {more}", **options)
    parser.add_argument("--data-dir", metavar="DIR", help="where everything lives (default: DARKROOM_DATA_DIR)")
    return parser


def _add_servers(commands: Commands) -> None:
    mcp = _add(
        commands,
        "mcp",
        "speak MCP on standard input and output",
        "This is the command for an agent's configuration. It joins the server of the data directory, or starts one "
        "that ends itself when nobody needs it any more.",
    )
    mcp.add_argument(
        "--root",
        action="append",
        default=[],
        metavar="DIR",
        help="folder whose files may be named by path; repeatable (default: the working directory)",
    )
    mcp.add_argument("--standalone", action="store_true", help="share no server with others (for containers)")
    mcp.set_defaults(handler=_mcp)

    serve = _add(
        commands,
        "serve",
        "serve MCP at /mcp and the REST APIs over HTTP",
        "The first start prints the password of the user admin. Clients need a key: `darkroom keys create NAME`. "
        "DARKROOM_AUTH=off lets everybody in, on loopback only.",
    )
    serve.add_argument("--host", metavar="ADDRESS", help="address to listen on (default: 127.0.0.1)")
    serve.add_argument("--port", type=int, help="port to listen on; 0 takes a free one (default: 1349)")
    serve.add_argument("--background", action="store_true", help=argparse.SUPPRESS)
    serve.add_argument("--idle-exit", type=float, metavar="SECONDS", help="end after so long without work")
    serve.set_defaults(handler=_serve)

    stop = _add(commands, "stop", "end the server of the data directory", "What runs is finished, for 30 seconds.")
    stop.set_defaults(handler=_stop)


def _add_tools(commands: Commands) -> None:
    run = _add(
        commands,
        "run",
        "run a tool on files",
        "Files may be patterns ('*.jpg', 'photos/**/*.png') and folders. Results stand beside each file, as "
        "photo-resize.jpg for photo.jpg. Files that exist are kept.",
        usage="darkroom run [--out DIR] [--zip FILE] [--overwrite | --skip-existing] [--data-dir DIR] "
        "TOOL FILE... [--setting value]...",
        epilog="examples:\n  darkroom run resize photo.jpg --width 800\n  darkroom run compare before.jpg after.jpg\n"
        "  darkroom run convert 'photos/**/*.png' --format webp --out web --skip-existing\n"
        "  darkroom run run-pipeline steps.json photos/ --zip web.zip\n\n"
        "`darkroom tools` lists the tools, `darkroom run TOOL --help` the settings of one.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    run.add_argument("tool", metavar="TOOL", nargs="?", help="name of the tool")
    run.add_argument("--out", type=Path, metavar="DIR", help="folder for the results (default: beside each file)")
    run.add_argument("--zip", type=Path, metavar="FILE", help="write one ZIP of all results instead of files")
    run.add_argument("--overwrite", action="store_true", help="replace files that exist")
    run.add_argument("--skip-existing", action="store_true", help="leave out files that have a result already")
    run.add_argument("-h", "--help", action="store_true", help="show this, or with TOOL its settings")
    run.set_defaults(handler=_run, parser=run, takes_settings=True)

    tools = _add(commands, "tools", "list the tools, or describe one", "Saved workflows are among them.")
    tools.add_argument("tool", metavar="TOOL", nargs="?", help="describe this tool with its settings")
    tools.set_defaults(handler=_tools)


def _add_models(commands: Commands) -> None:
    models = _add(
        commands,
        "models",
        "list, pull, import, verify or remove model files",
        "Tools work without any as far as that is honest. Nothing is ever downloaded but what `pull` names.",
    )
    models.set_defaults(handler=_models, action="list", names=[], json=False)
    actions = models.add_subparsers(dest="action", metavar="ACTION")
    models.epilog = "`darkroom models ACTION --help` says more; without an action it is `list`."

    def add(name: str, does: str, more: str = "") -> argparse.ArgumentParser:
        parser = actions.add_parser(name, help=does, description=f"{does[0].upper()}{does[1:]}. {more}")
        parser.add_argument("--data-dir", metavar="DIR", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        return parser

    listing = add("list", "which models there are, and which are here")
    listing.add_argument("names", metavar="NAME", nargs="*", help="of a model, a task or a tool (default: all)")
    listing.add_argument("--json", action="store_true", help="every fact, for programs")
    pull = add("pull", "download models and check them", "What was broken off goes on where it stopped.")
    pull.add_argument("names", metavar="ID", nargs="*", help="of a model, such as u2net")
    pull.add_argument("--from", dest="mirror", metavar="URL", help="take the file from there; a folder ends in /")
    imported = add("import", "take in a model file that you have", "Without ID it is known by its name or digest.")
    imported.add_argument("names", metavar="[ID] FILE", nargs="+", help="ONNX file to import")
    for parser in (pull, imported):
        parser.add_argument("--accept-license", action="store_true", help="also where it forbids commercial use")
    verify = add("verify", "check that files are unchanged", "The exit status is 1 if one is not.")
    verify.add_argument("names", metavar="ID", nargs="*", help="of a model (default: all that are here)")
    remove = add("remove", "delete model files")
    remove.add_argument("names", metavar="ID", nargs="+", help="of a model")
    path = add("path", "print the folder of the models, or the file of one")
    path.add_argument("names", metavar="ID", nargs="?", help="of a model")


def _add_upkeep(commands: Commands) -> None:
    docs = commands.add_parser(
        "docs",
        help="write llms.txt, llms-full.txt and workflow.schema.json into this folder",
        description="Write llms.txt, llms-full.txt and workflow.schema.json, generated from the tools' and workflows' "
        "schemas, into this folder.",
    )
    docs.add_argument("--check", action="store_true", help="write nothing; fail if they are stale")
    docs.set_defaults(handler=_docs)

    doctor = _add(
        commands, "doctor", "what is missing, and the exact fix", "The exit status is 1 if Darkroom cannot work."
    )
    doctor.set_defaults(handler=_doctor)


def _mcp(chosen: argparse.Namespace) -> int:
    from darkroom.paths import data_dir
    from darkroom.relay import default_roots, relay

    roots = [Path(root).expanduser().absolute() for root in chosen.root] or default_roots()
    if not chosen.standalone:
        return relay(data_dir(chosen.data_dir), roots)

    def standalone() -> int:
        with _uncollected():
            from darkroom.start import standalone
        return standalone(chosen.data_dir, roots)

    return _with_lock(chosen.data_dir, standalone)


def _serve(chosen: argparse.Namespace) -> int:
    idle = chosen.idle_exit or (IDLE_SECONDS if chosen.background else None)

    def serve() -> int:
        with _uncollected():
            from darkroom.start import serve
        return serve(chosen.data_dir, chosen.host, chosen.port, background=chosen.background, idle_seconds=idle)

    return _with_lock(chosen.data_dir, serve, background=chosen.background)


def _with_lock(chosen_data_dir: str | None, work: Callable[[], int], *, background: bool = False) -> int:
    """Be the server of the data directory while `work` runs; taken before the slow imports, so that who loses knows.

    A server in the background that finds another one there is not needed, which is no error.
    """
    from darkroom.lock import AlreadyRunning, hold_lock
    from darkroom.paths import data_dir

    where = data_dir(chosen_data_dir)
    with ExitStack() as held:
        try:
            held.enter_context(hold_lock(where))
        except AlreadyRunning as error:
            if background:
                return 0
            sys.stderr.write(f"darkroom: {error}\n")
            return 1
        except OSError as error:
            sys.stderr.write(f"darkroom: The data directory {where.root} cannot be used: {error.strerror or error}.\n")
            return 1
        return work()


@contextmanager
def _uncollected() -> Iterator[None]:
    """Imports in here make no garbage, so none is looked for: it saves a sixth of the server's start."""
    import gc

    gc.disable()
    yield
    gc.freeze()
    gc.enable()


def _stop(chosen: argparse.Namespace) -> int:
    from darkroom.lock import end_server
    from darkroom.paths import data_dir

    pid, gone = end_server(data_dir(chosen.data_dir))
    if not gone:
        sys.stderr.write(f"darkroom: process {pid} is still finishing its jobs\n")
        return 1
    sys.stdout.write(f"Process {pid} has ended.\n" if pid else "No server runs on this data directory.\n")
    return 0


def _run(chosen: argparse.Namespace) -> int:
    if chosen.tool is None:
        chosen.parser.print_help(sys.stdout if chosen.help else sys.stderr)
        return 0 if chosen.help else 2
    from darkroom.errands import Results
    from darkroom.run import describe_tool, run

    if chosen.help:
        return describe_tool(chosen.data_dir, chosen.tool)
    to = Results(chosen.out, chosen.overwrite, chosen.skip_existing, chosen.zip)
    return run(chosen.data_dir, chosen.tool, chosen.rest, to)


def _tools(chosen: argparse.Namespace) -> int:
    from darkroom.run import describe_tool, list_tools

    return describe_tool(chosen.data_dir, chosen.tool) if chosen.tool else list_tools(chosen.data_dir)


def _models(chosen: argparse.Namespace) -> int:
    from darkroom import model_commands as commands

    where, names = chosen.data_dir, chosen.names
    if chosen.action == "pull":
        return commands.pull_models(where, names, accept_license=chosen.accept_license, mirror=chosen.mirror)
    if chosen.action == "import":
        return commands.import_file(where, names, accept_license=chosen.accept_license)
    if chosen.action == "verify":
        return commands.verify_models(where, names)
    if chosen.action == "remove":
        return commands.remove_models(where, names)
    if chosen.action == "path":
        return commands.path_of(where, names)
    return commands.list_models(where, names, as_json=chosen.json)


def _docs(chosen: argparse.Namespace) -> int:
    from darkroom.commands import docs

    return docs(check=chosen.check)


def _doctor(chosen: argparse.Namespace) -> int:
    from darkroom.commands import doctor

    return doctor(chosen.data_dir)


if __name__ == "__main__":
    sys.exit(main())
