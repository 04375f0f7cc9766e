"""Random names for stored things."""

import base64
import secrets

__all__ = ["is_id", "new_id"]

_LENGTH = 26
_ALPHABET = frozenset("abcdefghijklmnopqrstuvwxyz234567")


def new_id(prefix: str) -> str:
    """A fresh id such as `img_` and 26 letters or digits: 128 random bits in lower-case base32."""
    return f"{prefix}_{base64.b32encode(secrets.token_bytes(16)).decode().rstrip('=').lower()}"


def is_id(text: str, prefix: str) -> bool:
    """Whether `text` has the form that `new_id(prefix)` makes; says nothing about whether it exists."""
    body = text.removeprefix(f"{prefix}_")
    return text.startswith(f"{prefix}_") and len(body) == _LENGTH and _ALPHABET.issuperset(body)
