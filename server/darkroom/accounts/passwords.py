"""Passwords: what they must have, and their Argon2id hashes."""

import asyncio
import base64
import secrets
import unicodedata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import anyio
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import ARGON2_VERSION
from argon2.profiles import RFC_9106_LOW_MEMORY

from darkroom.accounts.throttle import Tries
from darkroom.errors import Overloaded
from darkroom_tools.errors import InvalidSettings

__all__ = ["LONGEST_BYTES", "Passwords", "check_password", "random_password"]

LONGEST_BYTES: Final = 1024
SHORTEST: Final = 8
AT_ONCE: Final = 2
"""Hashes that are computed at a time: each takes 64 MiB and all that the cores give."""

MOST_WAITING: Final = 64
RETRY_AFTER: Final = 5
RANDOM_BYTES: Final = 15

HASHER: Final = PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)


def check_password(password: str, field: str = "password") -> None:
    """Refuse a password that is too weak, or too long.

    Raises:
        InvalidSettings: It is shorter than 8 characters or longer than 1,024 bytes, or lacks an upper case letter, a lower
            case letter or a digit.
    """
    if not _fits_length(password):
        raise InvalidSettings(f"A password has at most {LONGEST_BYTES:,} bytes of UTF-8.", field=field)
    if (
        len(password) < SHORTEST
        or not any(c.isupper() for c in password)
        or not any(c.islower() for c in password)
        or not any(c.isdecimal() for c in password)
    ):
        raise InvalidSettings(
            f"A password has at least {SHORTEST} characters, among them an upper case letter, a lower case letter and a "
            "digit.",
            field=field,
        )


def random_password() -> str:
    """One of 120 random bits that `check_password` takes."""
    while True:
        password = secrets.token_urlsafe(RANDOM_BYTES)
        try:
            check_password(password)
        except InvalidSettings:
            continue
        return password


class Passwords:
    """Makes and compares hashes, in threads, at most two at a time; nobody's password is compared without being counted.

    Whoever hangs up in the middle keeps the turn until the hash is done: there are never more than two.

    Args:
        tries: Counts them.
        hasher: With the parameters of new hashes; those of RFC 9106 if None.
    """

    def __init__(self, tries: Tries, hasher: PasswordHasher | None = None) -> None:
        self._tries = tries
        self._hasher = hasher or HASHER
        self._nobody = _hash_of_nobody(self._hasher)
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0

    async def hash(self, password: str) -> str:
        """The hash of a password, with a salt of its own.

        Raises:
            Overloaded: Too many wait for one.
        """
        async with self._turn():
            return await anyio.to_thread.run_sync(self._hasher.hash, _as_text(password))

    async def fits(self, stored: str, password: str, *, who: str, address: str = "") -> bool:
        """Whether a password is the one of a hash. It takes the same time for an empty hash, which no password fits.

        Args:
            stored: The hash.
            password: Any text.
            who: Whom the try counts for.
            address: Where it comes from; empty for who is signed in.

        Raises:
            RateLimited: Too many were tried.
            Overloaded: Too many wait.
        """
        # Counted with a turn at hand: many right ones at once are never taken for many wrong ones.
        async with self._turn():
            await self._tries.count(who, address)
            fits = await anyio.to_thread.run_sync(self._compare, stored or self._nobody, password)
            if fits:
                self._tries.right(who, address)
            else:
                self._tries.wrong(address)
        return fits

    def is_outdated(self, stored: str) -> bool:
        """Whether a hash was made with other parameters than those of today."""
        return self._hasher.check_needs_rehash(stored)

    def _compare(self, stored: str, password: str) -> bool:
        if not _fits_length(password):
            return False
        try:
            return self._hasher.verify(stored, _as_text(password))
        except (VerificationError, InvalidHashError):
            return False

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._waiting >= MOST_WAITING:
            raise Overloaded(
                "Too many passwords wait to be checked. Try again in a few seconds.", retryAfter=RETRY_AFTER
            )
        self._waiting += 1
        try:
            async with self._turns:
                yield
        finally:
            self._waiting -= 1


def _hash_of_nobody(hasher: PasswordHasher) -> str:
    """A hash that nothing fits, as dear as any other: who has no password takes as long as who has one."""
    cost = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    salt, digest = (
        base64.b64encode(bytes(length)).decode().rstrip("=") for length in (hasher.salt_len, hasher.hash_len)
    )
    return f"$argon2id$v={ARGON2_VERSION}${cost}${salt}${digest}"


def _fits_length(password: str) -> bool:
    # Lone surrogates come from JSON, and no UTF-8 has them.
    return len(password.encode(errors="replace")) <= LONGEST_BYTES


def _as_text(password: str) -> bytes:
    """What is hashed: the same characters are the same bytes, however a keyboard composes them."""
    return unicodedata.normalize("NFC", password).encode(errors="surrogatepass")
