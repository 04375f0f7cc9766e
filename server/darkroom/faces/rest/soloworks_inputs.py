"""From what a client of Solo Works sends to the arguments of a workflow, with errors in its words."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from darkroom.faces.rest.data_urls import is_data_url
from darkroom.faces.rest.soloworks_show import OFF, ON, is_switch
from darkroom.faces.rest.soloworks_wire import Execute
from darkroom.workflows.described import Field, Picture, argument_of, fields_of, pictures_of
from darkroom.workflows.service import Saved
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.kit.clean import clean_text
from darkroom_tools.settings import nearest

__all__ = ["arguments_of"]

Known = Mapping[str, Mapping[str, Picture] | Mapping[str, Field]]
"""By part of a body the fields that may stand there."""

FORMS: Final = "an http(s) URL, a base64 data URL (data:image/…;base64,…) or a handle img_…"
BEGINNINGS: Final = ("http://", "https://", "img_")


def arguments_of(saved: Saved, sent: Execute) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments of a call: its images, and all else.

    Raises:
        InvalidSettings: A field is unknown, missing, of another kind or sent in the wrong part; the text says what is
            allowed. Limits and options of texts are for the workflow itself to check.
    """
    pictures = {each.id: each for each in pictures_of(saved)}
    fields = fields_of(saved)
    texts = {each.id: each for each in fields if not is_switch(each)}
    switches = {each.id: each for each in fields if is_switch(each)}
    known: Known = {"images": pictures, "texts": texts, "switchSelections": switches}
    images, written, chosen = sent.images or {}, sent.texts or {}, sent.switch_selections or {}
    parts: tuple[Collection[str], ...] = (images, written, chosen)
    for part, names in zip(known, parts, strict=True):
        _check_names(part, names, known)
    given_images = {name: _image(pictures[name], value) for name, value in images.items()}
    arguments = {
        **{name: argument_of(texts[name], str(value)) for name, value in written.items()},
        **{name: _selection(switches[name], value) for name, value in chosen.items()},
    }
    for name, value in (sent.global_overrides.to_wire() if sent.global_overrides else {}).items():
        if name in arguments or name in given_images:
            raise InvalidSettings(f"{name!r} is among the inputs and in globalOverrides. Send it once.", field=name)
        if value is not None:
            arguments[name] = value
    _check_required(known, {*given_images, *arguments})
    return given_images, arguments


def _check_names(part: str, given: Collection[str], known: Known) -> None:
    for name in given:
        if name in known[part]:
            continue
        allowed = list(known[part])
        shown, near = clean_text(name, 60), nearest(name[:60], allowed)
        home = next((other for other, names in known.items() if name in names), None)
        hint = f" It belongs in {home}." if home else f" Did you mean {near!r}?" if near else ""
        raise InvalidSettings(
            f"This workflow has no field {shown!r} in {part}.{hint} Allowed: {', '.join(allowed) or 'none'}.",
            field=f"{part}.{shown}",
            allowed=allowed,
            nearest=near,
        )


def _check_required(known: Mapping[str, Mapping[str, Picture] | Mapping[str, Field]], given: Collection[str]) -> None:
    for part, fields in known.items():
        for name, field in fields.items():
            if field.required and name not in given:
                what = f"Send {FORMS}." if isinstance(field, Picture) else "Send it."
                raise InvalidSettings(f"{part}.{name} ({field.title}) is required. {what}", field=f"{part}.{name}")


def _image(picture: Picture, value: str | Sequence[str]) -> Any:
    """What a call has for an image field."""
    path = f"images.{picture.id}"
    each = [value] if isinstance(value, str) else list(value)
    if not isinstance(value, str) and not picture.many:
        raise InvalidSettings(f"{path} takes one picture, but a list came.", field=path)
    for written in each:
        if not is_data_url(written) and not written.strip().lower().startswith(BEGINNINGS):
            got = clean_text(written, 60)
            raise InvalidSettings(f"{path} should be {FORMS}, but got {got!r}.", field=path, got=got)
    return each if picture.many else each[0]


def _selection(field: Field, chosen: Sequence[str]) -> Any:
    """What a call has for a switch field."""
    path = f"switchSelections.{field.id}"
    if field.multiple:
        return argument_of(field, list(chosen))
    allowed = [choice.id for choice in field.choices] or [ON, OFF]
    if len(chosen) != 1:
        text = f"{path} takes exactly one optionId, but {len(chosen)} came. There are: {', '.join(allowed)}."
        raise InvalidSettings(text, field=path, allowed=allowed)
    if field.choices:
        return argument_of(field, chosen[0])
    if chosen[0] not in allowed:
        got = clean_text(chosen[0], 60)
        raise InvalidSettings(f"{path} should be 'on' or 'off', but got {got!r}.", field=path, got=got, allowed=allowed)
    return chosen[0] == ON
