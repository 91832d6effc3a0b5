"""Three hundred runs of every shape, with all that they wait for, while the hub is killed ten times: each ends as its
shape says, and has had each of its effects on the world once."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from hub.rebuild import check
from hub.settings import Settings
from tests.acceptance.hands import Hands
from tests.acceptance.killing import Killed, killed_after
from tests.acceptance.mixed import CHILDREN, SHAPES, Outcome
from tests.acceptance.world import World, all_executions, everything, nothing_is_live, reached
from tests.integration.hubs import Client, runcast, until, up

RUNS = 300
KILLS = 10
PATIENCE = 120
RUN_ENDS = {f"execution.{end}" for end in ("completed", "failed", "cancelled", "terminated")}
ENDS = (
    RUN_ENDS
    | {f"component.{end}" for end in ("completed", "failed", "skipped", "cancelled")}
    | {"iteration.completed"}
)


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
                while self.killed.todo:
                    await self.killed.start_runs(client, ids, self.chance)
                await until(lambda: all_is_over(client), PATIENCE)
            await said_whole(client)
            executions = await all_executions(client)
            assert await hub.stop() == 0
            return executions

    async def made(self, client: Client) -> list[str]:
        """The workflows of what is asked for."""
        all = (CHILDREN | SHAPES).items()
        made = [await client.workflow(shape.definition(self.world.url), name=name) for name, shape in all]
        return [each["id"] for each in made if each["name"] in SHAPES]


async def all_is_over(client: Client) -> bool:
    """The one answer of the last question says it: between several, a failed run may have been retried."""
    if not await nothing_is_live(client):
        return False
    found = (await all_executions(client)).values()
    failed = [each for each in found if each["status"] == "failed" and each["workflow_name"] == "to be retried"]
    return all(each["completed_at"] for each in found) and not failed


async def said_whole(client: Client) -> None:
    """What the log says: nothing is missing, nothing ended twice unless it was retried, and all that was to happen on
    the way did."""
    events = await everything(client)
    assert [event["position"] for event in events] == list(range(1, len(events) + 1))
    happened = {event["type"] for event in events}
    for kind in ("execution.reclaimed", "execution.paused", "execution.retried", "task.released"):
        assert kind in happened
    ends: defaultdict[str, Counter[tuple[Any, ...]]] = defaultdict(Counter)
    for event in events:
        of, at = ends[event["execution_id"]], ("component_id", "iteration", "index")
        if event["type"] == "execution.retried":
            of.clear()
        elif event["type"] in ENDS:
            key = tuple(event["data"].get(name) for name in at)
            of[key] += 1
            assert of[key] == 1, event
    for name, shape in SHAPES.items():
        its = [event for event in events if event["data"].get("workflow_name") == name]
        assert shape.most is None or most_at_once(its) == shape.most


def most_at_once(events: list[dict[str, Any]]) -> int:
    """How many runs were between their start and their end."""
    steps = (1 if event["type"] == "execution.started" else -(event["type"] in RUN_ENDS) for event in events)
    return max(accumulate(steps))


async def test_three_hundred_mixed_runs_survive_ten_kills(tmp_path: Path, world: World) -> None:
    seed = random.randrange(2**32)
    lives = Lives(tmp_path / "data", world, seed)
    try:
        async with aiohttp.ClientSession() as http:
            for _ in range(KILLS):
                await lives.live(http, kills=True)
            executions = await lives.live(http, kills=False)
        assert set(lives.killed.acknowledged) <= set(executions)
        assert len(lives.killed.acknowledged) == RUNS
        ended_as_they_should(executions, world)
        verified = await runcast("events", "verify", "--data-dir", tmp_path / "data")
        assert verified.code == 0, verified
        report = await check(Settings(data_dir=tmp_path / "data"), processes=0)
        assert (report.counts, report.failures) == ({}, ())
    except BaseException as error:
        error.add_note(f"the seed was {seed}")
        raise


def ended_as_they_should(executions: dict[str, dict[str, Any]], world: World) -> None:
    """Also those that were not acknowledged."""
    effects: defaultdict[str, set[str]] = defaultdict(set)
    for key in world.effects:
        execution, _, rest = key.partition("/")
        effects[execution].add(rest)
    assert set(effects) == set(executions)
    for id, each in executions.items():
        wanted = (CHILDREN | SHAPES)[each["workflow_name"]].outcome(each["parameters"]["n"])
        assert Outcome(each["status"], each["results"], frozenset(effects[id])) == wanted, each
    for parent, child in (("parent", "child"), ("to be cancelled", "endless child")):
        parents = [id for id, each in executions.items() if each["workflow_name"] == parent]
        above = [each["parent_execution_id"] for each in executions.values() if each["workflow_name"] == child]
        assert sorted(above) == sorted(parents), "each has had one child"
