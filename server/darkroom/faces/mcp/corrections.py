"""What a wrong call should have been, where that follows from the call itself."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from darkroom_tools.errors import DarkroomError, InvalidSettings
from darkroom_tools.settings import nearest, wire_names

__all__ = ["corrected_arguments", "with_known_names"]

IMAGE_NAMES = frozenset(
    (
        "inputPath",
        "input_path",
        "inputImage",
        "input_image",
        "imagePath",
        "image_path",
        "imageId",
        "image_id",
        "imageUrl",
        "image_url",
        "imageA",
        "image_a",
        "image1",
        "file",
        "filename",
        "filePath",
        "file_path",
        "path",
        "url",
        "uri",
        "src",
        "source",
        "img",
        "input",
        "handle",
        "id",
    )
)
"""Names that callers of other image servers use for `image`."""

MOST_ROUNDS = 8
STEP_FIELD = re.compile(r"(?:steps|components)\[(\d+)\]\.(tool|type|settings)")
REFERENCE = "${{"


def with_known_names(arguments: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The arguments with the customary other names of `image` or `images` put right.

    Only a name that the tool does not know itself is changed, and only while the argument it stands for is missing.
    """
    known = set(names)
    wanted = next((name for name in ("image", "images") if name in known), None)
    strangers = [key for key in arguments if key in IMAGE_NAMES and key not in known]
    if wanted is None or wanted in arguments or len(strangers) != 1:
        return dict(arguments)
    renamed = {wanted if key == strangers[0] else key: value for key, value in arguments.items()}
    if wanted == "images" and isinstance(renamed[wanted], str):
        renamed[wanted] = [renamed[wanted]]
    return renamed


def corrected_arguments(
    error: DarkroomError,
    arguments: Mapping[str, Any],
    model: type[BaseModel],
    *,
    others: Mapping[str, Any] | None = None,
    example: Mapping[str, Any] | None = None,
    step_models: Mapping[str, type[BaseModel]] | None = None,
) -> dict[str, Any] | None:
    """Arguments that pass where these did not, None where nothing follows from them.

    Args:
        error: What validation said; its cause holds pydantic's complaints.
        arguments: What came.
        model: The settings it was checked against.
        others: Arguments that are no settings (the images); they stay as they are.
        example: Settings of a call that works; they fill in where the arguments alone lead nowhere.
        step_models: Settings models by step tool, for calls that hold steps.
    """
    rest = {key: value for key, value in arguments.items() if key not in (others or {})}
    match = STEP_FIELD.match(str(error.details.get("field", "")))
    if match is not None:
        fixed = _with_step_corrected(error, rest, int(match[1]), match[2], step_models or {})
    else:
        fixed = _settle(_with_nearest(error, rest) or rest, model)
        if isinstance(error, InvalidSettings) and fixed is None:
            fixed = _settle({**(example or {}), **rest}, model) or (dict(example) if example else None)
    return None if fixed is None or fixed == rest else {**(others or {}), **fixed}


def _with_nearest(error: DarkroomError, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """The arguments with the value that the error itself proposes; None for proposals of another kind."""
    name, near = str(error.details.get("field")), error.details.get("nearest")
    if isinstance(error.__cause__, ValidationError) or near is None or not isinstance(arguments.get(name), str):
        return None
    return {**arguments, name: near}


def _with_step_corrected(
    error: DarkroomError, arguments: Mapping[str, Any], number: int, part: str, models: Mapping[str, type[BaseModel]]
) -> dict[str, Any] | None:
    listed = "steps" if "steps" in arguments else "components"
    steps = [dict(step) for step in arguments[listed]]
    step = steps[number]
    named = "tool" if "tool" in step else "type"
    if part == "settings":
        model = models.get(str(step[named]).replace("_", "-"))
        step["settings"] = _settled_settings(step.get("settings") or {}, model) if model is not None else None
        return {**arguments, listed: steps} if step["settings"] is not None else None
    step[named] = error.details.get("nearest")
    return {**arguments, listed: steps} if step[named] is not None else None


def _settled_settings(settings: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any] | None:
    """The settings of a step put right; a reference stands for a value that is known later, so it stays."""
    referring = {name: value for name, value in settings.items() if REFERENCE in str(value)}
    given = {name: value for name, value in settings.items() if name not in referring}
    if not referring:
        return _settle(given, model)
    try:
        model.model_validate(given)
    except ValidationError as error:
        # What is missing may be among the references; so only what is wrong in itself is put right.
        return {**_mended(given, error, model), **referring}
    return dict(settings)


def _mended(data: Mapping[str, Any], error: ValidationError, model: type[BaseModel]) -> dict[str, Any]:
    changed = dict(data)
    for complaint in error.errors(include_url=False):
        _mend(changed, complaint, model)
    return changed


def _settle(data: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any] | None:
    """Correct until the model takes it; None if it never does."""
    current = dict(data)
    for _ in range(MOST_ROUNDS):
        try:
            model.model_validate(current)
            return current
        except ValidationError as error:
            changed: dict[str, Any] | None = _mended(current, error, model)
        except DarkroomError as error:
            changed = _with_nearest(error, current)
        if changed is None or changed == current:
            return None
        current = changed
    return None


def _mend(data: dict[str, Any], complaint: Mapping[str, Any], model: type[BaseModel]) -> None:
    """Change what one complaint is about; leave everything as it was where no change follows from it."""
    path = complaint["loc"]
    if not path:
        return
    holder: Any = data
    for part in path[:-1]:
        if not isinstance(holder, dict) or part not in holder:
            return
        inner = dict(holder[part]) if isinstance(holder[part], Mapping) else holder[part]
        holder[part] = inner
        holder = inner
    name = path[-1]
    if not isinstance(holder, dict) or name not in holder:
        return
    if complaint["type"] == "extra_forbidden":
        value = holder.pop(name)
        near = nearest(str(name), wire_names(model)) if len(path) == 1 else None
        if near is not None and near not in holder:
            holder[near] = value
        return
    value = _mended_value(complaint)
    if value is None:
        del holder[name]
    else:
        holder[name] = value


def _mended_value(complaint: Mapping[str, Any]) -> Any:
    """The value nearest to what came that is allowed; None where the default is the best guess."""
    kind, context, got = complaint["type"], complaint.get("ctx") or {}, complaint.get("input")
    if kind in ("greater_than_equal", "less_than_equal"):
        return context.get("ge", context.get("le"))
    if kind in ("greater_than", "less_than"):
        step = 1 if isinstance(got, int) else 0.01
        return context["gt"] + step if kind == "greater_than" else context["lt"] - step
    if kind == "literal_error" and isinstance(got, str):
        return nearest(got, re.findall(r"'([^']*)'", str(context.get("expected", ""))))
    if kind in ("int_from_float", "int_parsing", "float_parsing"):
        number = re.search(r"-?\d+(\.\d+)?", str(got))
        return None if number is None else (float(number[0]) if kind == "float_parsing" else round(float(number[0])))
    if kind == "value_error":
        proposed = re.search(r"Did you mean '([^']+)'", str(context.get("error", "")))
        return proposed[1] if proposed else None
    if kind in ("string_too_long", "too_long") and isinstance(got, (str, list)):
        return got[: context["max_length"]]
    return None
