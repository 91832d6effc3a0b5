"""What the engine's tests stand on: a real store, real engines that can be started, stopped and killed on it, and a
component whose every attempt the test sees and lets go on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from executor.attempt import Attempts
from executor.children import Children, WorkflowDirectory
from executor.clock import SystemClock
from executor.components.base import Component, Context, Output, Suspend, config_of
from executor.components.registry import BUILT_IN, Registry
from executor.consequences import Consequences
from executor.definitions.validate import compile_definition
from executor.domain import workflow as known_workflow
from executor.domain.events import CATALOGUE, Event
from executor.domain.execution.decide import Creation, decide_create
from executor.domain.execution.lifecycle import decide_cancel
from executor.domain.execution.rows import AGGREGATE, ComponentRow, ComponentView, ExecutionRow, ExecutionView
from executor.domain.execution.state import State
from executor.domain.task import rows as task_rows
from executor.domain.values import Instant, instant, moment
from executor.egress import Egress
from executor.engine import Engine
from executor.handle import handle
from executor.ports import (
    Appended,
    EventLog,
    EventQuery,
    In,
    Metadata,
    Order,
    Organization,
    Recorded,
    RowQuery,
    Store,
)
from executor.queue import Queue
from executor.sealing import Sealer, SecretKey
from executor.tasks import Tasks
from storage.open import open_store

LOOPBACK = ip_network("127.0.0.0/8")
PATIENCE = 60
"""Seconds after which a test that waits for something gives up; nothing here is expected to take long."""


class Attempt(NamedTuple):
    """One attempt at a gate, as it began."""

    execution_id: str
    component_id: str
    number: int
    idempotency_key: str


class Gate(Component):
    """Lets an attempt through when the test opens it for `at`; keeps what began and what was told to stop."""

    type = "gate"
    name = "Gate"
    description = "Waits for the test."
    category = "test"
    config_schema = config_of({"at": {"type": "string"}})

    def __init__(self) -> None:
        self.began: list[Attempt] = []
        self.stopped: list[Attempt] = []
        self._changed = asyncio.Condition()
        self._open: set[str] = set()

    async def run(self, context: Context) -> Output | Suspend:
        attempt = Attempt(context.execution_id, context.component_id, context.attempt, context.idempotency_key)
        try:
            await self._change(lambda: self.began.append(attempt))
            async with self._changed:
                await self._changed.wait_for(lambda: context.config.get("at", context.component_id) in self._open)
        except asyncio.CancelledError:
            self.stopped.append(attempt)
            raise
        return Output({"attempt": context.attempt})

    async def open(self, *names: str) -> None:
        await self._change(lambda: self._open.update(names))

    async def beginning(self, count: int = 1) -> list[Attempt]:
        """Waits until so many attempts have begun."""
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(lambda: len(self.began) >= count)
        return self.began

    async def _change(self, change: Callable[[], object]) -> None:
        async with self._changed:
            change()
            self._changed.notify_all()


class MovableClock(SystemClock):
    """The real clock, put forward when a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self._ahead = timedelta()

    def now(self) -> Instant:
        return instant(moment(super().now()) + self._ahead)

    def put_forward(self, **by: float) -> None:
        self._ahead += timedelta(**by)


class Gone:
    """The ledger of engines as a killed process uses it: it never says goodbye, and `beats` only while it may."""

    def __init__(self, inner: Any, beats: bool) -> None:
        self._inner, self._beats = inner, beats

    async def beat(self, engine: str, ttl_seconds: float) -> None:
        if self._beats:
            await self._inner.beat(engine, ttl_seconds)

    async def leave(self, engine: str) -> None: ...

    async def leave_all(self) -> None: ...


class Stage:
    """One store with one organization."""

    def __init__(self, store: Store, clock: MovableClock, egress: Egress, sealer: Sealer, organization: str) -> None:
        self.store, self.clock, self.sealer, self.organization = store, clock, sealer, organization
        self.registry = Registry((*BUILT_IN, Gate))
        gate = self.registry["gate"]
        assert isinstance(gate, Gate)
        self.gate = gate
        workflows = WorkflowDirectory(store.log, store.reads, sealer, clock)
        self.attempts = Attempts(self.registry, egress, sealer, workflows=workflows.of)
        self.consequences = Consequences(store.log, clock, (Children(), Tasks()))

    def engine(self, id: str, *, log: EventLog | None = None, engines: Any = None, **more: Any) -> Engine:
        """One that by default hands back at once, when it is stopped, what it is at."""
        ledger = engines or self.store.ledgers.engines
        more = {"grace_seconds": 0} | more
        log = log or self.store.log
        queue = Queue(self.store.reads, self.store.ledgers.organizations)
        return Engine(id, log, self.store.reads, ledger, self.clock, self.attempts, self.consequences, queue, **more)

    @asynccontextmanager
    async def running(self, id: str = "engine-1", **more: Any) -> AsyncIterator[Engine]:
        engine = self.engine(id, **more)
        task = asyncio.create_task(engine.run())
        try:
            yield engine
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def create(
        self,
        raw: dict[str, Any],
        parameters: dict[str, Any] | None = None,
        *,
        scheduled_at: Instant | None = None,
        is_held: bool = False,
        priority: int = 5,
        workflow_id: str | None = None,
    ) -> str:
        definition = compile_definition(raw, self.registry)
        id, now = self.clock.new_id(), self.clock.now()
        creation = Creation(
            workflow_id=workflow_id or self.clock.new_id(),
            workflow_name="report",
            workflow_version=1,
            workflow_status="active",
            definition=definition,
            parameters=parameters or {},
            priority=priority,
            tags=(),
            project_id=None,
            scheduled_at=scheduled_at,
            created_by=self.clock.new_id(),
            is_held=is_held,
        )
        await self.append(id, lambda state: decide_create(state, creation, now))
        return id

    async def define(self, name: str, raw: dict[str, Any]) -> str:
        """A workflow, to be run by others."""
        change = known_workflow.Change(name=name, definition=compile_definition(raw, self.registry))
        id = self.clock.new_id()
        await handle(
            self.store.log,
            self.clock,
            f"workflow:{id}",
            partial(known_workflow.decide_create, change=change),
            organization_id=self.organization,
            metadata=Metadata(),
            workflow_id=id,
        )
        return id

    async def append(self, id: str, decide: Callable[[State], Sequence[Event]]) -> Appended:
        return await handle(
            self.store.log,
            self.clock,
            f"execution:{id}",
            decide,
            organization_id=self.organization,
            metadata=Metadata(),
            execution_id=id,
            consequences=self.consequences,
        )

    async def cancel(self, id: str) -> Appended:
        return await self.append(
            id, partial(decide_cancel, by="somebody", reason="for the test", now=self.clock.now())
        )

    # what there is to see

    async def happening(self, id: str, type: str, count: int = 1) -> None:
        """Waits until an execution has so many events of a type."""
        async with asyncio.timeout(PATIENCE):
            async for batch in self.store.log.tail(0):
                count -= sum(event.type == type for event in batch if event.execution_id == id)
                if count <= 0:
                    return

    async def end(self, *ids: str) -> None:
        """Waits until these executions have ended."""
        left = set(ids)
        async with asyncio.timeout(PATIENCE):
            async for batch in self.store.log.tail(0):
                ends = tuple(f"execution.{end}" for end in ("completed", "failed", "cancelled", "terminated"))
                left -= {event.execution_id or "" for event in batch if event.type in ends}
                if not left:
                    return

    async def ended(self, id: str) -> ExecutionView:
        await self.end(id)
        return await self.view(id)

    async def view(self, id: str) -> ExecutionView:
        row = await self.store.reads.get(ExecutionRow, id)
        assert row is not None
        return msgspec.json.decode(row.document, type=ExecutionView)

    async def components(self, id: str) -> dict[str, ComponentView]:
        query = RowQuery(where=(In("execution_id", (id,)),), order=(Order("sequence"),), limit=1000)
        rows = await self.store.reads.find(ComponentRow, query)
        return {row.component_id: msgspec.json.decode(row.document, type=ComponentView) for row in rows}

    async def recorded(self, id: str) -> list[Recorded]:
        return await self.store.log.stream(f"execution:{id}")

    async def events(self, id: str, type: str | None = None) -> list[Any]:
        """The events of an execution, of one type where that is said."""
        return [
            msgspec.json.decode(each.data, type=CATALOGUE[each.type])
            for each in await self.recorded(id)
            if type in (None, each.type)
        ]

    async def types(self, id: str) -> list[str]:
        return [each.type for each in await self.recorded(id)]

    async def all_events(self) -> list[Recorded]:
        return await self.store.log.read(EventQuery(limit=100_000))


@asynccontextmanager
async def staged(directory: Path) -> AsyncIterator[Stage]:
    async with staged_on(f"sqlite:///{directory}/runcast.db") as stage:
        yield stage


@asynccontextmanager
async def staged_on(url: str) -> AsyncIterator[Stage]:
    """On a store that other processes may share."""
    clock = MovableClock()
    store = await open_store(url, [AGGREGATE, known_workflow.AGGREGATE, task_rows.AGGREGATE], clock=clock)
    egress = Egress([LOOPBACK])
    try:
        key = SecretKey.from_text("of the tests")
        id = clock.new_id()
        acme = await store.ledgers.organizations.add(
            Organization(id=id, name="acme", sealed_key=key.new_organization_key(id), created_at=clock.now())
        )
        yield Stage(store, clock, egress, Sealer(key, store.ledgers.organizations), acme.id)
    finally:
        await egress.close()
        await store.close()


# definitions, briefly


def step(id: str, type: str = "gate", **fields: Any) -> dict[str, Any]:
    return {"id": id, "type": type} | fields


def link(source: str, target: str, **fields: Any) -> dict[str, Any]:
    return {"source": source, "target": target} | fields


def workflow(*steps: dict[str, Any], links: Sequence[dict[str, Any]] = (), **fields: Any) -> dict[str, Any]:
    """A start that leads to every step that nothing else leads to."""
    led = {each["target"] for each in links}
    starts = [link("start", each["id"]) for each in steps if each["id"] not in led]
    return {"components": [step("start", "start"), *steps], "connections": [*starts, *links]} | fields
