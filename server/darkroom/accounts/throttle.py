"""How often somebody may ask, and try passwords.

Counted in this process's memory, in constant time and for no longer than needed: a crowd of callers must not make each
of them slower.
"""

import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from darkroom.errors import RateLimited

__all__ = ["TRIES", "Pass", "Requests", "Tries"]

MINUTE: Final = 60.0
TRIES: Final = 5
"""Passwords that somebody may try at once."""

ADDRESS_FACTOR: Final = 10
"""Wrong passwords of one address, whatever the account: this many times those of one account."""

SWEEP_AT: Final = 1_000


@dataclass(frozen=True, slots=True)
class Pass:
    """What the rate limit says of one request.

    Attributes:
        allowed: Whether it may go on.
        limit: Requests a minute.
        remaining: What is left of them.
        reset: Seconds until all are there again.
        retry_after: Seconds until the next one is allowed.
    """

    allowed: bool
    limit: int
    remaining: int
    reset: int
    retry_after: int


class Requests:
    """The rate limit of every caller, over a sliding minute: the clock's last one counts as far as it reaches into it.

    Args:
        a_minute: Requests that one may send.
        clock: Seconds that only grow.
    """

    def __init__(self, a_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = a_minute
        self._clock = clock
        self._minute = 0
        self._now: Counter[str] = Counter()
        self._before: Counter[str] = Counter()

    async def count(self, key: str) -> Pass:
        """Count a request of a caller, unless it is one too many."""
        minute, gone = divmod(self._clock(), MINUTE)
        self._turn(int(minute))
        left, before = MINUTE - gone, self._before[key]
        if allowed := round(before * left / MINUTE, 6) + self._now[key] + 1 <= self._limit:
            self._now[key] += 1
        now = self._now[key]
        weight = before * left / MINUTE
        return Pass(
            allowed,
            self._limit,
            remaining=max(0, math.floor(self._limit - now - weight)),
            reset=math.ceil(left + MINUTE if now else left if before else 0),
            retry_after=0 if allowed else max(1, math.ceil(self._wait(before, now, left))),
        )

    def _wait(self, before: int, now: int, left: float) -> float:
        """Seconds until there is room for one more: in this minute, as the last one fades, or early in the next."""
        room = self._limit - now - 1
        if before and room >= 0:
            return left - room * MINUTE / before
        return left + MINUTE / now if now else left

    def _turn(self, minute: int) -> None:
        if minute != self._minute:
            self._before = self._now if minute == self._minute + 1 else Counter()
            self._now = Counter()
            self._minute = minute


class _Buckets:
    """Tries for each key: a number at once, then one a minute. A bucket is the time at which it is full again."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._full_at: dict[str, float] = {}
        self._sweep_at = SWEEP_AT

    def wait(self, key: str, most: int) -> float:
        """Seconds until there is a try; 0 if there is one."""
        ahead = self._full_at.get(key, 0.0) - self._clock()
        return max(0.0, round(ahead - (most - 1) * MINUTE, 6))  # who waits a minute waits no hair more

    def take(self, key: str) -> None:
        """Take a try that is there."""
        now = self._clock()
        if len(self._full_at) >= self._sweep_at:
            self._full_at = {key: at for key, at in self._full_at.items() if at > now}
            self._sweep_at = max(SWEEP_AT, 2 * len(self._full_at))
        self._full_at[key] = max(self._full_at.get(key, 0.0), now) + MINUTE

    def fill(self, key: str) -> None:
        """Give all tries back."""
        self._full_at.pop(key, None)


async def _few() -> int:
    return TRIES


class Tries:
    """Passwords that are tried: a few at once, then one a minute, for each account and address.

    An account is never closed to all the world by somebody who guesses from elsewhere. The right password clears what
    was counted. Wrong ones of one address count together too, however many accounts it tries.

    Args:
        most: How many are a few; asked at each try.
        clock: Seconds that only grow.
    """

    def __init__(self, most: Callable[[], Awaitable[int]] = _few, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._accounts = _Buckets(clock)
        self._addresses = _Buckets(clock)

    async def count(self, who: str, address: str) -> None:
        """Count a try, before the password is looked at.

        Args:
            who: Whose password.
            address: Where the caller is; empty for who is signed in.

        Raises:
            RateLimited: Too many came already; `details["retryAfter"]` says in how many seconds one may try again.
        """
        most, key = max(1, await self._most()), f"{who} {address}"
        wait = self._accounts.wait(key, most)
        if address:
            wait = max(wait, self._addresses.wait(address, most * ADDRESS_FACTOR))
        if wait > 0:
            seconds = math.ceil(wait)
            raise RateLimited(f"Too many passwords were tried. Try again in {seconds} seconds.", retryAfter=seconds)
        self._accounts.take(key)

    def right(self, who: str, address: str) -> None:
        """Forget what was counted: the password was right."""
        self._accounts.fill(f"{who} {address}")

    def wrong(self, address: str) -> None:
        """Count a wrong password for its address."""
        if address:
            self._addresses.take(address)
