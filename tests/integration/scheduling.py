"""What the scheduler's tests stand on: a store, a clock of the test's own, workflows and schedules."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from executor.children import Children
from executor.clock import SystemClock
from executor.components.registry import Registry
from executor.consequences import Consequences
from executor.definitions.validate import compile_definition
from executor.domain import schedule, workflow
from executor.domain.events import CATALOGUE
from executor.domain.execution.lifecycle import decide_cancel
from executor.domain.execution.rows import ExecutionRow, ExecutionView
from executor.domain.schedule import State
from executor.domain.values import Instant, instant, moment
from executor.firing import Firing
from executor.handle import Decide, handle
from executor.ports import EventLog, Metadata, Organization, Recorded, Store
from executor.scheduler import Scheduler
from executor.sealing import Sealer, SecretKey
from executor.tasks import Tasks
from hub.aggregates import AGGREGATES
from hub.schedules.commands import ScheduleCommands
from hub.schedules.requests import CreateSchedule
from storage.open import open_store
from tests.integration.hubs import SMALLEST, unique

PERSON = Metadata(actor="api_key:01JZ0000000000000000000002")


class HandClock(SystemClock):
    """Shows what the test says; its ids are real ones."""

    def __init__(self, at: Instant) -> None:
        super().__init__()
        self.at = at

    def now(self) -> Instant:
        return self.at


class World:
    """The clock stands still until it is moved. Executions end when the test cancels them: there is no engine."""

    def __init__(self, store: Store, clock: HandClock, sealer: Sealer, organization_id: str) -> None:
        self.store, self.clock, self.sealer, self.organization_id = store, clock, sealer, organization_id
        self.commands = ScheduleCommands(store, sealer, clock, self.firing())

    def firing(self, log: EventLog | None = None) -> Firing:
        log = log or self.store.log
        consequences = Consequences(log, self.clock, (Children(), Tasks()))
        return Firing(log, self.store.reads, self.sealer, self.clock, consequences)

    def scheduler(self, log: EventLog | None = None) -> Scheduler:
        return Scheduler(log or self.store.log, self.store.reads, self.clock, self.firing(log))

    async def workflow(self, raw: dict[str, Any] | None = None) -> str:
        id = self.clock.new_id()
        change = workflow.Change(name=unique("workflow"), definition=compile_definition(raw or SMALLEST, Registry()))
        await self.append(f"workflow:{id}", lambda state: workflow.decide_create(state, change))
        return id

    async def append(self, stream: str, decide: Decide) -> Any:
        id = stream.partition(":")[2]
        is_run = stream.startswith("execution:")
        done = await handle(
            self.store.log,
            self.clock,
            stream,
            decide,
            organization_id=self.organization_id,
            metadata=PERSON,
            execution_id=id if is_run else None,
        )
        return done.state

    async def schedule(self, workflow_id: str | None = None, **fields: Any) -> str:
        body = {"name": unique("schedule"), "workflow_id": workflow_id or await self.workflow()} | fields
        request = msgspec.convert(body if "interval_seconds" in body else {"cron": "@hourly"} | body, CreateSchedule)
        return (await self.commands.create(self.organization_id, request, PERSON)).id

    async def state(self, id: str) -> State:
        state: State = (await self.store.log.load(schedule.stream(id)))[0]
        return state

    async def cancel(self, execution_id: str) -> None:
        decide = partial(decide_cancel, by="somebody", reason=None, now=self.clock.now())
        await self.append(f"execution:{execution_id}", decide)

    async def view(self, execution_id: str) -> ExecutionView:
        row = await self.store.reads.get(ExecutionRow, execution_id)
        assert row is not None
        return msgspec.json.decode(row.document, type=ExecutionView)

    async def statuses(self, id: str) -> list[str]:
        """Of a schedule's executions, in the order of their creation."""
        return [(await self.view(each.execution_id)).status for each in await self.events(id, "schedule.fired")]

    async def recorded(self, id: str) -> list[Recorded]:
        return await self.store.log.stream(schedule.stream(id))

    async def events(self, id: str, type: str) -> list[Any]:
        found = [each for each in await self.recorded(id) if each.type == type]
        return [msgspec.json.decode(each.data, type=CATALOGUE[each.type]) for each in found]

    async def ran(self, id: str) -> list[str]:
        """The times that ran, by the clock."""
        return clocked([each.scheduled_time for each in await self.events(id, "schedule.fired")])

    async def skipped(self, id: str) -> list[tuple[str, str]]:
        found = await self.events(id, "schedule.skipped")
        return [(clocked([each.scheduled_time])[0], each.reason) for each in found]

    def move(self, to: str) -> Instant:
        """To a time of the clock's day, or of a later one: `14:00`, `2026-02-02 14:00`."""
        day, _, hour = to.rpartition(" ")
        self.clock.at = instant(moment(Instant(f"{day or self.clock.at[:10]}T{hour}:00.000Z")))
        return self.clock.at


def clocked(times: Sequence[Instant]) -> list[str]:
    return [f"{moment(at):%H:%M}" for at in times]


@asynccontextmanager
async def world_on(url: str) -> AsyncIterator[World]:
    """It is 12:30 on the last of January 2026."""
    clock = HandClock(Instant("2026-01-31T12:30:00.000Z"))
    store = await open_store(url, AGGREGATES, clock=clock)
    try:
        key = SecretKey.from_text("of the tests")
        id = clock.new_id()
        acme = await store.ledgers.organizations.add(
            Organization(id=id, name="acme", sealed_key=key.new_organization_key(id), created_at=clock.now())
        )
        yield World(store, clock, Sealer(key, store.ledgers.organizations), acme.id)
    finally:
        await store.close()


@asynccontextmanager
async def world_in(directory: Path) -> AsyncIterator[World]:
    async with world_on(f"sqlite:///{directory}/runcast.db") as world:
        yield world
