"""The tools that plans may name."""

import importlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from darkroom_tools.base import Tool
from darkroom_tools.registry import builtin_tools

__all__ = ["known_tools"]


def known_tools(extra: Sequence[str] = ()) -> Mapping[str, Tool]:
    """The built-in tools by id, and those held by the modules named in `extra`."""
    tools = dict(builtin_tools())
    for name in extra:
        held = vars(importlib.import_module(name)).values()
        tools |= {value.id: value for value in held if isinstance(value, Tool)}
    return MappingProxyType(tools)
