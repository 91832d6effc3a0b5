"""What benchmarks of the engine stand on: a durable SQLite store with one organization, a real engine, and a
component that keeps when it ran."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

from executor.attempt import Attempts
from executor.children import Children, WorkflowDirectory
from executor.clock import SystemClock
from executor.components.base import Component, Context, Output, config_of
from executor.components.registry import BUILT_IN, Registry
from executor.consequences import Consequences
from executor.definitions.validate import compile_definition
from executor.domain.definition import Definition
from executor.domain.execution.decide import Creation, decide_create
from executor.egress import Egress
from executor.engine import Engine
from executor.handle import handle
from executor.ports import Metadata, Organization, Store
from executor.queue import Queue
from executor.sealing import Sealer, SecretKey
from executor.tasks import Tasks
from hub.aggregates import AGGREGATES
from storage.open import open_store

TICK: Final = 0.001


class Step(NamedTuple):
    """When one step began and ended, in seconds of the process's clock, and what its processor's time was then."""

    execution_id: str
    began: float
    ended: float
    cpu: float


class Timed(Component):
    """A step in Python that answers a small mapping at once. `noticed` is called as each begins."""

    type = "timed"
    name = "Timed"
    description = "Keeps when it ran."
    category = "benchmark"
    config_schema = config_of({"number": {"type": "integer"}})

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.noticed: Callable[[int], object] = lambda count: None

    async def run(self, context: Context) -> Output:
        began = time.perf_counter()
        self.noticed(len(self.steps))
        output = Output({"number": context.config.get("number", 0), "is_done": True})
        self.steps.append(Step(context.execution_id, began, time.perf_counter(), time.process_time()))
        return output


class Bench:
    """Creates runs, and says when they came so far. `timed` knows every step of its component."""

    def __init__(self, store: Store, clock: SystemClock, egress: Egress, sealer: Sealer, organization: str) -> None:
        self.store, self._clock, self._organization = store, clock, organization
        self._registry = Registry((*BUILT_IN, Timed))
        timed = self._registry["timed"]
        assert isinstance(timed, Timed)
        self.timed = timed
        workflows = WorkflowDirectory(store.log, store.reads, sealer, clock)
        self._attempts = Attempts(self._registry, egress, sealer, workflows=workflows.of)
        self._consequences = Consequences(store.log, clock, (Children(), Tasks()))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Engine]:
        """An engine, the only one: those of before are dead, as where a hub starts on an embedded store."""
        ledger = self.store.ledgers.engines
        await ledger.leave_all()
        log, clock = self.store.log, self._clock
        queue = Queue(self.store.reads, self.store.ledgers.organizations)
        engine = Engine(
            clock.new_id(), log, self.store.reads, ledger, clock, self._attempts, self._consequences, queue
        )
        task = asyncio.create_task(engine.run())
        try:
            yield engine
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def compiled(self, raw: dict[str, Any]) -> Definition:
        return compile_definition(raw, self._registry)

    async def create(self, definition: Definition) -> str:
        id, now = self._clock.new_id(), self._clock.now()
        creation = Creation(
            workflow_id=self._organization,
            workflow_name="benchmark",
            workflow_version=1,
            workflow_status="active",
            definition=definition,
            parameters={},
            priority=5,
            tags=(),
            project_id=None,
            scheduled_at=None,
            created_by=self._organization,
        )
        await handle(
            self.store.log,
            self._clock,
            f"execution:{id}",
            lambda state: decide_create(state, creation, now),
            organization_id=self._organization,
            metadata=Metadata(),
            execution_id=id,
            consequences=self._consequences,
        )
        return id

    async def create_many(self, definition: Definition, count: int, at_once: int = 64) -> None:
        async def some(numbers: range) -> None:
            for _ in numbers:
                await self.create(definition)

        await asyncio.gather(*(some(range(first, count, at_once)) for first in range(at_once)))

    async def happening(self, type: str, count: int, after: int) -> None:
        """Waits for so many events of a type behind a position. Raises where an execution has failed."""
        async for batch in self.store.log.tail(after):
            types = [event.type for event in batch]
            if "execution.failed" in types:
                raise RuntimeError("an execution of the benchmark has failed")
            count -= types.count(type)
            if count <= 0:
                return


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Bench]:
    clock = SystemClock()
    store = await open_store(url, AGGREGATES, clock=clock)
    egress = Egress()
    try:
        key = SecretKey.from_text("of the benchmarks")
        id = clock.new_id()
        sealed = key.new_organization_key(id)
        one = Organization(id=id, name=f"bench-{id}", sealed_key=sealed, created_at=clock.now())
        await store.ledgers.organizations.add(one)
        yield Bench(store, clock, egress, Sealer(key, store.ledgers.organizations), id)
    finally:
        await egress.close()
        await store.close()


@asynccontextmanager
async def holds() -> AsyncIterator[list[float]]:
    """The seconds for which the loop was held, at every tick of a millisecond: by what ran on it, or by who kept the
    processor or the interpreter from it."""
    found = [0.0]

    async def tick() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(TICK)
            found.append(time.perf_counter() - before - TICK)

    ticking = asyncio.create_task(tick())
    try:
        yield found
    finally:
        ticking.cancel()
