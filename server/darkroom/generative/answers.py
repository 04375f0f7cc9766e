"""Reads what an engine answers: a picture, or one of many ways to say no. Its own words go nowhere."""

import base64
import binascii
import email.utils
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from darkroom.errors import (
    ContentRefused,
    EngineAnswerInvalid,
    EngineKeyRejected,
    EngineModelNotFound,
    EngineQuotaExceeded,
    EngineRateLimited,
    EngineRequestRefused,
    EngineUnavailable,
)
from darkroom_tools.errors import DarkroomError

__all__ = ["Shown", "read_answer", "refusal", "retry_after"]

MODERATED: Final = frozenset(
    {"moderation_blocked", "content_policy_violation", "content_filter", "content_violation", "safety_violation"}
)
OUT_OF_QUOTA: Final = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
NO_MODEL: Final = frozenset({"model_not_found", "invalid_model"})
BUSY: Final = frozenset({408, 409, 425})
LONGEST_WAIT: Final = 3_600.0

# A code or a parameter's name; everything else is prose of the engine's, and may quote keys and prompts.
_WORD: Final = re.compile(r"[A-Za-z0-9_.\[\]-]{1,60}")
_COUNTS: Final = {"input_tokens": "inputTokens", "output_tokens": "outputTokens", "total_tokens": "totalTokens"}


@dataclass(frozen=True, slots=True)
class Shown:
    """What a successful answer holds.

    Attributes:
        data: The picture's bytes; None where there is only an address.
        url: Where the picture is, as the engine wrote it.
        usage: What it cost the engine: `inputTokens`, `outputTokens`, `totalTokens`, as far as it says.
    """

    data: bytes | None
    url: str
    usage: Mapping[str, int]


def read_answer(body: bytes) -> Shown:
    """The first picture of an answer; blocks, because pictures come as long texts.

    Raises:
        EngineAnswerInvalid: There is none.
    """
    wire = _object(body)
    pictures = wire.get("data")
    first = pictures[0] if isinstance(pictures, list) and pictures else None
    if not isinstance(first, dict):
        raise _no_picture()
    encoded, url = first.get("b64_json"), first.get("url")
    if isinstance(encoded, str) and encoded:
        return Shown(_decoded(encoded), "", _usage(wire))
    if isinstance(url, str) and url.startswith("data:"):
        return Shown(_decoded(url), "", _usage(wire))
    if isinstance(url, str) and url:
        return Shown(None, url, _usage(wire))
    raise _no_picture()


def refusal(status: int, headers: Mapping[str, str], body: bytes, model: str, now: float) -> DarkroomError:
    """The error for an answer that is no success.

    Args:
        status: Of the response.
        headers: Of the response, names in lower case.
        body: Its beginning.
        model: The model that was asked for.
        now: Seconds since the epoch.
    """
    code, parameter = _words(body)
    said: dict[str, Any] = {"engineStatus": status, "engineCode": code}
    if code in MODERATED:
        return ContentRefused(
            "The image engine's content rules refuse this prompt, one of its pictures, or the picture made. "
            "Change the words or the pictures and try again.",
            **said,
        )
    if code in OUT_OF_QUOTA:
        return EngineQuotaExceeded(
            "What this server may spend at the image engine is spent. Its operator has to raise the limit there.",
            **said,
        )
    if status in (401, 403):
        return EngineKeyRejected(
            "The image engine does not accept this server's key. Its operator has to correct DARKROOM_IMAGES_KEY.",
            **said,
        )
    if status in (404, 405, 501) or code in NO_MODEL:
        return EngineModelNotFound(
            f"The image engine has no model {model!r}, or no Images API, at the configured address. "
            "The server's operator has to correct DARKROOM_IMAGES_MODEL or DARKROOM_IMAGES_URL.",
            **said,
        )
    if status == 429:
        wait = retry_after(headers, now)
        return EngineRateLimited(
            "The image engine is asked too often. Try again later.",
            retryAfter=wait,
            **said,
        )
    if status in BUSY or status >= 500:
        wait = retry_after(headers, now)
        return EngineUnavailable(
            f"The image engine failed with status {status}. Try again later.", retryAfter=wait, **said
        )
    if status in (400, 413, 415, 422):
        return EngineRequestRefused(
            f"The image engine does not take this request for the model {model!r}: a size, a quality, a background or a "
            "picture that it does not work with. Change the settings.",
            engineParameter=parameter,
            **said,
        )
    return EngineAnswerInvalid(
        f"The image engine answered with status {status} instead of a picture. "
        "The server's operator has to check DARKROOM_IMAGES_URL.",
        **said,
    )


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """The seconds that an engine asks to wait for: `retry-after-ms`, or Retry-After as seconds or a date."""
    for name, divisor in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        text = headers.get(name, "").strip()
        if re.fullmatch(r"\d{1,9}(\.\d{1,3})?", text):
            return min(float(text) / divisor, LONGEST_WAIT)
    date = email.utils.parsedate_tz(headers.get("retry-after", ""))
    if date is None:
        return None
    try:
        return min(max(email.utils.mktime_tz(date) - now, 0.0), LONGEST_WAIT)
    except (ValueError, OverflowError):
        return None


def _object(body: bytes) -> dict[str, Any]:
    try:
        wire = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _no_picture() from error
    if not isinstance(wire, dict):
        raise _no_picture()
    return wire


def _no_picture() -> EngineAnswerInvalid:
    return EngineAnswerInvalid(
        "The image engine answered without a picture. The server's operator has to check that the configured address "
        "speaks the OpenAI Images API."
    )


def _decoded(text: str) -> bytes:
    """The bytes of a base64 text, or of a data URI."""
    encoded = text.partition(",")[2] if text.startswith("data:") else text
    try:
        data = base64.b64decode("".join(encoded.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _no_picture() from error
    if not data:
        raise _no_picture()
    return data


def _usage(wire: Mapping[str, Any]) -> dict[str, int]:
    usage = wire.get("usage")
    if not isinstance(usage, dict):
        return {}
    return {
        name: usage[theirs]
        for theirs, name in _COUNTS.items()
        if isinstance(usage.get(theirs), int) and not isinstance(usage[theirs], bool) and 0 <= usage[theirs] < 2**53
    }


def _words(body: bytes) -> tuple[str | None, str | None]:
    """Code and parameter of an error, as far as they are single words."""
    try:
        wire = json.loads(body)
    except (ValueError, RecursionError):
        return None, None
    error = wire.get("error") if isinstance(wire, dict) else None
    if not isinstance(error, dict):
        return None, None
    return _word(error.get("code")) or _word(error.get("type")), _word(error.get("param"))


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) and _WORD.fullmatch(value) else None
