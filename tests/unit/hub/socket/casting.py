"""What tests of the live side stand on: a real log on SQLite, a feed that follows it, and somebody who writes."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from executor.clock import SystemClock
from executor.domain.events import Event, Failure, apikey, execution
from executor.domain.values import Progress
from executor.ports import Aggregate, EventLog, EventQuery, NewEvent, Recorded, Replays, StreamAppend
from hub.channels import Key, Wish
from hub.feed import Feed, Subscription
from hub.messages import Channel, message
from hub.replayed import ReplayChannels
from hub.socket.outbox import Outbox
from storage.open import open_store

ORGANIZATION = "01HQ0RGANZZZZZZZZZZZZZZZZZ"
WORKFLOW = "01HQW0RKF0WZZZZZZZZZZZZZZZ"
EXECUTION = "01HQEXECZZZZZZZZZZZZZZZZZZ"
OTHER_EXECUTION = "01HQEXEC2ZZZZZZZZZZZZZZZZZ"
_FACTS: dict[str, Any] = {
    "workflow_name": "report",
    "status": "running",
    "priority": 5,
    "progress": Progress(current_component=None, completed_components=0, total_components=1, percentage=0),
}
_COMPONENT_FACTS: dict[str, Any] = {
    **_FACTS,
    "execution_status": "running",
    "component_id": "a",
    "component_type": "transform",
}


def kept(prefix: str) -> Aggregate[Any]:
    """Streams that hold any events and have no rows."""
    return Aggregate(
        prefix=prefix,
        initial=lambda: None,
        evolve=lambda state, facts: state,
        rows=lambda before, after: (),
        names=lambda state: (),
    )


def started() -> Event:
    return execution.ExecutionStarted(**_FACTS, engine="e", epoch=1)


def completed(output: Any = None) -> Event:
    return execution.ComponentCompleted(**_COMPONENT_FACTS, output_data=output)


def failed() -> Event:
    return execution.ComponentFailed(**_COMPONENT_FACTS, error=Failure(code="X", message="no"))


def line(text: str = "hello") -> Event:
    return execution.LogWritten(level="info", message=text)


def fired() -> Event:
    return execution.TimerFired(component_id="a", fires_at=SystemClock().now())


def revoked() -> Event:
    return apikey.ApiKeyRevoked(name="ci")


class Author:
    """Writes events of executions, each execution a stream."""

    def __init__(self, log: EventLog, clock: SystemClock) -> None:
        self._log = log
        self._clock = clock
        self._versions: defaultdict[str, int] = defaultdict(int)

    async def write(
        self,
        *events: Event,
        execution_id: str | None = EXECUTION,
        workflow_id: str | None = WORKFLOW,
        organization_id: str = ORGANIZATION,
        stream: str | None = None,
    ) -> tuple[Recorded, ...]:
        name = stream or f"execution:{execution_id}"
        append = StreamAppend(
            stream=name,
            expected=self._versions[name],
            state=None,
            events=tuple(NewEvent(self._clock.new_id(), event) for event in events),
            organization_id=organization_id,
            workflow_id=workflow_id,
            execution_id=execution_id,
        )
        self._versions[name] += len(events)
        return (await self._log.append((append,)))[0].recorded

    async def write_lines(self, count: int, text: str = "hello", **to: Any) -> None:
        for start in range(0, count, 100):
            await self.write(*(line(f"{text} {n}") for n in range(start, min(start + 100, count))), **to)


class World:
    """A log, its author, and a feed, which follows the log while `following` is open."""

    def __init__(self, log: EventLog, replays: Replays, clock: SystemClock) -> None:
        self.log = log
        self.clock = clock
        self._replays = replays
        self.author = Author(log, clock)
        self.feed = Feed(log)

    @property
    def replays(self) -> ReplayChannels:
        return ReplayChannels(self.feed, self.log, self._replays, self.clock)

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.feed.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def start_anew(self) -> None:
        """A feed as after a restart: at the head, and without memory."""
        self.feed = Feed(self.log)

    async def dispatched(self) -> None:
        """Returns once the feed has come to the head."""
        await until(lambda: self.feed.position == self.log.head)

    async def said(self, key: Key, after: int = 0, types: frozenset[str] | None = None) -> list[bytes]:
        """What a channel has after a position, by the log itself."""
        recorded = await self.log.read(EventQuery(after=after, limit=1_000_000))
        made = [
            message(event, key.channel)
            for event in recorded
            if key.covers(event) and (types is None or event.type in types)
        ]
        return [text for text in made if text is not None]


class Reader:
    """Takes what an outbox has, and keeps it."""

    def __init__(self, feed: Feed, **bounds: int) -> None:
        self.feed = feed
        self.outbox = Outbox(feed, **bounds)
        self.got: list[bytes] = []

    def subscribe(self, key: Key, after: int, types: frozenset[str] | None = None) -> Subscription:
        return self.feed.subscribe(key, self.outbox, after=after, wish=Wish(types))

    async def take(self) -> None:
        self.got += await self.outbox.take()

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._read())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _read(self) -> None:
        while True:
            await self.take()


def key(channel: Channel = Channel.EXECUTION, id: str = EXECUTION, organization_id: str = ORGANIZATION) -> Key:
    return Key(organization_id, channel, id)


@contextlib.asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[World]:
    clock = SystemClock()
    prefixes = ("execution", "workflow", "apikey")
    store = await open_store(f"sqlite:///{directory}/log.db", [kept(prefix) for prefix in prefixes], clock=clock)
    try:
        yield World(store.log, store.ledgers.replays, clock)
    finally:
        await store.close()


async def until(holds: Callable[[], bool], seconds: float = 10) -> None:
    """Returns when it holds; fails where it does not come to."""
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.002)
