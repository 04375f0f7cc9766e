"""Signatures after Standard Webhooks (https://www.standardwebhooks.com): HMAC-SHA256 over id, time and body."""

import base64
import binascii
import hashlib
import hmac
import secrets as randomness
from collections.abc import Sequence
from typing import Final

from darkroom_tools.errors import InvalidSettings

__all__ = ["check_secret", "new_secret", "secret_of", "sign"]

PREFIX: Final = "whsec_"
KEY_BYTES: Final = range(24, 65)
"""What the specification allows."""


def new_secret() -> str:
    """A fresh secret: `whsec_` and 32 random bytes in base64."""
    return secret_of(randomness.token_bytes(32))


def secret_of(key: bytes) -> str:
    """A key as the specification writes it."""
    return PREFIX + base64.b64encode(key).decode()


def check_secret(secret: str) -> str:
    """The secret, if it is well formed.

    Raises:
        InvalidSettings: It is not `whsec_` and the base64 of 24 to 64 bytes.
    """
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(PREFIX) or len(key) not in KEY_BYTES:
        raise InvalidSettings(
            "A webhook's secret is whsec_ followed by the base64 of 24 to 64 random bytes. Leave it out to get one.",
            field="secret",
        )
    return secret


def sign(secrets: Sequence[str], message: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers of a delivery; each secret signs, so a receiver may know the old one or the new one."""
    signed = f"{message}.{timestamp}.".encode() + body
    signatures = [
        "v1," + base64.b64encode(hmac.new(_key(secret), signed, hashlib.sha256).digest()).decode() for secret in secrets
    ]
    return {
        "webhook-id": message,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }


def _key(secret: str) -> bytes:
    return base64.b64decode(secret.removeprefix(PREFIX))
