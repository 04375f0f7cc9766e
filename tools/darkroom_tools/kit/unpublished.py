"""Settings that callers who know them may give, but that no schema shows."""

from typing import Annotated, TypeVar

from pydantic.json_schema import SkipJsonSchema

__all__ = ["Unpublished"]

T = TypeVar("T")

Unpublished = Annotated[T, SkipJsonSchema()]
"""Accepted and validated, but left out of the schema: each token of it is paid for in every conversation."""
