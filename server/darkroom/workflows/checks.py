"""Are the settings of every component valid? Tried as callers would meet them, with samples for what has no default."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import PydanticUndefined

from darkroom.workflows.graph import Graph, Node
from darkroom.workflows.problems import Problems, shown
from darkroom.workflows.references import OMITTED, Malformed, path_of, places, substituted
from darkroom.workflows.setting_input import SettingInput
from darkroom_tools.errors import DarkroomError
from darkroom_tools.settings import explain_all

__all__ = ["check_settings", "node_settings", "setting_path"]

SAMPLES: Final[tuple[Any, ...]] = (1, 8, 50, "text", "#000000", True, "png", 0.5, "1:1", [], {})
MOST_TRIES: Final = 60


def node_settings(node: Node, values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a component as its tool takes them, with every reference replaced."""
    replaced: dict[str, Any] = substituted(dict(node.settings), lambda reference: values.get(reference.name, OMITTED))
    return replaced


def setting_path(node: Node, error: DarkroomError) -> str:
    """Where in the document the setting stands that validation complained of."""
    parts = str(error.details.get("field") or "").split(".")
    return path_of(f"{node.path}.settings", tuple(int(part) if part.isdigit() else part for part in parts if part))


def check_settings(graph: Graph, inputs: Mapping[str, SettingInput], problems: Problems) -> None:
    """Note what is wrong with the settings of each component, whatever the caller may hand in."""
    for node in graph.nodes:
        trial = _Trial(node, inputs)
        errors = trial.errors()
        for error in errors:
            problems.include(setting_path(node, error), error)
        if not errors:
            _check_options(trial, problems)
            _check_omitted(node, inputs, trial.names, problems)


def _check_options(trial: "_Trial", problems: Problems) -> None:
    """Every option must do, not only the first."""
    for name in trial.names:
        for n, value in enumerate(trial.inputs[name].values or ()):
            error = trial.error_with(name, n)
            if error is not None:
                text = f"{shown(value)} does not fit {setting_path(trial.node, error)}: {error.message}"
                problems.add(f"inputs.{name}.options[{n}].value", text, got=shown(value))


def _check_omitted(node: Node, inputs: Mapping[str, SettingInput], names: Sequence[str], problems: Problems) -> None:
    """What may be left out must not be missed."""
    omitted = [name for name in names if inputs[name].default is None]
    for error in _Trial(node, inputs, omitted).errors() if omitted else ():
        said = " and ".join(repr(name) for name in omitted)
        text = f"{error.message} That is so where input {said} is left out: give a default, or make it required."
        problems.add(setting_path(node, error), text)


class _Trial:
    """Tries the settings of one component, with other samples until they pass or no sample is left to blame.

    Attributes:
        names: The inputs that they refer to.
    """

    def __init__(self, node: Node, inputs: Mapping[str, SettingInput], omitted: Collection[str] = ()) -> None:
        self.node = node
        self.inputs = inputs
        self._keys: dict[str, set[str]] = {}
        self._unclear: set[str] = set()
        for place in places(node.settings):
            key = str(place.keys[0])
            if isinstance(place.reference, Malformed) or place.reference.name not in inputs:
                self._unclear.add(key)
            else:
                self._keys.setdefault(place.reference.name, set()).add(key)
        self.names = list(self._keys)
        self._candidates = {
            name: [OMITTED] if name in omitted else list(self._samples_of(inputs[name])) for name in self.names
        }
        self._chosen = dict.fromkeys(self.names, 0)
        self._unclear |= {key for name in self.names if not self._candidates[name] for key in self._keys[name]}

    def errors(self) -> list[DarkroomError]:
        """What is wrong whatever the samples are."""
        errors = self._refusals()
        for _ in range(MOST_TRIES):
            blamed = self._to_blame(errors)
            if blamed is None:
                break
            self._chosen[blamed] += 1
            errors = self._refusals()
        sampled = {key for name in self.names if len(self._candidates[name]) > 1 for key in self._keys[name]}
        return [error for error in errors if self._is_clear(error, sampled)]

    def error_with(self, name: str, number: int) -> DarkroomError | None:
        """What is wrong with one of the candidates of an input."""
        self._chosen[name] = number
        found = [error for error in self._refusals() if _key(error) in self._keys[name]]
        self._chosen[name] = 0
        return found[0] if found else None

    def _is_clear(self, error: DarkroomError, sampled: set[str]) -> bool:
        key = _key(error)
        return not self._unclear if key is None else key not in self._unclear | sampled

    def _to_blame(self, errors: Sequence[DarkroomError]) -> str | None:
        """An input of which another sample may help."""
        left = [name for name in self.names if self._chosen[name] + 1 < len(self._candidates[name])]
        for error in errors:
            key = _key(error)
            for name in left:
                if key is None or key in self._keys[name]:
                    return name
        return None

    def _refusals(self) -> list[DarkroomError]:
        values = {name: candidates[self._chosen[name]] for name, candidates in self._candidates.items() if candidates}
        try:
            self.node.model.model_validate(node_settings(self.node, values))
        except ValidationError as error:
            return list(explain_all(error, self.node.model))
        except DarkroomError as error:
            return [error]
        return []

    def _samples_of(self, wanted: SettingInput) -> Iterator[Any]:
        if wanted.values is not None:
            values = list(wanted.values.values())
            yield from ([value] for value in values) if "array" in wanted.kind.types else values
        elif wanted.default not in (None, PydanticUndefined):
            yield wanted.default
        else:
            bounds = wanted.kind.bounds
            limits = [limit[0] for limit in (bounds.low, bounds.high) if limit is not None]
            known = [self.node.tool.example.get(key) for key in self._keys[wanted.name]]
            whole = [int(limit) for limit in limits if float(limit).is_integer()]
            for candidate in (*known, *wanted.kind.values, *SAMPLES, *whole, *limits):
                if candidate is not None and wanted.kind.takes(candidate):
                    yield candidate


def _key(error: DarkroomError) -> str | None:
    field = error.details.get("field")
    return str(field).partition(".")[0] if field else None
