"""Opacity as callers give it."""

from typing import Annotated

from pydantic import AfterValidator, Field

__all__ = ["Opacity"]


def _in_percent(value: float) -> float:
    if 0 < value < 1:
        raise ValueError(f"'opacity' is in percent: {value:g} would be invisible. Did you mean {value * 100:g}?")
    return value


Opacity = Annotated[float, Field(ge=0, le=100), AfterValidator(_in_percent)]
"""A setting `opacity` in percent; a share of 1 is refused, as nobody means less than one percent."""
