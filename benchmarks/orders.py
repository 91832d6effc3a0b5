"""What a server under load is told on standard input, and how it sends: all at once, one by one, at fixed times."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from payload import now

Answer = dict[str, Any]


class Publisher(Protocol):
    """How a server sends. Each returns once the server would acknowledge it."""

    async def publish(self, due: int) -> None:
        """A message to the channel that all subscribers share."""

    async def burst(self, events: int, channels: int) -> None:
        """So many messages at once: to the channel that all share, or with several channels to each of them."""


async def obey(publisher: Publisher, **more: Callable[..., Awaitable[Answer]]) -> None:
    """Of a server that sends."""
    orders: dict[str, Callable[..., Awaitable[Answer]]] = {
        "burst": lambda **order: _timed(publisher.burst(**order)),
        "one_by_one": lambda events: _timed(_one_by_one(publisher, events)),
        "at_rate": lambda rate, events: _timed(at_rate(publisher.publish, rate, events)),
    }
    await heed(**orders | more)


async def heed(**orders: Callable[..., Awaitable[Answer]]) -> None:
    """Until standard input ends: whoever gave the orders is gone, and so is this process then."""
    reader = asyncio.StreamReader(limit=1 << 24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        order = json.loads(line)
        try:
            answer = await orders[order.pop("do")](**order)
        except Exception as error:
            answer = {"failed": f"{type(error).__name__}: {error}"}
        say(answer)
    signal.raise_signal(signal.SIGTERM)


def say(answer: Answer) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


async def _timed(work: Awaitable[None]) -> Answer:
    began = now()
    await work
    return {"began": began, "acknowledged": now()}


async def _one_by_one(publisher: Publisher, events: int) -> None:
    for _ in range(events):
        await publisher.publish(now())
        await asyncio.sleep(0)


async def at_rate(publish: Callable[[int], Coroutine[None, None, None]], rate: float, events: int) -> None:
    """At fixed times, whether or not those before are done: a slow one does not hide how others wait."""
    start = now()
    async with asyncio.TaskGroup() as group:
        for number in range(events):
            due = start + int(number / rate * 1e9)
            await asyncio.sleep((due - now()) / 1e9)
            group.create_task(publish(due))
