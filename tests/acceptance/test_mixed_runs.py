"""Three hundred runs of every shape, with all that they wait for, while the hub is killed ten times: each ends as its
shape says, and has had each of its effects on the world once."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from itertools import islice
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from hub.rebuild import check
from hub.settings import Settings
from tests.acceptance.hands import Hands
from tests.acceptance.killing import Killed, killed_after
from tests.acceptance.mixed import CHILDREN, SHAPES
from tests.acceptance.world import World, all_executions, everything, nothing_is_live, reached
from tests.integration.hubs import Client, runcast, until, up

RUNS = 300
KILLS = 10
PATIENCE = 120
ENDS = {f"execution.{end}" for end in ("completed", "failed", "cancelled", "terminated")}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with reached() as world:
        yield world


class Lives:
    """All lives of one hub, and what is asked of it in each."""

    def __init__(self, data_dir: Path, world: World, seed: int) -> None:
        self.killed, self.world, self.chance = Killed(data_dir, []), world, random.Random(seed)
        self.hands, self.workflows = Hands(self.chance), list[str]()
        self.runs = iter(range(RUNS))

    async def live(self, http: aiohttp.ClientSession, kills: bool) -> dict[str, dict[str, Any]]:
        """One of them; in the last, nobody kills it, and all that was begun ends."""
        self.killed.todo += islice(self.runs, RUNS // (KILLS + 1) if kills else None)
        async with up(self.killed.data_dir) as hub:
            client = hub.client(http)
            ids = self.workflows = self.workflows or await self.made(client)
            async with self.hands.busy(client):
                starting = [asyncio.create_task(self.killed.start_runs(client, ids, self.chance)) for _ in range(4)]
                if kills:
                    await killed_after(hub, client, self.killed, self.chance.randint(30, 180))
                    await asyncio.gather(*starting)
                    return {}
                await asyncio.gather(*starting)
                await until(lambda: nothing_is_live(client), PATIENCE)
            await said_whole(client)
            executions = await all_executions(client)
            assert await hub.stop() == 0
            return executions

    async def made(self, client: Client) -> list[str]:
        """The workflows of what is asked for."""
        all = (CHILDREN | SHAPES).items()
        made = [await client.workflow(shape.definition(self.world.url), name=name) for name, shape in all]
        return [each["id"] for each in made if each["name"] in SHAPES]


async def said_whole(client: Client) -> None:
    """What the log says: nothing is missing, nothing ended twice, and all that was to happen on the way did."""
    events = await everything(client)
    assert [event["position"] for event in events] == list(range(1, len(events) + 1))
    types = Counter(event["type"] for event in events)
    assert types["execution.reclaimed"] > 0, "some were under way at a kill"
    assert types["execution.paused"] > 0
    assert types["task.released"] > 0, "a worker was not heard of again"
    ends = Counter(event["execution_id"] for event in events if event["type"] in ENDS)
    assert set(ends.values()) == {1}
    settled = Counter(
        (event["execution_id"], event["data"]["component_id"], event["data"]["iteration"], event["type"])
        for event in events
        if event["type"] in ("component.completed", "component.failed", "component.skipped", "component.cancelled")
    )
    assert set(settled.values()) == {1}
    iterations = Counter(
        (event["execution_id"], event["data"]["component_id"], event["data"]["iteration"], event["data"]["index"])
        for event in events
        if event["type"] == "iteration.completed"
    )
    assert set(iterations.values()) == {1}


async def test_three_hundred_mixed_runs_survive_ten_kills(tmp_path: Path, world: World) -> None:
    seed = random.randrange(2**32)
    lives = Lives(tmp_path / "data", world, seed)
    async with aiohttp.ClientSession() as http:
        for _ in range(KILLS):
            await lives.live(http, kills=True)
        executions = await lives.live(http, kills=False)
    assert len(lives.killed.acknowledged) == RUNS
    assert set(lives.killed.acknowledged) <= set(executions)
    effects: defaultdict[str, set[str]] = defaultdict(set)
    for key in world.effects:
        execution, _, rest = key.partition("/")
        effects[execution].add(rest)
    wrong = {
        (seed, each["workflow_name"], id): (got, wanted)
        for id, each in executions.items()
        if (got := (each["status"], each["results"], effects[id])) != (wanted := expected(each))
    }
    assert not wrong
    assert set(effects) == set(executions)
    for parent, child in (("parent", "child"), ("to be cancelled", "endless child")):
        parents = [id for id, each in executions.items() if each["workflow_name"] == parent]
        above = [each["parent_execution_id"] for each in executions.values() if each["workflow_name"] == child]
        assert sorted(above) == sorted(parents), "each has had one child"
    verified = await runcast("events", "verify", "--data-dir", tmp_path / "data")
    assert verified.code == 0, verified
    report = await check(Settings(data_dir=tmp_path / "data"), processes=0)
    assert (report.counts, report.failures) == ({}, ())


def expected(execution: dict[str, Any]) -> tuple[str, dict[str, Any] | None, set[str]]:
    shape = (CHILDREN | SHAPES)[execution["workflow_name"]]
    status, results, effects = shape.outcome(execution["parameters"]["n"])
    return status, results, set(effects)
