"""No client loses its place, whatever it does and whatever others do; and nothing of anybody stays."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from hub.feed import Subscription
from hub.socket.codes import CloseCode
from hub.socket.connection import Connection
from hub.socket.limits import Limits
from hub.socket.lines import FramedLine
from hub.socket.transport import Transport
from tests.integration.following import CHANNELS, END, Follower, Habit, require_all
from tests.integration.wire import BROKEN, text, wired
from tests.unit.hub.socket.casting import OTHER_EXECUTION, World, completed, failed, fired, line, opened, started
from tests.unit.hub.socket.serving import Hub, served

SECONDS = float(os.environ.get("RUNCAST_STRESS_SECONDS", "0"))
"""How long there are appends; without it, until there were enough."""
ENOUGH = 100
EACH_HABIT = 2
QUICK = Limits(messages_per_second=100_000, message_burst=100_000)
LEFT = (Connection, FramedLine, Subscription, Transport)


async def write(world: World, hub: Hub) -> None:
    """Some events at a time, and now and then everybody is sent away at once."""
    chance, begin, count = random.Random(0), time.monotonic(), 0
    while count < ENOUGH or time.monotonic() - begin < SECONDS:
        count += 1
        kinds = [started(), fired(), failed(), line(), completed("x" * chance.choice([10, 10, 5_000]))]
        await world.author.write(*chance.choices(kinds, k=chance.randrange(1, 10)))
        await world.author.write(*chance.choices(kinds, k=2), execution_id=OTHER_EXECUTION)
        if count % 25 == 0:
            for connection in hub.sockets:
                connection.leave(chance.choice([CloseCode.RESTART, CloseCode.GOING_AWAY]), "", 1)
        await asyncio.sleep(0.002)
    await world.author.write(line(END[0].decode()))
    await world.author.write(line(END[1].decode()), execution_id=OTHER_EXECUTION)


async def break_rules(hub: Hub, number: int) -> None:
    """Until it is cancelled, as a client that subscribes and then sends what is no frame."""
    chance = random.Random(number)
    while True:
        async with wired(hub) as wire:
            sent, code = chance.choice(list(BROKEN.values()))
            await wire.send(text("subscribe", channel="events", since=0) + sent)
            assert await wire.hear_close() in (code, 1001, 1012)


async def stress(directory: Path) -> None:
    before = asyncio.all_tasks()
    async with opened(directory) as world:
        async with served(world, limits=QUICK) as hub:
            followers = [Follower(hub, habit, habit.value * 100 + n) for habit in Habit for n in range(EACH_HABIT)]
            breaking = [asyncio.create_task(break_rules(hub, number)) for number in range(2)]
            following = [asyncio.create_task(follower.follow()) for follower in followers]
            await write(world, hub)
            await asyncio.gather(*following)
            for task in breaking:
                task.cancel()
            assert {type(error) for error in await asyncio.gather(*breaking, return_exceptions=True)} == {
                asyncio.CancelledError
            }
        assert asyncio.all_tasks() - before == set()
        assert sum(follower.connections for follower in followers) > 3 * len(followers)
        expected = {channel.key: await world.said(channel.key) for channel in CHANNELS}
        for follower in followers:
            for channel in follower.followed:
                require_all(follower.heard[channel.key.channel], expected[channel.key])
    if isinstance(loop := asyncio.get_running_loop(), asyncio.BaseEventLoop):
        timers = [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        assert timers == []


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_every_client_has_each_channel_exactly_and_nothing_is_left(
    tmp_path: Path, loop: Callable[[], asyncio.AbstractEventLoop], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.socket.endpoint._CHECK_SECONDS", 0.05)
    gc.collect()
    before = Counter(type(thing) for thing in gc.get_objects() if isinstance(thing, LEFT))
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(stress(tmp_path))
    gc.collect()
    assert Counter(type(thing) for thing in gc.get_objects() if isinstance(thing, LEFT)) == before
