"""Signed, expiring addresses of pictures: whoever holds one may read that picture, and only that."""

import hashlib
import hmac
import os
import secrets
import time
from pathlib import Path
from urllib.parse import quote

from darkroom.errors import NotFound

__all__ = ["Links"]

LIFETIME = 24 * 3600
KEY_BYTES = 32


class Links:
    """Makes and checks download addresses with a key that stays in the data directory."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.base: str | None = None

    @staticmethod
    def from_file(path: Path) -> "Links":
        """Take the key from the file; the first time, make one that only the owner can read."""
        if path.exists() and len(key := path.read_bytes()) == KEY_BYTES:
            return Links(key)
        made = path.with_name(f"{path.name}.new")
        made.unlink(missing_ok=True)
        with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(key := secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        made.replace(path)  # at once, so that a crash never leaves half a key
        return Links(key)

    def url(self, image: str, name: str) -> str | None:
        """An address that works for a day, None while nothing listens over HTTP."""
        if self.base is None:
            return None
        expires = int(time.time()) + LIFETIME
        return f"{self.base}/files/{image}/{expires}/{self._sign(image, expires)}/{quote(name, safe='')}"

    def derive(self, purpose: str) -> bytes:
        """A key of 32 bytes for another purpose, which tells nothing of this one or of those for others."""
        return hmac.new(self._key, f"derived:{purpose}".encode(), hashlib.sha256).digest()

    def check(self, image: str, expires: int, signature: str) -> None:
        """Accept a signature that is right and still valid.

        Raises:
            NotFound: Otherwise; the text never says which.
        """
        if expires < time.time() or not hmac.compare_digest(signature.encode(), self._sign(image, expires).encode()):
            raise NotFound("This link is not valid, or no longer.")

    def _sign(self, image: str, expires: int) -> str:
        return hmac.new(self._key, f"{image}:{expires}".encode(), hashlib.sha256).hexdigest()[:32]
