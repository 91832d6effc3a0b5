from __future__ import annotations

import asyncio
import gc
import json
import socket
import time
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection

from hub.channels import ANY
from hub.feed import PAGE_BYTES
from hub.messages import Channel
from hub.socket.outbox import MAX_UNSENT_BYTES
from tests.unit.hub.socket.casting import key, line, opened, until
from tests.unit.hub.socket.serving import Hub, hear, say, served, subscribe, texts, welcomed

EVENTS = key(Channel.EVENTS, ANY)
MESSAGES = 5000


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    async with opened(tmp_path) as world, served(world) as hub:
        yield hub


async def sleeper(hub: Hub, stack: AsyncExitStack) -> ClientConnection:
    """A client that reads only when it is asked, behind a small buffer."""
    port = int(hub.url.split(":")[2].split("/")[0])
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    client = await stack.enter_async_context(hub.client(sock=sock, max_queue=1, close_timeout=0.1))
    await welcomed(client)
    return client


async def test_those_who_never_read_cost_their_bound_stop_nobody_and_miss_nothing(hub: Hub) -> None:
    world = hub.world
    async with AsyncExitStack() as stack:
        sleepers = [await sleeper(hub, stack) for _ in range(10)]
        for client in sleepers:
            assert (await subscribe(client, "events"))["type"] == "subscribed"
        others = [await stack.enter_async_context(hub.client()) for _ in range(5)]
        for client in others:
            await welcomed(client)
            assert (await subscribe(client, "events"))["type"] == "subscribed"
        hearing = [asyncio.create_task(texts(client, MESSAGES)) for client in others]
        for _ in range(MESSAGES // 100):
            await world.author.write_lines(100)
            for connection in hub.sockets:
                assert connection.unsent_bytes <= MAX_UNSENT_BYTES + PAGE_BYTES
        expected = await world.said(EVENTS)
        for got in await asyncio.gather(*hearing):
            assert got == expected
        assert world.feed.live_count == len(others)
        for got in await asyncio.gather(*(texts(client, MESSAGES) for client in sleepers)):
            assert got == expected
        await until(lambda: world.feed.live_count == len(others) + len(sleepers))
        await world.author.write(line("all are here"))
        for client in (*sleepers, *others):
            assert b"all are here" in (await texts(client, 1))[0]


async def test_memory_stays_bounded_for_one_who_never_reads(hub: Hub) -> None:
    """Twenty times the bound goes by; only what the ring and the log's own cache keep for all may grow."""
    world = hub.world
    async with AsyncExitStack() as stack:
        client = await sleeper(hub, stack)
        await subscribe(client, "execution", execution_id="*")
        await world.author.write_lines(4500, "x" * 500)
        await world.dispatched()
        gc.collect()
        tracemalloc.start()
        try:
            for _ in range(5):
                await world.author.write_lines(1000, "x" * 500)
            await world.dispatched()
            gc.collect()
            grown, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        (connection,) = hub.sockets
        assert connection.unsent_bytes <= MAX_UNSENT_BYTES + PAGE_BYTES
        got = await texts(client, 9500)
        assert got == await world.said(key(id=ANY))
        assert grown < 16 * 1024 * 1024


async def test_one_who_asks_without_reading_is_not_heard_until_it_reads(hub: Hub) -> None:
    async with AsyncExitStack() as stack:
        client = await sleeper(hub, stack)
        (connection,) = hub.sockets
        frame = json.dumps({"type": "ping", "id": "x" * 20_000})
        asking = asyncio.create_task(_send_all(client, [frame] * 200))
        await until(lambda: connection.unsent_bytes >= MAX_UNSENT_BYTES // 8)
        assert connection.unsent_bytes < MAX_UNSENT_BYTES + 2 * len(frame)
        for _ in range(200):
            assert (await hear(client))["type"] == "pong"
        await asking


async def _send_all(client: ClientConnection, frames: list[str]) -> None:
    for frame in frames:
        await client.send(frame)


async def test_a_pong_of_one_who_is_behind_says_how_far_it_was_sent(hub: Hub) -> None:
    async with hub.client() as client:
        await welcomed(client)
        await hub.world.author.write_lines(3000)
        await subscribe(client, since=0)
        await say(client, "ping")
        sent = 0
        while (message := await hear(client))["type"] != "pong":
            sent = message["position"]
        assert message["data"]["position"] <= sent


async def test_going_down_does_not_wait_for_one_who_never_reads(hub: Hub) -> None:
    async with AsyncExitStack() as stack:
        client = await sleeper(hub, stack)
        await subscribe(client, "events")
        await hub.world.author.write_lines(MESSAGES)
        await hub.world.dispatched()
        begin = time.monotonic()
        await hub.sockets.close_all()
        assert time.monotonic() - begin < 8
        assert hub.sockets.connection_count == 0
        client.transport.abort()


async def test_a_large_output_reaches_everybody_on_events(hub: Hub) -> None:
    async with hub.client() as client, hub.client() as late:
        await welcomed(client)
        await welcomed(late)
        await subscribe(client, "events")
        for _ in range(5):
            await hub.world.author.write(line("x" * 700_000))
        expected = await hub.world.said(EVENTS)
        assert await texts(client, 5) == expected
        await subscribe(late, "events", since=0)
        assert await texts(late, 5) == expected
