"""Whole executions by a real engine on a real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from executor.components.base import Output
from executor.domain.execution.decision import MOST_EVENTS
from executor.domain.values import plus, seconds_between
from executor.secrets import PARAMETER_CONTEXT
from tests.integration.engines import Stage, link, staged, step, workflow
from tests.integration.receiving import Receiver, receiving

SOON = {"max_attempts": 3, "initial_delay_seconds": 0.05, "backoff_multiplier": 1}


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path) as stage:
        yield stage


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


def request(receiver: Receiver, **config: Any) -> dict[str, Any]:
    return {"url": receiver.url, "method": "POST"} | config


async def test_an_execution_runs_from_its_creation_to_its_results(stage: Stage) -> None:
    raw = workflow(
        step("double", "transform", config={"expression": "input.x * 2"}),
        step("say", "log", config={"message": "it is ${double.output}"}),
        step("done", "end", config={"output": {"answer": "${double.output}", "text": "{{x}}!"}}),
        links=[link("double", "say"), link("say", "done")],
        parameters=[{"name": "x", "type": "integer"}],
    )
    async with stage.running():
        view = await stage.ended(id := await stage.create(raw, {"x": 21}))
    assert (view.status, view.results, view.error) == ("completed", {"answer": 42, "text": "21!"}, None)
    assert (view.progress.percentage, view.progress.completed_components) == (100, 4)
    assert await stage.types(id) == [
        "execution.created",
        "execution.started",
        "component.started",
        "component.completed",
        "component.started",
        "component.completed",
        "component.started",
        "log.written",
        "component.completed",
        "component.started",
        "component.completed",
        "execution.completed",
    ]
    components = await stage.components(id)
    assert list(components) == ["start", "double", "say", "done"]
    assert components["say"].input_data == {"message": "it is 42"}
    assert components["double"].output_data == 42
    assert (await stage.events(id, "log.written"))[0].message == "it is 42"


async def test_an_execution_that_was_waiting_before_the_engine_started_runs_too(stage: Stage) -> None:
    id = await stage.create(workflow())
    async with stage.running():
        assert (await stage.ended(id)).status == "completed"


async def test_parallel_branches_overlap_and_their_join_waits_for_both(stage: Stage) -> None:
    raw = workflow(step("a"), step("b"), step("join"), links=[link("a", "join"), link("b", "join")])
    async with stage.running():
        id = await stage.create(raw)
        began = await stage.gate.beginning(2)
        assert {attempt.component_id for attempt in began} == {"a", "b"}, "both run at the same time"
        await stage.gate.open("a", "join")
        await stage.happening(id, "component.completed", 2)
        assert len(stage.gate.began) == 2
        await stage.gate.open("b")
        assert (await stage.ended(id)).status == "completed"


async def test_a_hundred_branches_end_together_in_few_appends(stage: Stage) -> None:
    ids = [f"a{number}" for number in range(100)]
    raw = workflow(
        *(step(id, config={"at": "all"}) for id in ids), step("join", "end"), links=[link(id, "join") for id in ids]
    )
    async with stage.running():
        id = await stage.create(raw)
        await stage.gate.beginning(100)
        await stage.gate.open("all")
        assert (await stage.ended(id)).status == "completed"
    ends = [event.time for event in await stage.recorded(id) if event.type == "component.completed"]
    assert len(set(ends)) < 50, "what arrives together is decided together"


async def test_a_choice_runs_one_branch_and_skips_the_other(stage: Stage) -> None:
    raw = workflow(
        step("big", "condition", config={"expression": "input.x > 10"}),
        step("yes", "end", config={"output": {"size": "big"}}),
        step("no", "end", config={"output": {"size": "small"}}),
        links=[
            link("big", "yes", type="conditional", condition="output.result"),
            link("big", "no", type="conditional", condition="!steps.big.output.result"),
        ],
    )
    async with stage.running():
        small, big = await stage.create(raw, {"x": 1}), await stage.create(raw, {"x": 11})
        assert (await stage.ended(small)).results == {"size": "small"}
        assert (await stage.ended(big)).results == {"size": "big"}
    assert (await stage.components(big))["no"].status == "skipped"


# failures and retries


async def test_a_component_that_fails_for_a_while_is_retried_under_the_same_idempotency_key(
    stage: Stage, receiver: Receiver
) -> None:
    receiver.replies = [503, 429]
    raw = workflow(step("call", "http_request", config=request(receiver), retry=SOON))
    async with stage.running():
        view = await stage.ended(id := await stage.create(raw))
    assert view.status == "completed"
    headers = [arrived.headers for arrived in receiver.arrived]
    assert [each["X-Runcast-Attempt"] for each in headers] == ["1", "2", "3"]
    assert {each["Idempotency-Key"] for each in headers} == {f"{id}/call/-/0"}
    retries = await stage.events(id, "component.retry_scheduled")
    assert [event.error.details["status"] for event in retries] == [503, 429]
    assert (await stage.components(id))["call"].attempt == 3


async def test_a_component_whose_retries_are_spent_takes_its_error_connection(
    stage: Stage, receiver: Receiver
) -> None:
    receiver.always = 500
    raw = workflow(
        step("call", "http_request", config=request(receiver), retry=SOON),
        step("rescue", "end", config={"output": {"rescued": True, "output": "${call.output.body}"}}),
        links=[link("call", "rescue", type="error")],
    )
    async with stage.running():
        view = await stage.ended(id := await stage.create(raw))
    assert (view.status, view.results) == ("completed", {"rescued": True, "output": None})
    assert len(receiver.arrived) == 3
    (failed,) = await stage.events(id, "component.failed")
    assert (failed.retry_count, failed.taken) == (2, (1,))


async def test_a_final_failure_fails_the_execution_at_once_and_stops_its_siblings(
    stage: Stage, receiver: Receiver
) -> None:
    receiver.always = 404
    raw = workflow(step("beside"), step("call", "http_request", config=request(receiver), retry=SOON))
    async with stage.running() as engine:
        view = await stage.ended(id := await stage.create(raw))
        async with asyncio.timeout(30):
            while engine.owned:
                await asyncio.sleep(0)
    assert (view.status, view.error_message) == ("failed", "the server answered 404")
    assert len(receiver.arrived) == 1
    assert (await stage.components(id))["beside"].status == "cancelled"
    assert len(stage.gate.began) == len(stage.gate.stopped)


async def test_without_fail_fast_the_other_branch_finishes_first(stage: Stage, receiver: Receiver) -> None:
    receiver.always = 404
    raw = workflow(
        step("beside"),
        step("after", "log", config={"message": "after"}),
        step("call", "http_request", config=request(receiver)),
        links=[link("beside", "after")],
        fail_fast=False,
    )
    async with stage.running():
        id = await stage.create(raw)
        await stage.happening(id, "component.failed")
        await stage.gate.open("beside")
        assert (await stage.ended(id)).status == "failed"
    assert (await stage.components(id))["after"].status == "completed"


async def test_a_component_that_takes_too_long_fails_with_a_timeout(stage: Stage) -> None:
    async with stage.running():
        id = await stage.create(workflow(step("a", timeout_seconds=0.05)))
        view = await stage.ended(id)
    assert view.error is not None
    assert (view.status, view.error.code) == ("failed", "TIMEOUT_ERROR")
    assert [attempt.component_id for attempt in stage.gate.stopped] == ["a"]


async def test_an_execution_that_runs_too_long_fails_while_its_components_still_run(stage: Stage) -> None:
    async with stage.running():
        view = await stage.ended(id := await stage.create(workflow(step("a"), max_execution_time=0.2)))
    assert view.error is not None
    assert (view.status, view.error.code) == ("failed", "TIMEOUT_ERROR")
    assert (await stage.components(id))["a"].status == "cancelled"


async def test_a_condition_that_errs_behind_a_wait_fails_the_execution(stage: Stage) -> None:
    raw = workflow(
        step("pause", "wait", config={"seconds": 0.05}),
        step("a"),
        links=[link("pause", "a", type="conditional", condition="output.nope")],
    )
    async with stage.running():
        view = await stage.ended(await stage.create(raw))
    assert view.status == "failed"
    assert view.error_message is not None
    assert view.error_message.startswith("the condition of pause → a failed")


# time


async def test_a_wait_takes_its_time_and_the_run_goes_on(stage: Stage) -> None:
    raw = workflow(
        step("pause", "wait", config={"seconds": 0.3}), step("after", "end"), links=[link("pause", "after")]
    )
    async with stage.running():
        id = await stage.create(raw)
        assert (await stage.ended(id)).status == "completed"
    pause = (await stage.components(id))["pause"]
    assert pause.duration_seconds is not None
    assert 0.3 <= pause.duration_seconds < 30
    assert pause.output_data is None


async def test_a_timer_and_a_retry_of_one_branch_do_not_wait_for_another_branch(
    stage: Stage, receiver: Receiver
) -> None:
    receiver.replies = [503]
    raw = workflow(
        step("slow"),
        step("pause", "wait", config={"seconds": 0.1}),
        step("call", "http_request", config=request(receiver), retry=SOON),
    )
    async with stage.running():
        id = await stage.create(raw)
        await stage.happening(id, "component.completed", 3)
        assert (await stage.components(id))["slow"].status == "running"
        await stage.gate.open("slow")
        assert (await stage.ended(id)).status == "completed"


async def test_what_waits_long_is_parked_and_goes_on_when_its_time_has_come(stage: Stage) -> None:
    raw = workflow(step("pause", "wait", config={"seconds": 3600}), step("a", "end"), links=[link("pause", "a")])
    async with stage.running() as engine:
        id = await stage.create(raw)
        await stage.happening(id, "timer.scheduled")
        async with asyncio.timeout(30):
            while engine.owned:
                await asyncio.sleep(0)
        assert (await stage.view(id)).status == "running"
        stage.clock.put_forward(hours=1)
        assert (await stage.ended(id)).status == "completed"
    (fired,) = await stage.events(id, "timer.fired")
    assert seconds_between((await stage.events(id, "timer.scheduled"))[0].fires_at, fired.fires_at) == 0
    assert "execution.reclaimed" not in await stage.types(id)


async def test_an_execution_that_is_scheduled_for_later_is_pending_until_then(stage: Stage) -> None:
    at = plus(stage.clock.now(), 0.5)
    async with stage.running():
        when = step("when", "transform", config={"expression": "execution.scheduled_at"})
        id = await stage.create(workflow(when), scheduled_at=at)
        assert (await stage.view(id)).status == "pending"
        now = await stage.create(workflow())
        await stage.end(now)
        view = await stage.ended(id)
    assert view.started_at is not None
    assert view.started_at >= at
    assert view.scheduled_at == at
    assert view.results == {"when": at}


# cancellation


async def test_cancelling_from_outside_stops_a_running_component(stage: Stage) -> None:
    async with stage.running() as engine:
        id = await stage.create(workflow(step("a")))
        await stage.gate.beginning()
        await stage.cancel(id)
        async with asyncio.timeout(30):
            while engine.owned:
                await asyncio.sleep(0)
        assert [attempt.component_id for attempt in stage.gate.stopped] == ["a"]
    assert (await stage.types(id))[-2:] == ["component.cancelled", "execution.cancelled"]
    view = await stage.view(id)
    assert (view.status, view.cancelled_by, view.cancel_reason) == ("cancelled", "somebody", "for the test")


async def test_a_component_that_does_not_stop_changes_nothing_with_its_late_result(stage: Stage) -> None:
    inner = stage.gate.run

    async def stubborn(context: Any) -> Output:
        try:
            await inner(context)
        except asyncio.CancelledError:
            await stage.gate.open("late")
        return Output("too late")

    stage.gate.run = stubborn  # type: ignore[method-assign]
    async with stage.running() as engine:
        id = await stage.create(workflow(step("a")))
        await stage.gate.beginning()
        await stage.cancel(id)
        async with asyncio.timeout(30):
            while engine.owned:
                await asyncio.sleep(0)
    assert (await stage.types(id))[-1] == "execution.cancelled"
    assert (await stage.components(id))["a"].output_data is None


async def test_cancelling_what_is_parked_or_pending_needs_no_engine(stage: Stage) -> None:
    async with stage.running():
        parked = await stage.create(workflow(step("pause", "wait", config={"seconds": 3600})))
        await stage.happening(parked, "timer.scheduled")
    pending = await stage.create(workflow(), scheduled_at=plus(stage.clock.now(), 3600))
    for id in (parked, pending):
        await stage.cancel(id)
        assert (await stage.ended(id)).status == "cancelled"
    stage.clock.put_forward(hours=2)
    async with stage.running("engine-2"):
        await stage.end(await stage.create(workflow()))
    assert (await stage.types(parked))[-1] == "execution.cancelled"
    assert await stage.types(pending) == ["execution.created", "execution.cancelled"]


# secrets, and many


async def test_a_secret_reaches_the_outside_and_stands_nowhere_in_the_log(
    stage: Stage, receiver: Receiver, tmp_path: Path
) -> None:
    raw = workflow(
        step("call", "http_request", config=request(receiver, headers={"Authorization": "Bearer {{token}}"})),
        parameters=[{"name": "token", "secret": True}],
    )
    sealed = await stage.sealer.seal(stage.organization, "hunter2", PARAMETER_CONTEXT)
    async with stage.running():
        id = await stage.create(raw, {"token": sealed})
        assert (await stage.ended(id)).status == "completed"
    assert receiver.arrived[0].headers["Authorization"] == "Bearer hunter2"
    assert all(b"hunter2" not in event.data for event in await stage.all_events())
    files = await asyncio.to_thread(lambda: [file.read_bytes() for file in tmp_path.iterdir()])
    assert files
    assert not any(b"hunter2" in content for content in files)
    assert (await stage.components(id))["call"].input_data["headers"] == {"Authorization": "Bearer [REDACTED]"}
    assert (await stage.view(id)).parameters == {"token": "[REDACTED]"}


async def test_hundreds_of_executions_at_once_all_complete(stage: Stage) -> None:
    raw = workflow(
        step("a", "transform", config={"expression": "input.x + 1"}),
        step("b", "transform", config={"expression": "input.x + 2"}),
        step("end", "end", config={"output": {"sum": ["${a.output}", "${b.output}"]}}),
        links=[link("a", "end"), link("b", "end")],
    )
    async with stage.running(most_runs=50) as engine:
        ids = [await stage.create(raw, {"x": number}) for number in range(200)]
        await stage.end(*ids)
        assert engine.owned <= 50
    for number, id in enumerate(ids):
        assert (await stage.view(id)).results == {"sum": [number + 1, number + 2]}
    assert [event.position for event in await stage.all_events()] == list(range(1, stage.store.log.head + 1))


async def test_a_very_wide_run_is_decided_in_pieces(stage: Stage) -> None:
    wide = [step(f"w{number}", "transform", config={"expression": "1"}) for number in range(1500)]
    id = await stage.create(workflow(*wide))
    largest = 0
    append = stage.store.log.append

    class Watched:
        def __getattr__(self, name: str) -> Any:
            return getattr(stage.store.log, name)

        async def append(self, streams: Any, metadata: Any) -> Any:
            nonlocal largest
            largest = max(largest, sum(len(part.events) for part in streams))
            return await append(streams, metadata)

    async with stage.running(log=Watched()):
        run = await stage.ended(id)
    assert (run.status, len(run.results or {})) == ("completed", 1500)
    assert MOST_EVENTS <= largest <= 2 * MOST_EVENTS


async def test_a_fold_that_cannot_be_kept_harms_no_run(stage: Stage) -> None:
    class Full:
        def __getattr__(self, name: str) -> Any:
            return getattr(stage.store.log, name)

        async def keep(self, *_: Any) -> None:
            raise RuntimeError("the disk is full")

    wide = [step(f"w{number}", "transform", config={"expression": "1"}) for number in range(300)]
    id = await stage.create(workflow(*wide))
    async with stage.running(log=Full()):
        assert (await stage.ended(id)).status == "completed"
