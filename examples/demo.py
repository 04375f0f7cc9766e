"""The main job, as an agent does it: real photos through real tools over MCP on standard input and output.

Run it with `make demo`. It lists the tools, resizes a photo, cuts out the subject, adds a text watermark, saves the
three steps as a pipeline, calls that pipeline as a new tool on a second photo, and says where the pictures are.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import anyio
from mcp import Client, StdioServerParameters

PHOTOS = Path(__file__).parent / "photos"
STEPS: list[dict[str, Any]] = [
    {"tool": "resize", "settings": {"width": "${{ inputs.width }}"}},
    {"tool": "remove-background", "settings": {"backgroundColor": "${{ inputs.backgroundColor }}"}},
    {"tool": "watermark-text", "settings": {"text": "${{ inputs.text }}", "fontSize": 28, "position": "bottom-right"}},
]
INPUTS = {"width": {"default": 480}, "backgroundColor": {"default": "#F4EFE6"}, "text": {"default": "Darkroom"}}


async def call(client: Client, name: str, /, **arguments: Any) -> dict[str, Any]:
    """Call a tool, print its progress and answer with its facts."""

    async def show(progress: float, total: float | None, message: str | None) -> None:
        print(f"    {progress / (total or 1):4.0%}  {message or ''}")

    result = await client.call_tool(name, arguments, progress_callback=show)
    facts = result.structured_content or {}
    if result.is_error:
        sys.exit(f"{name}: {result.content[0]}")
    if "image" in facts:
        method = f", method {facts['method']}" if facts.get("method") else ""
        print(f"  {name}: {facts['image']}  {facts['width']}x{facts['height']} {facts['format']}{method}")
    for warning in facts.get("warnings", []):
        print(f"    note: {warning}")
    return facts


async def main(folder: Path) -> None:
    """Do the job and leave the results in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        "-m",
        "darkroom",
        "mcp",
        "--data-dir",
        str(folder / "data"),
        "--root",
        str(PHOTOS),
        "--root",
        str(folder),
    ]
    async with Client(StdioServerParameters(command=sys.executable, args=command)) as client:
        tools = (await client.list_tools()).tools
        print(f"{len(tools)} tools: {', '.join(tool.name for tool in tools)}\n\nStep by step on coffee.jpg:")
        small = await call(client, "resize", image=str(PHOTOS / "coffee.jpg"), width=480)
        cut = await call(client, "remove_background", image=small["image"], backgroundColor="#F4EFE6")
        marked = await call(
            client, "watermark_text", image=cut["image"], text="Darkroom", fontSize=28, position="bottom-right"
        )

        print("\nSaved as a pipeline, which is a tool of its own at once:")
        saved = await call(client, "save_workflow", name="Shop photo", steps=STEPS, inputs=INPUTS)
        print(f"  {saved['tool']}\n\nThe new tool on dahlia.jpg:")
        second = await call(client, saved["tool"], image=str(PHOTOS / "dahlia.jpg"), text="In bloom")

        print("\nThe pictures:")
        for name, facts in (("coffee", marked), ("dahlia", second)):
            target = folder / f"{name}-shop.{'jpg' if facts['format'] == 'jpeg' else facts['format']}"
            await client.call_tool("export_image", {"image": facts["image"], "path": str(target), "overwrite": True})
            print(f"  {target}")
    await anyio.run_process([sys.executable, "-m", "darkroom", "stop", "--data-dir", str(folder / "data")])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path(__file__).parents[1] / ".demo")
    anyio.run(main, parser.parse_args().folder.absolute())
