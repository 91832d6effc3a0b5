"""Two processes of each role on PostgreSQL and Valkey: one of each is killed, and Valkey too; each is restarted in
turn. Nothing is lost, and no client has a gap."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.acceptance.load import Load, replaced
from tests.acceptance.world import World, reached
from tests.integration.hubs import runcast
from tests.integration.machines import machines
from tests.postgres import PostgresServer

ROLES = ("web", "executor", "worker")
RUNS = 500
RESTARTED = 1012
"""Service Restart, of the IANA registry of WebSocket close codes."""


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


async def test_five_hundred_runs_survive_kill_9_of_one_process_of_each_role(
    tmp_path: Path, server: PostgresServer, world: World
) -> None:
    async with machines(tmp_path, server) as hub, aiohttp.ClientSession() as http:
        processes = await hub.start_all(*ROLES, *ROLES)
        load = Load(http, processes, world, watchers=6, seed=21)
        async with load.watched():
            for number, machine in enumerate(processes[: len(ROLES)]):
                share = RUNS * (number + 1) // len(ROLES) - RUNS * number // len(ROLES)
                starting = asyncio.create_task(load.start(share))
                await load.moved_on(400)
                await machine.kill()
                if machine.url:
                    load.urls.remove(machine.url)
                if machine.role == "worker":
                    assert hub.valkey.pid is not None
                    os.kill(hub.valkey.pid, signal.SIGKILL)
                await load.moved_on(100)
                await replaced(hub, load, machine)
                await starting
            assert len(load.acknowledged) == RUNS
            events = await load.ended_well()
        assert any(event["type"] == "execution.reclaimed" for event in events), "some were under way at a kill"
        assert any(None in watcher.codes for watcher in load.watchers), "some came back"
        verified = await runcast("events", "verify", DATABASE_URL=hub.database_url)
        assert verified.code == 0, verified


async def test_a_restart_of_each_process_in_turn_under_load_leaves_no_trace(
    tmp_path: Path, postgres_server: PostgresServer, world: World
) -> None:
    async with machines(tmp_path, postgres_server) as hub, aiohttp.ClientSession() as http:
        processes = await hub.start_all(*ROLES, *ROLES)
        load, done = Load(http, processes, world, watchers=6, seed=22), asyncio.Event()
        async with load.watched():
            starting = asyncio.create_task(load.start_until(done))
            for machine in processes:
                await load.moved_on(20)
                if machine.url:
                    load.urls.remove(machine.url)
                assert await machine.stop() == 0, machine.log
                await replaced(hub, load, machine)
            done.set()
            await starting
            await load.ended_well()
        codes = {code for watcher in load.watchers for code in watcher.codes[:-1]}
        assert codes == {RESTARTED}, "nobody was cut off"
        assert set(load.world.completed.values()) == {1}, "what was on its way was not sent again"
