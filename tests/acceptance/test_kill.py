"""`kill -9`, again and again, in the middle of two hundred runs: whatever was acknowledged is there and ends."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from executor.clock import SystemClock
from tests.acceptance.killing import Killed, killed_after
from tests.acceptance.world import QUICK, World, all_executions, everything, linked, nothing_is_live, reached, shapes
from tests.integration.hubs import Client, runcast, until, up

RUNS = 200
KILLS = 3


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with reached() as world:
        yield world


async def test_two_hundred_runs_survive_kill_9(tmp_path: Path, world: World) -> None:
    chance, killed = random.Random(20), Killed(tmp_path / "data", list(range(RUNS)))
    workflows: list[str] = []
    async with aiohttp.ClientSession() as http:
        for life in range(KILLS + 1):
            async with up(killed.data_dir) as hub:
                client = hub.client(http)
                if not workflows:
                    for name, definition in shapes(world.url).items():
                        workflows.append((await client.workflow(definition, name=name))["id"])
                    policy = QUICK | {"max_attempts": 100}
                    hook = await client.webhook(f"{world.url}/hook", "execution.completed", retry_policy=policy)
                    world.secret = hook["secret"]
                starting = [asyncio.create_task(killed.start_runs(client, workflows, chance)) for _ in range(8)]
                if life < KILLS:
                    await killed_after(hub, client, killed, chance.randint(150, 500))
                    await asyncio.gather(*starting)
                else:
                    await asyncio.gather(*starting)
                    await everything_ended(client, killed, world)
                    assert await hub.stop() == 0
    verified = await runcast("events", "verify", "--data-dir", killed.data_dir)
    assert verified.code == 0, verified


async def everything_ended(client: Client, killed: Killed, world: World) -> None:
    assert len(killed.acknowledged) == RUNS

    await until(lambda: nothing_is_live(client), 60)
    executions = await all_executions(client)
    for id, n in killed.acknowledged.items():
        assert (executions[id]["status"], executions[id]["results"]) == ("completed", {"n": n})
        assert executions[id]["progress"]["percentage"] == 100
    assert {each["status"] for each in executions.values()} == {"completed"}, "also of those not acknowledged"

    events = await everything(client)
    assert [event["position"] for event in events] == list(range(1, len(events) + 1))
    ends = Counter(event["execution_id"] for event in events if event["type"] == "execution.completed")
    assert ends == dict.fromkeys(executions, 1), "each ended once"
    assert any(event["type"] == "execution.reclaimed" for event in events), "some were under way at a kill"

    async def all_arrived() -> bool:
        return set(world.completed) >= set(executions)

    await until(all_arrived, 60)
    assert world.wrong == 0
    assert all(len(ids) == 1 for ids in world.ids.values()), "a repeat has the same webhook-id"
    calls = {id for id, each in executions.items() if each["workflow_name"] == "retry"}
    assert {key.split("/")[0] for key in world.requests} == calls, "one key for each, in all its attempts and lives"
    assert len(world.requests) == len(calls)
    assert all(count >= 2 for count in world.requests.values())
    assert all(attempts == sorted(attempts) for attempts in world.attempts.values())


async def test_a_timer_that_comes_due_while_the_hub_is_down_fires_at_the_next_start(tmp_path: Path) -> None:
    data_dir, clock = tmp_path / "data", SystemClock()
    definition = {
        "components": [{"id": "start", "type": "start"}, {"id": "wait", "type": "wait", "config": {"seconds": 3}}],
        "connections": linked("start>wait"),
    }
    async with aiohttp.ClientSession() as http:
        async with up(data_dir) as hub:
            client = hub.client(http)
            id = await client.execution((await client.workflow(definition))["id"])

            async def scheduled() -> Any:
                return await client.events(execution_id=id, types="timer.scheduled")

            (timer,) = await until(scheduled)
            hub.process.kill()
            await hub.process.wait()
        fires_at = timer["data"]["fires_at"]

        async def has_passed() -> bool:
            return clock.now() > fires_at

        await until(has_passed)
        restarted_at = clock.now()
        async with up(data_dir) as hub:
            client = hub.client(http)
            assert (await client.ended(id))["status"] == "completed"
            (fired,) = await client.events(execution_id=id, types="timer.fired")
            assert fired["data"]["fires_at"] == fires_at
            assert fired["time"] >= restarted_at
            with contextlib.suppress(ProcessLookupError):
                assert await hub.stop() == 0
