"""One stream and a client that does not read: what it costs, and what it misses."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import uvicorn

from hub.channels import ALL, ANY, Key
from hub.feed import PAGE_BYTES
from hub.messages import Channel
from hub.socket.outbox import MAX_UNSENT_BYTES
from hub.sse import EventStream, Streams
from tests.unit.hub.socket.casting import ORGANIZATION, World, line, opened, until
from tests.unit.hub.socket.serving import _Server, principal

MESSAGES = 5000
EVENTS = Key(ORGANIZATION, Channel.EVENTS, ANY)


class Door:
    """Serves one kind of stream to whoever connects."""

    def __init__(self, world: World, heartbeat_seconds: float) -> None:
        self.streams = Streams(world.feed, world.replays, world.clock, heartbeat_seconds)
        self.served: list[EventStream] = []
        self.port = 0

    async def __call__(self, scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        stream = self.streams.response(principal(), EVENTS, 0, ALL)
        self.served.append(stream)
        await stream(scope, receive, send)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A client with a small buffer, that has asked and reads no more than that."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=4096)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        return reader, writer


@contextlib.asynccontextmanager
async def served(world: World, heartbeat_seconds: float = 15.0) -> AsyncIterator[Door]:
    door = Door(world, heartbeat_seconds)
    config = uvicorn.Config(door, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024)
        door.port = listener.getsockname()[1]
        server = _Server(config)
        serving = asyncio.create_task(server.serve([listener]))
        try:
            await until(lambda: server.started)
            async with world.following():
                yield door
                await until(lambda: len(door.streams) == 0)
        finally:
            server.should_exit = True
            await serving
    assert world.feed.live_count == 0


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened(tmp_path) as world:
        yield world


async def test_one_who_never_reads_costs_its_bound_and_misses_nothing(world: World) -> None:
    async with served(world) as door:
        reader, writer = await door.connect()
        await until(lambda: len(door.streams) == 1)
        (stream,) = door.served
        for _ in range(MESSAGES // 100):
            await world.author.write_lines(100)
            assert stream.unsent_bytes <= MAX_UNSENT_BYTES + PAGE_BYTES
        await world.dispatched()
        assert world.feed.live_count == 0
        ids, live = [], False
        async with asyncio.timeout(60):
            while len(ids) < MESSAGES + 1:
                text = (await reader.readline()).strip()
                if text.startswith(b"data: "):
                    ids.append(json.loads(text[6:])["position"])
                if len(ids) == MESSAGES and not live:
                    live = True
                    await until(lambda: world.feed.live_count == 1)
                    await world.author.write(line("live again"))
        assert ids == list(range(1, MESSAGES + 2))
        writer.close()


async def test_a_stream_on_which_nothing_happens_has_a_heartbeat(world: World) -> None:
    async with served(world, heartbeat_seconds=0.01) as door:
        reader, writer = await door.connect()
        seen: list[bytes] = []
        async with asyncio.timeout(20):
            while seen.count(b":\n") < 3:
                seen.append(await reader.readline())
            await world.author.write(line())
            while not seen[-1].startswith(b"event: log.written"):
                seen.append(await reader.readline())
        writer.close()


async def test_going_down_waits_only_some_seconds_for_one_who_never_reads(world: World) -> None:
    async with served(world) as door:
        reader, writer = await door.connect()
        await world.author.write_lines(MESSAGES)
        await world.dispatched()
        async with asyncio.timeout(6):
            await door.streams.close_all()
        assert world.feed.live_count == 0
        writer.transport.abort()
        late, late_writer = await door.connect()
        async with asyncio.timeout(20):
            assert b": the hub is going down" in await late.read()
        late_writer.close()
        assert reader is not late
