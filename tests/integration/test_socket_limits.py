from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from executor.domain.values import plus
from hub.socket.limits import Limits
from tests.unit.hub.socket.casting import OTHER_EXECUTION, WORKFLOW, completed, line, opened, started, until
from tests.unit.hub.socket.serving import (
    STRANGER_S_TOKEN,
    TOKEN,
    Hub,
    closed,
    hear,
    principal,
    say,
    served,
    subscribe,
    welcomed,
)

LIMITS = Limits(
    connections=2,
    organization_subscriptions=3,
    subscriptions=2,
    filters=1,
    organization_filters=1,
    messages_per_second=1,
    message_burst=10,
)


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    async with opened(tmp_path) as world, served(world, limits=LIMITS) as hub:
        yield hub


async def test_one_connection_too_many_is_closed_and_comes_in_when_another_has_gone(hub: Hub) -> None:
    async with hub.client() as first, hub.client(STRANGER_S_TOKEN) as stranger:
        assert (await welcomed(first))["limits"]["connections"] == 2
        await welcomed(stranger)
        async with hub.client() as second:
            await welcomed(second)
            async with hub.client() as third:
                assert await closed(third) == (4429, "the organization has 2 connections here already")
        await until(lambda: hub.sockets.connection_count == 2)
        async with hub.client(None) as again:
            await say(again, "auth", token=TOKEN)
            await welcomed(again)
        assert (await subscribe(first))["type"] == "subscribed"


async def test_the_subscriptions_and_filters_of_an_organization_are_counted_over_its_connections(hub: Hub) -> None:
    workflow = {"channel": "workflow", "workflow_id": WORKFLOW}
    async with hub.client() as first, hub.client() as second:
        await welcomed(first)
        await welcomed(second)
        await subscribe(first, filter="data.x == 1")
        await subscribe(first, **workflow)
        assert "at most 2 subscriptions" in (await subscribe(first, "events"))["data"]["message"]
        refused = (await subscribe(second, filter="data.x == 2"))["data"]
        assert (refused["code"], refused["field"]) == ("RATE_LIMIT_EXCEEDED", "filter")
        assert (await subscribe(second, filter="data.x == 1"))["type"] == "subscribed"
        assert "has 3 subscriptions here" in (await subscribe(second, **workflow))["data"]["message"]
        await say(first, "unsubscribe", **workflow)
        assert (await hear(first))["type"] == "unsubscribed"
        assert (await subscribe(second, **workflow))["type"] == "subscribed"


async def test_who_sends_too_much_is_told_so_and_then_closed(hub: Hub) -> None:
    async with hub.client() as client, hub.client() as other:
        await welcomed(client)
        await welcomed(other)
        for _ in range(30):
            await say(client, "ping", "p")
        heard = [await hear(client)]
        while heard[-1]["type"] != "closing":
            heard.append(await hear(client))
        *heard, closing = heard
        assert [message["type"] for message in heard[:10]] == ["pong"] * 10
        errors = [message["data"] for message in heard if message["type"] == "error"]
        assert errors
        for error in errors:
            assert (error["reply_to"], error["code"]) == ("p", "RATE_LIMIT_EXCEEDED")
            assert 0 < error["retry_after"] <= 11
        assert (closing["data"]["code"], closing["data"]["reconnect"]) == (4429, True)
        assert closing["data"]["retry_after_ms"] > 0
        assert await closed(client) == (4429, "too many messages")
        assert (await subscribe(other))["type"] == "subscribed"


async def test_filters_and_limits_survive_a_renewal_and_go_with_the_connection(hub: Hub) -> None:
    clock = hub.world.clock
    hub.principals["sk_short"] = principal(expires_at=plus(clock.now(), 0.5))
    async with hub.client("sk_short") as client:
        await welcomed(client)
        await subscribe(client, filter="data.message == 'wanted'")
        await say(client, "auth", token=TOKEN)
        await welcomed(client)
        refused = (await subscribe(client, execution_id=OTHER_EXECUTION, filter="data.message == 'other'"))["data"]
        assert (refused["code"], refused["field"]) == ("RATE_LIMIT_EXCEEDED", "filter")
        await hub.world.author.write(started(), line("left out"), line("wanted"), completed())
        assert (await hear(client))["data"]["message"] == "wanted"
        await say(client, "ping")
        assert (await hear(client))["type"] == "pong"
        await say(client, "auth", token=STRANGER_S_TOKEN)
        assert await closed(client) == (4403, "these credentials are another organization's")
    async with hub.client() as anew:
        await welcomed(anew)
        assert (await subscribe(anew, filter="data.message == 'other'"))["type"] == "subscribed"


async def test_who_falls_too_far_behind_is_closed_and_comes_back_to_where_it_was(tmp_path: Path) -> None:
    limits = Limits(lag=3000)
    async with opened(tmp_path) as world, served(world, limits=limits) as hub:
        async with hub.client(max_queue=1) as sleeper:
            await welcomed(sleeper)
            await subscribe(sleeper)
            (connection,) = hub.sockets
            while connection.subscription_count:
                await world.author.write_lines(500, "x" * 1000)
                await world.dispatched()
                connection.check(asyncio.get_running_loop().time())
            heard = [await hear(sleeper)]
            while heard[-1]["type"] != "closing":
                heard.append(await hear(sleeper))
            *lines, closing = heard
            assert (closing["data"]["code"], closing["data"]["reconnect"]) == (4413, True)
            assert [line["position"] for line in lines] == list(range(1, len(lines) + 1))
            code, reason = await closed(sleeper)
            assert (code, reason) == (4413, f"too far behind: sent through position {len(lines)}")
            assert world.log.head - len(lines) > 3000
        async with hub.client() as again:
            await welcomed(again)
            await subscribe(again, since=len(lines))
            assert (await hear(again))["position"] == len(lines) + 1
