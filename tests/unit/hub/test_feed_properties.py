"""Whatever comes between: what a subscription gets is what the log has."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from executor.domain.events import Event
from executor.ports import EventQuery, Recorded
from hub.channels import ANY, Key, Wish
from hub.entries import Batch, Entry
from hub.feed import Feed, Subscription
from hub.messages import Channel
from tests.unit.hub.socket.casting import Author, World, fired, line, opened, revoked, started, until

_numbers = count(1)


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """Slices, pages, turns and the ring are so small that a few events go over all their edges."""
    for name, value in {"_SLICE": 4, "_TURN": 1, "_FIRST_PAGE": 2, "_LARGEST_PAGE": 4, "_MOST_CONFLATED": 6}.items():
        monkeypatch.setattr(f"hub.feed.{name}", value)
    for module in ("feed", "entries"):
        monkeypatch.setattr(f"hub.{module}.RING", 12)
    with capture_logs():  # Of sinks that break: a traceback each.
        async with opened(tmp_path) as world:
            yield world


class Cup:
    """A sink of a size, that may break as well."""

    def __init__(self, size: int) -> None:
        self.size, self.got = size, list[bytes]()
        self._held = 0
        self.is_broken = False
        self.behind: dict[Subscription, None] = {}

    def offer(self, batch: Batch) -> bool:
        if self.is_broken:
            raise OSError("broken")
        if self._held >= self.size:
            return False
        self.put(batch)
        return True

    def put(self, batch: Batch) -> None:
        self.got += batch.messages
        self._held += len(batch.messages)

    def falls_behind(self, subscription: Subscription) -> None:
        self.behind[subscription] = None

    def drink(self) -> None:
        self._held, self.is_broken = 0, False

    async def read_on(self, feed: Feed) -> None:
        """A page, as far as there is room."""
        if self.behind and self._held < self.size:
            subscription = next(iter(self.behind))
            del self.behind[subscription]
            await feed.catch_up(subscription)


class Listener(NamedTuple):
    subscription: Subscription
    cup: Cup
    since: int


class Scene:
    """A feed of its own over the log of all scenes, in an organization of its own."""

    def __init__(self, world: World) -> None:
        self.log, self.feed = world.log, Feed(world.log)
        self.author = Author(world.log, world.clock)
        self.organization_id = f"organization-{next(_numbers)}"
        self.listeners: list[Listener] = []
        self.reading: list[asyncio.Task[None]] = []
        self._running: asyncio.Task[None] | None = None

    async def write(self, run: int, *events: Event) -> None:
        await self.author.write(
            *events, execution_id=f"{self.organization_id}-{run}", organization_id=self.organization_id
        )

    async def write_of_no_run(self) -> None:
        to: dict[str, Any] = {"stream": f"apikey:{self.organization_id}", "execution_id": None, "workflow_id": None}
        await self.author.write(revoked(), organization_id=self.organization_id, **to)

    def subscribe(self, run: int | None, wish: Wish, back: int, size: int) -> None:
        """From so many positions before the head on; in None's place stands the channel of all events."""
        channel = Channel.EVENTS if run is None else Channel.EXECUTION
        key = Key(self.organization_id, channel, ANY if run is None else f"{self.organization_id}-{run}")
        cup, since = Cup(size), max(0, self.log.head - back)
        self.listeners.append(Listener(self.feed.subscribe(key, cup, after=since, wish=wish), cup, since))

    def run(self) -> None:
        if self._running is None:
            self._running = asyncio.create_task(self.feed.run())

    async def cancel(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    def read_on(self, listener: Listener) -> None:
        self.reading.append(asyncio.create_task(listener.cup.read_on(self.feed)))

    async def settle(self) -> None:
        """Until all who are still subscribed are live at the head."""
        self.run()
        await asyncio.gather(*self.reading)
        await until(lambda: self.feed.cast == self.log.head)
        for listener in self.listeners:
            while listener.cup.behind:
                listener.cup.drink()
                await listener.cup.read_on(self.feed)
        await self.cancel()

    async def wanted(self, listener: Listener) -> list[Recorded]:
        key, wish = listener.subscription.key, listener.subscription.wish
        recorded = await self.log.read(
            EventQuery(after=listener.since, organization_id=self.organization_id, limit=1_000_000)
        )
        entries = [Entry(event) for event in recorded if key.covers(event)]
        return [entry.recorded for entry in entries if entry.is_wanted(wish) and entry.message(key.channel)]


def positions(cup: Cup) -> list[int]:
    return [json.loads(text)["position"] for text in cup.got]


def newest(wanted: list[Recorded]) -> set[int]:
    """What even one who wants only the latest must get."""
    last = {(event.execution_id or event.position, event.type): event.position for event in wanted}
    return set(last.values())


runs = st.integers(0, 1)
wishes = st.builds(
    lambda types, condition, is_latest: Wish(types, condition, is_latest),
    st.sampled_from([None, None, frozenset({"log.written"}), frozenset({"execution.started", "timer.fired"})]),
    st.sampled_from([None, None, "data.message.contains('odd')", "event.version % 2 == 0"]),
    st.booleans(),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), runs, st.integers(1, 9)),
        st.tuples(st.just("write"), runs, st.integers(1, 9)),
        st.tuples(st.just("subscribe"), st.none() | runs, wishes, st.integers(0, 30), st.integers(1, 8)),
        st.tuples(st.just("unsubscribe"), st.integers(0, 9)),
        st.tuples(st.just("drink"), st.integers(0, 9)),
        st.tuples(st.just("break"), st.integers(0, 9)),
        st.tuples(st.just("read on"), st.integers(0, 9)),
        st.tuples(st.just("turns"), st.integers(1, 20)),
        st.tuples(st.sampled_from(["run", "run", "cancel", "write of no run"])),
    ),
    min_size=8,
    max_size=40,
)


async def take(scene: Scene, name: str, *given: Any) -> None:
    match name:
        case "write":
            run, many = given
            kinds: list[Callable[[], Event]] = [started, fired, lambda: line("odd"), lambda: line("even")]
            await scene.write(run, *(kinds[(n * n + many) % 4]() for n in range(many)))
        case "write of no run":
            await scene.write_of_no_run()
        case "subscribe":
            scene.subscribe(*given)
        case "turns":
            for _ in range(given[0]):
                await asyncio.sleep(0)
        case "run":
            scene.run()
        case "cancel":
            await scene.cancel()
        case _ if scene.listeners:
            listener = scene.listeners[given[0] % len(scene.listeners)]
            match name:
                case "unsubscribe":
                    scene.feed.unsubscribe(listener.subscription)
                case "drink":
                    listener.cup.drink()
                case "break":
                    listener.cup.is_broken = True
                case "read on":
                    scene.read_on(listener)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(steps)
async def test_whatever_comes_between_everybody_gets_what_the_log_has(world: World, done: list[Any]) -> None:
    scene = Scene(world)
    for step in done:
        await take(scene, *step)
        for listener in scene.listeners:
            got = positions(listener.cup)
            assert got == sorted(set(got))
    await scene.settle()
    for listener in scene.listeners:
        wanted, got = await scene.wanted(listener), positions(listener.cup)
        expected = [event.position for event in wanted]
        subscription = listener.subscription
        if subscription.is_closed:
            assert subscription.wish.is_latest or got == expected[: len(got)]
            continue
        assert subscription.position == scene.log.head
        if subscription.wish.is_latest:
            assert set(got) <= set(expected)
            assert newest(wanted) <= set(got)
        else:
            assert got == expected
        scene.feed.unsubscribe(subscription)
    assert scene.feed.live_count == 0
