"""Finds the tools: every module of a category folder that holds one."""

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType

import darkroom_tools
from darkroom_tools.base import Tool

__all__ = ["builtin_tools", "category_blurbs"]

NOT_CATEGORIES = frozenset({"kit", "data"})


def _categories() -> list[str]:
    return [
        found.name
        for found in pkgutil.iter_modules(darkroom_tools.__path__)
        if found.ispkg and found.name not in NOT_CATEGORIES
    ]


@functools.cache
def builtin_tools() -> Mapping[str, Tool]:
    """All tools by id, in alphabetical order.

    Raises:
        ValueError: A module of a category folder holds no tool, more than one, or one of another name.
    """
    tools: dict[str, Tool] = {}
    for category in _categories():
        package = importlib.import_module(f"darkroom_tools.{category}")
        for found in pkgutil.iter_modules(package.__path__):
            module = importlib.import_module(f"{package.__name__}.{found.name}")
            held = [value for value in vars(module).values() if isinstance(value, Tool)]
            if [tool.name for tool in held] != [found.name]:
                raise ValueError(f"{module.__name__} must hold exactly one tool, named {found.name!r}")
            tools[held[0].id] = held[0]
    return MappingProxyType(dict(sorted(tools.items())))


@functools.cache
def category_blurbs() -> Mapping[str, str]:
    """What each category is for, by display name: first line and rest of its package's docstring."""
    blurbs = {}
    for category in _categories():
        package = importlib.import_module(f"darkroom_tools.{category}")
        name, _, blurb = (package.__doc__ or category).partition("\n")
        blurbs[name.rstrip(".")] = blurb.strip()
    return MappingProxyType(blurbs)
