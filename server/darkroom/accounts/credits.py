"""What a server needs of credits: quotes, reservations, and a customer's view of the own account."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from darkroom.accounts import ledger
from darkroom.accounts.ledger import Balance, Bucket, Movement
from darkroom.accounts.prices import Prices, load_prices
from darkroom.errors import NotFound
from darkroom.store.database import Database
from darkroom.store.ids import new_id
from darkroom.workflows.gallery import GALLERY
from darkroom.workflows.service import Saved
from darkroom_tools.base import Tool
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.kit.clean import clean_text
from darkroom_tools.plan import Plan

__all__ = ["Credits", "Quote"]

LONGEST_NOTE = 200
LONGEST_ACCOUNT = 64


@dataclass(frozen=True, slots=True)
class Quote:
    """What a run will cost at most.

    Attributes:
        credits: Altogether; what fails is not charged.
        each: For one item.
        free_of_charge_items: Items that the library answers, or that cannot run.
    """

    credits: int
    each: int
    free_of_charge_items: int = 0


class Credits:
    """The account of every organisation; off, everything is free and nothing is recorded.

    Args:
        database: At the newest schema.
        on: Whether tools cost credits.
        free: Credits that an account gets once, at its first use.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        database: Database,
        *,
        on: bool = False,
        free: int = 0,
        prices: Prices | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.on = on
        self._database = database
        self._free = free
        self._prices = prices or load_prices()
        self._clock = clock

    def quote(self, tool: Tool, plan: Plan, items: int = 1, known: int = 0) -> Quote:
        """What it costs to run a plan on so many items, of which `known` need no work.

        A saved workflow costs what its document says, but never less than its steps, whoever wrote it; one of the
        gallery costs just what its document says.
        """
        if not self.on:
            return Quote(0, 0, items)
        each = _asked(tool, self._prices.of_plan(plan))
        return Quote(each * (items - known), each, known if each else items)

    def price_of(self, saved: Saved) -> int | None:
        """What one run of a workflow costs, None where nothing has a price; settings given with a call can change it."""
        if not self.on or saved.tool is None:
            return None
        return _asked(saved.tool, self._prices.of_document(saved.document))

    def span_of(self, saved: Saved) -> tuple[int, int]:
        """The least and the most that one run costs by document and price list, also where nothing is charged.

        What the document itself says of the least and the most only makes the span wider.
        """
        if saved.tool is None:
            return 0, 0
        steps = self._prices.span_of_document(saved.document, shaped=saved.tool.output == "image")
        low, high = (_asked(saved.tool, each) for each in steps)
        said = saved.document.price
        least = said.min if said is not None and said.min is not None else low
        most = said.max if said is not None and said.max is not None else high
        return min(low, least), max(high, most)

    def reserve(self, connection: sa.Connection, account: str, job_id: str, amount: int, now: float) -> None:
        """Set a job's credits aside in the transaction that accepts it; a new account gets its free ones first.

        Raises:
            InsufficientCredits: The account has fewer.
        """
        if amount > 0:
            ledger.open_account(connection, account, self._free, now)
            ledger.reserve(connection, account, job_id, amount, now)

    async def balance(self, account: str) -> Balance:
        """What an account has; a new one gets its free credits first."""

        def work(connection: sa.Connection) -> Balance:
            self._open(connection, account)
            return ledger.balance_of(connection, account)

        return await self._database.write(work)

    async def statement(self, account: str, limit: int = 20, before: int | None = None) -> Sequence[Movement]:
        """The newest movements of an account, the newest first, older than the one of `seq` `before`."""
        return await self._database.read(lambda c: ledger.movements_of(c, account, limit, before))

    async def grant(
        self, account: str, amount: int, bucket: Bucket = "purchased", *, note: str = "", key: str | None = None
    ) -> Balance:
        """Give credits to an account; the balance afterwards.

        Args:
            account: Id of the organisation.
            amount: 1..10^12.
            bucket: Where they go.
            note: For people.
            key: The same key is the same grant, such as the number of a payment.

        Raises:
            InvalidSettings: The amount or the name of the account cannot be.
        """

        if not 0 < len(account) <= LONGEST_ACCOUNT or account != clean_text(account, LONGEST_ACCOUNT):
            raise InvalidSettings(f"An account is a name of 1 to {LONGEST_ACCOUNT} characters.", field="account")

        def work(connection: sa.Connection) -> Balance:
            self._open(connection, account)
            words = clean_text(note, LONGEST_NOTE)
            ledger.grant(connection, account, bucket, amount, self._clock(), key=key or new_id("grt"), note=words)
            return ledger.balance_of(connection, account)

        return await self._database.write(work)

    async def refund(self, account: str, job_id: str, note: str = "") -> int:
        """Give back what a job was charged, once; the credits given back now.

        Raises:
            NotFound: The account was charged nothing for such a job, or has it back already.
        """
        words = clean_text(note, LONGEST_NOTE)
        amount = await self._database.write(lambda c: ledger.refund(c, account, job_id, self._clock(), words))
        if not amount:
            raise NotFound("There is no such job that this account paid for and has not got back.")
        return amount

    async def verify(self) -> list[str]:
        """What in the ledger does not add up, a sentence each; nothing if it is sound."""
        return await self._database.read(ledger.verify)

    def _open(self, connection: sa.Connection, account: str) -> None:
        ledger.open_account(connection, account, self._free, self._clock())


def _asked(tool: Tool, steps: int) -> int:
    """The price of a tool whose steps cost so much together."""
    if tool.price is not None and tool.workflow.startswith(GALLERY):
        return tool.price
    return max(steps, tool.price or 0)
