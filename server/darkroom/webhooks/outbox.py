"""Events to be delivered: plain functions over a connection, for the transaction that ends a job.

An event is written in that very transaction, so it is sent if and only if the job ended, whatever crashes then.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa

from darkroom.store.ids import new_id
from darkroom.store.schema import jobs, webhook_deliveries, webhooks

__all__ = ["Delivery", "claim", "enqueue", "give_up", "record", "try_again"]

LEASE_SECONDS: Final = 60.0
MOST_ITEMS: Final = 200
LONGEST_PROBLEM: Final = 200


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one address.

    Attributes:
        id: `msg_…`, the same in every attempt, so that a receiver can tell a repeat.
        organisation: Whose job ended.
        webhook: The organisation's webhook; None for an address of one run alone.
        secrets: Each of them signs; two while a secret is being replaced, none where the address brought none.
        event: What is told, without the addresses of images, which expire.
        attempt: Counts from 1.
        created_at: When the job ended, in seconds since the epoch.
    """

    id: str
    organisation: str
    webhook: str | None
    url: str
    secrets: tuple[str, ...]
    event: Mapping[str, Any]
    attempt: int
    created_at: float


def enqueue(connection: sa.Connection, job_ids: Sequence[str], now: float) -> None:
    """Write the events of ended jobs for everybody who wants to hear of them; a repeat changes nothing."""
    # Every job ends here and few are listened to: requests and results are read only for those.
    columns = (jobs.c.organisation, jobs.c.owner, jobs.c.webhooks)
    standing = connection.execute(sa.select(*columns).where(_among(job_ids))).all()
    owners = {row.organisation or row.owner for row in standing}
    hooks = connection.execute(sa.select(webhooks).where(webhooks.c.organisation.in_(owners))).mappings().all()
    if not hooks and not any(row.webhooks for row in standing):
        return
    ended = [dict(row) for row in connection.execute(sa.select(jobs).where(_among(job_ids))).mappings()]
    for row in ended:
        organisation = row["organisation"] or row["owner"]
        wanted = {
            hook["url"]: {"webhook": hook["id"]}
            for hook in hooks
            if hook["organisation"] == organisation and hook["disabled"] is None
        }
        wanted |= {hook["url"]: {"secret": hook["secret"] or None} for hook in row["webhooks"] or ()}
        if not wanted:
            continue
        known = sa.select(webhook_deliveries.c.url).where(webhook_deliveries.c.job == row["id"])
        told = {"organisation": organisation, "job": row["id"], "state": "queued", "due_at": now, "created_at": now}
        payload = json.dumps(_event(row, now), ensure_ascii=False, separators=(",", ":"))
        for url in wanted.keys() - set(connection.execute(known).scalars()):
            values = {"id": new_id("msg"), "url": url, "payload": payload, **told, **wanted[url]}
            connection.execute(webhook_deliveries.insert().values(**values))


def claim(connection: sa.Connection, now: float, count: int) -> list[Delivery]:
    """Take up to `count` events that are due; who dies with one leaves it to others after a minute."""
    free = sa.or_(webhook_deliveries.c.lease_until.is_(None), webhook_deliveries.c.lease_until < now)
    due = (webhook_deliveries.c.state == "queued") & (webhook_deliveries.c.due_at <= now) & free
    chosen = sa.select(webhook_deliveries.c.id).where(due).order_by(webhook_deliveries.c.due_at).limit(count)
    if connection.dialect.name == "postgresql":
        chosen = chosen.with_for_update(skip_locked=True)
    held = {"lease_until": now + LEASE_SECONDS, "attempt": webhook_deliveries.c.attempt + 1}
    taking = webhook_deliveries.update().where(webhook_deliveries.c.id.in_(chosen)).values(held)
    rows = [dict(row) for row in connection.execute(taking.returning(webhook_deliveries)).mappings()]
    named = [row["webhook"] for row in rows if row["webhook"]]
    hooks = {hook["id"]: dict(hook) for hook in connection.execute(_of(named)).mappings()}
    return [
        Delivery(
            id=row["id"],
            organisation=row["organisation"],
            webhook=row["webhook"],
            url=row["url"],
            secrets=_secrets(row, hooks.get(row["webhook"]), now),
            event=json.loads(row["payload"]),
            attempt=row["attempt"],
            created_at=row["created_at"],
        )
        for row in rows
    ]


def record(connection: sa.Connection, delivery: Delivery, status: int, now: float) -> None:
    """The receiver has it."""
    done = {"state": "sent", "status": status, "problem": None, "lease_until": None, "finished_at": now}
    connection.execute(_one(delivery).values(done))


def try_again(connection: sa.Connection, delivery: Delivery, status: int | None, problem: str, due_at: float) -> None:
    """It did not arrive; it is due once more at `due_at`."""
    told = {"status": status, "problem": problem[:LONGEST_PROBLEM], "lease_until": None, "due_at": due_at}
    connection.execute(_one(delivery).values(told))


def give_up(
    connection: sa.Connection, delivery: Delivery, status: int | None, problem: str, now: float, *, disable: bool
) -> None:
    """It is not tried any more; with `disable` nothing is sent to that address of the organisation any more."""
    told = {"status": status, "problem": problem[:LONGEST_PROBLEM], "lease_until": None, "finished_at": now}
    connection.execute(_one(delivery).values(state="failed", **told))
    if disable and delivery.webhook is not None:
        off = webhooks.update().where(webhooks.c.id == delivery.webhook)
        connection.execute(off.values(disabled=problem[:LONGEST_PROBLEM]))


def _among(job_ids: Sequence[str]) -> sa.ColumnElement[bool]:
    return jobs.c.id.in_(job_ids)


def _of(identifiers: Sequence[str]) -> sa.Select[Any]:
    return sa.select(webhooks).where(webhooks.c.id.in_(identifiers))


def _one(delivery: Delivery) -> sa.Update:
    # Fenced by the attempt: an answer that comes after the lease ran out belongs to nobody.
    same = (webhook_deliveries.c.id == delivery.id) & (webhook_deliveries.c.attempt == delivery.attempt)
    return webhook_deliveries.update().where(same, webhook_deliveries.c.state == "queued")


def _secrets(row: Mapping[str, Any], hook: Mapping[str, Any] | None, now: float) -> tuple[str, ...]:
    if hook is None:
        return (row["secret"],) if row["secret"] else ()
    old = hook["old_secret"] if hook["old_secret"] and (hook["old_until"] or 0.0) > now else None
    return (hook["secret"], old) if old else (hook["secret"],)


def _event(row: Mapping[str, Any], now: float) -> dict[str, Any]:
    """The body after Standard Webhooks: `type`, `timestamp`, `data`."""
    data: dict[str, Any] = {
        "job": row["id"],
        "tool": row["tool"],
        "workflow": row["workflow"],
        "version": row["version"],
        "state": row["state"],
        "labels": row["labels"] or None,
        "credits": row["credits"],
        "total": row["item_count"],
        "done": row["done"],
        "error": row["error"],
        "createdAt": _iso(row["created_at"]),
        "startedAt": _iso(row["started_at"]),
        "finishedAt": _iso(row["finished_at"]),
        "items": [_item(item) for item in (row["result"] or {}).get("items", ())[:MOST_ITEMS]],
    }
    told = {key: value for key, value in data.items() if value is not None}
    return {"type": f"job.{row['state']}", "timestamp": _iso(now), "data": told}


def _item(item: Mapping[str, Any]) -> dict[str, Any]:
    if item.get("error") is not None:
        return {"error": {key: item["error"].get(key) for key in ("code", "error")}}
    return {"images": [{"image": handle} for handle in item.get("images", ())]}


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
