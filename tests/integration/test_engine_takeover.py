"""What survives the end of an engine, and what several engines on one log do to each other."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from executor.domain.errors import Unavailable
from executor.domain.events import Event
from executor.domain.events.execution import LogWritten
from executor.domain.execution.state import State
from executor.ports import Appended, EventLog, Metadata, StreamAppend
from tests.integration.engines import Gone, Stage, link, staged, step, workflow


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path) as stage:
        yield stage


async def test_another_engine_goes_on_where_one_was_stopped(stage: Stage) -> None:
    raw = workflow(step("before"), step("a"), step("end", "end"), links=[link("before", "a"), link("a", "end")])
    await stage.gate.open("before")
    async with stage.running("engine-1"):
        id = await stage.create(raw)
        await stage.gate.beginning(2)
    async with stage.running("engine-2"):
        await stage.gate.beginning(3)
        await stage.gate.open("a")
        assert (await stage.ended(id)).status == "completed"
    (started,) = await stage.events(id, "execution.started")
    (reclaimed,) = await stage.events(id, "execution.reclaimed")
    assert (started.engine, started.epoch) == ("engine-1", 1)
    assert (reclaimed.engine, reclaimed.epoch) == ("engine-2", 2)
    first, second = [attempt for attempt in stage.gate.began if attempt.component_id == "a"]
    assert (first.number, second.number) == (1, 2)
    assert first.idempotency_key == second.idempotency_key == f"{id}/a/-/0"
    assert [attempt.component_id for attempt in stage.gate.began] == ["before", "a", "a"]
    assert (await stage.components(id))["a"].output_data == {"attempt": 2}


async def test_what_a_killed_engine_was_at_is_free_once_it_is_known_to_be_dead(stage: Stage) -> None:
    async with stage.running("engine-1", engines=Gone(stage.store.ledgers.engines, beats=True)):
        id = await stage.create(workflow(step("a")))
        await stage.gate.beginning()
    async with stage.running("engine-2"):
        await stage.end(await stage.create(workflow()))
        assert len(stage.gate.began) == 1, "its last beat is younger than its time to live"
        await stage.store.ledgers.engines.leave_all()
        await stage.store.ledgers.engines.beat("engine-2", 20)
        await stage.gate.beginning(2)
        await stage.gate.open("a")
        assert (await stage.ended(id)).status == "completed"


async def test_an_engine_that_is_taken_for_dead_lets_go_when_another_takes_over(stage: Stage) -> None:
    async with stage.running("silent", engines=Gone(stage.store.ledgers.engines, beats=False)) as silent:
        id = await stage.create(workflow(step("a"), step("b"), links=[link("a", "b")]))
        await stage.gate.beginning()
        async with stage.running("engine-2"):
            await stage.happening(id, "execution.reclaimed")
            async with asyncio.timeout(30):
                while silent.owned:
                    await asyncio.sleep(0)
            assert [attempt.number for attempt in stage.gate.stopped] == [1]
            await stage.gate.open("a", "b")
            assert (await stage.ended(id)).status == "completed"
    owners = {event.engine for event in await stage.events(id, "execution.reclaimed")}
    assert owners == {"engine-2"}


async def test_a_timer_that_came_due_while_no_engine_ran_fires(stage: Stage) -> None:
    raw = workflow(step("pause", "wait", config={"seconds": 3600}), step("end", "end"), links=[link("pause", "end")])
    async with stage.running("engine-1"):
        id = await stage.create(raw)
        await stage.happening(id, "timer.scheduled")
    stage.clock.put_forward(hours=2)
    async with stage.running("engine-2"):
        assert (await stage.ended(id)).status == "completed"
    (timer,) = await stage.events(id, "timer.scheduled")
    (fired,) = await stage.events(id, "timer.fired")
    assert timer.fires_at == fired.fires_at
    assert [event.attempt for event in await stage.events(id, "component.completed")] == [1, 1, 1]


async def test_a_next_attempt_that_came_due_while_no_engine_ran_is_made(stage: Stage) -> None:
    retry = {"max_attempts": 2, "initial_delay_seconds": 3600}
    async with stage.running("engine-1"):
        id = await stage.create(workflow(step("a", retry=retry, timeout_seconds=0.05)))
        await stage.happening(id, "component.retry_scheduled")
    await stage.gate.open("a")
    stage.clock.put_forward(hours=2)
    async with stage.running("engine-2"):
        assert (await stage.ended(id)).status == "completed"
    assert [attempt.number for attempt in stage.gate.began] == [1, 2]


async def test_two_engines_on_one_log_never_run_the_same_attempt_twice(stage: Stage) -> None:
    raw = workflow(step("a"), step("b"), step("c"), links=[link("a", "c"), link("b", "c")])
    await stage.gate.open("a", "b", "c")
    async with stage.running("engine-1") as one, stage.running("engine-2") as two:
        ids = [await stage.create(raw) for _ in range(60)]
        await stage.end(*ids)
        assert one.owned + two.owned <= len(ids)
    counted = Counter((attempt.execution_id, attempt.component_id) for attempt in stage.gate.began)
    assert len(counted) == 180
    assert max(counted.values()) == 1, "while both engines live, nothing is run twice"
    types = [await stage.types(id) for id in ids]
    assert all(each.count("execution.started") == 1 and "execution.reclaimed" not in each for each in types)


async def test_engines_that_come_and_go_bring_every_execution_to_its_end(stage: Stage) -> None:
    raw = workflow(step("a"), step("b"), step("c"), links=[link("a", "c"), link("b", "c")])
    ids = [await stage.create(raw) for _ in range(20)]
    for number in range(4):
        async with stage.running(f"engine-{number}"):
            await stage.gate.beginning((number + 1) * 40)
    await stage.gate.open("a", "b", "c")
    async with stage.running("last"):
        await stage.end(*ids)
    for id in ids:
        assert (await stage.view(id)).status == "completed"
        assert [event.epoch for event in await stage.events(id, "execution.reclaimed")] == [2, 3, 4, 5]
    attempts = Counter(stage.gate.began)
    assert max(attempts.values()) == 1


async def test_a_run_is_not_disturbed_by_others_who_append_to_its_stream_all_the_time(stage: Stage) -> None:
    ids = [f"a{number}" for number in range(10)]
    links = [link(source, target) for source, target in pairwise(ids)]

    def line(state: State) -> Sequence[Event]:
        return [] if state.is_ended else [LogWritten(level="info", message="and on")]

    async def write(id: str) -> int:
        """Writes until the run has ended; how often it could."""
        count = 0
        while True:
            try:
                appended = await stage.append(id, line)
            except Unavailable:
                continue
            if not appended.recorded:
                return count
            count += 1

    await stage.gate.open(*ids)
    async with stage.running():
        id = await stage.create(workflow(*(step(each) for each in ids), links=links))
        async with asyncio.TaskGroup() as group:
            writers = [group.create_task(write(id)) for _ in range(4)]
        assert sum(writer.result() for writer in writers) > 0
    assert (await stage.view(id)).status == "completed"
    assert [attempt.number for attempt in stage.gate.began] == [1] * 10
    assert [event.version for event in await stage.recorded(id)] == list(range(1, len(await stage.recorded(id)) + 1))


class Moody:
    """The log, away every now and then: sometimes before it has written, sometimes after."""

    def __init__(self, inner: EventLog) -> None:
        self._inner, self._count = inner, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def append(self, streams: Sequence[StreamAppend], metadata: Metadata) -> tuple[Appended, ...]:
        self._count += 1
        if self._count % 3 == 1:
            raise Unavailable("not now")
        appended = await self._inner.append(streams, metadata)
        if self._count % 3 == 2:
            raise Unavailable("was it written?")
        return appended


async def test_a_store_that_is_away_for_a_while_loses_and_repeats_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("executor.run._STORE_RETRY_SECONDS", 0.01)
    raw = workflow(step("a"), step("b"), links=[link("a", "b")])
    await stage.gate.open("a", "b")
    async with stage.running(log=Moody(stage.store.log)):
        view = await stage.ended(id := await stage.create(raw))
    assert view.status == "completed"
    assert [(attempt.component_id, attempt.number) for attempt in stage.gate.began] == [("a", 1), ("b", 1)]
    types = await stage.types(id)
    assert Counter(types)["component.started"] == Counter(types)["component.completed"] == 3
