"""Delivers events: signed, through the guard against addresses inside the network, again with growing pauses."""

import asyncio
import json
import logging
import random
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import sqlalchemy as sa

from darkroom.errors import DarkroomError, FetchFailed, UrlNotAllowed
from darkroom.fetch import Fetcher
from darkroom.store.database import Database
from darkroom.store.schema import webhook_deliveries
from darkroom.webhooks import outbox
from darkroom.webhooks.outbox import Delivery
from darkroom.webhooks.signing import sign

__all__ = ["PAUSES", "Courier"]

log = logging.getLogger(__name__)

MINUTE, HOUR = 60.0, 3600.0
PAUSES: Final = (5.0, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR)
"""Seconds after each attempt that failed: ten attempts in about three days."""

LONGEST_PAUSE: Final = 24 * HOUR
JITTER: Final = 0.1
AT_ONCE: Final = 8
POLL_SECONDS: Final = 2.0
GONE: Final = 410


class Courier:
    """Sends what is due, for as long as `run` runs.

    Args:
        database: Holds the events.
        fetcher: Reaches public addresses only.
        own_secret: Signs for an organisation where an address brought no secret.
        link: A signed address of an image by its handle, None while nothing listens.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        database: Database,
        fetcher: Fetcher,
        *,
        own_secret: Callable[[str], str],
        link: Callable[[str], str | None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._fetcher = fetcher
        self._own_secret = own_secret
        self._link = link
        self._clock = clock
        self._jitter = random.Random()  # noqa: S311 - spreads load, keeps no secret

    async def run(self) -> None:
        """Deliver whatever becomes due; never returns."""
        while True:
            try:
                if not await self.deliver_due():
                    await asyncio.sleep(POLL_SECONDS)
            except (DarkroomError, sa.exc.SQLAlchemyError):
                log.exception("events could not be delivered; they are tried again")
                await asyncio.sleep(POLL_SECONDS)

    async def deliver_due(self) -> int:
        """Try each event that is due now once, up to eight; how many there were."""
        now = self._clock()
        due = (webhook_deliveries.c.state == "queued") & (webhook_deliveries.c.due_at <= now)
        waiting = sa.select(sa.func.count()).where(due)
        # Asked without the write lock first: nearly always there is nothing.
        if not await self._database.read(lambda c: c.execute(waiting).scalar_one()):
            return 0
        deliveries = await self._database.write(lambda c: outbox.claim(c, now, AT_ONCE))
        await asyncio.gather(*(self._deliver(delivery) for delivery in deliveries))
        return len(deliveries)

    async def _deliver(self, delivery: Delivery) -> None:
        secrets = delivery.secrets or (self._own_secret(delivery.organisation),)
        body = json.dumps(self._with_links(delivery.event), ensure_ascii=False, separators=(",", ":")).encode()
        headers = sign(secrets, delivery.id, int(self._clock()), body)
        headers |= {"content-type": "application/json", "content-length": str(len(body))}
        status: int | None = None
        answered: Mapping[str, str] = {}
        try:
            status, answered = await self._fetcher.post(delivery.url, body, headers)
            problem = f"The address answered with status {status}."
        except (FetchFailed, UrlNotAllowed) as error:
            problem = error.message
        if status is not None and 200 <= status < 300:
            await self._database.write(partial(outbox.record, delivery=delivery, status=status, now=self._clock()))
        else:
            await self._put_off(delivery, status, problem, answered)

    async def _put_off(self, delivery: Delivery, status: int | None, problem: str, answered: Mapping[str, str]) -> None:
        now = self._clock()
        if status == GONE or delivery.attempt > len(PAUSES):
            log.warning("%s is given up after %d attempts: %s", delivery.id, delivery.attempt, problem)
            await self._database.write(lambda c: outbox.give_up(c, delivery, status, problem, now, disable=True))
            return
        pause = PAUSES[delivery.attempt - 1] * self._jitter.uniform(1.0, 1.0 + JITTER)
        asked = answered.get("retry-after", "")
        if asked.isdecimal():
            pause = max(pause, min(float(asked[:9]), LONGEST_PAUSE))
        await self._database.write(lambda c: outbox.try_again(c, delivery, status, problem, now + pause))

    def _with_links(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """The event with addresses of its images, which expire and are therefore made now."""
        items = [
            {**item, "images": [self._linked(image) for image in item["images"]]} if "images" in item else item
            for item in event["data"]["items"]
        ]
        return {**event, "data": {**event["data"], "items": items}}

    def _linked(self, image: Mapping[str, Any]) -> dict[str, Any]:
        url = self._link(image["image"])
        return {**image, "url": url} if url is not None else dict(image)
