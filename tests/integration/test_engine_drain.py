"""Engines that leave in good order, that break, and that were away: what the others find, and what they do not."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from executor.domain.errors import Unavailable
from executor.engine import Engine
from executor.ports import Appended, EventLog, Metadata, Recorded, StreamAppend
from storage.errors import Unstorable
from tests.integration.engines import PATIENCE, Stage, link, staged, step, workflow

CHAIN = workflow(step("a"), step("b"), links=[link("a", "b")])


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path) as stage:
        yield stage


async def until_it_owns(engine: Engine, count: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while engine.owned != count:
            await asyncio.sleep(0)


async def stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task], timeout=PATIENCE)
    assert task.cancelled()


async def test_an_engine_that_is_stopped_finishes_what_it_runs_and_leaves_the_rest(stage: Stage) -> None:
    first = stage.engine("engine-1", grace_seconds=PATIENCE)
    running = asyncio.create_task(first.run())
    id = await stage.create(CHAIN)
    await stage.gate.beginning(1)
    running.cancel()
    later = await stage.create(CHAIN)
    async with stage.running("engine-2"):
        await stage.gate.beginning(2)
        assert [event.engine for event in await stage.events(later, "execution.started")] == ["engine-2"]
        assert "execution.reclaimed" not in await stage.types(id), "the first one is still at it"
        await stage.gate.open("a", "b")
        await stage.end(id, later)
        await asyncio.wait([running], timeout=PATIENCE)
    assert max(Counter(stage.gate.began).values()) == 1
    assert [attempt.number for attempt in stage.gate.began] == [1, 1, 1, 1]
    assert stage.gate.stopped == []
    (reclaimed,) = await stage.events(id, "execution.reclaimed")
    assert (reclaimed.engine, reclaimed.epoch) == ("engine-2", 2)
    assert (await stage.types(id)).index("component.completed") < (await stage.types(id)).index("execution.reclaimed")


async def test_what_was_left_is_free_while_the_engine_is_still_at_other_runs(stage: Stage) -> None:
    long, short = workflow(step("long")), CHAIN
    first = stage.engine("engine-1", grace_seconds=PATIENCE)
    running = asyncio.create_task(first.run())
    slow, quick = await stage.create(long), await stage.create(short)
    await stage.gate.beginning(2)
    running.cancel()
    await stage.gate.open("a", "b")
    await until_it_owns(first, 1)
    async with stage.running("engine-2"):
        await stage.end(quick)
        assert not running.done()
        await stage.gate.open("long")
        await stage.end(slow)
        await asyncio.wait([running], timeout=PATIENCE)
    assert "execution.reclaimed" not in await stage.types(slow), "its last component ended it"
    assert [attempt.number for attempt in stage.gate.began] == [1, 1, 1]


async def test_what_does_not_end_within_the_grace_is_handed_back_at_once_and_no_retry_is_spent(stage: Stage) -> None:
    running = asyncio.create_task(stage.engine("engine-1", grace_seconds=0.05).run())
    id = await stage.create(workflow(step("a", retry={"max_attempts": 1})))
    await stage.gate.beginning(1)
    await stopped(running)
    assert [attempt.number for attempt in stage.gate.stopped] == [1]
    async with stage.running("engine-2"):
        await stage.gate.beginning(2)
        await stage.gate.open("a")
        assert (await stage.ended(id)).status == "completed"
    assert [attempt.number for attempt in stage.gate.began] == [1, 2]
    assert "component.retry_scheduled" not in await stage.types(id)


async def test_a_rolling_restart_runs_nothing_twice(stage: Stage) -> None:
    raw = workflow(
        *(
            step(id, "wait" if id == "pause" else "gate", config={"seconds": 0.01} if id == "pause" else {})
            for id in ("a", "b", "pause", "c")
        ),
        links=[link("a", "c"), link("b", "pause"), link("pause", "c")],
    )
    await stage.gate.open("a", "b", "c")
    ids: list[str] = []
    old = [asyncio.create_task(stage.engine(f"old-{n}", grace_seconds=PATIENCE).run()) for n in range(2)]
    new: list[asyncio.Task[None]] = []
    for number, task in enumerate(old):
        ids += [await stage.create(raw) for _ in range(20)]
        new.append(asyncio.create_task(stage.engine(f"new-{number}", grace_seconds=PATIENCE).run()))
        await stopped(task)
    await stage.end(*ids)
    for task in new:
        await stopped(task)
    assert {(await stage.view(id)).status for id in ids} == {"completed"}
    counted = Counter((attempt.execution_id, attempt.component_id) for attempt in stage.gate.began)
    assert (len(counted), max(counted.values())) == (120, 1)


async def test_a_run_that_only_waits_keeps_no_engine_from_leaving(stage: Stage) -> None:
    running = asyncio.create_task(stage.engine("engine-1", grace_seconds=PATIENCE).run())
    id = await stage.create(workflow(step("pause", "wait", config={"seconds": 1.5})))
    await stage.happening(id, "timer.scheduled")
    async with asyncio.timeout(1):
        await stopped(running)
    async with stage.running("engine-2"):
        assert (await stage.ended(id)).status == "completed"


class Frozen:
    """The log as a process sees it that is paused: whatever it asks, the answer comes once it goes on."""

    def __init__(self, inner: EventLog) -> None:
        self._inner, self.goes_on = inner, asyncio.Event()
        self.waiting = asyncio.Event()
        self.goes_on.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def append(self, streams: Sequence[StreamAppend], metadata: Metadata) -> tuple[Appended, ...]:
        await self._pass()
        return await self._inner.append(streams, metadata)

    async def load(self, *arguments: Any, **named: Any) -> tuple[Any, int]:
        await self._pass()
        return await self._inner.load(*arguments, **named)

    async def tail(self, after: int) -> AsyncIterator[Sequence[Recorded]]:
        async for batch in self._inner.tail(after):
            await self._pass()
            yield batch

    async def _pass(self) -> None:
        if not self.goes_on.is_set():
            self.waiting.set()
        await self.goes_on.wait()


class Fading:
    """The ledger of engines as a paused process uses it: its beats come once it goes on."""

    def __init__(self, inner: Any, log: Frozen) -> None:
        self._inner, self._log = inner, log

    async def beat(self, engine: str, ttl_seconds: float) -> None:
        await self._log.goes_on.wait()
        await self._inner.beat(engine, ttl_seconds)

    async def leave(self, engine: str) -> None:
        await self._inner.leave(engine)


async def test_an_engine_that_was_away_finds_its_runs_taken_and_goes_on_with_others(stage: Stage) -> None:
    log = Frozen(stage.store.log)
    ledger = Fading(stage.store.ledgers.engines, log)
    async with stage.running("away", log=log, engines=ledger, ttl_seconds=0.2) as away:
        id = await stage.create(CHAIN)
        await stage.gate.beginning(1)
        log.goes_on.clear()
        async with stage.running("engine-2"):
            await stage.gate.beginning(2)
            await stage.gate.open("a", "b")
            async with asyncio.timeout(PATIENCE):
                while not log.waiting.is_set() and away.owned:  # It may have noticed by itself how late it is.
                    await asyncio.sleep(0.01)
            assert (await stage.ended(id)).status == "completed"
            head = stage.store.log.head
            log.goes_on.set()
            await until_it_owns(away, 0)
            assert stage.store.log.head == head, "nothing that it says is heard"
        following = await stage.create(CHAIN)
        assert (await stage.ended(following)).status == "completed"
    assert [event.engine for event in await stage.events(following, "execution.started")] == ["away"]
    assert [(a.component_id, a.number) for a in stage.gate.began[:3]] == [("a", 1), ("a", 2), ("b", 1)]


async def test_a_claim_that_was_decided_before_a_pause_is_refused_after_it(stage: Stage) -> None:
    log = Frozen(stage.store.log)
    log.goes_on.clear()
    late = stage.engine("late", log=log)
    task = asyncio.create_task(late.run())
    id = await stage.create(CHAIN)
    await log.waiting.wait()
    async with stage.running("engine-2"):
        await stage.gate.open("a", "b")
        await stage.end(id)
    log.goes_on.set()
    await until_it_owns(late, 0)
    await stopped(task)
    assert {event.engine for event in await stage.events(id, "execution.started")} == {"engine-2"}
    assert "execution.reclaimed" not in await stage.types(id)
    assert [attempt.number for attempt in stage.gate.began] == [1, 1]


class Picky:
    """The log, which lets nobody wait while it is picky."""

    def __init__(self, inner: EventLog) -> None:
        self._inner, self.is_picky = inner, True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def append(self, streams: Sequence[StreamAppend], metadata: Metadata) -> tuple[Appended, ...]:
        types = {event.event.type for part in streams for event in part.events}
        if self.is_picky and "timer.scheduled" in types:
            raise Unstorable("a number out of range")
        return await self._inner.append(streams, metadata)


async def test_a_run_that_the_store_does_not_take_is_tried_again_more_and_more_rarely(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("executor.engine._RETRY_SECONDS", 0.01)
    monkeypatch.setattr("executor.engine._LONGEST_RETRY_SECONDS", 0.05)
    log = Picky(stage.store.log)
    with capture_logs() as logs:
        async with stage.running(log=log):
            id = await stage.create(workflow(step("nap", "wait", config={"seconds": 0})))
            await stage.happening(id, "execution.reclaimed", 4)
            log.is_picky = False
            assert (await stage.ended(id)).status == "completed"
    pauses = [each["again_in_seconds"] for each in logs if each["event"] == "run.broke"]
    assert pauses[:5] == [0.01, 0.02, 0.04, 0.05, 0.05][: len(pauses)]
    assert len(pauses) >= 4
    assert {each["execution_id"] for each in logs if each["event"] == "run.broke"} == {id}


async def test_a_broken_run_keeps_no_engine_from_leaving(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("executor.engine._RETRY_SECONDS", 3600.0)
    with capture_logs() as logs:
        task = asyncio.create_task(stage.engine("one", log=Picky(stage.store.log), grace_seconds=PATIENCE).run())
        id = await stage.create(workflow(step("nap", "wait", config={"seconds": 0})))
        async with asyncio.timeout(PATIENCE):
            while not any(each["event"] == "run.broke" for each in logs):
                await asyncio.sleep(0)
        await stopped(task)
    async with stage.running("two"):
        assert (await stage.ended(id)).status == "completed"


class Deaf:
    """The log, whose tail breaks at every batch."""

    def __init__(self, inner: EventLog) -> None:
        self._inner, self.broke = inner, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def tail(self, after: int) -> AsyncIterator[Sequence[Recorded]]:
        async for batch in self._inner.tail(after):
            yield batch
            self.broke += 1
            raise Unavailable("the database is restarted")


async def test_a_store_that_is_away_for_the_tail_ends_no_run(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("executor.engine._RETRY_SECONDS", 0.01)
    log = Deaf(stage.store.log)
    async with stage.running(log=log):
        id = await stage.create(CHAIN)
        await stage.gate.beginning(1)
        await stage.gate.open("a", "b")
        assert (await stage.ended(id)).status == "completed"
    assert log.broke > 0
    assert [attempt.number for attempt in stage.gate.began] == [1, 1]
    assert "execution.reclaimed" not in await stage.types(id)
