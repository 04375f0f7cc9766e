"""The tool that tells what an account has left."""

from datetime import UTC, datetime
from typing import Any

import mcp_types as types

from darkroom.accounts.ledger import Movement
from darkroom.faces.mcp.calls import Call
from darkroom.faces.mcp.manage import Manager
from darkroom.faces.mcp.replies import facts_reply
from darkroom_tools.settings import Settings

__all__ = ["CREDIT_MANAGERS"]

SHOWN = 10


class GetBalance(Settings):
    """get_balance takes no arguments."""


async def get_balance(call: Call, _wanted: GetBalance) -> types.CallToolResult:
    """What the caller's organisation has, by bucket, and what moved last."""
    credits, account = call.room.credits, call.principal.organisation
    if not credits.on:
        return facts_reply({"credits": "free, unlimited"})
    balance = await credits.balance(account)
    moved = await credits.statement(account, SHOWN)
    facts = {
        "credits": balance.total,
        "free": balance.free,
        "purchased": balance.purchased,
        "refund": balance.refund,
        "reserved": balance.reserved,
        "movements": [_facts(move) for move in moved],
    }
    return facts_reply(facts)


def _facts(move: Movement) -> dict[str, Any]:
    at = datetime.fromtimestamp(move.created_at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    facts = {"at": at, "kind": move.kind, "credits": move.amount, "bucket": move.bucket, "job": move.job}
    return {key: value for key, value in {**facts, "note": move.note}.items() if value}


CREDIT_MANAGERS = (
    Manager(
        "get_balance",
        "Get balance",
        "Credits left, and where they went.",
        GetBalance,
        get_balance,
        read_only=True,
    ),
)
