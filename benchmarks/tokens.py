"""What tools/list costs in a conversation, in o200k tokens: name, description and input schema of every tool."""

import json
import statistics
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.measure import stop
from benchmarks.startup import connect

COMPACT: Any = {"separators": (",", ":"), "ensure_ascii": False}
"""JSON as it stands on the wire."""
COUNT = """
const { encode } = require("gpt-tokenizer/encoding/o200k_base");
let text = ""; process.stdin.on("data", chunk => text += chunk);
process.stdin.on("end", () => console.log(JSON.stringify(JSON.parse(text).map(item => encode(item).length))));
"""


def main() -> None:
    """Print tokens per tool, median, maximum and sum."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        try:
            tools = json.loads(connect(folder / "data", stack)[2])["result"]["tools"]
        finally:
            stop(folder / "data")
        subprocess.run(
            ["npm", "install", "--silent", "--prefix", name, "gpt-tokenizer"], check=True, capture_output=True
        )
        seen = [
            json.dumps({key: tool[key] for key in ("name", "description", "inputSchema")}, **COMPACT) for tool in tools
        ]
        wire = [json.dumps(tool, **COMPACT) for tool in tools]
        command = ["node", "-e", COUNT]
        done = subprocess.run(
            command, input=json.dumps(seen + wire), cwd=name, check=True, capture_output=True, text=True
        )
    counts = json.loads(done.stdout)
    model, whole = counts[: len(tools)], counts[len(tools) :]
    for tool, tokens in sorted(zip((tool["name"] for tool in tools), model, strict=True), key=lambda row: -row[1]):
        print(f"  {tool:20} {tokens:4}")
    print(f"{len(tools)} tools: median {statistics.median(model):.0f}, max {max(model)}, sum {sum(model)} tokens")
    print(f"the whole tools/list with titles, annotations and output schemas: {sum(whole)} tokens")


if __name__ == "__main__":
    main()
