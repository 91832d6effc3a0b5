"""Runs that wait for other runs, with real engines on a real store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from executor.children import DEEPEST
from executor.domain.execution.lifecycle import decide_pause, decide_resume, decide_terminate
from executor.domain.execution.retry import Retry, decide_retry
from executor.domain.execution.rows import ExecutionRow
from executor.ports import Eq, Order, RowQuery
from tests.integration.engines import Stage, link, staged, step, workflow


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path) as stage:
        yield stage


def runs(id: str, name: str, **fields: Any) -> dict[str, Any]:
    """A component that runs the workflow of a name."""
    parameters = fields.pop("parameters", {})
    return step(id, "sub_workflow", config={"workflow_name": name, "parameters": parameters}, **fields)


def one(**fields: Any) -> dict[str, Any]:
    return workflow(step("work"), **fields)


async def children(stage: Stage, id: str) -> list[str]:
    """The ids of the runs below one, in the order of their creation."""
    found = await stage.store.reads.find(ExecutionRow, RowQuery(order=(Order("id"),), limit=1000))
    views = [await stage.view(row.id) for row in found]
    return [view.id for view in views if view.parent_execution_id == id]


async def below(stage: Stage, id: str) -> str:
    """The id of the only child of a run, once it works."""
    await stage.gate.beginning()
    (child,) = await children(stage, id)
    return child


async def statuses(stage: Stage, *ids: str) -> list[str]:
    return [(await stage.view(id)).status for id in ids]


async def test_the_results_of_the_child_are_the_output(stage: Stage) -> None:
    await stage.define("double", workflow(step("end", "end", config={"output": {"twice": "${workflow.input.n}"}})))
    id = await stage.create(workflow(runs("child", "double", parameters={"n": "${workflow.input.n}"})), {"n": 21})
    async with stage.running():
        run = await stage.ended(id)
    assert run.results == {"child": {"twice": 21}}
    (child,) = await children(stage, id)
    assert (await stage.view(child)).triggered_by == f"execution:{id}"


async def test_the_child_begins_with_the_waiting_and_its_end_with_the_telling(stage: Stage) -> None:
    await stage.define("one", one())
    id = await stage.create(workflow(runs("child", "one")))
    async with stage.running():
        child = await below(stage, id)
        await stage.gate.open("work")
        await stage.ended(id)
    at = {(event.execution_id, event.type): event.position for event in await stage.all_events()}
    assert at[child, "execution.created"] == at[id, "timer.scheduled"] + 1
    assert at[id, "execution.signalled"] == at[child, "execution.completed"] + 1


async def test_a_failed_child_fails_its_component_which_may_be_handled(stage: Stage) -> None:
    bad = workflow(step("bad", "transform", config={"expression": "1/0"}))
    await stage.define("bad", bad)
    links = [link("child", "after", type="error")]
    id = await stage.create(
        workflow(runs("child", "bad"), step("after", "transform", config={"output": {}}), links=links)
    )
    async with stage.running():
        run = await stage.ended(id)
        components = await stage.components(id)
    assert run.status == "completed"
    assert components["child"].status == "failed"
    assert "failed: " in (components["child"].error_message or "")


async def test_a_failed_child_is_tried_again_as_another_run(stage: Stage) -> None:
    await stage.define("bad", workflow(step("bad", "transform", config={"expression": "1/0"})))
    retry = {"max_attempts": 2, "initial_delay_seconds": 0}
    id = await stage.create(workflow(runs("child", "bad", retry=retry)))
    async with stage.running():
        assert (await stage.ended(id)).status == "failed"
    assert await statuses(stage, *await children(stage, id)) == ["failed", "failed"]


@pytest.mark.parametrize(
    ("name", "parameters", "says"),
    [
        ("nothing", {}, "there is no workflow named 'nothing'"),
        ("strict", {}, "the workflow 'strict' cannot be run: 'n' is required"),
    ],
)
async def test_what_cannot_be_run_fails_the_component(
    stage: Stage, name: str, parameters: dict[str, Any], says: str
) -> None:
    await stage.define("strict", one(parameters=[{"name": "n", "type": "integer", "required": True}]))
    id = await stage.create(workflow(runs("child", name, parameters=parameters)))
    async with stage.running():
        run = await stage.ended(id)
    assert run.status == "failed"
    assert says in (run.error_message or "")
    assert await children(stage, id) == []


async def test_an_end_by_force_goes_all_the_way_down(stage: Stage) -> None:
    await stage.define("bottom", one())
    await stage.define("middle", workflow(runs("child", "bottom")))
    for decide, status in ((None, "cancelled"), (decide_terminate, "terminated")):
        id = await stage.create(workflow(runs("child", "middle")))
        async with stage.running():
            await stage.gate.beginning(len(stage.gate.began) + 1)
            (middle,) = await children(stage, id)
            (bottom,) = await children(stage, middle)
            if decide is None:
                await stage.cancel(id)
            else:
                await stage.append(id, partial(decide, by="somebody", reason="enough", now=stage.clock.now()))
            assert await statuses(stage, id, middle, bottom) == [status] * 3
    ends = [event for event in await stage.all_events() if event.type == "execution.cancelled"]
    assert ends[-1].position - ends[0].position < 10


async def test_who_does_not_wait_any_more_cancels_the_child(stage: Stage) -> None:
    await stage.define("one", one())
    bad = step("bad", "transform", config={"expression": "1/0"})
    id = await stage.create(workflow(runs("child", "one"), step("first"), bad, links=[link("first", "bad")]))
    async with stage.running():
        await stage.gate.beginning(2)
        (child,) = await children(stage, id)
        await stage.gate.open("first")
        assert (await stage.ended(id)).status == "failed"
        assert await statuses(stage, child) == ["cancelled"]


async def test_a_child_that_takes_too_long_is_cancelled(stage: Stage) -> None:
    await stage.define("one", one())
    id = await stage.create(workflow(runs("child", "one", timeout_seconds=60)))
    async with stage.running():
        child = await below(stage, id)
        stage.clock.put_forward(seconds=61)
        run = await stage.ended(id)
        assert "did not end within 60 seconds" in (run.error_message or "")
        assert await statuses(stage, child) == ["cancelled"]


async def test_a_pause_goes_down_and_so_does_going_on(stage: Stage) -> None:
    await stage.define("one", one())
    id = await stage.create(workflow(runs("child", "one"), runs("other", "one")))
    async with stage.running():
        await stage.gate.beginning(2)
        first, other = await children(stage, id)
        now = stage.clock.now()
        await stage.append(other, partial(decide_pause, by="somebody", reason=None, now=now))
        await stage.append(id, partial(decide_pause, by="somebody", reason=None, now=now))
        assert await statuses(stage, id, first, other) == ["paused"] * 3
        await stage.append(id, partial(decide_resume, by="somebody", reason=None, now=now))
        assert await statuses(stage, id, first, other) == ["running", "running", "paused"]


async def test_a_child_that_ends_while_the_parent_is_away_is_not_forgotten(stage: Stage) -> None:
    await stage.define("one", one())
    id = await stage.create(workflow(runs("child", "one")))
    async with stage.running():
        child = await below(stage, id)
        await stage.append(id, lambda state: decide_pause(state, "somebody", None, stage.clock.now()))
        await stage.append(child, lambda state: decide_resume(state, "somebody", None, stage.clock.now()))
        await stage.gate.open("work")
        await stage.end(child)
    await stage.append(id, lambda state: decide_resume(state, "somebody", None, stage.clock.now()))
    async with stage.running("engine-2"):
        assert (await stage.ended(id)).status == "completed"


async def test_many_children_that_end_together_are_all_heard(stage: Stage) -> None:
    await stage.define("one", one())
    id = await stage.create(workflow(*(runs(f"child-{number}", "one") for number in range(30))))
    async with stage.running(), stage.running("engine-2"):
        await stage.gate.beginning(30)
        await stage.gate.open("work")
        run = await stage.ended(id)
    assert run.status == "completed"
    assert len(run.results or {}) == 30


async def test_a_hundred_children_end_at_about_the_same_time(stage: Stage) -> None:
    """All at once they would lose to each other over and over, each time loading the run above them."""
    await stage.define("quick", workflow(step("end", "end", config={"output": {"n": "${workflow.input.n}"}})))
    body = {"components": [runs("child", "quick", parameters={"n": "${item}"})]}
    config = {"items": list(range(100)), "max_concurrency": 100, "body": body}
    id = await stage.create(workflow(step("all", "loop", config=config)))
    async with stage.running():
        run = await stage.ended(id)
    assert run.status == "completed"
    assert [each["child"]["n"] for each in (run.results or {})["all"]["results"]] == list(range(100))


async def test_a_secret_goes_down_sealed(stage: Stage) -> None:
    declared = [{"name": "token", "type": "string", "secret": True}]
    await stage.define("one", one(parameters=declared))
    raw = workflow(runs("child", "one", parameters={"token": "{{token}}"}), parameters=declared)
    sealed = await stage.sealer.seal(stage.organization, "hush-hush", "execution:parameter")
    id = await stage.create(raw, {"token": sealed})
    async with stage.running():
        child = await below(stage, id)
    state, _ = await stage.store.log.load(f"execution:{child}")
    opened = await stage.sealer.open(stage.organization, state.run.parameters["token"], "execution:parameter")
    assert opened == "hush-hush"
    assert not any(b"hush-hush" in event.data for event in await stage.all_events())


async def test_a_workflow_that_runs_itself_comes_to_an_end(stage: Stage) -> None:
    await stage.define("again", workflow(runs("child", "again")))
    id = await stage.create(workflow(runs("child", "again")))
    async with stage.running():
        run = await stage.ended(id)
    assert run.status == "failed"
    message = run.error_message or ""
    assert message.startswith("its run failed: more than ")
    assert message.endswith("does the workflow run itself?")
    assert await stage.store.reads.count(ExecutionRow, (Eq("organization_id", stage.organization),)) == DEEPEST + 1


async def test_there_are_only_so_many_runs_below_one(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("executor.children.MOST_BELOW", 3)
    await stage.define("one", workflow(step("end", "end", config={"output": {}})))
    body = {"components": [runs("child", "one")]}
    id = await stage.create(workflow(step("each", "loop", config={"items": [1, 2, 3, 4], "body": body})))
    async with stage.running():
        run = await stage.ended(id)
    assert "there are 3 runs below the one at the top already" in (run.error_message or "")
    assert len(await children(stage, id)) == 3


async def test_a_child_that_is_retried_by_itself_waits_for_its_turn_like_any_other(stage: Stage) -> None:
    await stage.define("bad", workflow(step("bad", "transform", config={"expression": "1/0"})))
    id = await stage.create(workflow(runs("child", "bad")))
    async with stage.running():
        await stage.ended(id)
    (child,) = await children(stage, id)
    asked = Retry("somebody", None, None, {}, 1, None, {})
    await stage.append(child, lambda state: decide_retry(state, asked))
    row = await stage.store.reads.get(ExecutionRow, child)
    assert row is not None
    assert row.is_in_queue
    async with stage.running("engine-2"):
        await stage.happening(child, "execution.failed", 2)
    assert "execution.signalled" not in (await stage.types(id))[-1]
