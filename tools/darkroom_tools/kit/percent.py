"""Settings from 0 to 100 of which some callers know a form from 0 to 1."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

__all__ = ["PercentOrShare"]


def _in_percent(value: Any) -> Any:
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    return value * 100 if numeric and 0 < value <= 1 else value


PercentOrShare = Annotated[float, Field(ge=0, le=100), BeforeValidator(_in_percent)]
"""Percent; values up to 1 are shares of one."""
