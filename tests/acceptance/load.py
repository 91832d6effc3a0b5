"""Load on a hub of several processes: runs that are asked for until they are acknowledged, clients that always come
back, and what must be true of all of it in the end."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import websockets
from websockets.asyncio.client import connect

from tests.acceptance.world import QUICK, World, all_executions, everything, nothing_is_live, shapes
from tests.integration.hubs import Client, until
from tests.integration.machines import KEY, Machine, Machines

_PAUSE_SECONDS = 0.05
_BETWEEN_SECONDS = 1.0


class Watcher:
    """A client of the channel `events`, which comes back to any of the web processes with the last position seen."""

    def __init__(self, urls: list[str], chance: random.Random) -> None:
        self.urls, self.chance = urls, chance
        self.seen: list[int] = []
        self.codes: list[int | None] = []
        """With which code each connection that was made has ended, null where it just broke."""

    async def watch(self) -> None:
        while True:
            with contextlib.suppress(OSError, TimeoutError, websockets.WebSocketException):
                await self._follow(self.chance.choice(self.urls))
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _follow(self, url: str) -> None:
        address = url.replace("http", "ws") + "/api/v1/ws"
        async with connect(address, additional_headers={"X-API-Key": KEY}, proxy=None, max_size=None) as socket:
            since = self.seen[-1] if self.seen else 0
            wish = {"type": "subscribe", "data": {"channel": "events", "since": since}}
            try:
                await socket.send(msgspec.json.encode(wish).decode())
                async for text in socket:
                    self._see(msgspec.json.decode(text))
            finally:
                if socket.close_code is not None:
                    self.codes.append(socket.close_code if socket.close_code != 1006 else None)

    def _see(self, message: dict[str, Any]) -> None:
        assert message["type"] != "error", message
        if message["type"] == "subscribed":
            assert message["data"]["recovered"] is True
        if message.get("channel") == "events":
            self.seen.append(message["position"])


class Load:
    """Runs, started at whichever web process answers; one that was not acknowledged is asked for again."""

    def __init__(
        self, http: aiohttp.ClientSession, machines: list[Machine], world: World, watchers: int, seed: int
    ) -> None:
        self.http, self.world, self.chance = http, world, random.Random(seed)
        self.urls = [machine.url for machine in machines if machine.url]
        self.watchers = [Watcher(self.urls, self.chance) for _ in range(watchers)]
        self.workflows: list[str] = []
        self.acknowledged: dict[str, int] = {}
        self._numbers = iter(range(1_000_000))
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def client(self) -> Client:
        return Client(self.chance.choice(self.urls), self.http, KEY)

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """The workflows, a webhook for each run that completes, and the clients that watch."""
        for name, definition in shapes(self.world.url).items():
            self.workflows.append((await self.client.workflow(definition, name=name))["id"])
        policy = QUICK | {"max_attempts": 100}
        hook = await self.client.webhook(f"{self.world.url}/hook", "execution.completed", retry_policy=policy)
        self.world.secret = hook["secret"]
        self._tasks = [asyncio.create_task(watcher.watch()) for watcher in self.watchers]
        try:
            yield
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def start(self, runs: int) -> None:
        """Returns when all are acknowledged."""
        todo = [next(self._numbers) for _ in range(runs)]
        await asyncio.gather(*(self._start(todo) for _ in range(8)))

    async def start_until(self, done: asyncio.Event) -> None:
        """Some at a time, with pauses, until something else is done."""
        while not done.is_set():
            await self.start(8)
            await asyncio.sleep(_BETWEEN_SECONDS)

    async def _start(self, todo: list[int]) -> None:
        while todo:
            n = todo.pop()
            parameters = {"n": n, "seconds": round(self.chance.uniform(0.2, 2), 1)}
            try:
                id = await self.client.execution(self.workflows[n % len(self.workflows)], parameters=parameters)
            except (aiohttp.ClientError, OSError):
                todo.append(n)
                await asyncio.sleep(_PAUSE_SECONDS)
            else:
                self.acknowledged[id] = n

    async def moved_on(self, events: int) -> None:
        """Waits until the log has come so much further."""
        begin = await self.head()

        async def has_come() -> bool:
            return await self.head() >= begin + events

        await until(has_come, 60)

    async def head(self) -> int:
        while True:
            try:
                newest = await self.client.get("/events", order="desc", limit=1)
            except (aiohttp.ClientError, OSError):
                await asyncio.sleep(_PAUSE_SECONDS)
            else:
                return int(newest.data[0]["position"])

    async def ended_well(self) -> list[dict[str, Any]]:
        """Waits until every run has completed, every webhook arrived and every client saw all; answers the events."""
        executions = await self._completed()
        events = await everything(self.client)
        assert [event["position"] for event in events] == list(range(1, len(events) + 1))
        ends = Counter(event["execution_id"] for event in events if event["type"] == "execution.completed")
        assert ends == dict.fromkeys(executions, 1), "each ended once"

        async def all_arrived() -> bool:
            return set(self.world.completed) >= set(executions)

        await until(all_arrived, 120)
        assert self.world.wrong == 0
        assert all(len(ids) == 1 for ids in self.world.ids.values()), "a repeat has the same webhook-id"
        calls = {id for id, each in executions.items() if each["workflow_name"] == "retry"}
        assert {key.split("/")[0] for key in self.world.requests} == calls
        assert len(self.world.requests) == len(calls), "one key for each, in all its attempts"
        await self._all_seen(await everything(self.client))
        return events

    async def _completed(self) -> dict[str, dict[str, Any]]:
        await until(lambda: nothing_is_live(self.client), 120)
        executions = await all_executions(self.client)
        for id, n in self.acknowledged.items():
            assert (executions[id]["status"], executions[id]["results"]) == ("completed", {"n": n})
        assert {each["status"] for each in executions.values()} == {"completed"}, "also of those not acknowledged"
        return executions

    async def _all_seen(self, events: list[dict[str, Any]]) -> None:
        async def has_come() -> bool:
            for task in self._tasks:
                assert not task.done(), task
            return all(len(watcher.seen) >= len(events) for watcher in self.watchers)

        await until(has_come, 60)
        for watcher in self.watchers:
            assert watcher.seen == list(range(1, len(watcher.seen) + 1)), "no gap and nothing twice"


async def replaced(hub: Machines, load: Load, gone: Machine) -> None:
    """Starts another process of the same role, and tells the clients where."""
    again = await hub.start(gone.role)
    if again.url:
        load.urls.append(again.url)
