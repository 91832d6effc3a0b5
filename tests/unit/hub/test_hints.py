"""Hints between processes, over a real Valkey."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from hub.hints import Hints
from hub.valkey import EmbeddedValkey
from tests.unit.hub.socket.casting import until


class Process:
    """What one process hears of the others."""

    def __init__(self, url: str, name: str, epoch: str = "LOG") -> None:
        self.heads: list[int] = []
        self.shards: list[int] = []
        self.hints = Hints(url, epoch, name, noticed=self.heads.append, rung=self.shards.append)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Process]:
        task = asyncio.create_task(self.hints.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert task.cancelled()

    async def connected(self) -> None:
        await until(lambda: self.hints.is_connected)


@pytest.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[EmbeddedValkey]:
    server = EmbeddedValkey(tmp_path)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest.fixture
async def pair(valkey: EmbeddedValkey) -> AsyncIterator[tuple[Process, Process]]:
    async with Process(valkey.url, "A").running() as one, Process(valkey.url, "B").running() as other:
        await one.connected()
        await other.connected()
        yield one, other


async def test_the_others_hear_and_oneself_does_not(pair: tuple[Process, Process]) -> None:
    one, other = pair
    one.hints.moved(7)
    one.hints.ring(3)
    await until(lambda: 7 in other.heads and 3 in other.shards)
    other.hints.moved(9)
    await until(lambda: 9 in one.heads)
    assert 7 not in one.heads
    assert one.shards == []


async def test_another_log_is_not_heard_of(pair: tuple[Process, Process], valkey: EmbeddedValkey) -> None:
    one, other = pair
    async with Process(valkey.url, "C", "ANOTHER").running() as stranger:
        await stranger.connected()
        stranger.hints.moved(1000)
        one.hints.moved(7)
        await until(lambda: 7 in other.heads)
        assert stranger.heads == []
    assert 1000 not in one.heads + other.heads


async def test_what_comes_while_one_message_is_under_way_makes_up_the_next(pair: tuple[Process, Process]) -> None:
    one, other = pair
    before = len(other.heads)
    for position in range(1, 10_001):
        one.hints.moved(position)
        one.hints.ring(position % 4)
        if position % 1000 == 0:
            await asyncio.sleep(0)
    await until(lambda: 10_000 in other.heads)
    assert len(other.heads) - before < 20
    assert set(other.shards) == {0, 1, 2, 3}


async def test_what_is_no_hint_is_passed_over(pair: tuple[Process, Process], valkey: EmbeddedValkey) -> None:
    one, other = pair
    async with Redis.from_url(valkey.url) as redis:
        for text in (b"", b"{", b"\xff", b"[]", b'{"sender": "X", "head": -1}', b'{"sender": "X", "head": 1e99}'):
            await redis.publish("runcast:LOG:hints", text)
        await redis.publish("runcast:LOG:hints", b'{"sender": "X", "head": 1, "shards": [1000000]}')
    one.hints.moved(7)
    await until(lambda: 7 in other.heads)
    assert set(other.heads) <= {0, 7}
    assert other.shards == []


async def test_a_redis_that_dies_is_come_back_to_and_logged_once(
    pair: tuple[Process, Process], valkey: EmbeddedValkey
) -> None:
    one, other = pair
    with capture_logs() as logs:
        assert valkey.pid is not None
        os.kill(valkey.pid, signal.SIGKILL)
        await until(lambda: not one.hints.is_connected and not other.hints.is_connected)
        one.hints.moved(7)
        await one.connected()
        await other.connected()
        one.hints.moved(8)
        await until(lambda: 8 in other.heads)
    events = [entry["event"] for entry in logs if entry["event"].startswith("hints.")]
    assert events.count("hints.away") == events.count("hints.connected") == 2


async def test_without_a_redis_it_says_so_once_and_goes_on_trying(tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path)
    with capture_logs() as logs:
        async with Process(server.url, "A").running() as one:
            one.hints.moved(7)
            await until(lambda: bool(logs))
            await server.start()
            try:
                await one.connected()
            finally:
                await server.stop()
    events = [entry["event"] for entry in logs if entry["event"].startswith("hints.")]
    assert events[:2] == ["hints.away", "hints.connected"]
