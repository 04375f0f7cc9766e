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

    def url(self, image: str, name: str, rendition: str = "") -> str | None:
        """An address that works for a day, None while nothing listens over HTTP.

        Args:
            image: Handle.
            name: What the file is called there, for people; a rendition gets its own ending.
            rendition: In which form it comes, such as `jpg`; as it is stored if empty.
        """
        if self.base is None:
            return None
        expires, signature = self.sign(image, rendition)
        parts = [image, str(expires), signature]
        if rendition:
            parts.append(rendition)
            name = f"{name.rpartition('.')[0] or name}.{'jpg' if rendition == 'thumbnail' else rendition}"
        return f"{self.base}/files/{'/'.join(parts)}/{quote(name, safe='')}"

    def sign(self, image: str, rendition: str = "") -> tuple[int, str]:
        """For an address of another form: when one that is made now ends, in seconds since the epoch, and its signature."""
        expires = int(time.time()) + LIFETIME
        return expires, self._sign(image, expires, rendition)

    def image_at(self, url: str) -> str | None:
        """The handle of the picture that an address made by `url` is of; None for any other address.

        Whether the address still works does not matter: who may have the picture, its owner decides.
        """
        start = f"{self.base}/files/"
        return url.removeprefix(start).split("/")[0] if self.base is not None and url.startswith(start) else None

    def derive(self, purpose: str) -> bytes:
        """A key of 32 bytes for another purpose, which tells nothing of this one or of those for others."""
        return hmac.new(self._key, f"derived:{purpose}".encode(), hashlib.sha256).digest()

    def check(self, image: str, expires: int, signature: str, rendition: str = "") -> None:
        """Accept a signature that is right and still valid.

        Raises:
            NotFound: Otherwise; the text never says which.
        """
        right = self._sign(image, expires, rendition)
        if expires < time.time() or not hmac.compare_digest(signature.encode(), right.encode()):
            raise NotFound("This link is not valid, or no longer.")

    def _sign(self, image: str, expires: int, rendition: str) -> str:
        said = f"{image}:{expires}:{rendition}" if rendition else f"{image}:{expires}"
        return hmac.new(self._key, said.encode(), hashlib.sha256).hexdigest()[:32]
