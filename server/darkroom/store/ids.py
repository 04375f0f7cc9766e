"""Random names for stored things."""

import base64
import secrets
import uuid

__all__ = ["as_uuid", "from_uuid", "is_id", "new_id"]

_LENGTH = 26
_ALPHABET = frozenset("abcdefghijklmnopqrstuvwxyz234567")


def new_id(prefix: str) -> str:
    """A fresh id such as `img_` and 26 letters or digits: 128 random bits in lower-case base32."""
    return f"{prefix}_{base64.b32encode(secrets.token_bytes(16)).decode().rstrip('=').lower()}"


def is_id(text: str, prefix: str) -> bool:
    """Whether `text` has the form that `new_id(prefix)` makes; says nothing about whether it exists."""
    body = text.removeprefix(f"{prefix}_")
    return text.startswith(f"{prefix}_") and len(body) == _LENGTH and _ALPHABET.issuperset(body)


def as_uuid(identifier: str) -> str:
    """The same 128 bits as a UUID, for dialects whose ids are such."""
    body = identifier.rpartition("_")[2]
    return str(uuid.UUID(bytes=base64.b32decode(body.upper() + "=" * (-len(body) % 8))))


def from_uuid(text: str, prefix: str) -> str | None:
    """The id whose UUID this is; None for what is no UUID."""
    try:
        bits = uuid.UUID(text).bytes
    except ValueError:
        return None
    return f"{prefix}_{base64.b32encode(bits).decode().rstrip('=').lower()}"
