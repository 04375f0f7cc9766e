"""The dry run: what a call would come to, without a job and without a pixel."""

import asyncio
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from pydantic import ValidationError

from darkroom.accounts.credits import Credits
from darkroom.engine.limits import Limits
from darkroom.errors import Forbidden, InsufficientCredits
from darkroom.intake import Resolved
from darkroom.jobs.looking import NOBODY, Looker, Seen
from darkroom.jobs.recording import filed_answer
from darkroom.jobs.request import Call, Request, make_request
from darkroom.library.library import find_images
from darkroom.library.record import ImageRecord
from darkroom.principal import Principal
from darkroom.store.database import Database
from darkroom.store.schema import jobs
from darkroom.workflows.estimates import Range
from darkroom.workflows.preview import Forecast, forecast
from darkroom_tools.base import Tool
from darkroom_tools.errors import DarkroomError
from darkroom_tools.models import cards
from darkroom_tools.plan import Plan
from darkroom_tools.registry import builtin_tools
from darkroom_tools.settings import explain_all

__all__ = ["Check", "CheckedItem", "Checker"]

RECENT_JOBS: Final = 50
UNKNOWN: Final = Resolved("", "jpeg", 0, "photo.jpg", "unknown")
"""Stands for bytes that nobody has, so that the steps can be worked out."""


@dataclass(frozen=True, slots=True)
class CheckedItem:
    """What one item of a call would come to.

    Attributes:
        sources: Its pictures in the order of the call; fewer where one could not be had.
        forecast: What comes of it, None if a picture could not be had.
        made: The pictures that are its answer, if the library knows it; else None.
        error: Why it cannot run at all.
        labels: What its pictures are called.
    """

    sources: tuple[Seen, ...]
    forecast: Forecast | None = None
    made: tuple[ImageRecord, ...] | None = None
    error: DarkroomError | None = None
    labels: tuple[str, ...] = ()

    @property
    def known(self) -> bool:
        """Whether the library has the answer: it is free and there at once."""
        return self.made is not None


@dataclass(frozen=True, slots=True)
class Check:
    """What a call would come to.

    Attributes:
        items: One for each item.
        seconds: Of work, for all that is not known yet.
        waiting: Seconds until a slot is free; None if nobody waits.
        credits: What it would cost; 0 where everything is free.
        charged: Whether credits are counted here at all.
        problems: Why the whole call would be refused.
    """

    items: tuple[CheckedItem, ...]
    seconds: Range
    waiting: Range | None
    credits: int
    charged: bool
    problems: tuple[DarkroomError, ...] = ()


class Checker:
    """Tells what calls would come to.

    Args:
        database: At the newest schema.
        looker: Looks at pictures.
        credits: Knows prices.
        slots: Plans that run at once.
        limits: Of results and of time.
        models: Digests of the models that are here and can run.
        engine: As for `Jobs`.
    """

    def __init__(
        self,
        database: Database,
        looker: Looker,
        credits: Credits,
        *,
        slots: int,
        limits: Limits,
        models: Callable[[], Mapping[str, str]] = dict,
        engine: Callable[[Plan], str] = lambda _: "",
    ) -> None:
        self._database = database
        self._looker = looker
        self._credits = credits
        self._slots = slots
        self._limits = limits
        self._models = models
        self._engine = engine

    async def check(
        self, principal: Principal, tool: Tool, arguments: Mapping[str, Any], *, each: str | None = None
    ) -> Check:
        """What the call would come to; the arguments are those of `Jobs.accept`.

        Required pictures that are not given are thought to be photos of 4000 × 3000 pixels.
        """
        try:
            call = Call.parse(tool, _with_nobody(tool, arguments), each)
            return await self._checked(principal, tool, call)
        except DarkroomError as error:
            return Check((), Range(), None, 0, self._credits.on, tuple(_every_complaint(tool, error)))

    async def _checked(self, principal: Principal, tool: Tool, call: Call) -> Check:
        wanted = {
            f"{number}.{name}.{at}": (name, value)
            for number, item in enumerate(call.items)
            for name, values in item.items()
            for at, value in enumerate(values)
        }
        seen = await self._looker.look(principal, wanted)
        held = [
            {name: [seen[f"{number}.{name}.{at}"] for at in range(len(values))] for name, values in item.items()}
            for number, item in enumerate(call.items)
        ]
        models, refused = self._models(), list[DarkroomError]()

        def engine(plan: Plan) -> str:
            try:
                return self._engine(plan)
            except Forbidden:  # whatever engine there is, such a plan is not run
                raise
            except DarkroomError as error:
                refused.append(error)
                return ""

        request = make_request(tool, call, [_resolved(item) for item in held], models, self._limits, engine=engine)
        answers = await self._answers(principal, request, held)
        refusal = refused[0] if refused else None
        items = await asyncio.to_thread(self._items, request, held, answers, frozenset(models), refusal)
        return await self._summed(principal, tool, request, items)

    async def _answers(
        self, principal: Principal, request: Request, held: Sequence[Mapping[str, Sequence[Any]]]
    ) -> dict[int, tuple[ImageRecord, ...]]:
        """What the library knows of the items, by number; of a report there are no pictures."""

        def work(connection: sa.Connection) -> dict[int, tuple[ImageRecord, ...]]:
            found = {}
            for number, item in enumerate(request.items):
                bytes_known = all(isinstance(each, Seen) and each.resolved for each in _flat(held[number]))
                answer = filed_answer(connection, principal.id, item) if bytes_known and item.error is None else None
                if answer is not None:
                    records = find_images(connection, principal.id, answer.images)
                    found[number] = tuple(records[each] for each in answer.images if each in records)
            return found

        return await self._database.read(work)

    def _items(
        self,
        request: Request,
        held: Sequence[Mapping[str, Sequence[Any]]],
        answers: Mapping[int, tuple[ImageRecord, ...]],
        installed: frozenset[str],
        engine: DarkroomError | None,
    ) -> list[CheckedItem]:
        packaged = frozenset(card.id for card in cards().values() if card.packaged is not None)
        tools = builtin_tools()
        items = []
        for number, item in enumerate(held):
            pictures = _flat(item)
            error = next((each for each in pictures if isinstance(each, DarkroomError)), None)
            sources = tuple(each for each in pictures if isinstance(each, Seen))
            if error is not None:
                items.append(CheckedItem(sources, error=error, labels=tuple(request.items[number].names)))
                continue
            given = [each.given for each in sources]
            found = forecast(
                request.plan, given, tools, self._limits, installed=installed, measured=packaged, engine=engine
            )
            labels = tuple(each.label for each in sources if each.label)
            items.append(CheckedItem(sources, found, answers.get(number), labels=labels))
        return items

    async def _summed(self, principal: Principal, tool: Tool, request: Request, items: list[CheckedItem]) -> Check:
        idle = sum(item.known or item.error is not None for item in items)
        quote = self._credits.quote(tool, request.plan, len(items), idle)
        work = [item.forecast.seconds for item in items if item.forecast is not None and not item.known]
        total = sum(work, Range())
        least = max([total.low / self._slots, *(each.low for each in work)], default=0.0)
        waiting = await self._database.read(lambda c: _waiting(c, self._slots)) if work else None
        problems = await self._unpaid(principal, quote.credits)
        return Check(tuple(items), Range(least, total.high), waiting, quote.credits, self._credits.on, problems)

    async def _unpaid(self, principal: Principal, price: int) -> tuple[DarkroomError, ...]:
        if not price:
            return ()
        balance = (await self._credits.balance(principal.organisation)).total
        if balance >= price:
            return ()
        said = f"This costs {price} credits, and the account has {balance}."
        return (InsufficientCredits(said, balance=balance, price=price),)


def _with_nobody(tool: Tool, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with a nobody for each required picture that is missing."""
    absent = [image for image in tool.inputs if image.required and not {image.name, image.parameter} & arguments.keys()]
    return {
        **{image.name: [NOBODY] * max(1, image.least) if image.many else NOBODY for image in absent},
        **arguments,
    }


def _every_complaint(tool: Tool, error: DarkroomError) -> Sequence[DarkroomError]:
    """All that is wrong with the arguments, where validation knows more than its first complaint."""
    if isinstance(error.__cause__, ValidationError):
        return explain_all(error.__cause__, tool.settings, extra_names=tuple(image.name for image in tool.inputs))
    return [error]


def _flat(item: Mapping[str, Sequence[Any]]) -> list[Any]:
    return [each for values in item.values() for each in values]


def _resolved(item: Mapping[str, Sequence[Any]]) -> dict[str, list[Resolved]] | DarkroomError:
    """The bytes of an item as a request wants them."""
    error = next((each for each in _flat(item) if isinstance(each, DarkroomError)), None)
    return error or {name: [each.resolved or UNKNOWN for each in values] for name, values in item.items()}


def _waiting(connection: sa.Connection, slots: int) -> Range | None:
    """Seconds until what waits has been started; None if nothing waits. By what recent work took."""
    left = sa.func.sum(jobs.c.item_count - jobs.c.done)
    rows = connection.execute(
        sa.select(jobs.c.state, left).where(jobs.c.state.in_(("queued", "running"))).group_by(jobs.c.state)
    )
    open_items = {row[0]: int(row[1] or 0) for row in rows}
    if not open_items.get("queued"):
        return None
    recent = sa.select(jobs.c.started_at, jobs.c.finished_at, jobs.c.item_count, jobs.c.state)
    times = [
        (row.finished_at - row.started_at) / row.item_count
        for row in connection.execute(recent.order_by(jobs.c.seq.desc()).limit(RECENT_JOBS))
        if row.state == "succeeded" and row.started_at is not None and row.finished_at is not None
    ]
    usual = statistics.median(times) if times else 1.0
    # Fair order: an owner who has nothing running may be next.
    return Range(0.0, sum(open_items.values()) * usual / slots)
