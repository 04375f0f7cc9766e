"""`darkroom credits`: what accounts have, what moved, and whether the books add up."""

from __future__ import annotations

import argparse
import sys

TYPE_CHECKING = False  # the command line reads this module whatever it runs, so it imports nothing slow
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from darkroom.accounts.credits import Credits
    from darkroom.accounts.ledger import Balance, Movement

__all__ = ["add_parser"]

BUCKETS = ("free", "purchased", "refund")
MOST_ROWS = 1000


def add_parser(add: Callable[..., argparse.ArgumentParser], commands: object) -> None:
    """Add the subcommand; `add` is the command line's own way of adding one."""
    credits = add(
        commands,
        "credits",
        "balance, grants and movements of accounts",
        "Tools cost credits only where DARKROOM_CREDITS=1 is set. A server may run meanwhile.",
    )
    credits.set_defaults(handler=_balance, account="local")
    actions = credits.add_subparsers(dest="action", metavar="ACTION")
    credits.epilog = "`darkroom credits ACTION --help` says more; without an action it is `balance`."

    def action(name: str, does: str, handler: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        parser = actions.add_parser(name, help=does, description=f"{does[0].upper()}{does[1:]}.")
        parser.add_argument("--data-dir", metavar="DIR", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        parser.set_defaults(handler=handler)
        return parser

    balance = action("balance", "what an account has, by bucket", _balance)
    grant = action("grant", "give credits to an account", _grant)
    grant.add_argument("amount", metavar="AMOUNT", type=int, help="credits, at least 1")
    grant.add_argument("--bucket", choices=BUCKETS, default="purchased", help="where they go (default: purchased)")
    grant.add_argument("--key", metavar="TEXT", help="the same key is the same grant, such as a payment's number")
    refund = action("refund", "give back what a job was charged, once", _refund)
    refund.add_argument("job", metavar="JOB", help="its id, job_…")
    statement = action("statement", "what moved, the newest first", _statement)
    statement.add_argument("--limit", metavar="N", type=int, default=50, help="rows to show (default: 50)")
    action("verify", "compute all balances again; the exit status is 1 if one is wrong", _verify)
    for parser in (balance, grant, refund, statement):
        parser.add_argument("--account", default="local", help="whose it is (default: local)")
    for parser in (grant, refund):
        parser.add_argument("--note", default="", metavar="TEXT", help="why, for people")


def _balance(chosen: argparse.Namespace) -> int:
    async def work(credits: Credits) -> int:
        if not credits.on:
            _say("Credits are off: tools are free and unlimited. DARKROOM_CREDITS=1 switches them on.")
        _say_balance(chosen.account, await credits.balance(chosen.account))
        return 0

    return _run(chosen, work)


def _grant(chosen: argparse.Namespace) -> int:
    async def work(credits: Credits) -> int:
        given = {"note": chosen.note, "key": chosen.key}
        _say_balance(chosen.account, await credits.grant(chosen.account, chosen.amount, chosen.bucket, **given))
        return 0

    return _run(chosen, work)


def _refund(chosen: argparse.Namespace) -> int:
    async def work(credits: Credits) -> int:
        amount = await credits.refund(chosen.account, chosen.job, chosen.note)
        _say(f"{amount:,} credits went back to {chosen.account}.")
        return 0

    return _run(chosen, work)


def _statement(chosen: argparse.Namespace) -> int:
    async def work(credits: Credits) -> int:
        moved = await credits.statement(chosen.account, max(1, min(chosen.limit, MOST_ROWS)))
        for move in moved:
            _say(_line(move))
        if not moved:
            _say(f"Nothing has moved in {chosen.account}.")
        return 0

    return _run(chosen, work)


def _verify(chosen: argparse.Namespace) -> int:
    async def work(credits: Credits) -> int:
        problems = await credits.verify()
        for problem in problems:
            sys.stderr.write(f"{problem}\n")
        if not problems:
            _say("The books add up.")
        return int(bool(problems))

    return _run(chosen, work)


def _run(chosen: argparse.Namespace, work: Callable[[Credits], Awaitable[int]]) -> int:
    """Open the books and work on them; the exit status."""
    import asyncio

    from darkroom.accounts.credits import Credits
    from darkroom.app import open_database
    from darkroom.errors import DarkroomError

    async def opened() -> int:
        async with open_database(chosen.data_dir) as (database, config):
            return await work(Credits(database, on=config.credits, free=config.free_credits))

    try:
        return asyncio.run(opened())
    except DarkroomError as error:
        sys.stderr.write(f"darkroom: {error.message}\n")
        return 1


def _line(move: Movement) -> str:
    from datetime import UTC, datetime

    at = datetime.fromtimestamp(move.created_at, UTC).isoformat(sep=" ", timespec="seconds")[:19]
    about = " ".join(part for part in (move.job, move.note) if part)
    return f"{at}  {move.kind:8} {move.amount:>8,}  {move.bucket:10} {about}".rstrip()


def _say_balance(account: str, balance: Balance) -> None:
    buckets = ", ".join(f"{bucket} {getattr(balance, bucket):,}" for bucket in BUCKETS)
    reserved = f"; {balance.reserved:,} reserved" if balance.reserved else ""
    _say(f"{account}: {balance.total:,} credits ({buckets}){reserved}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
