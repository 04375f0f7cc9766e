"""What happens in the very transaction that ends jobs, however they end."""

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from darkroom.accounts import ledger
from darkroom.webhooks import outbox

__all__ = ["ended"]


def ended(connection: sa.Connection, job_ids: Sequence[str], now: float) -> Mapping[str, int]:
    """Called once for every job that reached an end state, with its result recorded; the credits charged, by job."""
    charged = ledger.settle(connection, job_ids, now)
    outbox.enqueue(connection, job_ids, now)
    return charged
