"""The addresses that an organisation wants told of every job."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import sqlalchemy as sa

from darkroom.errors import Conflict, NotFound
from darkroom.fetch import parse_url
from darkroom.store.database import Database
from darkroom.store.ids import new_id
from darkroom.store.schema import webhook_deliveries, webhooks
from darkroom.webhooks.signing import check_secret, new_secret
from darkroom_tools.errors import LimitExceeded

__all__ = ["Webhook", "Webhooks", "check_address"]

MOST: Final = 10
OLD_SECRET_SECONDS: Final = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Webhook:
    """An address that hears of every job of its organisation.

    Attributes:
        id: `whk_…`.
        organisation: Whose it is.
        url: Where events are posted.
        secret: Signs them.
        disabled: Why nothing is sent any more, None while it is in use.
        waiting: Events that did not arrive yet.
        created_at: Seconds since the epoch.
    """

    id: str
    organisation: str
    url: str
    secret: str
    disabled: str | None
    waiting: int
    created_at: float


class Webhooks:
    """The webhooks of all organisations.

    Args:
        database: Where they are kept.
        private_ok: Which hosts may be inside the network, and on any port.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        database: Database,
        private_ok: Callable[[str], bool] = lambda _: False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._private_ok = private_ok
        self._clock = clock

    async def add(self, organisation: str, url: str, secret: str | None = None) -> Webhook:
        """Tell this address of every job that ends from now on.

        Raises:
            UrlNotAllowed: It is no address that may be reached.
            InvalidSettings: The secret is not well formed.
            Conflict: The organisation has that address already.
            LimitExceeded: It has ten.
        """
        check_address(url, self._private_ok)
        signed_with = check_secret(secret) if secret is not None else new_secret()
        hook = Webhook(new_id("whk"), organisation, url, signed_with, None, 0, self._clock())
        await self._database.write(partial(_insert, hook=hook))
        return hook

    async def list(self, organisation: str) -> Sequence[Webhook]:
        """The organisation's webhooks, oldest first."""
        return await self._database.read(lambda c: _select(c, webhooks.c.organisation == organisation))

    async def remove(self, organisation: str, identifier: str) -> Webhook:
        """Forget a webhook and what it did not hear yet.

        Raises:
            NotFound: The organisation has no such webhook.
        """

        def work(connection: sa.Connection) -> Webhook:
            hook = _one(connection, organisation, identifier)
            waiting = (webhook_deliveries.c.webhook == hook.id) & (webhook_deliveries.c.state == "queued")
            connection.execute(webhook_deliveries.delete().where(waiting))
            connection.execute(webhooks.delete().where(webhooks.c.id == hook.id))
            return hook

        return await self._database.write(work)

    async def rotate(self, organisation: str, identifier: str) -> Webhook:
        """Give a webhook a new secret; the old one signs beside it for a day. One that was disabled is in use again.

        Raises:
            NotFound: The organisation has no such webhook.
        """

        def work(connection: sa.Connection) -> Webhook:
            hook = _one(connection, organisation, identifier)
            until = self._clock() + OLD_SECRET_SECONDS
            changed = {"secret": new_secret(), "old_secret": hook.secret, "old_until": until, "disabled": None}
            connection.execute(webhooks.update().where(webhooks.c.id == hook.id).values(changed))
            return _one(connection, organisation, identifier)

        return await self._database.write(work)


def check_address(url: str, private_ok: Callable[[str], bool]) -> None:
    """Refuse what no event is ever posted to; where the name leads is checked at each delivery.

    Raises:
        UrlNotAllowed: Its form, scheme or port.
    """
    parse_url(url, private_ok=private_ok)


def _insert(connection: sa.Connection, hook: Webhook) -> None:
    known = _select(connection, webhooks.c.organisation == hook.organisation)
    if any(each.url == hook.url for each in known):
        raise Conflict("This address is a webhook already. Remove it first, or rotate its secret.")
    if len(known) >= MOST:
        raise LimitExceeded(f"There are {MOST} webhooks, which is the limit. Remove one first.", limit=MOST)
    row = {"id": hook.id, "organisation": hook.organisation, "url": hook.url, "secret": hook.secret}
    connection.execute(webhooks.insert().values(**row, created_at=hook.created_at))


def _one(connection: sa.Connection, organisation: str, identifier: str) -> Webhook:
    named = sa.or_(webhooks.c.id == identifier, webhooks.c.url == identifier)
    found = _select(connection, (webhooks.c.organisation == organisation) & named)
    if not found:
        raise NotFound("There is no such webhook. `darkroom webhooks` lists them.")
    return found[0]


def _select(connection: sa.Connection, which: sa.ColumnElement[bool]) -> list[Webhook]:
    of_it = (webhook_deliveries.c.webhook == webhooks.c.id) & (webhook_deliveries.c.state == "queued")
    waiting = sa.select(sa.func.count()).where(of_it).scalar_subquery().label("waiting")
    wanted = sa.select(webhooks, waiting).where(which).order_by(webhooks.c.created_at, webhooks.c.id)
    return [
        Webhook(row.id, row.organisation, row.url, row.secret, row.disabled, row.waiting, row.created_at)
        for row in connection.execute(wanted)
    ]
