"""Fixtures for the tests of the tools."""

import functools
from typing import Any

import pytest
from support.golden import compare_with_golden


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Any:
    """`golden(array, name, tolerance=…)` compares pixels with a picture under version control."""
    return functools.partial(compare_with_golden, update=request.config.getoption("--update-golden"))
