"""Run all comparisons, or those named: `python -m benchmarks resize ping`."""

import importlib
import sys

ALL = ("resize", "pipeline", "workflows", "noop", "ping", "startup", "tokens", "tools", "models", "jobs", "http")

for name in sys.argv[1:] or ALL:
    importlib.import_module(f"benchmarks.{name}").main()
