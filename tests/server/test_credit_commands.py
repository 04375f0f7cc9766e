"""`darkroom credits` and get_balance: what people and agents see of an account."""

import asyncio
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from support.mcp_room import open_bench, png

from darkroom.accounts.credits import Credits
from darkroom.cli import main
from darkroom.faces.mcp.replies import finished_reply, pending_reply
from darkroom.faces.mcp.server import build_server
from darkroom.store.database import Database


@pytest.fixture
def books(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.setenv("DARKROOM_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("DARKROOM_CREDITS", "1")

    def run(*words: str) -> tuple[int, str, str]:
        status = main(["credits", *words])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def test_a_grant_shows_the_new_balance_and_stands_in_the_statement(books: Any) -> None:
    assert books("balance") == (0, "local: 20 credits (free 20, purchased 0, refund 0)\n", "")
    status, out, _ = books("grant", "1000", "--note", "Invoice 7", "--key", "pay-7")
    assert (status, out) == (0, "local: 1,020 credits (free 20, purchased 1,000, refund 0)\n")
    assert books("grant", "1000", "--key", "pay-7")[1] == out
    newest, first = books("statement")[1].splitlines()
    assert newest[19:] == "  grant       1,000  purchased  Invoice 7"
    assert first[19:] == "  grant          20  free       Free credits of a new account"
    assert books("verify") == (0, "The books add up.\n", "")


def test_accounts_are_apart(books: Any) -> None:
    books("grant", "5", "--bucket", "refund", "--account", "studio")
    assert books("balance", "--account", "studio")[1] == "studio: 25 credits (free 20, purchased 0, refund 5)\n"
    assert books()[1] == "local: 20 credits (free 20, purchased 0, refund 0)\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("grant", "0"), "darkroom: A grant is 1 to 1,000,000,000,000 credits, but got 0.\n"),
        (("grant", "1", "--account", "a" * 65), "darkroom: An account is a name of 1 to 64 characters.\n"),
        (("refund", "job_x"), "darkroom: There is no such job that this account paid for and has not got back.\n"),
    ],
)
def test_what_cannot_be_is_one_plain_sentence(books: Any, words: tuple[str, ...], said: str) -> None:
    assert books(*words) == (1, "", said)


def test_verify_fails_when_the_books_were_changed_by_hand(books: Any, tmp_path: Path) -> None:
    books("balance")

    async def tamper() -> None:
        async with Database(f"sqlite:///{tmp_path / 'darkroom.db'}") as database:
            change = "UPDATE ledger_accounts SET balance = 99 WHERE id = 'free:local'"
            await database.write(lambda connection: connection.exec_driver_sql(change))

    asyncio.run(tamper())
    status, _, err = books("verify")
    assert status == 1
    assert err.splitlines()[0] == "free:local shows 99, and its movements make 20."


def test_where_credits_are_off_it_says_so(books: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_CREDITS", "0")
    assert books("balance")[1].startswith("Credits are off: tools are free and unlimited.")


@pytest.mark.anyio
async def test_an_agent_sees_buckets_and_movements(tmp_path: Path) -> None:
    on = partial(Credits, on=True, free=7, clock=lambda: 0.0)
    async with open_bench(tmp_path, credits=on) as bench, Client(build_server(bench.room)) as client:
        await bench.room.credits.grant("local", 5, note="Thanks")
        answer = await client.call_tool("get_balance", {})
        assert answer.structured_content == {
            "credits": 12,
            "free": 7,
            "purchased": 5,
            "refund": 0,
            "reserved": 0,
            "movements": [
                {"at": "1970-01-01T00:00:00Z", "kind": "grant", "credits": 5, "bucket": "purchased", "note": "Thanks"},
                {
                    "at": "1970-01-01T00:00:00Z",
                    "kind": "grant",
                    "credits": 7,
                    "bucket": "free",
                    "note": "Free credits of a new account",
                },
            ],
        }


@pytest.mark.anyio
async def test_by_default_everything_is_free_and_unlimited(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench, Client(build_server(bench.room)) as client:
        answer = await client.call_tool("get_balance", {})
        assert answer.structured_content == {"credits": "free, unlimited"}


@pytest.mark.anyio
async def test_replies_say_what_a_job_costs_where_anything_does(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench, Client(build_server(bench.room)) as client:
        images = [await bench.store.add(png(40 + n, 30)) for n in range(2)]
        steps = [{"tool": "resize", "settings": {"width": 20}}]
        for given in (images[:1], images):
            free = await client.call_tool("run_pipeline", {"steps": steps, "images": given})
            assert "credits" not in (free.structured_content or {})
    for job in bench.jobs.jobs:
        reply = finished_reply(replace(job, credits=3), {}, bench.links)
        assert (reply.structured_content or {})["credits"] == 3
        pending = pending_reply(replace(job, credits=5, finished_at=None), {}, bench.links)
        assert (pending.structured_content or {})["credits"] == 5
