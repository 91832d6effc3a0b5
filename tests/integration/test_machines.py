"""Processes of one hub while Redis or PostgreSQL is away: what goes on, what waits, and that all of it comes."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.acceptance.load import Load
from tests.acceptance.world import World, reached
from tests.integration.hubs import Answer, Client, until
from tests.integration.machines import KEY, Machine, machines
from tests.postgres import PostgresServer

ROLES = ("web", "executor", "worker")
RUNS = 12


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with reached() as world:
        yield world


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    server.start()
    yield server
    server.remove()


async def health(client: Client) -> Answer:
    return await client.get("/health", prefix="")


async def healthy(client: Client) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        found: dict[str, Any] = (await health(client)).data
        return found if found["status"] == "healthy" else None

    found: dict[str, Any] = await until(look)
    return found


async def all_ended(load: Load) -> None:
    for id in load.acknowledged:
        assert (await load.client.ended(id))["status"] == "completed"


async def test_without_redis_runs_and_sockets_go_on_and_deliveries_come_when_it_is_back(
    tmp_path: Path, postgres_server: PostgresServer, world: World
) -> None:
    async with machines(tmp_path, postgres_server) as hub, aiohttp.ClientSession() as http:
        load = Load(http, await hub.start_all(*ROLES), world, watchers=2, seed=1)
        async with load.watched():
            await healthy(load.client)
            await hub.valkey.stop()
            found = await health(load.client)
            assert (found.status, found.data["status"]) == (200, "degraded")
            redis = found.data["components"]["redis"]
            assert redis["status"] == "unhealthy"
            assert "webhook deliveries wait" in redis["message"]
            await load.start(RUNS)
            await all_ended(load)
            head = await load.head()
            await until(lambda: seen(load, head))
            await hub.valkey.start()
            assert (await healthy(load.client))["components"]["redis"]["status"] == "healthy"
            await load.ended_well()


async def seen(load: Load, head: int) -> bool:
    return all(watcher.seen[-1:] >= [head] for watcher in load.watchers)


async def test_while_postgresql_is_away_requests_are_told_when_to_come_again_and_nothing_is_lost(
    tmp_path: Path, server: PostgresServer, world: World
) -> None:
    async with machines(tmp_path, server) as hub, aiohttp.ClientSession() as http:
        load = Load(http, await hub.start_all(*ROLES), world, watchers=2, seed=2)
        async with load.watched():
            await load.start(RUNS)
            server.kill()
            await refused(load.client, f"/workflows/{load.workflows[0]}/execute")
            found = await health(load.client)
            assert (found.status, found.data["status"]) == (503, "unhealthy")
            assert found.data["components"]["database"]["message"] == "nothing can be written or read"
            assert (await load.client.get("/health/ready", prefix="")).status == 503
            server.start()
            await healthy(load.client)
            await load.start(RUNS)
            await load.ended_well()
        assert [watcher.codes for watcher in load.watchers] == [[], []], "sockets stayed open"


async def test_told_to_end_while_postgresql_does_not_answer_every_role_ends(
    tmp_path: Path, server: PostgresServer
) -> None:
    """As in a failover: nobody closes the connections. What was on its way fails, and is not acknowledged. Until then
    they answer for their metrics, each at its own port."""
    async with machines(tmp_path, server, METRICS_PORT="0") as hub:
        started = await hub.start_all(*ROLES)
        await all_watched(started)
        rows = await server.execute("SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'runcast %'")
        stopped = [row[0] for row in rows]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            codes = await asyncio.gather(*(machine.stop(20) for machine in started))
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
        assert codes == [0, 0, 0], [machine.log for machine in started]


async def all_watched(started: list[Machine]) -> None:
    async with aiohttp.ClientSession() as http:
        for machine in started:
            root = machine.url.removesuffix("/metrics")
            async with http.get(f"{root}/health/ready") as answer:
                assert answer.status == 200
            async with http.get(f"{root}/metrics") as answer:
                assert answer.status == 401
            async with http.get(f"{root}/metrics", headers={"X-API-Key": KEY}) as answer:
                text = await answer.text()
            assert ("runcast_webhook_breakers" in text) is (machine.role == "worker")
            async with http.get(f"{root}/api/v1/workflows", headers={"X-API-Key": KEY}) as answer:
                assert answer.status == (200 if machine.role == "web" else 404)


async def refused(client: Client, path: str) -> None:
    """Reads and writes alike."""
    for answer in (await client.get("/workflows"), await client.post(path, {"parameters": {"n": 1}})):
        assert (answer.status, answer.codes) == (503, {"SERVICE_UNAVAILABLE"}), answer.body
        assert int(answer.headers["Retry-After"]) > 0
