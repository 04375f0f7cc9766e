"""The command `darkroom`. Each subcommand imports what it needs when it runs: `mcp` must start at once."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from darkroom import __version__

__all__ = ["main"]

IDLE_SECONDS = 600.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    parser = _parser()
    chosen, rest = parser.parse_known_args(arguments)
    if rest and chosen.command != "run":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    chosen.rest = rest
    try:
        status: int = chosen.handler(chosen)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0
    return status


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--data-dir", metavar="DIR", help="where everything lives (DARKROOM_DATA_DIR)")
    parser = argparse.ArgumentParser(prog="darkroom", description="The image tool server for agents.")
    parser.add_argument("--version", action="version", version=f"darkroom {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    mcp = commands.add_parser("mcp", parents=[shared], help="speak MCP on standard input and output")
    mcp.add_argument("--root", action="append", default=[], metavar="DIR", help="folder whose paths are allowed")
    mcp.add_argument("--standalone", action="store_true", help="run all in this process tree (containers)")
    mcp.set_defaults(handler=_mcp)

    serve = commands.add_parser("serve", parents=[shared], help="serve MCP over HTTP at /mcp")
    serve.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    serve.add_argument("--port", type=int, help="port to listen on (default 1349; 0 takes a free one)")
    serve.add_argument("--background", action="store_true", help=argparse.SUPPRESS)
    serve.add_argument("--idle-exit", type=float, metavar="SECONDS", help="end after so long without work")
    serve.set_defaults(handler=_serve)

    stop = commands.add_parser("stop", parents=[shared], help="end the server of the data directory")
    stop.set_defaults(handler=_stop)

    run = commands.add_parser(
        "run", parents=[shared], help="run a tool on files: darkroom run resize a.jpg --width 800"
    )
    run.add_argument("tool")
    run.add_argument("files", nargs="*", metavar="FILE")
    run.add_argument("--out", type=Path, metavar="DIR", help="folder for the results (default: beside each file)")
    run.add_argument("--overwrite", action="store_true", help="replace files that exist")
    run.set_defaults(handler=_run)

    tools = commands.add_parser("tools", parents=[shared], help="list the tools, or describe one")
    tools.add_argument("tool", nargs="?")
    tools.set_defaults(handler=_tools)

    models = commands.add_parser("models", parents=[shared], help="the models on this machine")
    models.add_argument("action", choices=["list", "import", "verify", "remove"], nargs="?", default="list")
    models.add_argument("id", nargs="?")
    models.add_argument("file", nargs="?", type=Path)
    models.set_defaults(handler=_models)

    docs = commands.add_parser("docs", help="write llms.txt and llms-full.txt into this folder")
    docs.add_argument("--check", action="store_true", help="fail if they are stale")
    docs.set_defaults(handler=_docs)

    doctor = commands.add_parser("doctor", parents=[shared], help="what is missing, and the exact fix")
    doctor.set_defaults(handler=_doctor)
    return parser


def _mcp(chosen: argparse.Namespace) -> int:
    from darkroom.paths import data_dir
    from darkroom.relay import default_roots, relay

    roots = [Path(root).expanduser().absolute() for root in chosen.root] or default_roots()
    if chosen.standalone:
        from darkroom.commands import standalone

        return standalone(chosen.data_dir, roots)
    return relay(data_dir(chosen.data_dir), roots)


def _serve(chosen: argparse.Namespace) -> int:
    from darkroom.commands import serve

    idle = chosen.idle_exit or (IDLE_SECONDS if chosen.background else None)
    return serve(chosen.data_dir, chosen.host, chosen.port, background=chosen.background, idle_seconds=idle)


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
    from darkroom.run import run

    return run(chosen.data_dir, chosen.tool, chosen.files, chosen.rest, chosen.out, overwrite=chosen.overwrite)


def _tools(chosen: argparse.Namespace) -> int:
    from darkroom.run import list_tools

    return list_tools(chosen.data_dir, chosen.tool)


def _models(chosen: argparse.Namespace) -> int:
    from darkroom.commands import models

    return models(chosen.data_dir, chosen.action, chosen.id, chosen.file)


def _docs(chosen: argparse.Namespace) -> int:
    from darkroom.commands import docs

    return docs(check=chosen.check)


def _doctor(chosen: argparse.Namespace) -> int:
    from darkroom.commands import doctor

    return doctor(chosen.data_dir)


if __name__ == "__main__":
    sys.exit(main())
