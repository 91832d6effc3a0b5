"""Pauses, signals, forced ends and retries, with a real engine on a real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from executor.components.base import Output
from executor.conditions import taken_elsewhere
from executor.definitions.validate import compile_definition
from executor.domain.execution.lifecycle import (
    decide_pause,
    decide_resume,
    decide_signal,
    decide_start,
    decide_terminate,
)
from executor.domain.execution.retry import Retry, decide_retry
from executor.domain.execution.state import State
from executor.engine import Engine
from tests.integration.engines import PATIENCE, Gone, Stage, link, staged, step, workflow


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path) as stage:
        yield stage


async def do(stage: Stage, id: str, decide: Callable[..., Any], **arguments: Any) -> None:
    await stage.append(id, partial(decide, **arguments, now=stage.clock.now()))


async def pause(stage: Stage, id: str) -> None:
    await do(stage, id, decide_pause, by="somebody", reason=None)


async def resume(stage: Stage, id: str) -> None:
    await do(stage, id, decide_resume, by="somebody", reason=None)


async def signal(stage: Stage, id: str, key: str, data: Any = None) -> None:
    await do(stage, id, decide_signal, key=key, data=data)


async def retry(stage: Stage, id: str, start: str | None = None, **parameters: Any) -> None:
    asked = Retry("somebody", None, start, parameters, 1, None, {})
    await stage.append(id, lambda state: decide_retry(state, asked))


async def idle(engine: Engine) -> None:
    """Until the engine holds nothing."""
    async with asyncio.timeout(PATIENCE):
        while engine.owned:
            await asyncio.sleep(0)


WAITING = workflow(
    step("wait", "wait", config={"signal": "approved"}),
    step("done", "end", config={"output": {"by": "${wait.output.by}"}}),
    links=[link("wait", "done")],
)


async def test_while_paused_what_runs_is_recorded_nothing_starts_and_resume_goes_on(stage: Stage) -> None:
    raw = workflow(step("a"), step("b"), links=[link("a", "b")])
    async with stage.running() as engine:
        id = await stage.create(raw)
        await stage.gate.beginning()
        await pause(stage, id)
        await stage.gate.open("a", "b")
        await stage.happening(id, "component.completed", 2)
        await idle(engine)
        assert ((await stage.view(id)).status, len(stage.gate.began)) == ("paused", 1)
        await resume(stage, id)
        assert (await stage.ended(id)).status == "completed"
    assert [attempt.component_id for attempt in stage.gate.began] == ["a", "b"]
    assert "execution.reclaimed" not in await stage.types(id)


async def test_an_engine_that_holds_a_paused_run_goes_on_with_it_at_resume(stage: Stage) -> None:
    raw = workflow(step("slow"), step("a"), step("b"), links=[link("a", "b")])
    async with stage.running():
        id = await stage.create(raw)
        await stage.gate.beginning(2)
        await pause(stage, id)
        await stage.gate.open("a", "b")
        await stage.happening(id, "component.completed", 2)
        await resume(stage, id)
        await stage.happening(id, "component.completed", 3)
        await stage.gate.open("slow")
        assert (await stage.ended(id)).status == "completed"


async def test_a_timer_that_comes_due_while_paused_fires_at_resume_under_any_engine(stage: Stage) -> None:
    raw = workflow(step("wait", "wait", config={"seconds": 60}), step("end", "end"), links=[link("wait", "end")])
    async with stage.running():
        id = await stage.create(raw)
        await stage.happening(id, "timer.scheduled")
        await pause(stage, id)
    stage.clock.put_forward(hours=1)
    async with stage.running("engine-2"):
        await stage.end(await stage.create(workflow()))
        assert "timer.fired" not in await stage.types(id)
        await resume(stage, id)
        assert (await stage.ended(id)).status == "completed"


async def test_what_ended_while_paused_ends_the_run_at_resume(stage: Stage) -> None:
    async with stage.running() as engine:
        id = await stage.create(workflow(step("a")))
        await stage.gate.beginning()
        await pause(stage, id)
        await stage.gate.open("a")
        await stage.happening(id, "component.completed", 2)
        await idle(engine)
        await resume(stage, id)
        assert (await stage.ended(id)).results == {"a": {"attempt": 1}}


async def test_what_a_dead_engine_was_at_in_a_paused_run_runs_again_only_after_resume(stage: Stage) -> None:
    async with stage.running("engine-1", engines=Gone(stage.store.ledgers.engines, beats=True)):
        id = await stage.create(workflow(step("a")))
        await stage.gate.beginning()
        await pause(stage, id)
    await stage.store.ledgers.engines.leave_all()
    async with stage.running("engine-2"):
        await stage.end(await stage.create(workflow()))
        assert len(stage.gate.began) == 1, "taking it up again would be a start"
        await resume(stage, id)
        await stage.gate.beginning(2)
        await stage.gate.open("a")
        assert (await stage.ended(id)).status == "completed"
    assert [attempt.idempotency_key for attempt in stage.gate.began] == [f"{id}/a/-/0"] * 2


async def test_two_engines_with_pauses_and_signals_run_nothing_twice(stage: Stage) -> None:
    raw = workflow(
        step("a"),
        step("wait", "wait", config={"signal": "go"}),
        step("b"),
        links=[link("a", "wait"), link("wait", "b")],
    )
    await stage.gate.open("a", "b")
    async with stage.running("engine-1"), stage.running("engine-2"):
        ids = [await stage.create(raw) for _ in range(20)]
        for id in ids:
            await pause(stage, id)
        for id in ids:
            await signal(stage, id, "go", id)
            await resume(stage, id)
        await stage.end(*ids)
    assert {(await stage.view(id)).status for id in ids} == {"completed"}
    assert {(await stage.components(id))["wait"].output_data for id in ids} == set(ids)
    assert sorted((each.execution_id, each.component_id) for each in stage.gate.began) == sorted(
        (id, component) for id in ids for component in ("a", "b")
    )


async def test_a_signal_wakes_a_parked_run_with_its_data(stage: Stage) -> None:
    async with stage.running() as engine:
        id = await stage.create(WAITING)
        await stage.happening(id, "timer.scheduled")
        await idle(engine)
        assert (await stage.view(id)).progress.current_component == "wait"
        await signal(stage, id, "other")
        await signal(stage, id, "approved", {"by": "Ada"})
        assert (await stage.ended(id)).results == {"by": "Ada"}


async def test_a_signal_wakes_a_branch_while_another_one_runs(stage: Stage) -> None:
    raw = workflow(step("slow"), step("wait", "wait", config={"signal": "go"}), step("a"), links=[link("wait", "a")])
    async with stage.running():
        id = await stage.create(raw)
        await stage.happening(id, "timer.scheduled")
        await signal(stage, id, "go")
        await stage.gate.beginning(2)
        await stage.gate.open("a", "slow")
        assert (await stage.ended(id)).status == "completed"


async def test_a_signal_before_anybody_waits_is_kept_also_from_before_the_run_starts(stage: Stage) -> None:
    id = await stage.create(WAITING)
    await signal(stage, id, "approved", {"by": "Ada"})
    async with stage.running():
        assert (await stage.ended(id)).results == {"by": "Ada"}


async def test_a_wait_whose_signal_does_not_come_takes_its_error_connection(stage: Stage) -> None:
    raw = workflow(
        step("wait", "wait", config={"signal": "approved", "timeout_seconds": 0.05}),
        step("late", "end", config={"output": {"late": True}}),
        links=[link("wait", "late", type="error")],
    )
    async with stage.running():
        id = await stage.create(raw)
        assert (await stage.ended(id)).results == {"late": True}
    (failed,) = await stage.events(id, "component.failed")
    assert failed.error.code == "TIMEOUT_ERROR"
    assert failed.error.message == "the signal 'approved' did not come in time"


async def test_the_time_limit_of_a_component_bounds_its_waiting_and_is_tried_again(stage: Stage) -> None:
    retry = {"max_attempts": 2, "initial_delay_seconds": 0}
    raw = workflow(
        step("signal", "wait", config={"signal": "never"}, timeout_seconds=0.05, retry=retry),
        step("time", "wait", config={"seconds": 3600}, timeout_seconds=0.05),
        step("enough", "wait", config={"seconds": 0.02}, timeout_seconds=60),
        fail_fast=False,
    )
    async with stage.running():
        id = await stage.create(raw)
        view = await stage.ended(id)
    components = await stage.components(id)
    assert {name: each.status for name, each in components.items()} == {
        "start": "completed",
        "signal": "failed",
        "time": "failed",
        "enough": "completed",
    }
    assert (components["signal"].attempt, components["time"].attempt) == (2, 1)
    assert view.error is not None
    assert (view.error.code, view.error.message) == ("TIMEOUT_ERROR", "'time' did not end within 0.05 seconds")


async def test_a_condition_sees_the_data_of_a_signal(stage: Stage) -> None:
    raw = workflow(
        step("wait", "wait", config={"signal": "answer-{{n}}"}),
        step("yes", "end", config={"output": {"is": "yes"}}),
        step("no", "end", config={"output": {"is": "no"}}),
        links=[
            link("wait", "yes", type="conditional", condition="output.ok"),
            link("wait", "no", type="conditional", condition="!output.ok"),
        ],
        parameters=[{"name": "n", "type": "integer"}],
    )
    async with stage.running():
        id = await stage.create(raw, {"n": 7})
        await signal(stage, id, "answer-7", {"ok": False})
        assert (await stage.ended(id)).results == {"is": "no"}
        broken = await stage.create(raw, {"n": 8})
        await signal(stage, broken, "answer-8", "not an object")
        view = await stage.ended(broken)
        assert (view.status, "the condition of wait → yes failed" in str(view.error_message)) == ("failed", True)


async def test_terminating_waits_for_nothing_that_does_not_stop(stage: Stage) -> None:
    inner, released = stage.gate.run, asyncio.Event()

    async def stubborn(context: Any) -> Output:
        try:
            await inner(context)
        except asyncio.CancelledError:
            await released.wait()
        return Output("too late")

    stage.gate.run = stubborn  # type: ignore[method-assign]
    async with stage.running() as engine:
        id = await stage.create(workflow(step("a")))
        await stage.gate.beginning()
        await do(stage, id, decide_terminate, by="somebody", reason="out of hand")
        await idle(engine)
        assert not released.is_set(), "the engine let go while the component still ran"
        released.set()
    view = await stage.view(id)
    assert (view.status, view.cancelled_by, view.cancel_reason) == ("terminated", "somebody", "out of hand")
    assert (await stage.components(id))["a"].status == "cancelled"


async def test_what_was_created_to_be_started_later_is_started(stage: Stage) -> None:
    async with stage.running():
        id = await stage.create(workflow(), is_held=True)
        await stage.end(await stage.create(workflow()))
        assert (await stage.view(id)).status == "pending"
        await do(stage, id, decide_start, by="somebody")
        assert (await stage.ended(id)).status == "completed"


async def test_a_retry_runs_what_failed_under_another_idempotency_key(stage: Stage) -> None:
    raw = workflow(step("a"), step("b", config={"at": "b"}, timeout_seconds=0.05), links=[link("a", "b")])
    await stage.gate.open("a")
    async with stage.running():
        id = await stage.create(raw)
        assert (await stage.ended(id)).status == "failed"
        await stage.gate.open("b")
        await retry(stage, id)
        await stage.happening(id, "execution.completed")
    keys = [(attempt.component_id, attempt.number, attempt.idempotency_key) for attempt in stage.gate.began]
    assert keys == [("a", 1, f"{id}/a/-/0"), ("b", 1, f"{id}/b/-/0"), ("b", 2, f"{id}/b/-/1")]
    view = await stage.view(id)
    assert (view.status, view.error, view.results) == ("completed", None, {"b": {"attempt": 2}})


async def test_a_run_retried_while_its_engine_still_stops_it_runs_once(stage: Stage) -> None:
    async with stage.running() as engine:
        id = await stage.create(workflow(step("a")))
        await stage.gate.beginning()
        await stage.cancel(id)
        await retry(stage, id)
        await stage.gate.beginning(2)
        await stage.gate.open("a")
        await stage.happening(id, "execution.completed")
        await idle(engine)
    assert [attempt.number for attempt in stage.gate.began] == [1, 2]
    assert [attempt.number for attempt in stage.gate.stopped] == [1]


async def test_connections_are_found_again_in_another_version(stage: Stage) -> None:
    def version(*conditions: str) -> dict[str, Any]:
        links = [
            link("ask", target, type="conditional", condition=condition)
            for target, condition in zip(("low", "high"), conditions, strict=True)
        ]
        steps = (step("ask", "transform", config={"output": {"n": 5}}), step("low"), step("high", "end"))
        return workflow(*steps, links=links)

    async with stage.running():
        id = await stage.create(version("output.n < 10", "output.n >= 10"))
        await stage.gate.beginning()
        await stage.cancel(id)
        newer = compile_definition(version("output.n < 3", "output.n >= 3"), stage.registry)
        broken = compile_definition(version("output.nope", "output.n >= 3"), stage.registry)

        def decide(state: State) -> Any:
            taken = taken_elsewhere(state, newer)
            assert taken == {"start": (0,), "ask": (2,)}
            assert list(taken_elsewhere(state, broken)) == ["start"], "whose condition errs runs again"
            return decide_retry(state, Retry("somebody", None, None, {}, 2, newer, taken))

        await stage.append(id, decide)
        await stage.happening(id, "execution.completed")
    assert (await stage.view(id)).workflow_version == 2
    statuses = {each.component_id: each.status for each in (await stage.components(id)).values()}
    assert statuses == {"start": "completed", "ask": "completed", "low": "skipped", "high": "completed"}
