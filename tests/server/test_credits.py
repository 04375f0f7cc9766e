"""Credits through the real service: priced jobs, parallel calls at the last credit, ends of every kind, crashes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.jobs_room import Room, blend, measure, open_room, tint

from darkroom.accounts import ledger
from darkroom.accounts.credits import Credits, Quote
from darkroom.accounts.ledger import Balance
from darkroom.accounts.prices import Prices, load_prices
from darkroom.errors import InsufficientCredits, NotFound, Overloaded
from darkroom.jobs.record import Job
from darkroom.jobs.terms import Terms
from darkroom.principal import Principal
from darkroom.store.database import Database
from darkroom.store.queue import QueueLimits
from darkroom.store.schema import jobs, transfers
from darkroom.workflows.compile import compile_workflow
from darkroom.workflows.exchange import read_document
from darkroom.workflows.gallery import gallery
from darkroom_tools.errors import NoFace
from darkroom_tools.plan import Plan, Step
from darkroom_tools.registry import builtin_tools

PRICES = Prices({}, {"tint": 1, "blend": 3}, {})


pytestmark = pytest.mark.anyio


def counted(database: Database, free: int) -> Credits:
    return Credits(database, on=True, free=free, prices=PRICES)


class Bank:
    """A room whose jobs cost credits, and the books behind it."""

    def __init__(self, room: Room, free: int) -> None:
        self.room = room
        self.credits = counted(room.database, free)

    async def balance(self, owner: str = "ann") -> Balance:
        assert await self.credits.verify() == []
        return await self.credits.balance(owner)


@pytest.fixture
async def bank(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    async with asyncio.timeout(60), AsyncExitStack() as stack:

        async def opened(free: int, **options: Any) -> Bank:
            room = await stack.enter_async_context(open_room(tmp_path, credits=partial(counted, free=free), **options))
            return Bank(room, free)

        yield opened


async def test_a_job_is_charged_once_it_is_done(bank: Callable[..., Any]) -> None:
    at = await bank(5, gate=False)
    job = await at.room.tint()
    assert (job.credits, await at.balance()) == (1, Balance(free=4, reserved=1))
    at.room.executor.gate.set()
    job = await at.room.done(job)
    assert (job.state, job.credits, await at.balance()) == ("succeeded", 1, Balance(free=4))
    assert (await at.room.jobs.get(at.room.ann, job.id)).credits == 1


async def test_an_answer_from_the_library_is_free(bank: Callable[..., Any]) -> None:
    at = await bank(1)
    await at.room.done(await at.room.tint())
    again = await at.room.tint()
    assert again.result is not None
    assert (again.result.items[0].cached, again.credits, await at.balance()) == (True, 0, Balance())


async def test_who_cannot_pay_leaves_no_job_and_no_bytes(bank: Callable[..., Any]) -> None:
    at = await bank(2)
    image = {"image": at.room.picture("a"), "watermark": at.room.picture("b")}
    with pytest.raises(InsufficientCredits, match="3 credits"):
        await at.room.jobs.accept(at.room.ann, blend, image)
    assert (await at.room.rows(jobs), at.room.stored(), await at.balance()) == ([], set(), Balance(free=2))


async def test_what_costs_nothing_runs_on_an_empty_account(bank: Callable[..., Any]) -> None:
    at = await bank(0)
    job = await at.room.done(await at.room.jobs.accept(at.room.ann, measure, {"image": at.room.picture("a")}))
    assert (job.state, job.credits) == ("succeeded", None)
    assert await at.room.rows(transfers) == []


async def test_a_batch_pays_for_the_images_that_succeeded(bank: Callable[..., Any]) -> None:
    at = await bank(9)
    at.room.executor.fail = lambda data: NoFace("No face was found.") if data.endswith(b"bad") else None
    images = [at.room.picture(name) for name in ("one", "bad", "two")] + ["/missing.png"]
    job = await at.room.jobs.accept(at.room.ann, tint, {"image": images}, each="image")
    assert job.credits == 3
    job = await at.room.done(job)
    assert (job.credits, await at.balance()) == (2, Balance(free=7))


async def test_a_failed_job_costs_nothing(bank: Callable[..., Any]) -> None:
    at = await bank(1)
    at.room.executor.fail = lambda _: NoFace("No face was found.")
    job = await at.room.done(await at.room.tint())
    assert (job.state, job.credits, await at.balance()) == ("failed", 0, Balance(free=1))


@pytest.mark.parametrize("waits", [False, True])
async def test_a_cancelled_job_costs_nothing(bank: Callable[..., Any], waits: bool) -> None:
    at = await bank(5, gate=False, slots=1)
    first = await at.room.tint("first")
    job = await at.room.tint("second") if waits else first
    await at.room.executor.has_run(1)
    job = await at.room.jobs.cancel(at.room.ann, job.id)
    assert (job.state, job.credits) == ("canceled", 0)
    assert (await at.balance()).total == (4 if waits else 5)


async def test_a_cancelled_batch_pays_for_what_it_finished(bank: Callable[..., Any]) -> None:
    at = await bank(5, gate=False, slots=1)
    images = [at.room.picture(name) for name in ("a", "b", "c")]
    job = await at.room.jobs.accept(at.room.ann, tint, {"image": images}, each="image")
    await at.room.executor.has_run(1)
    at.room.executor.gate.set()
    at.room.executor.gate.clear()
    await at.room.executor.has_run(2)
    job = await at.room.jobs.cancel(at.room.ann, job.id)
    assert job.result is not None
    got = sum(item.error is None for item in job.result.items)
    assert (job.credits, (await at.balance()).total) == (got, 5 - got)
    assert got >= 1


async def test_the_organisation_pays_for_its_members(bank: Callable[..., Any]) -> None:
    at = await bank(3)
    roots = at.room.ann.roots
    for name in ("ann", "ben"):
        member = Principal(name, roots, member_of="studio")
        job = await at.room.jobs.accept(member, tint, {"image": at.room.picture(name)})
        await at.room.jobs.wait(member, job.id, 30)
    assert await at.balance("studio") == Balance(free=1)
    assert await at.credits.statement("ann") == []


async def test_the_same_idempotency_key_is_charged_once(bank: Callable[..., Any]) -> None:
    at = await bank(3)
    call = {"image": at.room.picture("a")}
    terms = Terms(idempotency_key="k")
    made = [await at.room.jobs.accept(at.room.ann, tint, call, terms=terms) for _ in range(3)]
    assert len({job.id for job in made}) == 1
    await at.room.done(made[0])
    assert await at.balance() == Balance(free=2)


async def test_of_fifty_calls_at_once_the_last_credit_pays_for_exactly_one(bank: Callable[..., Any]) -> None:
    at = await bank(1, queue_limits=QueueLimits(queued=100, owner_queued=100))
    answers = await asyncio.gather(*(at.room.tint(f"p{n}") for n in range(50)), return_exceptions=True)
    accepted = [answer for answer in answers if isinstance(answer, Job)]
    refused = [answer for answer in answers if isinstance(answer, InsufficientCredits)]
    assert (len(accepted), len(refused)) == (1, 49)
    assert (await at.room.done(accepted[0])).state == "succeeded"
    assert await at.balance() == Balance()
    assert len(await at.room.rows(jobs)) == 1


async def test_a_call_that_the_queue_refuses_costs_nothing(bank: Callable[..., Any]) -> None:
    at = await bank(5, gate=False, slots=1, queue_limits=QueueLimits(queued=1))
    for name in "ab":
        await at.room.tint(name)
    with pytest.raises(Overloaded):
        await at.room.tint("c")
    assert await at.balance() == Balance(free=3, reserved=2)


async def test_a_crash_leaves_no_job_half_charged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that dies in the middle of its work: the next one runs the job, and it is paid for once."""
    lost = RuntimeError("the power failed")

    def fails(*_: Any) -> None:
        raise lost

    async with asyncio.timeout(60), open_room(tmp_path, gate=False, credits=partial(counted, free=5)) as room:
        job = await room.tint()
        await room.executor.has_run(1)
        # The end is undone as a whole, as by a crash: neither result nor charge is there.
        with monkeypatch.context() as patch:
            patch.setattr(ledger, "_post", fails)
            room.executor.gate.set()
            servant = next(iter(room.jobs._dispatcher._servants))
            await asyncio.wait({servant})
        books = counted(room.database, 5)
        assert await books.balance("ann") == Balance(free=4, reserved=1)
        assert [row.state for row in await room.rows(jobs)] == ["running"]
        await room.jobs._dispatcher._reap(alone=True)
        room.jobs._dispatcher.wake()
        done = await room.done(job)
        assert (done.state, done.credits) == ("succeeded", 1)
        assert await books.balance("ann") == Balance(free=4)
        assert await books.verify() == []


async def test_a_job_that_kills_its_server_too_often_costs_nothing(bank: Callable[..., Any]) -> None:
    at = await bank(5, gate=False, queue_limits=QueueLimits(attempts=1))
    job = await at.room.tint()
    await at.room.executor.has_run(1)
    await at.room.jobs._dispatcher._reap(alone=True)
    job = await at.room.jobs.get(at.room.ann, job.id)
    assert (job.state, job.credits, await at.balance()) == ("failed", 0, Balance(free=5))


async def test_switched_off_everything_is_free_and_nothing_is_recorded(tmp_path: Path) -> None:
    async with open_room(tmp_path) as room:
        job = await room.done(await room.tint())
        assert (job.state, job.credits) == ("succeeded", None)
        assert await room.rows(transfers) == []
        plan = Plan((Step("a", "resize"),))
        assert Credits(room.database).quote(builtin_tools()["resize"], plan, 3) == Quote(0, 0, 3)


async def test_grants_and_refunds_are_made_once_a_key_and_once_a_job(bank: Callable[..., Any]) -> None:
    at = await bank(2)
    assert await at.credits.grant("ann", 10, note="Invoice 7", key="pay-7") == Balance(free=2, purchased=10)
    assert (await at.credits.grant("ann", 10, key="pay-7")).purchased == 10
    job = await at.room.done(await at.room.tint())
    assert await at.credits.refund("ann", job.id, "It came out\u202e green") == 1
    with pytest.raises(NotFound):
        await at.credits.refund("ann", job.id)
    newest = (await at.credits.statement("ann", 1))[0]
    assert (newest.kind, newest.note) == ("refund", "It came out green")
    assert await at.balance() == Balance(free=1, purchased=10, refund=1)


def quote(plan: Plan, price: int | None = None, workflow: str = "", **items: int) -> Quote:
    called = replace(builtin_tools()["resize"], price=price, workflow=workflow)
    return Credits(None, on=True).quote(called, plan, **items)  # type: ignore[arg-type]


def steps(*tools: str) -> Plan:
    return Plan(tuple(Step(f"s{n}", tool) for n, tool in enumerate(tools)))


def test_a_quote_is_the_sum_of_the_steps_for_every_image_that_is_not_known() -> None:
    assert quote(steps("resize", "remove-background"), items=4, known=1) == Quote(9, 3, 1)


def test_a_workflow_may_ask_for_more_than_its_steps_cost_but_never_for_less() -> None:
    assert quote(steps("resize", "upscale"), price=8) == Quote(8, 8)
    assert quote(steps("resize", "upscale"), price=0, workflow="wf_cheap") == Quote(4, 4)


def test_a_workflow_of_the_gallery_costs_what_its_document_says() -> None:
    assert quote(steps("resize", "upscale"), price=2, workflow="gallery/print") == Quote(2, 2)


def test_the_price_of_every_workflow_of_the_gallery_is_that_of_its_document() -> None:
    credits = Credits(None, on=True)  # type: ignore[arg-type]
    for saved in gallery().values():
        assert saved.document.price is not None
        assert credits.price_of(saved) == saved.document.price.execution


def test_a_workflow_in_the_list_costs_the_sum_of_its_components_unless_it_asks_for_more() -> None:
    components = [
        {"type": "upscale", "settings": {"scale": 2}},
        {"type": "export", "settings": {"targetFormat": "PNG"}},
    ]
    for asked, price in ((None, 4), (9, 9)):
        document = read_document({"name": "W", "components": components, "price": {"execution": asked}})
        tool = replace(compile_workflow(document, "wf-w", builtin_tools()), workflow="wf_w")
        saved = replace(next(iter(gallery().values())), document=document, tool=tool)
        assert Credits(None, on=True).price_of(saved) == price  # type: ignore[arg-type]
        assert Credits(None).price_of(saved) is None  # type: ignore[arg-type]


def test_every_tool_has_a_price_and_ai_costs_more_than_the_rest() -> None:
    prices = load_prices()
    each = {tool.id: prices.of_step(tool.id, {}) for tool in builtin_tools().values()}
    assert all(each[tool.id] >= 1 for tool in builtin_tools().values() if not tool.read_only)
    assert each["generate-image"] > each["upscale"] > each["remove-background"] > each["resize"] > each["info"] == 0
    assert set(prices.tools) | set(prices.factors) <= set(each)


@pytest.mark.parametrize(
    ("settings", "credits"),
    [({}, 4), ({"quality": "low"}, 2), ({"quality": "high", "imageSize": "2K"}, 16), ({"quality": "auto"}, 4)],
)
def test_the_price_of_a_generated_picture_follows_its_quality_and_size(settings: dict[str, str], credits: int) -> None:
    assert load_prices().of_step("generate-image", settings) == credits


def test_the_factors_name_settings_and_values_that_exist() -> None:
    for tool, factors in load_prices().factors.items():
        settings, example = builtin_tools()[tool].settings, builtin_tools()[tool].example
        for name, values in factors.items():
            for value in values:
                assert settings.parse({**example, name: value}).to_wire()[name] == value
