"""Schedules that really come, on real stores: each time runs once, whoever fires and whatever dies."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from executor.components.registry import Registry
from executor.definitions.validate import compile_definition
from executor.domain import schedule, workflow
from executor.domain.errors import Unavailable
from executor.domain.execution.lifecycle import decide_pause, decide_resume, decide_start
from executor.domain.values import instant, moment, plus
from executor.ports import Appended, EventLog, Metadata, StreamAppend
from executor.scheduler import Scheduler
from tests.integration.hubs import SMALLEST, until
from tests.integration.scheduling import PERSON, World, world_in, world_on
from tests.postgres import PostgresServer

DECLARING: dict[str, Any] = SMALLEST | {"parameters": [{"name": "n", "type": "integer", "required": True}]}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with world_in(tmp_path) as world:
        yield world


async def settle(scheduler: Scheduler) -> None:
    """Looks at every queue and all that is due, until nothing is left to do."""
    await scheduler.look_at_all()
    while await scheduler.turn():
        pass


async def test_a_time_and_its_execution_are_one_append(world: World) -> None:
    id = await world.schedule(priority=8, tags=["nightly"], parameters={"x": 1}, project_id="p")
    await settle(world.scheduler())
    assert await world.ran(id) == [], "it has not come"
    world.move("13:00")
    await settle(world.scheduler())
    (fired,) = await world.events(id, "schedule.fired")
    run = await world.view(fired.execution_id)
    assert (run.status, run.priority, run.tags, run.parameters) == ("queued", 8, ("nightly",), {"x": 1})
    assert (run.triggered_by, run.created_by, run.project_id) == (f"schedule:{id}", id, "p")
    assert run.scheduled_at == fired.scheduled_time == world.clock.at
    last = (await world.recorded(id))[-1]
    created = (await world.store.log.stream(f"execution:{run.id}"))[0]
    assert (created.position, created.time) == (last.position + 1, last.time)
    state = await world.state(id)
    assert (state.last_execution_id, state.run_count) == (run.id, 1)
    assert state.next_run_at == instant(moment(world.clock.at).replace(hour=14))
    await settle(world.scheduler())
    assert await world.ran(id) == ["13:00"]


async def test_many_that_are_due_at_once_all_run(world: World) -> None:
    target = await world.workflow()
    ids = await asyncio.gather(*(world.schedule(target) for _ in range(230)))
    world.move("13:00")
    await settle(world.scheduler())
    assert {tuple(await world.ran(id)) for id in ids} == {("13:00",)}


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_several_schedulers_at_once_run_each_time_once(
    kind: str, tmp_path: Path, postgres_server: PostgresServer
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        url = f"sqlite:///{tmp_path}/runcast.db"
        if kind == "postgres":
            url = await stack.enter_async_context(postgres_server.database())
        one = await stack.enter_async_context(world_on(url))
        worlds = [one, await stack.enter_async_context(world_on(url)) if kind == "postgres" else one]
        policies = ("skip", "queue", "cancel", "allow") * 2
        ids = [await one.schedule(cron="*/10 * * * *", catch_up="all", overlap_policy=policy) for policy in policies]
        for to in ("13:00", "13:30", "14:10"):
            schedulers = [each.scheduler() for each in (*worlds, *worlds)]
            for each in worlds:
                each.move(to)
            await asyncio.gather(*(settle(each) for each in schedulers))
        wanted = [f"{hour}:{minute}0" for hour, minute in ((12, 4), (12, 5), *((13, m) for m in range(6)))]
        for id, policy in zip(ids, policies, strict=True):
            ran, skipped = await one.ran(id), [at for at, _ in await one.skipped(id)]
            assert sorted(ran + skipped) == [*wanted, "14:00", "14:10"], policy
            assert len(await one.statuses(id)) == len(ran), "each has its execution"
            assert (ran == wanted[:1]) is (policy == "skip")


class Counted:
    """A log that counts the events which are read of schedules."""

    def __init__(self, log: EventLog) -> None:
        self._log, self.read = log, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def load(self, stream: str, known: tuple[Any, int] | None = None) -> tuple[Any, int]:
        state, version = await self._log.load(stream, known)
        if stream.startswith(schedule.STREAMS):
            self.read += version - (known[1] if known is not None else 0)
        return state, version


async def test_what_a_time_costs_does_not_grow_with_the_history(world: World) -> None:
    id = await world.schedule(cron="* * * * *", catch_up="all", overlap_policy="allow")
    world.move("13:10")
    await settle(world.scheduler())
    assert (await world.state(id)).version == 41
    counted = Counted(world.store.log)
    world.move("13:11")
    await settle(world.scheduler(counted))  # type: ignore[arg-type]
    assert ((await world.state(id)).version, counted.read) == (42, 0), "the row is where it begins"


class Cut:
    """A log whose process dies at its appends: before they are written, or right after."""

    def __init__(self, log: EventLog, dies: str) -> None:
        self._log, self.dies, self.deaths = log, dies, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def append(self, streams: Sequence[StreamAppend], metadata: Metadata) -> tuple[Appended, ...]:
        self.deaths += 1
        if self.dies == "after":
            await self._log.append(streams, metadata)
        raise asyncio.CancelledError("killed")


@pytest.mark.parametrize("dies", ["before", "after"])
@pytest.mark.parametrize("policy", ["skip", "queue", "cancel"])
async def test_dying_in_an_append_makes_no_second_execution_and_loses_none(
    world: World, dies: str, policy: str
) -> None:
    id = await world.schedule(overlap_policy=policy)
    for to in ("13:00", "14:00"):
        world.move(to)
        cut = Cut(world.store.log, dies)
        with pytest.raises(asyncio.CancelledError):
            await settle(world.scheduler(cut))  # type: ignore[arg-type]
        assert cut.deaths
        await settle(world.scheduler())
    assert await world.ran(id) == (["13:00"] if policy == "skip" else ["13:00", "14:00"])
    wanted = {"skip": ["queued"], "queue": ["queued", "pending"], "cancel": ["cancelled", "queued"]}
    assert await world.statuses(id) == wanted[policy]


async def test_skip_leaves_out_what_would_overlap(world: World) -> None:
    id = await world.schedule(overlap_policy="skip")
    for to in ("13:00", "14:00"):
        world.move(to)
        await settle(world.scheduler())
    assert (await world.ran(id), await world.skipped(id)) == (["13:00"], [("14:00", "overlap")])
    (first,) = await world.events(id, "schedule.fired")
    await world.cancel(first.execution_id)
    world.move("15:00")
    await settle(world.scheduler())
    assert await world.ran(id) == ["13:00", "15:00"]


async def test_queue_starts_one_when_the_one_before_has_ended(world: World) -> None:
    id = await world.schedule(overlap_policy="queue", queue_limit=2)
    for to in ("13:00", "14:00", "15:00", "16:00"):
        world.move(to)
        await settle(world.scheduler())
    assert await world.statuses(id) == ["queued", "pending", "pending"]
    assert await world.skipped(id) == [("16:00", "queue_full")]
    runs = [each.execution_id for each in await world.events(id, "schedule.fired")]
    await world.cancel(runs[0])
    await settle(world.scheduler())
    assert await world.statuses(id) == ["cancelled", "queued", "pending"]
    await world.cancel(runs[2])
    await settle(world.scheduler())
    assert (await world.state(id)).queue == (runs[2],), "nobody looks at the queue while its head runs"
    await world.cancel(runs[1])
    await settle(world.scheduler())
    assert (await world.state(id)).executions == ()
    world.move("17:00")
    await settle(world.scheduler())
    assert (await world.statuses(id))[-1] == "queued"


async def test_what_somebody_paused_in_the_queue_starts_once_it_goes_on(world: World) -> None:
    id = await world.schedule(overlap_policy="queue")
    for to in ("13:00", "14:00", "15:00"):
        world.move(to)
        await settle(world.scheduler())
    runs = [each.execution_id for each in await world.events(id, "schedule.fired")]
    now = world.clock.now()
    await world.append(f"execution:{runs[1]}", lambda state: decide_pause(state, "p", None, now))
    await world.cancel(runs[0])
    await settle(world.scheduler())
    assert await world.statuses(id) == ["cancelled", "paused", "pending"]
    await world.append(f"execution:{runs[1]}", lambda state: decide_resume(state, "p", None, now))
    await settle(world.scheduler())
    assert await world.statuses(id) == ["cancelled", "queued", "pending"]
    await world.append(f"execution:{runs[2]}", lambda state: decide_start(state, "p", now))
    await world.cancel(runs[1])
    await settle(world.scheduler())
    assert await world.statuses(id) == ["cancelled", "cancelled", "queued"], "it had been started by hand"
    assert (await world.state(id)).executions == (runs[2],)


async def has(world: World, id: str, statuses: list[str]) -> bool:
    return await world.statuses(id) == statuses


async def test_cancel_ends_what_runs_and_what_waits(world: World) -> None:
    id = await world.schedule(overlap_policy="cancel")
    for to in ("13:00", "14:00"):
        world.move(to)
        await settle(world.scheduler())
    assert await world.statuses(id) == ["cancelled", "queued"]
    first, second = await world.events(id, "schedule.fired")
    run = await world.view(first.execution_id)
    assert second.cancelled == (run.id,)
    assert run.cancelled_by == id
    assert "started the next one" in (run.cancel_reason or "")


async def test_allow_lets_them_run_side_by_side(world: World) -> None:
    id = await world.schedule(overlap_policy="allow")
    for to in ("13:00", "14:00"):
        world.move(to)
        await settle(world.scheduler())
    assert await world.statuses(id) == ["queued", "queued"]


@pytest.mark.parametrize(
    ("catch_up", "ran", "skipped"),
    [
        ("none", [], [("13:00", "missed")]),
        ("latest", ["15:00"], [("13:00", "missed")]),
        ("all", ["13:00", "14:00", "15:00"], []),
        (True, ["13:00", "14:00", "15:00"], []),
        (False, [], [("13:00", "missed")]),
    ],
)
async def test_after_a_time_away(world: World, catch_up: Any, ran: list[str], skipped: list[Any]) -> None:
    id = await world.schedule(catch_up=catch_up, overlap_policy="allow")
    world.move("15:45")
    await settle(world.scheduler())
    assert (await world.ran(id), await world.skipped(id)) == (ran, skipped)
    world.move("16:00")
    await settle(world.scheduler())
    assert await world.ran(id) == [*ran, "16:00"], "and it goes on"


async def test_what_is_older_than_the_window_is_missed(world: World) -> None:
    id = await world.schedule(catch_up="all", catch_up_window_seconds=7200, overlap_policy="allow")
    world.move("2026-02-03 09:10")
    await settle(world.scheduler())
    assert await world.ran(id) == ["08:00", "09:00"]
    (missed,) = await world.events(id, "schedule.skipped")
    assert (missed.scheduled_time, missed.until) == ("2026-01-31T13:00:00.000Z", "2026-02-03T08:00:00.000Z")


async def test_what_passed_while_it_was_paused_is_not_caught_up_with(world: World) -> None:
    id = await world.schedule(catch_up="all")
    await world.commands.pause(world.organization_id, id, None, PERSON)
    world.move("15:30")
    await settle(world.scheduler())
    await world.commands.resume(world.organization_id, id, PERSON)
    await settle(world.scheduler())
    world.move("16:00")
    await settle(world.scheduler())
    assert (await world.ran(id), await world.skipped(id)) == (["16:00"], [])


async def test_a_clock_that_is_behind_brings_no_time_twice(world: World) -> None:
    id = await world.schedule(overlap_policy="allow")
    world.move("13:00")
    await settle(world.scheduler())
    world.move("12:59")
    state = await world.state(id)
    await world.commands.pause(world.organization_id, id, None, PERSON)
    resumed = await world.commands.resume(world.organization_id, id, PERSON)
    assert resumed.next_time == state.next_time
    world.move("13:00")
    await settle(world.scheduler())
    assert await world.ran(id) == ["13:00"]


async def test_a_workflow_that_does_not_run_is_a_reason_to_skip(world: World) -> None:
    target = await world.workflow()
    id = await world.schedule(target)
    await world.append(f"workflow:{target}", workflow.decide_archive)
    world.move("13:00")
    await settle(world.scheduler())
    assert await world.skipped(id) == [("13:00", "workflow")]
    await world.append(f"workflow:{target}", workflow.decide_activate)
    world.move("14:00")
    await settle(world.scheduler())
    assert await world.ran(id) == ["14:00"]
    await world.append(f"workflow:{target}", workflow.decide_delete)
    world.move("15:00")
    await settle(world.scheduler())
    state = await world.state(id)
    assert (state.status, state.pause_reason) == ("paused", "the workflow was deleted")
    assert (await world.skipped(id))[-1] == ("15:00", "workflow")


class Racing:
    """A log where somebody archives a workflow just before the first append."""

    def __init__(self, world: World, target: str) -> None:
        self._world, self._target, self._is_first = world, target, True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world.store.log, name)

    async def append(self, streams: Sequence[StreamAppend], metadata: Metadata) -> tuple[Appended, ...]:
        if self._is_first:
            self._is_first = False
            await self._world.append(f"workflow:{self._target}", workflow.decide_archive)
        return await self._world.store.log.append(streams, metadata)


async def test_nothing_runs_from_the_moment_that_its_workflow_does_not(world: World) -> None:
    target = await world.workflow()
    id = await world.schedule(target)
    world.move("13:00")
    await settle(world.scheduler(Racing(world, target)))  # type: ignore[arg-type]
    assert (await world.ran(id), await world.skipped(id)) == ([], [("13:00", "workflow")])


async def test_parameters_that_no_longer_fit_are_a_reason_to_skip(world: World) -> None:
    target = await world.workflow()
    id = await world.schedule(target, parameters={"n": "text"})
    await redefine(world, target, DECLARING)
    world.move("13:00")
    await settle(world.scheduler())
    (skipped,) = await world.events(id, "schedule.skipped")
    assert (skipped.reason, skipped.message) == ("parameters", "'n' must be of type integer")


async def redefine(world: World, target: str, raw: dict[str, Any]) -> None:
    change = workflow.Change(definition=compile_definition(raw, Registry()))
    await world.append(f"workflow:{target}", lambda state: workflow.decide_update(state, change))


async def test_secrets_reach_executions_sealed_once_also_those_that_became_secret_later(world: World) -> None:
    token = {"name": "token", "type": "string", "secret": True}
    target = await world.workflow(SMALLEST | {"parameters": [token]})
    id = await world.schedule(target, parameters={"token": "s3cret", "other": "0ther"}, overlap_policy="allow")
    secret = SMALLEST | {"parameters": [token, token | {"name": "other"}]}
    await redefine(world, target, secret)
    world.move("13:00")
    await settle(world.scheduler())
    (fired,) = await world.events(id, "schedule.fired")
    state, _ = await world.store.log.load(f"execution:{fired.execution_id}")
    for name, clear in (("token", "s3cret"), ("other", "0ther")):
        sealed = state.run.parameters[name]
        assert await world.sealer.open(world.organization_id, sealed, "execution:parameter") == clear
    assert (await world.view(fired.execution_id)).parameters == {"token": "[REDACTED]", "other": "[REDACTED]"}
    for each in await world.recorded(id):
        assert b"s3cret" not in each.data


async def test_one_that_breaks_harms_no_other(world: World) -> None:
    whole, broken = await world.schedule(), world.clock.new_id()
    (created,) = await world.events(whole, "schedule.created")
    nowhere = msgspec.structs.replace(created, name="broken", timezone="Mars/Olympus")
    await world.append(schedule.stream(broken), lambda _: [nowhere])
    scheduler = world.scheduler()
    for to in ("13:00", "14:00"):
        world.move(to)
        await settle(scheduler)
    assert (await world.ran(whole), await world.skipped(whole)) == (["13:00"], [("14:00", "overlap")])
    assert [each.type for each in await world.recorded(broken)] == ["schedule.created"]


async def test_deleting_cancels_what_waits_and_nothing_comes(world: World) -> None:
    id = await world.schedule(overlap_policy="queue")
    for to in ("13:00", "14:00"):
        world.move(to)
        await settle(world.scheduler())
    runs = [each.execution_id for each in await world.events(id, "schedule.fired")]
    await world.commands.delete(world.organization_id, id, PERSON)
    assert [(await world.view(each)).status for each in runs] == ["queued", "cancelled"]
    world.move("15:00")
    await settle(world.scheduler())
    assert await world.ran(id) == ["13:00", "14:00"]


async def test_jitter_lets_it_run_later_under_the_same_time(world: World) -> None:
    id = await world.schedule(jitter_seconds=1800)
    state = await world.state(id)
    assert state.next_run_at is not None
    assert state.next_time == "2026-01-31T13:00:00.000Z" < state.next_run_at < "2026-01-31T13:30:00.000Z"
    world.move("13:00")
    await settle(world.scheduler())
    assert await world.ran(id) == []
    world.clock.at = state.next_run_at
    await settle(world.scheduler())
    assert await world.ran(id) == ["13:00"]


class Away:
    """A log that cannot be appended to until it is back."""

    def __init__(self, log: EventLog) -> None:
        self._log, self.is_away, self.refused = log, True, asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def append(self, streams: Sequence[StreamAppend], metadata: Metadata) -> tuple[Appended, ...]:
        if self.is_away:
            self.refused.set()
            raise Unavailable("the database is away")
        return await self._log.append(streams, metadata)


async def test_a_store_that_is_away_is_waited_for(world: World) -> None:
    id = await world.schedule()
    world.move("13:00")
    away = Away(world.store.log)
    task = asyncio.create_task(world.scheduler(away).run())  # type: ignore[arg-type]
    try:
        async with asyncio.timeout(30):
            await away.refused.wait()
        assert await world.ran(id) == []
        away.is_away = False
        await until(lambda: world.ran(id))
    finally:
        task.cancel()
        await asyncio.wait([task])
    assert Counter(await world.ran(id)) == {"13:00": 1}


async def test_the_loop_hears_of_new_schedules_and_of_the_ends_that_queues_wait_for(world: World) -> None:
    task = asyncio.create_task(world.scheduler().run())
    try:
        id = await world.schedule(overlap_policy="queue", interval_seconds=60)
        for seconds in (60, 60, 60):
            world.clock.at = plus(world.clock.at, seconds)
            await world.commands.trigger(world.organization_id, await world.schedule(), PERSON)  # wakes it
        await until(lambda: has(world, id, ["queued", "pending", "pending"]))
        for ended in (1, 2):
            runs = [each.execution_id for each in await world.events(id, "schedule.fired")]
            await world.cancel(runs[ended - 1])
            wanted = ["cancelled"] * ended + ["queued"] + ["pending"] * (2 - ended)
            await until(lambda wanted=wanted: has(world, id, wanted))  # type: ignore[misc]
    finally:
        task.cancel()
        await asyncio.wait([task])
