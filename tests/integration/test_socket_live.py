from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from hub.channels import ANY, Key
from hub.messages import Channel
from tests.unit.hub.socket.casting import (
    EXECUTION,
    OTHER_EXECUTION,
    WORKFLOW,
    completed,
    failed,
    fired,
    key,
    line,
    opened,
    started,
)
from tests.unit.hub.socket.serving import (
    STRANGER,
    STRANGER_S_TOKEN,
    Hub,
    hear,
    say,
    served,
    subscribe,
    texts,
    welcomed,
)

EVENTS = key(Channel.EVENTS, ANY)


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    async with opened(tmp_path) as world, served(world) as hub:
        yield hub


async def test_what_happens_is_heard_as_one_text_frame_with_the_bytes_of_the_log(hub: Hub) -> None:
    async with hub.client() as client:
        welcome = await welcomed(client)
        assert welcome["epoch"] == hub.world.log.epoch
        assert welcome["position"] == 0
        answer = await subscribe(client)
        assert answer["type"] == "subscribed"
        assert answer["data"] == {
            "reply_to": "s",
            "channel": f"execution:{EXECUTION}",
            "position": 0,
            "head": 0,
            "recovered": True,
        }
        await hub.world.author.write(started(), fired(), completed({"rows": 3}), failed(), line())
        await hub.world.author.write(line("elsewhere"), execution_id=OTHER_EXECUTION)
        got = await texts(client, 4)
        assert got == await hub.world.said(key())
        assert [json.loads(text)["type"] for text in got] == [
            "execution_update",
            "component_completed",
            "error",
            "log",
        ]
        await say(client, "ping", "p")
        pong = await hear(client)
        assert (pong["type"], pong["data"]) == ("pong", {"reply_to": "p", "position": 6})


@pytest.mark.parametrize(
    ("wish", "wanted"),
    [
        ({"channel": "execution", "execution_id": "*"}, key(id=ANY)),
        ({"channel": "workflow", "workflow_id": WORKFLOW}, key(Channel.WORKFLOW, WORKFLOW)),
        ({"channel": "workflow", "workflow_id": "*"}, key(Channel.WORKFLOW, ANY)),
        ({"channel": "events"}, EVENTS),
    ],
)
async def test_each_channel_has_its_events(hub: Hub, wish: dict[str, str], wanted: Key) -> None:
    async with hub.client() as client:
        await welcomed(client)
        assert (await subscribe(client, **wish))["data"]["channel"] == wanted.name
        await hub.world.author.write(started(), fired(), line())
        await hub.world.author.write(started(), execution_id=OTHER_EXECUTION, workflow_id="01HQ0THER")
        expected = await hub.world.said(wanted)
        assert await texts(client, len(expected)) == expected


async def test_several_channels_of_one_client_each_have_their_own_order(hub: Hub) -> None:
    async with hub.client() as client:
        await welcomed(client)
        for wish in (
            {"channel": "events"},
            {"channel": "execution"},
            {"channel": "workflow", "workflow_id": WORKFLOW},
        ):
            assert (await subscribe(client, **wish))["type"] == "subscribed"
        for _ in range(20):
            await hub.world.author.write(started(), line())
        got = await texts(client, 120)
        for wanted in (EVENTS, key(), key(Channel.WORKFLOW, WORKFLOW)):
            of_channel = [text for text in got if json.loads(text)["channel"] == wanted.name]
            assert of_channel == await hub.world.said(wanted)


async def test_type_filters_hold_for_the_past_and_for_what_comes(hub: Hub) -> None:
    await hub.world.author.write(started(), failed(), line())
    types = frozenset({"component.failed", "log.written"})
    async with hub.client() as client:
        await welcomed(client)
        await subscribe(client, "events", since=0, types=["*.failed", "log.*"])
        assert await texts(client, 2) == await hub.world.said(EVENTS, types=types)
        await hub.world.author.write(started(), failed())
        assert json.loads((await texts(client, 1))[0])["position"] == 5


async def test_since_every_position_comes_exactly_what_the_log_has_while_it_goes_on(hub: Hub) -> None:
    world = hub.world
    for _ in range(20):
        await world.author.write(started(), fired(), line())

    async def resumed(since: int) -> list[bytes]:
        async with hub.client() as client:
            await welcomed(client)
            answer = await subscribe(client, since=since, epoch=world.log.epoch)
            assert (answer["data"]["position"], answer["data"]["recovered"]) == (since, True)
            got: list[bytes] = []
            while not got or b"the end" not in got[-1]:
                got += await texts(client, 1)
            return got

    resuming = [asyncio.create_task(resumed(since)) for since in range(0, 61, 2)]
    for _ in range(30):
        await world.author.write(started(), line(), fired())
        await asyncio.sleep(0)
    await world.author.write(line("the end"))
    for since, got in zip(range(0, 61, 2), await asyncio.gather(*resuming), strict=True):
        assert got == await world.said(key(), since)


@pytest.mark.parametrize("seed", [1, 2])
async def test_twenty_clients_that_break_off_at_random_miss_nothing_and_repeat_nothing(hub: Hub, seed: int) -> None:
    world = hub.world
    wishes = [
        ({"channel": "execution", "execution_id": EXECUTION}, key()),
        ({"channel": "execution", "execution_id": "*"}, key(id=ANY)),
        ({"channel": "workflow", "workflow_id": WORKFLOW}, key(Channel.WORKFLOW, WORKFLOW)),
        ({"channel": "events"}, EVENTS),
    ]

    async def some(client: ClientConnection, chance: random.Random, got: list[bytes]) -> None:
        for _ in range(chance.randrange(1, 120)):
            got += await texts(client, 1)
            if b"the end" in got[-1]:
                return
        if chance.random() < 0.5:
            client.transport.abort()

    async def watch(number: int) -> None:
        chance, (wish, wanted) = random.Random(seed * 100 + number), wishes[number % len(wishes)]
        got: list[bytes] = []
        while not got or b"the end" not in got[-1]:
            since = json.loads(got[-1])["position"] if got else 0
            async with hub.client() as client:
                await welcomed(client)
                assert (await subscribe(client, **wish, since=since))["type"] == "subscribed"
                await some(client, chance, got)
        assert got == await world.said(wanted)

    watching = [asyncio.create_task(watch(number)) for number in range(20)]
    for _ in range(60):
        await world.author.write(started(), line(), fired(), failed(), line())
        await world.author.write(line(), execution_id=OTHER_EXECUTION)
        await asyncio.sleep(0.002)
    await world.author.write(line("the end"))
    await asyncio.gather(*watching)


async def test_subscribing_again_starts_the_channel_anew(hub: Hub) -> None:
    await hub.world.author.write(line("1"), line("2"), line("3"))
    async with hub.client() as client:
        await welcomed(client)
        await subscribe(client, since=1)
        assert await texts(client, 2) == (await hub.world.said(key()))[1:]
        assert (await subscribe(client, since=0))["type"] == "subscribed"
        assert await texts(client, 3) == await hub.world.said(key())
        await hub.world.author.write(line("4"))
        assert await texts(client, 1) == (await hub.world.said(key()))[3:]
        assert hub.sockets.subscription_count == 1


async def test_after_unsubscribed_nothing_of_the_channel_comes(hub: Hub) -> None:
    async with hub.client() as client:
        await welcomed(client)
        await subscribe(client)
        await say(client, "unsubscribe", "u", channel="execution", execution_id=EXECUTION)
        answer = await hear(client)
        assert (answer["type"], answer["data"]) == (
            "unsubscribed",
            {"reply_to": "u", "channel": f"execution:{EXECUTION}"},
        )
        await hub.world.author.write(line())
        await hub.world.dispatched()
        await say(client, "ping")
        assert (await hear(client))["type"] == "pong"
        assert hub.sockets.subscription_count == hub.world.feed.live_count == 0


async def test_another_organization_hears_nothing_on_any_channel(hub: Hub) -> None:
    async with hub.client(STRANGER_S_TOKEN) as stranger:
        await welcomed(stranger)
        assert (await subscribe(stranger))["data"]["code"] == "RESOURCE_NOT_FOUND"
        for wish in ({"channel": "events"}, {"execution_id": "*"}, {"channel": "workflow", "workflow_id": "*"}):
            assert (await subscribe(stranger, **wish, since=0))["type"] == "subscribed"
        await hub.world.author.write(started(), line())
        await hub.world.author.write(line("theirs"), organization_id=STRANGER, stream="execution:theirs")
        assert {json.loads(text)["position"] for text in await texts(stranger, 3)} == {3}


async def test_a_client_of_another_log_starts_at_the_head(hub: Hub) -> None:
    await hub.world.author.write(line("1"), line("2"))
    async with hub.client() as client:
        await welcomed(client)
        answer = await subscribe(client, since=900, epoch="ANOTHER")
        assert (answer["data"]["position"], answer["data"]["recovered"]) == (2, False)
        await hub.world.author.write(line("3"))
        assert json.loads((await texts(client, 1))[0])["position"] == 3


async def test_what_is_acknowledged_before_subscribing_is_not_heard_after_it(hub: Hub) -> None:
    """Without `since` a channel begins at the log's head, wherever the feed is."""
    for n in range(20):
        async with hub.client() as client:
            await welcomed(client)
            await hub.world.author.write(line(f"before {n}"))
            head = hub.world.log.head
            answer = await subscribe(client)
            assert answer["data"]["position"] == answer["data"]["head"] == head
            await hub.world.author.write(line(f"after {n}"))
            assert json.loads((await texts(client, 1))[0])["position"] == head + 1


async def test_a_client_that_breaks_off_leaves_nothing(hub: Hub) -> None:
    client = await hub.client()
    await welcomed(client)
    await subscribe(client, since=0)
    client.transport.abort()
    with pytest.raises(ConnectionClosed):
        await client.recv()
    await hub.world.author.write_lines(300)
