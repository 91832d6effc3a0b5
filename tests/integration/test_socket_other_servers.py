"""The same app under servers that know nothing of our transport: the plain way of ASGI, one send for each message."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import hypercorn.asyncio
import hypercorn.config
import pytest
from starlette.types import ASGIApp

from hub.channels import ANY
from hub.feed import PAGE_BYTES
from hub.messages import Channel
from hub.socket.limits import Limits
from hub.socket.outbox import MAX_UNSENT_BYTES
from tests.integration.following import CHANNELS, END, Follower, Habit, require_all
from tests.integration.wire import wired
from tests.unit.hub.socket.casting import OTHER_EXECUTION, failed, key, line, opened, started, until
from tests.unit.hub.socket.serving import (
    TOKEN,
    Hub,
    Serving,
    by_uvicorn,
    closed,
    hear,
    say,
    served,
    subscribe,
    texts,
    welcomed,
)

EVENTS = key(Channel.EVENTS, ANY)
QUICK = Limits(messages_per_second=100_000, message_burst=100_000)


@contextlib.asynccontextmanager
async def by_hypercorn(app: ASGIApp, listener: socket.socket) -> AsyncIterator[None]:
    config = hypercorn.config.Config()
    config.bind = [f"fd://{listener.dup().detach()}"]
    config.websocket_max_message_size = 64 * 1024
    config.graceful_timeout = 1
    config.errorlog = None
    end = asyncio.Event()
    serving = asyncio.create_task(hypercorn.asyncio.serve(app, config, shutdown_trigger=end.wait))  # type: ignore[arg-type]
    try:
        yield
    finally:
        end.set()
        await serving


SERVERS = {
    "hypercorn": by_hypercorn,
    "uvicorn-wsproto": partial(by_uvicorn, ws="wsproto"),
    "uvicorn-websockets": partial(by_uvicorn, ws="websockets-sansio"),
}


@pytest.fixture(params=SERVERS.values(), ids=SERVERS.keys())
async def hub(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Hub]:
    by: Serving = request.param
    async with opened(tmp_path) as world, served(world, limits=QUICK, by=by) as hub:
        yield hub


async def test_a_channel_is_heard_from_any_position_and_goes_on_live_until_it_is_left(hub: Hub) -> None:
    await hub.world.author.write_lines(300)
    async with hub.client() as client:
        assert (await welcomed(client))["position"] == 300
        answer = await subscribe(client, "events", since=100)
        assert (answer["data"]["position"], answer["data"]["recovered"]) == (100, True)
        assert await texts(client, 200) == await hub.world.said(EVENTS, 100)
        await hub.world.author.write(started(), failed())
        assert await texts(client, 2) == await hub.world.said(EVENTS, 300)
        await say(client, "unsubscribe", channel="events")
        assert (await hear(client))["type"] == "unsubscribed"
        await hub.world.author.write(line())
        await hub.world.dispatched()
        await say(client, "ping", "p")
        pong = await hear(client)
        assert (pong["type"], pong["data"]) == ("pong", {"reply_to": "p", "position": 303})


@pytest.mark.parametrize(
    ("token", "frame", "code"),
    [("sk_wrong", None, 4401), (TOKEN, "{", 4400), (TOKEN, b'{"type":"ping"}', 4400), (TOKEN, "x" * 65_537, 1009)],
)
async def test_refusals_have_their_codes(hub: Hub, token: str, frame: str | bytes | None, code: int) -> None:
    async with hub.client(token) as client:
        if frame is not None:
            await client.send(frame)
        assert (await closed(client))[0] == code


async def test_a_refused_subscription_is_an_error_and_the_socket_goes_on(hub: Hub) -> None:
    async with hub.client() as client:
        await welcomed(client)
        assert (await subscribe(client, execution_id="nonsense"))["data"]["code"] == "RESOURCE_NOT_FOUND"
        await client.send(['{"type": "pi', 'ng"}'])
        assert (await hear(client))["type"] == "pong"


async def test_when_the_hub_goes_down_everybody_is_told_first(hub: Hub) -> None:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(hub.client()) for _ in range(10)]
        for client in clients:
            await welcomed(client)
            assert (await subscribe(client))["type"] == "subscribed"
        await hub.sockets.close_all()
        for client in clients:
            closing = await hear(client)
            assert (closing["type"], closing["data"]["code"]) == ("closing", 1012)
            assert await closed(client) == (1012, "the hub is going down")


async def test_a_client_that_disappears_leaves_nothing(hub: Hub) -> None:
    client = await hub.client()
    await welcomed(client)
    await subscribe(client, "events")
    client.transport.abort()
    await hub.world.author.write_lines(300)
    await until(lambda: hub.sockets.connection_count == 0)


async def test_one_that_does_not_read_costs_its_bound_and_then_gets_everything(hub: Hub) -> None:
    async with wired(hub, buffer=4096) as wire:
        await wire.welcomed()
        await wire.subscribed(channel="events")
        for _ in range(30):
            await hub.world.author.write(line("x" * 50_000))
            (connection,) = hub.sockets
            assert connection.unsent_bytes <= MAX_UNSENT_BYTES + PAGE_BYTES
        await until(lambda: hub.world.feed.live_count == 0)
        expected = await hub.world.said(EVENTS)
        assert [(await wire.hear()).payload for _ in expected] == expected


async def test_whatever_clients_do_they_lose_nothing(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.socket.endpoint._CHECK_SECONDS", 0.05)
    followers = [Follower(hub, habit, habit.value) for habit in Habit]
    following = [asyncio.create_task(follower.follow()) for follower in followers]
    for _ in range(20):
        await hub.world.author.write(started(), failed(), line("x" * 5_000))
        await hub.world.author.write(line(), execution_id=OTHER_EXECUTION)
    await hub.world.author.write(line(END[0].decode()))
    await hub.world.author.write(line(END[1].decode()), execution_id=OTHER_EXECUTION)
    await asyncio.gather(*following)
    expected = {channel.key: await hub.world.said(channel.key) for channel in CHANNELS}
    for follower in followers:
        for channel in follower.followed:
            require_all(follower.heard[channel.key.channel], expected[channel.key])
