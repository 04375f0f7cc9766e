"""Credits: what there is, what a run costs, and what happens where they do not suffice."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.web_room import Web, web_room

from .conftest import STUDIO, Solo, data_url

pytestmark = pytest.mark.anyio

LARGEST = 1024 * 1024


@pytest.fixture(scope="module")
async def paid(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Web]:
    """A server where runs cost credits, of which every account gets 6, and files have up to 1 MiB."""
    options: dict[str, Any] = {"credits": True, "free_credits": 6, "max_file_mb": 1}
    async with web_room(tmp_path_factory.mktemp("paid"), **options) as web:
        yield web


async def test_a_run_costs_what_the_list_says_and_too_little_is_not_enough(paid: Web) -> None:
    account = paid.ann.organisation
    async with paid.client(paid.user) as http:
        solo, photo = Solo(paid, http, paid.ann), data_url(paid.photo)
        start = await solo.get("/balance")
        assert start == {
            "apiCredits": 6,
            "webCredits": {"free": 6, "purchased": 0, "refund": 0, "total": 6},
        }
        done = await solo.run(STUDIO, {"images": {"image": photo}})
        assert (done["status"], done["creditsUsed"]) == ("completed", 4)
        assert (await solo.get("/balance"))["apiCredits"] == 2

        again = await solo.run(STUDIO, {"images": {"image": photo}})
        assert (again["status"], again["creditsUsed"]) == ("completed", 0)
        assert again["jpgUrl"]

        other = {"images": {"image": photo}, "texts": {"backdrop": "navy"}}
        error = await solo.refused(STUDIO, other, 402, "INSUFFICIENT_CREDITS")
        assert (error["details"]["balance"], error["details"]["price"]) == (2, 4)
        _, jobs = await paid.room.jobs.history.page(paid.ann)
        assert jobs == 2

        await paid.room.credits.grant(account, 10, "purchased")
        assert (await solo.run(STUDIO, other))["creditsUsed"] == 4
        has = await solo.get("/balance")
        assert has["apiCredits"] == has["webCredits"]["total"] == 8
        assert sum(has["webCredits"][bucket] for bucket in ("free", "purchased", "refund")) == 8

        failed = await solo.run(STUDIO, {"images": {"image": data_url(paid.photo[:3000])}})
        assert (failed["status"], failed["creditsUsed"]) == ("failed", 0)
        assert (await solo.get("/balance"))["apiCredits"] == 8


async def test_a_file_over_the_limit_is_refused(paid: Web) -> None:
    async with paid.client(paid.user) as http:
        long = data_url(paid.photo + b"\0" * LARGEST)
        error = await Solo(paid, http, paid.ann).refused(STUDIO, {"images": {"image": long}}, 413, "FILE_TOO_LARGE")
    assert "1 MiB" in error["message"]
    assert error["details"]["field"] == "image"


async def test_where_credits_are_off_the_list_still_says_the_price_and_nothing_is_used(solo: Solo, photo: str) -> None:
    before = await solo.get("/balance")
    done = await solo.run(STUDIO, {"images": {"image": photo}, "texts": {"backdrop": "sage"}})
    assert (done["status"], done["creditsUsed"]) == ("completed", 0)
    assert (await solo.get(f"/workflows/{STUDIO}"))["creditCost"] == {"min": 4, "max": 4}
    assert await solo.get("/balance") == before
