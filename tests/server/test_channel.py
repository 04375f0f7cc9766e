import array
import asyncio
import os
import socket
import struct
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from darkroom.engine.channel import AsyncChannel, BadMessage, Channel, ChannelClosed, close_all

pytestmark = pytest.mark.anyio


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        yield ours, theirs


def open_fds() -> set[str]:
    return {entry.name for entry in Path("/dev/fd").iterdir()}


def file_with(text: bytes) -> int:
    reader, writer = os.pipe()
    os.write(writer, text)
    os.close(writer)
    return reader


async def cancel_while_it_waits(server: AsyncChannel, work: Coroutine[Any, Any, Any]) -> None:
    task = asyncio.ensure_future(work)
    while not server._waiting:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def contents(fd: int) -> bytes:
    try:
        return os.read(fd, 100)
    finally:
        os.close(fd)


async def test_messages_and_descriptors_arrive_in_order_both_ways(sockets):
    server, worker = AsyncChannel(sockets[0]), Channel(sockets[1])
    given = [file_with(b"first"), file_with(b"second")]
    await server.send({"text": "Äpfel 苹果", "n": 1})
    await server.send({"n": 2}, given)
    close_all(given)

    assert worker.receive() == ({"text": "Äpfel 苹果", "n": 1}, [])
    message, fds = worker.receive()
    assert message == {"n": 2}
    assert [os.get_inheritable(fd) for fd in fds] == [False, False]
    assert [contents(fd) for fd in fds] == [b"first", b"second"]

    back = file_with(b"back")
    worker.send({"n": 3}, [back])
    os.close(back)
    message, fds = await server.receive()
    assert message == {"n": 3}
    assert [contents(fd) for fd in fds] == [b"back"]


async def test_a_message_larger_than_the_socket_buffer_gets_through_while_the_loop_runs(sockets):
    server, worker = AsyncChannel(sockets[0]), Channel(sockets[1])
    text = "x" * 5_000_000
    received = []
    reader = threading.Thread(target=lambda: received.append(worker.receive()))
    reader.start()
    marker = file_with(b"beside")
    await server.send({"text": text}, [marker])
    os.close(marker)
    reader.join()
    (message, fds), *_ = received
    assert message["text"] == text
    assert contents(fds[0]) == b"beside"

    writer = threading.Thread(target=lambda: worker.send({"text": text}))
    writer.start()
    assert (await server.receive())[0]["text"] == text
    writer.join()


async def test_two_senders_never_mix_their_messages(sockets):
    server, worker = AsyncChannel(sockets[0]), Channel(sockets[1])
    received = []
    reader = threading.Thread(target=lambda: received.extend(worker.receive()[0]["who"] for _ in range(4)))
    reader.start()
    await asyncio.gather(*(server.send({"who": who, "pad": who * 700_000}) for who in "abcd"))
    reader.join()
    assert sorted(received) == ["a", "b", "c", "d"]


async def test_a_cancelled_receive_loses_no_bytes(sockets):
    server = AsyncChannel(sockets[0])
    body = b'{"n":1}'
    whole = struct.pack(">I", len(body)) + body
    sockets[1].sendall(whole[:2])
    await cancel_while_it_waits(server, server.receive())
    sockets[1].sendall(whole[2:])
    assert await server.receive() == ({"n": 1}, [])


async def test_a_send_cancelled_halfway_closes_the_channel(sockets):
    server, worker = AsyncChannel(sockets[0]), Channel(sockets[1])
    await cancel_while_it_waits(server, server.send({"text": "x" * 5_000_000}))
    with pytest.raises(ChannelClosed):
        await server.send({})
    with pytest.raises(ChannelClosed):
        worker.receive()


async def test_the_end_of_the_other_side_is_an_exception_on_both_ways(sockets):
    server = AsyncChannel(sockets[0])
    waiting = asyncio.ensure_future(server.receive())
    await asyncio.sleep(0)
    sockets[1].close()
    with pytest.raises(ChannelClosed):
        await waiting
    with pytest.raises(ChannelClosed):
        await server.send({"n": 1})


async def test_closing_wakes_the_task_that_receives(sockets):
    server = AsyncChannel(sockets[0])
    waiting = asyncio.ensure_future(server.receive())
    while not server._waiting:
        await asyncio.sleep(0)
    server.close()
    with pytest.raises(ChannelClosed):
        await waiting
    server.close()


@pytest.mark.parametrize(
    "body", [b"[1]", b"nonsense", b"\xff\xff", b"[" * 100_000, b'{"fds":1}', b'{"fds":"x"}', b"1" * 9_000]
)
async def test_a_body_that_is_no_honest_message_is_refused(sockets, body):
    server = AsyncChannel(sockets[0])
    sockets[1].sendall(struct.pack(">I", len(body)) + body)
    with pytest.raises(BadMessage):
        await server.receive()
    with pytest.raises(ChannelClosed):
        await server.receive()


@pytest.mark.parametrize("size", [0, 1, 1001, 2**32 - 1])
async def test_a_size_outside_the_limit_is_refused_before_any_memory_is_taken(sockets, size):
    server = AsyncChannel(sockets[0], max_bytes=1000)
    sockets[1].sendall(struct.pack(">I", size))
    with pytest.raises(BadMessage):
        await server.receive()


async def test_descriptors_that_were_not_announced_are_closed_and_refused(sockets):
    server = AsyncChannel(sockets[0])
    given = file_with(b"x")
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [given] * 3).tobytes())]
    before = open_fds()
    sockets[1].sendmsg([struct.pack(">I", 2) + b"{}"], rights)
    with pytest.raises(BadMessage):
        await server.receive()
    assert open_fds() <= before
    os.close(given)


async def test_more_descriptors_than_allowed_are_refused(sockets):
    server = AsyncChannel(sockets[0])
    given = file_with(b"x")
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [given] * 100).tobytes())]
    before = open_fds()
    sockets[1].sendmsg([struct.pack(">I", 2) + b"{}"], rights)
    with pytest.raises(BadMessage):
        await server.receive()
    assert open_fds() <= before
    os.close(given)


async def test_a_peer_that_floods_does_not_starve_the_loop(sockets):
    server, worker = AsyncChannel(sockets[0]), Channel(sockets[1])
    for n in range(50):
        worker.send({"n": n})
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.ensure_future(count())
    for n in range(50):
        assert (await server.receive())[0] == {"n": n}
    counting.cancel()
    assert turns >= 49


def test_what_cannot_be_sent_is_refused_before_a_byte_leaves(sockets):
    channel, other = Channel(sockets[0]), Channel(sockets[1])
    for bad in ({"fds": 1}, {"x": float("nan")}, {"x": "y" * 17_000_000}):
        with pytest.raises(ValueError):
            channel.send(bad)
    with pytest.raises(ValueError):
        channel.send({}, [0] * 65)
    channel.send({"ok": True})
    assert other.receive() == ({"ok": True}, [])
