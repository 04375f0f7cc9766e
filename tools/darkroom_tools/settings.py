"""Settings models: what a caller may set, with one validation and one JSON Schema for all faces."""

import difflib
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from darkroom_tools.errors import InvalidSettings

__all__ = ["Settings", "explain", "explain_all", "nearest", "wire_names"]


class Settings(BaseModel):
    """Base of every tool's settings: frozen, camelCase on the wire, unknown names refused.

    Attributes:
        aliases: Other wire names that are accepted for a field: `{"targetSizeKb": "targetSizeKB"}`.
        value_aliases: Other spellings of values by wire name: `{"format": {"jpg": "jpeg"}}`.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )
    aliases: ClassVar[Mapping[str, str]] = {}
    value_aliases: ClassVar[Mapping[str, Mapping[str, str]]] = {}

    @model_validator(mode="before")
    @classmethod
    def _rename(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        renamed: dict[str, Any] = {}
        for key, value in data.items():
            name = cls.aliases.get(key, key)
            known = cls.value_aliases.get(name, {})
            renamed[name] = known.get(value, value) if isinstance(value, str) else value
        return renamed

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Self:
        """Validate wire input.

        Raises:
            InvalidSettings: With the field, what came, what is allowed and, for an unknown name, the nearest one.
        """
        try:
            return cls.model_validate(dict(data))
        except ValidationError as error:
            raise explain(error, cls) from error

    def to_wire(self) -> dict[str, Any]:
        """The settings that the caller gave, in wire form; parsing them again gives the same settings."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


def wire_names(model: type[BaseModel]) -> list[str]:
    """The published names of a model's fields."""
    return [field.alias or name for name, field in model.model_fields.items()]


def nearest(name: str, known: list[str]) -> str | None:
    """The known name most like `name`, None if none is alike."""
    folded = {candidate.casefold().replace("_", "").replace("-", ""): candidate for candidate in known}
    matches = difflib.get_close_matches(name.casefold().replace("_", "").replace("-", ""), list(folded), 1, 0.5)
    return folded[matches[0]] if matches else None


def explain(error: ValidationError, model: type[BaseModel], *, extra_names: tuple[str, ...] = ()) -> InvalidSettings:
    """Turn pydantic's first complaint into a public error; `extra_names` are allowed beside the model's fields."""
    return explain_all(error, model, extra_names=extra_names)[0]


def explain_all(
    error: ValidationError, model: type[BaseModel], *, extra_names: tuple[str, ...] = ()
) -> list[InvalidSettings]:
    """Turn pydantic's complaints into public errors, one for each field."""
    first_of_each: dict[Any, Mapping[str, Any]] = {}
    for complaint in error.errors(include_url=False):
        first_of_each.setdefault(complaint["loc"][:1], complaint)
    return [_explained(complaint, [*extra_names, *wire_names(model)]) for complaint in first_of_each.values()]


def _explained(first: Mapping[str, Any], names: list[str]) -> InvalidSettings:
    path = ".".join(str(part) for part in first["loc"]) or "settings"
    kind = first["type"]
    if kind == "extra_forbidden":
        near = nearest(path, names)
        hint = f" Did you mean {near!r}?" if near else ""
        allowed = ", ".join(names) or "none"
        return InvalidSettings(
            f"Unknown setting {path!r}.{hint} Allowed: {allowed}.", field=path, allowed=names, nearest=near
        )
    if kind == "missing":
        return InvalidSettings(f"Setting {path!r} is required.", field=path)
    got = first.get("input")
    shown = repr(got) if isinstance(got, (int, float, bool, str)) and len(repr(got)) <= 80 else type(got).__name__
    if kind == "value_error":
        return InvalidSettings(str(first["ctx"]["error"]), field=path if first["loc"] else None)
    if kind in ("too_long", "too_short"):
        return _wrong_count(first, path)
    said = first["msg"].removeprefix("Input should be ")
    details: dict[str, Any] = {"field": path, "got": shown, "expected": said}
    hint = ""
    if kind == "literal_error" and isinstance(got, str):
        options = [part.strip().strip("'") for part in said.replace(" or ", ", ").split(",")]
        near = nearest(got, options)
        details |= {"allowed": options, "nearest": near}
        hint = f" Did you mean {near!r}?" if near else ""
    return InvalidSettings(f"Setting {path!r} should be {said}, but got {shown}.{hint}", **details)


def _wrong_count(complaint: Mapping[str, Any], path: str) -> InvalidSettings:
    context = complaint["ctx"]
    most, least, got = context.get("max_length"), context.get("min_length"), context["actual_length"]
    wanted = f"at least {least}" if most is None else f"at most {most}"
    limit = least if most is None else most
    return InvalidSettings(f"{path!r} takes {wanted} entries, but got {got}.", field=path, got=got, limit=limit)
