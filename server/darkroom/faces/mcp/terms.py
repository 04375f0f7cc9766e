"""What a call says about its job beside its arguments: in `_meta`, so that it costs no model a token."""

from collections.abc import Mapping
from typing import Any, Final

from darkroom.jobs.terms import Hook, Terms
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.kit.clean import clean_text

__all__ = ["JOB_KEY", "PREFIX", "terms_of", "wait_of"]

PREFIX: Final = "io.darkroom/"
JOB_KEY: Final = f"{PREFIX}job"
"""Under which a reply names its job."""

LONGEST_WAIT: Final = 600.0

KNOWN: Final = ("idempotency-key", "labels", "priority", "deadline-seconds", "keep", "webhooks", "wait-seconds")


def terms_of(meta: Mapping[str, Any] | None) -> Terms:
    """The terms in a request's `_meta`: `io.darkroom/idempotency-key`, and so on for the names that are `KNOWN`.

    Raises:
        InvalidSettings: One is of another type, or there is none of that name.
    """
    given = {str(key).removeprefix(PREFIX): value for key, value in (meta or {}).items() if str(key).startswith(PREFIX)}
    for name in given:
        if name not in KNOWN:
            allowed = ", ".join(f"{PREFIX}{known}" for known in KNOWN)
            raise InvalidSettings(f"_meta has {PREFIX}{clean_text(name, 60)}; known are {allowed}.", field="_meta")
    return Terms(
        priority=_value(given, "priority", int, 0),
        deadline_seconds=_value(given, "deadline-seconds", (int, float), None),
        labels=_value(given, "labels", Mapping, {}),
        idempotency_key=_value(given, "idempotency-key", str, None),
        webhooks=tuple(_hook(value) for value in _value(given, "webhooks", list, ())),
        kept=_value(given, "keep", bool, False),
    )


def _hook(value: Any) -> Hook:
    url, secret = (value.get("url"), value.get("secret", "")) if isinstance(value, Mapping) else (value, "")
    if not isinstance(url, str) or not isinstance(secret, str):
        raise InvalidSettings(f'_meta {PREFIX}webhooks should be a list of {{"url": …, "secret": …}}.', field="_meta")
    return Hook(url, secret)


def wait_of(meta: Mapping[str, Any] | None) -> float | None:
    """How many seconds the caller can be kept waiting, None if it did not say.

    Raises:
        InvalidSettings: It is no number from 0 to 600.
    """
    seconds: float | None = _value(
        {"wait-seconds": (meta or {}).get(f"{PREFIX}wait-seconds")}, "wait-seconds", (int, float), None
    )
    if seconds is not None and not 0 <= seconds <= LONGEST_WAIT:
        raise InvalidSettings(f"_meta {PREFIX}wait-seconds may be 0 to {LONGEST_WAIT:.0f}.", field="_meta")
    return seconds


def _value(given: Mapping[str, Any], name: str, kind: type | tuple[type, ...], default: Any) -> Any:
    value = given.get(name)
    if value is None:
        return default
    # A truth value counts as a number in Python, but not in JSON.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        words = {
            "labels": "an object of texts",
            "webhooks": "a list",
            "keep": "true or false",
            "idempotency-key": "a text",
        }
        raise InvalidSettings(f"_meta {PREFIX}{name} should be {words.get(name, 'a number')}.", field="_meta")
    return value
