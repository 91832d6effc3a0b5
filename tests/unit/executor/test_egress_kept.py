"""Which connections are used again, and how long they are kept."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from executor import pool
from executor.egress import Egress, EgressFailed, EgressRefused, Kind, Reply
from tests.unit.executor.outside import accepting, egress, get

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture(autouse=True)
def unswept(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is closed here is not closed because it grew old."""
    monkeypatch.setattr(pool, "_SWEEP_SECONDS", 60.0)


class Script:
    """A receiver that answers the requests of each connection with what was written down for it, and then closes it.
    A null is the end of what is said there: the connection stays open until it is closed from the other side."""

    def __init__(self, *connections: list[bytes | None]) -> None:
        self._left = list(connections)
        self.heads: list[list[str]] = []
        self.ended = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said, heads = self._left.pop(0), []
        self.heads.append(heads)
        try:
            for each in said:
                if each is None:
                    await reader.read()
                    break
                heads.append((await reader.readuntil(b"\r\n\r\n")).decode().partition(" HTTP")[0])
                writer.write(each)
                await writer.drain()
        finally:
            writer.close()
            self.ended += 1

    async def closed(self, count: int) -> None:
        async with asyncio.timeout(10):
            while self.ended < count:
                await asyncio.sleep(0)

    @property
    def requests(self) -> list[int]:
        """How many came over each connection."""
        return [len(heads) for heads in self.heads]


async def post(out: Egress, url: str, **more: Any) -> Reply:
    return await out.send("POST", url, body=b"{}", timeout=5, max_bytes=100, **more)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        OK + b"more",
        OK + OK,
        b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n" + bytes(101),
    ],
    ids=["close", "HTTP/1.0", "more", "two answers", "too long"],
)
async def test_a_connection_that_may_not_be_used_again_is_closed_by_us(answer: bytes) -> None:
    there = Script([answer, None], [OK, None])
    async with accepting(there) as port, egress() as out:
        assert (await post(out, f"http://127.0.0.1:{port}/")).status == 200
        await there.closed(1)
        assert (await post(out, f"http://127.0.0.1:{port}/")).body == b""
    assert there.requests == [1, 1]


async def test_what_is_said_on_an_idle_connection_closes_it() -> None:
    idle, ended = asyncio.Event(), asyncio.Event()
    connections = 0

    async def unasked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await idle.wait()
        writer.write(OK)
        await reader.read()
        ended.set()

    async with accepting(unasked) as port, egress() as out:
        await get(out, f"http://127.0.0.1:{port}/")
        idle.set()
        await asyncio.wait_for(ended.wait(), 10)
        await get(out, f"http://127.0.0.1:{port}/")
    assert connections == 2


async def test_one_that_the_receiver_has_closed_is_noticed_before_it_is_used() -> None:
    there = Script([OK], [OK, None])
    async with accepting(there) as port, egress() as out:
        await post(out, f"http://127.0.0.1:{port}/")
        while out._pool.idle_count:
            await asyncio.sleep(0)
        await post(out, f"http://127.0.0.1:{port}/")
    assert there.requests == [1, 1]


async def test_one_that_is_closed_without_an_answer_is_tried_once_more_where_that_does_no_harm() -> None:
    there = Script([OK, b""], [OK, b""], [OK, b""], [b""], [OK, b""], [OK, None])
    async with accepting(there) as port, egress() as out:
        url = f"http://127.0.0.1:{port}/"
        await get(out, url)
        again = await get(out, url)
        assert (again.status, again.timings.connect is None) == (200, False)
        with pytest.raises(EgressFailed, match="closed before a complete answer") as caught:
            await post(out, url)
        assert caught.value.kind is Kind.PROTOCOL
        await get(out, url)
        with pytest.raises(EgressFailed, match="closed before a complete answer"):
            await get(out, url)  # On a new one too.
        await get(out, url)
        assert (await post(out, url, repeatable=True)).status == 200
    assert there.requests == [2, 2, 2, 1, 2, 1]


async def test_what_has_begun_to_be_answered_is_never_tried_again() -> None:
    there = Script([OK, b"H"])
    async with accepting(there) as port, egress() as out:
        await get(out, f"http://127.0.0.1:{port}/")
        with pytest.raises(EgressFailed):
            await get(out, f"http://127.0.0.1:{port}/")
    assert there.requests == [2]


async def test_idle_ones_are_closed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "KEEP_ALIVE_SECONDS", 0.05)
    monkeypatch.setattr(pool, "_SWEEP_SECONDS", 0.01)
    there = Script([OK, None], [OK, None])
    async with accepting(there) as port, egress() as out:
        for count in (1, 2):
            await get(out, f"http://127.0.0.1:{port}/")
            await there.closed(count)
            assert out._pool.idle_count == 0
    assert there.requests == [1, 1]


async def test_one_that_is_too_old_is_not_used_though_nobody_has_closed_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "KEEP_ALIVE_SECONDS", -1.0)
    there = Script([OK, None], [OK, None])
    async with accepting(there) as port, egress() as out:
        for _ in range(2):
            await get(out, f"http://127.0.0.1:{port}/")
        await there.closed(1)
    assert there.requests == [1, 1]


@pytest.mark.parametrize("bound", ["MOST_IDLE", "MOST_IDLE_OF_ONE"])
async def test_no_more_are_kept_than_there_is_room_for(bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, bound, 2)
    there = Script(*([OK, None] for _ in range(5)))
    async with accepting(there) as port, egress() as out:
        await asyncio.gather(*(get(out, f"http://127.0.0.1:{port}/") for _ in range(5)))
        await there.closed(3)
        assert (out._pool.idle_count, there.ended) == (2, 3)


async def test_each_origin_has_connections_of_its_own() -> None:
    first, second = Script([OK, OK, None]), Script([OK, OK, None])
    async with accepting(first) as one, accepting(second) as other, egress() as out:
        for port in (one, other, one, other):
            await get(out, f"http://127.0.0.1:{port}/")
    assert (first.requests, second.requests) == ([2], [2])


async def test_closing_ends_what_is_under_way_and_takes_half_an_answer_for_none() -> None:
    there = Script([b"HTTP/1.1 200 OK\r\n\r\nhalf", None])
    async with accepting(there) as port, egress() as out:
        under_way = asyncio.create_task(get(out, f"http://127.0.0.1:{port}/"))
        while not any(each._incoming.has_begun for each in out._pool._all):
            await asyncio.sleep(0)
        await out.close()
        with pytest.raises(EgressFailed, match="closed before a complete answer"):
            await under_way
        await there.closed(1)


async def test_an_early_answer_ends_a_long_request_and_its_connection() -> None:
    refused = b"HTTP/1.1 413 Too Much\r\nContent-Length: 0\r\n\r\n"
    there = Script([refused, None], [OK, None])
    async with accepting(there) as port, egress() as out:
        url = f"http://127.0.0.1:{port}/"
        reply = await out.send("PUT", url, body=bytes(30_000_000), timeout=10, max_bytes=100)
        assert reply.status == 413
        await there.closed(1)
        assert (await get(out, url)).status == 200
    assert there.requests == [1, 1]


async def test_a_receiver_that_does_not_read_costs_no_memory() -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        reached.set()
        await go_on.wait()

    async with accepting(wait) as port, egress() as out:
        body = bytes(50_000_000)
        sending = asyncio.create_task(
            out.send("PUT", f"http://127.0.0.1:{port}/", body=body, timeout=10, max_bytes=100)
        )
        await reached.wait()
        connection = next(iter(out._pool._all))
        while connection._writable is None:
            await asyncio.sleep(0)
        assert connection.transport.get_write_buffer_size() <= 256 * 1024
        go_on.set()
        with pytest.raises(EgressFailed):
            await sending


async def test_connect_is_no_method_to_be_sent() -> None:
    async with egress() as out:
        with pytest.raises(EgressRefused, match="not a method of HTTP"):
            await out.send("CONNECT", "http://127.0.0.1:2/", timeout=1, max_bytes=1)
