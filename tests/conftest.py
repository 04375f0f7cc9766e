"""Fixtures for all tests."""

import inspect
import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# ONNX Runtime reports its use to its maker unless told not to; the model process does so for itself.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# One place says how long properties are searched: HYPOTHESIS_PROFILE=thorough looks ten times as hard.
settings.register_profile(
    "quick",
    deadline=None,
    derandomize="CI" in os.environ,
    max_examples=50,
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile("thorough", settings.get_profile("quick"), derandomize=False, max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

# Tests import `support`, the helpers beside this file.
sys.path.insert(0, str(Path(__file__).parent))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden pictures anew; look at each")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse plain tests that take an async fixture: they only pass where an async test came before them."""
    for item in items:
        function = getattr(item, "function", None)
        inner = getattr(getattr(function, "hypothesis", None), "inner_test", function)
        if not isinstance(item, pytest.Function) or inspect.iscoroutinefunction(inner):
            continue
        for name, found in item._fixtureinfo.name2fixturedefs.items():
            made = found[-1].func
            if inspect.iscoroutinefunction(made) or inspect.isasyncgenfunction(made):
                raise pytest.UsageError(f"{item.nodeid} must be async, as its fixture {name!r} is.")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
