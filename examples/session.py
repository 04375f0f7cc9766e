"""What the recipes share: a Darkroom that an MCP client starts, calls, and the folder that results go to."""

import argparse
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from mcp import Client, StdioServerParameters

PHOTOS = Path(__file__).parent / "photos"
ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".heic", ".avif"}


class CallFailed(Exception):
    """A tool could not do what was asked; in its own words."""


class Darkroom:
    """A client with two habits: a call that fails ends the recipe, and what is saved is told."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def __call__(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """Call a tool; its facts."""
        result = await self.client.call_tool(tool, arguments, progress_callback=show if sys.stderr.isatty() else None)
        if result.is_error:
            raise CallFailed(f"{tool}: {getattr(result.content[0], 'text', 'failed')}")
        return result.structured_content or {}

    async def save(self, facts: dict[str, Any], target: Path) -> Path:
        """Write the picture or file of a reply to `target`, whose ending follows from the format."""
        ending = {"jpeg": "jpg"}.get(facts["format"], facts["format"])
        target = target.with_name(f"{target.name}.{ending}")
        await self("export_image", image=facts["image"], path=str(target), overwrite=True)
        size = f"{facts['width']}x{facts['height']}, " if "width" in facts else ""
        print(f"{target}  ({size}{target.stat().st_size:,} bytes)")
        return target


async def show(progress: float, total: float | None, message: str | None) -> None:
    """Tell on the terminal how far a call is."""
    print(f"\r\x1b[K{progress / (total or 1):4.0%}  {message or ''}", end="\r", file=sys.stderr)


@asynccontextmanager
async def darkroom(source: Path, results: Path) -> AsyncIterator[Darkroom]:
    """A Darkroom of our own that may read the folder of `source` and write into `results`."""
    results.mkdir(parents=True, exist_ok=True)
    roots = [str(source if source.is_dir() else source.parent), str(results)]
    arguments = ["-m", "darkroom", "mcp", "--standalone", "--data-dir", str(results / ".darkroom")]
    arguments += [word for root in roots for word in ("--root", root)]
    failure = None
    async with Client(StdioServerParameters(command=sys.executable, args=arguments)) as client:
        try:
            yield Darkroom(client)
        except CallFailed as error:
            failure = str(error)
    if failure is not None:
        sys.exit(failure)


def pictures(folder: Path) -> list[Path]:
    """The pictures in a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)


def start(recipe: Callable[[Path, Path], Awaitable[None]], default: Path, about: str | None) -> None:
    """Run a recipe with the paths from the command line: what it works on, and where results go."""
    name = Path(sys.argv[0]).stem
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, nargs="?", default=default, help="default: %(default)s")
    parser.add_argument(
        "results", type=Path, nargs="?", default=Path(name.replace("_", "-")), help="default: %(default)s"
    )
    chosen = parser.parse_args()
    anyio.run(recipe, chosen.source.absolute(), chosen.results.absolute())
