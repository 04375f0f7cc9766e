"""Rate limits: never more than allowed, and what they promise about the next time is true."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.accounts_room import Clock

from darkroom.accounts.throttle import Requests, Tries
from darkroom.errors import RateLimited

pytestmark = pytest.mark.anyio

STEPS = st.lists(st.floats(0, 90), min_size=1, max_size=80)


@given(STEPS, st.integers(1, 20))
async def test_no_minute_of_the_clock_lets_more_through_than_the_limit(steps: list[float], limit: int) -> None:
    clock = Clock(0.0)
    requests = Requests(limit, clock)
    allowed: dict[int, int] = {}
    for step in steps:
        clock.now += step
        if (await requests.count("a")).allowed:
            allowed[int(clock.now // 60)] = allowed.get(int(clock.now // 60), 0) + 1
    assert max(allowed.values()) <= limit


@given(STEPS, st.integers(1, 20))
async def test_who_waits_as_long_as_told_gets_through_and_hardly_sooner(steps: list[float], limit: int) -> None:
    clock = Clock(0.0)
    requests = Requests(limit, clock)
    for step in steps:
        clock.now += step
        found = await requests.count("a")
        while found.allowed:
            assert found.retry_after == 0
            found = await requests.count("a")
        assert 1 <= found.retry_after <= 120
        assert found.remaining == 0
        if found.retry_after > 1:
            clock.now += found.retry_after - 1.001
            assert not (await requests.count("a")).allowed
            clock.now += 1.001
        else:
            clock.now += found.retry_after
        assert (await requests.count("a")).allowed


async def test_a_burst_is_let_through_up_to_the_limit_and_told_what_is_left() -> None:
    clock = Clock(30.0)
    requests = Requests(3, clock)
    passes = [await requests.count("a") for _ in range(4)]
    assert [each.allowed for each in passes] == [True, True, True, False]
    assert [each.remaining for each in passes] == [2, 1, 0, 0]
    assert {each.limit for each in passes} == {3}
    assert passes[0].reset == 90
    assert passes[3].retry_after == 50
    clock.now += passes[0].reset
    assert (await requests.count("a")).remaining == 2


async def test_callers_are_counted_apart() -> None:
    requests = Requests(1, Clock(0.0))
    assert (await requests.count("a")).allowed
    assert not (await requests.count("a")).allowed
    assert (await requests.count("b")).allowed


async def test_a_crowd_is_forgotten_after_two_minutes() -> None:
    clock = Clock(0.0)
    requests = Requests(10, clock)
    tracemalloc.start()
    try:
        await requests.count("one")
        before = tracemalloc.get_traced_memory()[0]
        for number in range(20_000):
            await requests.count(f"address {number}")
        crowded = tracemalloc.get_traced_memory()[0]
        clock.now += 121
        await requests.count("one")
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert crowded - before > 1_000_000
    assert after - before < 100_000


@given(st.lists(st.floats(0, 400), min_size=1, max_size=40), st.integers(1, 8))
async def test_in_any_time_there_are_no_more_tries_than_a_few_and_one_a_minute(steps: list[float], most: int) -> None:
    clock = Clock(0.0)

    async def few() -> int:
        return most

    tries, taken = Tries(few, clock), []
    for step in steps:
        clock.now += step
        try:
            while True:
                await tries.count("ann", "here")
                taken.append(clock.now)
        except RateLimited as refused:
            wait = refused.details["retryAfter"]
            assert 1 <= wait <= 60
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            assert last - first + 1 <= most + (taken[last] - taken[first]) / 60 + 1e-6


async def test_a_limit_that_is_changed_counts_at_once() -> None:
    limit = 2

    async def few() -> int:
        return limit

    tries = Tries(few, Clock(0.0))
    for _ in range(2):
        await tries.count("ann", "here")
    with pytest.raises(RateLimited):
        await tries.count("ann", "here")
    limit = 3
    await tries.count("ann", "here")
    limit = 0
    with pytest.raises(RateLimited):
        await tries.count("ann", "here")


async def test_tries_of_long_ago_take_no_memory() -> None:
    clock = Clock(0.0)
    tries = Tries(clock=clock)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(30_000):
            clock.now += 1
            await tries.count(f"user{number}", "here")
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert after - before < 500_000
