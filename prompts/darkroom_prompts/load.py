"""Reads prompt files: TOML between two `+++` lines, then text with `{{ argument }}` where values go.

```
+++
title = "Share safely"
description = "One sentence for the list of prompts."

[[arguments]]
name = "image"
type = "image"
description = "Which picture"
+++
Look at {{ image }} and …
```
"""

import functools
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.resources import files
from types import MappingProxyType
from typing import Any

__all__ = ["TYPES", "Argument", "Prompt", "PromptError", "load_prompts", "parse_prompt"]

TYPES = frozenset({"text", "integer", "choice", "image", "images", "preset", "workflow"})
"""What an argument can be; `images` is a list with commas, `preset` a size for a social platform."""

FRONT_MATTER = re.compile(r"\A\+\+\+\n(.*?)\n\+\+\+\n(.*)\Z", re.DOTALL)
PLACEHOLDER = re.compile(r"\{\{\s*([a-z][a-z0-9_]*)\s*\}\}")
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
LONGEST_VALUE = 2_000


class PromptError(ValueError):
    """An argument is missing, unknown or not of its type; the text is for the caller."""


@dataclass(frozen=True, slots=True)
class Argument:
    """A value that a prompt takes.

    Attributes:
        name: In snake_case.
        type: One of `TYPES`.
        description: For people who fill it in.
        default: Used when none is given; without one the argument is required.
        choices: The values that a `choice` allows.
        minimum: Least value of an `integer`.
        maximum: Greatest value of an `integer`.
    """

    name: str
    type: str
    description: str
    default: str | None = None
    choices: tuple[str, ...] = ()
    minimum: int | None = None
    maximum: int | None = None

    def check(self, value: str) -> str:
        """The value, trimmed.

        Raises:
            PromptError: It is not of the argument's type, or outside of its limits.
        """
        value = value.strip()
        if not value:
            raise PromptError(f"{self.name!r} is empty: {self.description}.")
        if len(value) > LONGEST_VALUE:
            raise PromptError(f"{self.name!r} is longer than {LONGEST_VALUE} characters.")
        if self.type == "choice" and value not in self.choices:
            raise PromptError(f"{self.name!r} is one of {', '.join(self.choices)}; got {value[:60]!r}.")
        if self.type == "integer":
            self._check_number(value)
        return value

    def _check_number(self, value: str) -> None:
        if not re.fullmatch(r"-?\d{1,9}", value):
            raise PromptError(f"{self.name!r} is a whole number; got {value[:60]!r}.")
        number = int(value)
        if self.minimum is not None and number < self.minimum:
            raise PromptError(f"{self.name!r} is at least {self.minimum}; got {number}.")
        if self.maximum is not None and number > self.maximum:
            raise PromptError(f"{self.name!r} is at most {self.maximum}; got {number}.")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A job for a model, with blanks to fill in.

    Attributes:
        name: The file's name in snake_case.
        title: For people.
        description: One sentence for the list.
        arguments: In the order in which they are asked.
        text: What the model is told, with `{{ name }}` where values go.
    """

    name: str
    title: str
    description: str
    arguments: tuple[Argument, ...]
    text: str

    def argument(self, name: str) -> Argument | None:
        """The argument of that name."""
        return next((argument for argument in self.arguments if argument.name == name), None)

    def render(self, values: Mapping[str, str]) -> str:
        """The text with the values in it.

        Raises:
            PromptError: A value is missing, unknown or not of its type.
        """
        names = [argument.name for argument in self.arguments]
        for name in values:
            if name not in names:
                raise PromptError(f"Unknown argument {name[:60]!r}. {self.name} takes: {', '.join(names)}.")
        filled = {argument.name: self._value(argument, values.get(argument.name)) for argument in self.arguments}
        return PLACEHOLDER.sub(lambda match: filled[match[1]], self.text)

    def _value(self, argument: Argument, given: str | None) -> str:
        if given is not None and given.strip():
            return argument.check(given)
        if argument.default is None:
            raise PromptError(f"{argument.name!r} is required: {argument.description}.")
        return argument.default


def parse_prompt(name: str, source: str) -> Prompt:
    """The prompt in a file's text.

    Raises:
        ValueError: Naming the file and what is wrong with it.
    """
    match = FRONT_MATTER.match(source)
    if match is None:
        raise ValueError(f"{name}: a prompt starts with TOML between two lines of +++")
    head = tomllib.loads(match[1])
    arguments = tuple(_argument(name, table) for table in head.get("arguments", []))
    if unknown := set(head) - {"title", "description", "arguments"}:
        raise ValueError(f"{name}: unknown keys {sorted(unknown)}")
    prompt = Prompt(name, str(head["title"]), str(head["description"]), arguments, match[2].strip() + "\n")
    declared, used = [argument.name for argument in arguments], set(PLACEHOLDER.findall(prompt.text))
    if len(set(declared)) != len(declared) or set(declared) != used:
        raise ValueError(f"{name}: declares {declared}, but its text uses {sorted(used)}")
    return prompt


def _argument(prompt: str, table: Mapping[str, Any]) -> Argument:
    known = {field.name for field in fields(Argument)}
    if not known.issuperset(table) or not {"name", "type", "description"} <= set(table):
        raise ValueError(f"{prompt}: an argument has name, type, description and may have {sorted(known)}")
    choices = tuple(str(choice) for choice in table.get("choices", ()))
    argument = Argument(**{**table, "choices": choices})
    if argument.type not in TYPES or not NAME.fullmatch(argument.name) or (argument.type == "choice") != bool(choices):
        raise ValueError(f"{prompt}: argument {argument.name!r} is not well declared")
    if argument.default is not None:
        argument.check(argument.default)
    return argument


@functools.cache
def load_prompts(folder: Any = None) -> Mapping[str, Prompt]:
    """The prompts of this package, or of a folder, by name in alphabetical order.

    Raises:
        ValueError: A file is not well formed.
    """
    found = sorted((path for path in (folder or files(__package__)).iterdir() if path.name.endswith(".md")), key=str)
    prompts = [parse_prompt(path.name.removesuffix(".md"), path.read_text(encoding="utf-8")) for path in found]
    return MappingProxyType({prompt.name: prompt for prompt in prompts})
