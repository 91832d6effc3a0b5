"""Two processes of each role on PostgreSQL and Valkey; one of each is killed, and Valkey too: nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import websockets
from websockets.asyncio.client import connect

from tests.acceptance.world import QUICK, World, everything, reached, shapes
from tests.integration.hubs import Client, runcast, until
from tests.integration.machines import KEY, Machine, Machines, machines
from tests.postgres import PostgresServer

RUNS = 500
WATCHERS = 12


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with reached() as world:
        yield world


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """It waits for the disk, as outside of tests."""
    server = PostgresServer(is_durable=True)
    server.start()
    yield server
    server.remove()


class Watcher:
    """A client of the channel `events`, which comes back to any of the web processes with the last position seen."""

    def __init__(self, urls: list[str], chance: random.Random) -> None:
        self.urls, self.chance = urls, chance
        self.seen: list[int] = []
        self.connections = 0

    async def watch(self) -> None:
        while True:
            with contextlib.suppress(OSError, TimeoutError, websockets.WebSocketException):
                await self._follow(self.chance.choice(self.urls))
            await asyncio.sleep(0.05)

    async def _follow(self, url: str) -> None:
        address = url.replace("http", "ws") + "/api/v1/ws"
        async with connect(address, additional_headers={"X-API-Key": KEY}, proxy=None, max_size=None) as socket:
            self.connections += 1
            since = self.seen[-1] if self.seen else 0
            wish = {"type": "subscribe", "data": {"channel": "events", "since": since}}
            await socket.send(msgspec.json.encode(wish).decode())
            async for text in socket:
                message = msgspec.json.decode(text)
                if message["type"] == "subscribed":
                    assert message["data"]["recovered"] is True
                if message.get("channel") == "events" and "position" in message:
                    self.seen.append(message["position"])


class Load:
    """Runs to be started, at whichever web process answers; one that was not acknowledged is asked for again."""

    def __init__(self, http: aiohttp.ClientSession, urls: list[str], chance: random.Random) -> None:
        self.http, self.urls, self.chance = http, urls, chance
        self.todo = list(range(RUNS))
        self.acknowledged: dict[str, int] = {}

    @property
    def client(self) -> Client:
        return Client(self.chance.choice(self.urls), self.http, KEY)

    async def start(self, workflows: list[str]) -> None:
        while self.todo:
            n = self.todo.pop()
            parameters = {"n": n, "seconds": round(self.chance.uniform(0.2, 2), 1)}
            try:
                id = await self.client.execution(workflows[n % len(workflows)], parameters=parameters)
            except (aiohttp.ClientError, OSError):
                self.todo.append(n)
                await asyncio.sleep(0.05)
            else:
                self.acknowledged[id] = n


async def test_five_hundred_runs_on_six_processes_survive_kill_9_of_one_of_each(
    tmp_path: Path, server: PostgresServer, world: World
) -> None:
    chance = random.Random(21)
    async with machines(tmp_path, server) as hub, aiohttp.ClientSession() as http:
        first = await hub.start_all("web", "executor", "worker", "web", "executor", "worker")
        urls = [machine.url for machine in first if machine.url]
        load = Load(http, urls, chance)
        workflows = [
            (await load.client.workflow(definition, name=name))["id"]
            for name, definition in shapes(world.url).items()
        ]
        hook = await load.client.webhook(
            f"{world.url}/hook", "execution.completed", retry_policy=QUICK | {"max_attempts": 100}
        )
        world.secret = hook["secret"]
        watchers = [Watcher(urls, chance) for _ in range(WATCHERS)]
        watching = [asyncio.create_task(watcher.watch()) for watcher in watchers]
        starting = [asyncio.create_task(load.start(workflows)) for _ in range(8)]
        try:
            await disturbed(hub, load, first)
            await asyncio.gather(*starting)
            await everything_ended(load, world, watchers, watching)
        finally:
            for task in (*watching, *starting):
                task.cancel()
            await asyncio.gather(*watching, *starting, return_exceptions=True)
        verified = await runcast("events", "verify", DATABASE_URL=hub.database_url)
        assert verified.code == 0, verified


async def disturbed(hub: Machines, load: Load, first: list[Machine]) -> None:
    """Kills one process of each role and Valkey, each once the log has come some way, and starts them again."""
    for machine in first[:3]:
        await moved_on(load, 400)
        await machine.kill()
        if machine.url:
            load.urls.remove(machine.url)
        if machine.role == "worker":
            assert hub.valkey.pid is not None
            os.kill(hub.valkey.pid, signal.SIGKILL)
        await moved_on(load, 100)
        again = await hub.start(machine.role)
        if again.url:
            load.urls.append(again.url)


async def moved_on(load: Load, events: int) -> None:
    begin = await head(load)

    async def has_come() -> bool:
        return await head(load) >= begin + events

    await until(has_come, 60)


async def head(load: Load) -> int:
    while True:
        try:
            return int((await load.client.get("/events", order="desc", limit=1)).data[0]["position"])
        except (aiohttp.ClientError, OSError):
            await asyncio.sleep(0.05)


async def everything_ended(
    load: Load, world: World, watchers: list[Watcher], watching: list[asyncio.Task[None]]
) -> None:
    assert len(load.acknowledged) == RUNS

    async def nothing_is_live() -> bool:
        live = [await load.client.get("/executions", status=s, limit=1) for s in ("queued", "running", "pending")]
        return not any(answer.metadata["total_count"] for answer in live)

    await until(nothing_is_live, 120)
    executions: dict[str, dict[str, Any]] = {}
    for offset in (0, 500, 1000):
        page = await load.client.get("/executions", limit=500, offset=offset)
        executions |= {each["id"]: each for each in page.data}
    for id, n in load.acknowledged.items():
        assert (executions[id]["status"], executions[id]["results"]) == ("completed", {"n": n})
    assert {each["status"] for each in executions.values()} == {"completed"}, "also of those not acknowledged"

    events = await everything(load.client)
    assert [event["position"] for event in events] == list(range(1, len(events) + 1))
    ends = Counter(event["execution_id"] for event in events if event["type"] == "execution.completed")
    assert ends == dict.fromkeys(executions, 1), "each ended once"
    assert any(event["type"] == "execution.reclaimed" for event in events), "some were under way at a kill"

    async def all_arrived() -> bool:
        return set(world.completed) >= set(executions)

    await until(all_arrived, 120)
    assert world.wrong == 0
    assert all(len(ids) == 1 for ids in world.ids.values()), "a repeat has the same webhook-id"
    calls = {id for id, each in executions.items() if each["workflow_name"] == "retry"}
    assert {key.split("/")[0] for key in world.requests} == calls, "one key for each, in all its attempts"

    positions = [event["position"] for event in await everything(load.client)]

    async def all_saw_all() -> bool:
        for task in watching:
            assert not task.done(), task
        return all(watcher.seen and watcher.seen[-1] >= positions[-1] for watcher in watchers)

    await until(all_saw_all, 60)
    for watcher in watchers:
        assert watcher.seen[: len(positions)] == positions, "no gap and nothing twice"
    assert sum(watcher.connections for watcher in watchers) > len(watchers), "some came back"
