"""Runs that wait for tasks, across engines that stop, and what time does to tasks, whoever looks."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from executor.domain.task.decide import decide_cancel, decide_claim, decide_complete
from executor.domain.task.rows import TaskRow
from executor.domain.task.state import State
from executor.ports import Eq, Metadata, RowQuery, TaskLease
from executor.task_sweep import TaskSweep
from executor.tasks import TaskHandler
from tests.integration.engines import Stage, staged, staged_on, step, workflow


async def task_of(stage: Stage, execution_id: str) -> str:
    """The id of the task that an execution has opened."""
    await stage.happening(execution_id, "task.created")
    (row,) = await stage.store.reads.find(TaskRow, RowQuery(where=(Eq("execution_id", execution_id),)))
    return row.id


async def decided(stage: Stage, id: str, decide: Any) -> State:
    return await TaskHandler(stage.store.log, stage.clock).handle(id, decide, Metadata())


async def types_of(stage: Stage, id: str) -> list[str]:
    return [event.type for event in await stage.store.log.stream(f"task:{id}")]


def sweep(stage: Stage) -> TaskSweep:
    store = stage.store
    return TaskSweep(TaskHandler(store.log, stage.clock), store.reads, store.ledgers.task_leases, stage.clock)


async def test_what_is_completed_while_no_engine_runs_goes_on_with_the_next(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        id = await stage.create(workflow(step("ask", "human_task")))
        async with stage.running("engine-1"):
            task = await task_of(stage, id)
        done = await decided(stage, task, lambda s: decide_complete(s, {"x": 1}, None, None, "me", stage.clock.now()))
        assert done.status == "completed"
        assert (await stage.view(id)).status == "running"
        async with stage.running("engine-2"):
            assert (await stage.ended(id)).results == {"ask": {"x": 1}}


async def test_the_waiting_and_the_task_and_its_end_and_the_word_of_it_are_one_append_each(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage, stage.running():
        id = await stage.create(workflow(step("ask", "human_task", config={"assignee": "ada"})))
        task = await task_of(stage, id)
        await decided(stage, task, lambda s: decide_complete(s, 1, None, None, "me", stage.clock.now()))
        await stage.end(id)
        types = [event.type for event in await stage.all_events()]
        for together in (
            ["timer.scheduled", "task.created", "task.assigned"],
            ["task.completed", "execution.signalled"],
        ):
            at = types.index(together[0])
            assert types[at : at + len(together)] == together


@pytest.mark.parametrize("ends", ["cancelled", "failed"])
async def test_a_run_that_ends_takes_its_task_with_it(tmp_path: Path, ends: str) -> None:
    async with staged(tmp_path) as stage, stage.running():
        shape = workflow(step("ask", "human_task"), **({"max_execution_time": 0.3} if ends == "failed" else {}))
        id = await stage.create(shape)
        task = await task_of(stage, id)
        if ends == "cancelled":
            await stage.cancel(id)
        await stage.end(id)
        assert await types_of(stage, task) == ["task.created", "task.cancelled"]


async def test_a_sibling_that_fails_takes_the_task_of_a_fast_failing_run(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage, stage.running():
        bad = step("bad", "transform", config={"expression": "input.missing.deeper"})
        id = await stage.create(workflow(step("ask", "human_task"), step("wait", "gate"), bad))
        assert (await stage.ended(id)).status == "failed"
        rows = await stage.store.reads.find(TaskRow, RowQuery(where=(Eq("execution_id", id),)))
        assert [row for row in rows if row.status != "cancelled"] == []


async def test_two_who_end_a_task_at_once_do_it_once(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage, stage.running():
        id = await stage.create(workflow(step("ask", "human_task")))
        task, now = await task_of(stage, id), stage.clock.now()
        answers = await asyncio.gather(
            decided(stage, task, lambda s: decide_complete(s, 1, None, None, "me", now)),
            decided(stage, task, lambda s: decide_cancel(s, None, "me", now)),
            return_exceptions=True,
        )
        assert sum(isinstance(answer, Exception) for answer in answers) == 1
        assert len(await types_of(stage, task)) == 2
        await stage.end(id)
        assert len(await stage.events(id, "execution.signalled")) == 1


async def test_sweeps_beside_each_other_release_and_escalate_once(tmp_path: Path) -> None:
    config = {"due_in_seconds": 60, "escalation": {"notify": ["ops"], "reassign_to": "boss"}}
    async with staged(tmp_path) as stage, stage.running():
        asked = await stage.create(workflow(step("ask", "human_task", config=config)))
        worked = await stage.create(workflow(step("do", "external_task", config={"task_type": "render"})))
        human, external = await task_of(stage, asked), await task_of(stage, worked)
        leases = stage.store.ledgers.task_leases
        assert await leases.claim(stage.organization, ["render"], "w", "L1", 30, 5) == [external]
        await decided(stage, external, lambda s: decide_claim(s, "w", "L1", 30))
        sweeps = [sweep(stage) for _ in range(3)]
        await asyncio.gather(*(each.sweep() for each in sweeps))
        assert await types_of(stage, external) == ["task.created", "task.started"]
        stage.clock.put_forward(seconds=61)
        await asyncio.gather(*(each.sweep() for each in sweeps))
        assert await types_of(stage, human) == ["task.created", "task.escalated", "task.reassigned"]
        assert await types_of(stage, external) == ["task.created", "task.started", "task.released"]
        assert await leases.claim(stage.organization, ["render"], "x", "L2", 30, 5) == [external]


async def test_a_claim_whose_worker_died_between_lease_and_log_is_free_when_the_lease_ends(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage, stage.running():
        id = await stage.create(workflow(step("do", "external_task", config={"task_type": "render"})))
        task, leases = await task_of(stage, id), stage.store.ledgers.task_leases
        assert await leases.take(TaskLease(task, "w", "L1"), 30)
        assert await leases.claim(stage.organization, ["render"], "x", "L2", 30, 5) == []
        stage.clock.put_forward(seconds=31)
        await sweep(stage).sweep()
        assert await types_of(stage, task) == ["task.created"]
        assert await leases.claim(stage.organization, ["render"], "x", "L2", 30, 5) == [task]


async def test_a_worker_without_a_lease_loses_its_task(tmp_path: Path) -> None:
    """As after the import of a log: leases stay behind."""
    async with staged(tmp_path) as stage, stage.running():
        id = await stage.create(workflow(step("do", "external_task", config={"task_type": "render"})))
        task = await task_of(stage, id)
        await decided(stage, task, lambda s: decide_claim(s, "w", "L1", 30))
        await sweep(stage).sweep()
        assert (await types_of(stage, task))[-1] == "task.released"


async def test_on_a_shared_store_it_is_the_same(postgres_url: str) -> None:
    config = {"due_in_seconds": 60, "escalation": {"notify": ["ops"], "reassign_to": "boss"}}
    async with staged_on(postgres_url) as stage, stage.running():
        shape = workflow(
            step("ask", "human_task", config=config), step("do", "external_task", config={"task_type": "render"})
        )
        id = await stage.create(shape)
        await stage.happening(id, "task.created", 2)
        leases, reads = stage.store.ledgers.task_leases, stage.store.reads
        (external,) = await leases.claim(stage.organization, ["render"], "w", "L1", 30, 5)
        await decided(stage, external, lambda s: decide_claim(s, "w", "L1", 30))
        stage.clock.put_forward(seconds=61)
        await asyncio.gather(*(sweep(stage).sweep() for _ in range(3)))
        (human,) = await reads.find(TaskRow, RowQuery(where=(Eq("assignee", "boss"),)))
        assert await types_of(stage, human.id) == ["task.created", "task.escalated", "task.reassigned"]
        assert await types_of(stage, external) == ["task.created", "task.started"]
        now = stage.clock.now()
        await asyncio.gather(
            decided(stage, human.id, lambda s: decide_complete(s, 1, None, None, "me", now)),
            decided(stage, external, lambda s: decide_complete(s, 2, None, "w", "me", now)),
        )
        assert (await stage.ended(id)).results == {"ask": 1, "do": 2}
