"""Webhooks while everything breaks: receivers that misbehave in every way, hubs and workers that are killed in the
middle of what they send, Valkey wiped and killed. Every event arrives, in order where that was asked for, and what is
said of the attempts is true."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from redis.asyncio import Redis

from hub.places import socket_path
from tests.acceptance.hooks import Hooks
from tests.acceptance.hostile import Hostile, hostile
from tests.integration.hubs import Client, Up, until, up
from tests.integration.machines import KEY, Machine, machines
from tests.postgres import PostgresServer

FAILURES = 5
EVENTS = 50
"""Of each life."""
_TAKEN_OVER_SECONDS = 120
"""A lease lasts five; the rest is for a machine that has much else to do."""


@pytest.fixture
async def receiver() -> AsyncIterator[Hostile]:
    async with hostile(FAILURES) as receiver:
        yield receiver


async def flushed(url: str) -> None:
    client: Redis[bytes] = Redis.from_url(url)
    await client.flushall()
    await client.aclose()


async def kill_valkey(hub: Up) -> None:
    """The hub's own, which it starts again."""
    path = hub.data_dir / "valkey.pid"
    killed = path.read_text()
    os.kill(int(killed), signal.SIGKILL)

    async def is_another() -> bool:
        return path.read_text() not in (killed, "")

    await until(is_another)


async def kill_upon(hooks: Hooks, moment: str, path: str, process: asyncio.subprocess.Process) -> None:
    await hooks.receiver.next(moment, path)
    process.kill()
    hooks.killed.append(time.monotonic())
    await process.wait()


async def test_a_hub_that_is_killed_again_and_again_delivers_everything(tmp_path: Path, receiver: Hostile) -> None:
    data_dir, hooks = tmp_path / "data", Hooks(receiver)
    async with aiohttp.ClientSession() as http:
        async with up(data_dir) as hub:
            client = hub.client(http)
            await hooks.register(client)
            async with hooks.fed(client, EVENTS):
                await receiver.next("given", "well")
                await flushed(f"unix://{socket_path(data_dir, 'valkey.sock')}")
                await receiver.next("asked", "ordered-fails")
                await kill_valkey(hub)
                await kill_upon(hooks, "asked", "hangs", hub.process)
        for moment, path in (("given", "ordered-closes"), ("asked", "big")):
            async with up(data_dir) as hub, hooks.fed(hub.client(http), EVENTS):
                await kill_upon(hooks, moment, path, hub.process)
        async with up(data_dir) as hub:
            client = hub.client(http)
            async with hooks.fed(client, EVENTS):
                await hooks.delete(client)
            await hooks.all_arrived(client)
            assert await hub.stop() == 0


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """It waits for the disk, as outside of tests."""
    server = PostgresServer(is_durable=True)
    server.start()
    yield server
    server.remove()


async def another_takes_over(hooks: Hooks, paused: Machine, start: asyncio.Task[Machine]) -> None:
    """What a paused worker was sending, another sends when the lease is over; then the first one goes on."""
    async with hooks.receiver.withheld("fails") as seen:
        began = time.monotonic()
        paused.process.send_signal(signal.SIGSTOP)
        await start

        async def is_repeated() -> bool:
            of_it = [each.number for each in hooks.receiver.of("fails") if each.delivery == seen.delivery]
            return max(of_it) > seen.number

        await until(is_repeated, _TAKEN_OVER_SECONDS)
    hooks.pauses.append((began, time.monotonic()))
    paused.process.send_signal(signal.SIGCONT)


async def test_workers_that_are_killed_and_paused_deliver_everything_together(
    tmp_path: Path, server: PostgresServer, receiver: Hostile
) -> None:
    hooks = Hooks(receiver)
    async with machines(tmp_path, server) as hub, aiohttp.ClientSession() as http:
        web, _, one, two = await hub.start_all("web", "executor", "worker", "worker")
        client = Client(web.url, http, KEY)
        await hooks.register(client)
        async with hooks.fed(client, 2 * EVENTS):
            await receiver.next("given", "well")
            await flushed(hub.valkey.url)
            await kill_upon(hooks, "asked", "hangs", one.process)
            assert hub.valkey.pid is not None
            os.kill(hub.valkey.pid, signal.SIGKILL)
        async with hooks.fed(client, EVENTS):
            await another_takes_over(hooks, two, asyncio.create_task(hub.start("worker")))
            await hooks.delete(client)
        async with hooks.fed(client, EVENTS):
            await kill_upon(hooks, "given", "ordered-closes", two.process)
        await hooks.all_arrived(client)
