"""Runs that wait for their turn, with real engines on real stores."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from executor.domain.execution.rows import ExecutionRow
from executor.domain.plans import Plan
from executor.ports import Eq
from tests.integration.engines import PATIENCE, Stage, staged, step, workflow

ONE = workflow(step("work"))
BY_CUSTOMER = ONE | {"concurrency": {"key": "${workflow.input.customer}", "limit": 1}}


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path) as stage:
        yield stage


async def limit(stage: Stage, most: int) -> None:
    await stage.store.ledgers.organizations.set_plan(stage.organization, Plan.CUSTOM, most)


async def holding(stage: Stage) -> int:
    return await stage.store.reads.count(ExecutionRow, (Eq("is_holding", 1),))


async def began(stage: Stage, count: int) -> list[str]:
    return [attempt.execution_id for attempt in await stage.gate.beginning(count)]


class Watch:
    """Counts how many run at once, by the log: what began minus what ended."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.most = stage, 0

    async def until_ended(self, ids: list[str]) -> None:
        running, left = 0, set(ids)
        async with asyncio.timeout(PATIENCE):
            async for batch in self.stage.store.log.tail(0):
                for event in batch:
                    running += event.type == "execution.started"
                    if event.type in ("execution.completed", "execution.failed", "execution.cancelled"):
                        running -= 1
                        left.discard(event.execution_id or "")
                    self.most = max(self.most, running)
                if not left:
                    return


@pytest.mark.parametrize("engines", [1, 2])
async def test_an_organization_never_runs_more_at_once_than_it_may(stage: Stage, engines: int) -> None:
    await limit(stage, 3)
    ids = [await stage.create(ONE) for _ in range(12)]
    await stage.gate.open("work")
    async with stage.running("engine-1"):
        if engines == 2:
            async with stage.running("engine-2"):
                await (watch := Watch(stage)).until_ended(ids)
        else:
            await (watch := Watch(stage)).until_ended(ids)
    assert watch.most == 3


async def test_who_waits_begins_when_another_ends(stage: Stage) -> None:
    await limit(stage, 1)
    first, second = await stage.create(ONE), await stage.create(ONE)
    async with stage.running():
        assert await began(stage, 1) == [first]
        assert await holding(stage) == 1
        await stage.cancel(first)
        assert await began(stage, 2) == [first, second]


async def test_what_waits_or_is_paused_keeps_its_place(stage: Stage) -> None:
    await limit(stage, 1)
    nap = await stage.create(workflow(step("nap", "wait", config={"seconds": 600})))
    async with stage.running():
        await stage.happening(nap, "timer.scheduled")
        other = await stage.create(ONE)
        stage.clock.put_forward(seconds=601)
        await stage.ended(nap)
        assert await began(stage, 1) == [other]


async def test_a_higher_limit_holds_at_once(stage: Stage) -> None:
    await limit(stage, 1)
    for _ in range(3):
        await stage.create(ONE)
    async with stage.running():
        await began(stage, 1)
        await stage.store.ledgers.organizations.set_plan(stage.organization, Plan.UNLIMITED, None)
        await began(stage, 3)


async def test_urgent_ones_begin_first(stage: Stage) -> None:
    await limit(stage, 1)
    low, high, middle = [await stage.create(ONE, priority=priority) for priority in (1, 9, 5)]
    await stage.gate.open("work")
    async with stage.running():
        assert await began(stage, 3) == [high, middle, low]


@pytest.mark.parametrize("engines", [1, 2])
async def test_of_one_key_only_so_many_run_at_once(stage: Stage, engines: int) -> None:
    shared = await stage.define("orders", BY_CUSTOMER)
    ids = [await stage.create(BY_CUSTOMER, {"customer": name}, workflow_id=shared) for name in "aaabbc"]
    async with stage.running("engine-1"):
        assert sorted(await began(stage, 3)) == [ids[0], ids[3], ids[5]]
        assert await holding(stage) == 3
        await stage.gate.open("work")
        if engines == 2:
            async with stage.running("engine-2"):
                await stage.end(*ids)
        await stage.end(*ids)
    started = [event.execution_id for event in await stage.all_events() if event.type == "execution.started"]
    assert [id for id in started if id in ids[:3]] == ids[:3]


@pytest.mark.parametrize("customer", [None, ""])
async def test_no_key_is_no_limit(stage: Stage, customer: Any) -> None:
    shared = await stage.define("orders", BY_CUSTOMER)
    for _ in range(3):
        await stage.create(BY_CUSTOMER, {"customer": customer}, workflow_id=shared)
    async with stage.running():
        await began(stage, 3)


async def test_children_run_in_the_place_of_their_root(stage: Stage) -> None:
    await limit(stage, 1)
    await stage.define("below", ONE)
    child = step("child", "sub_workflow", config={"workflow_name": "below"})
    id = await stage.create(workflow(child))
    await stage.gate.open("work")
    async with stage.running():
        assert (await stage.ended(id)).status == "completed"


async def test_who_waits_too_long_fails_although_there_is_no_place(stage: Stage) -> None:
    await limit(stage, 1)
    await stage.create(ONE)
    late = await stage.create(ONE | {"queue_timeout": 60})
    async with stage.running():
        await began(stage, 1)
        stage.clock.put_forward(seconds=61)
        run = await stage.ended(late)
    assert "waited longer than 60 seconds in the queue" in (run.error_message or "")
    assert len(stage.gate.began) == 1


async def test_a_place_survives_the_engine(stage: Stage) -> None:
    await limit(stage, 1)
    first, second = await stage.create(ONE), await stage.create(ONE)
    async with stage.running():
        await began(stage, 1)
    async with stage.running("engine-2"):
        assert await began(stage, 2) == [first, first]
        await stage.gate.open("work")
        await stage.end(first, second)
