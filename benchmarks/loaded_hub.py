"""`runcast up` with a publisher inside: the whole hub, and orders on standard input for appends to its log.

A message is a line of a component's log. It takes the way of every event: appended to the log's port in this process,
committed to the disk with hash and row, read by the feed, sent to the sockets. Executions are made by an append each
and wait to be started, so that no engine runs them.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from orders import Answer, at_rate, obey
from payload import line, now

from executor.definitions.validate import compile_definition
from executor.domain.events.execution import LogWritten
from executor.domain.execution.decide import Creation, decide_create
from executor.domain.execution.state import initial
from executor.ports import NEW, Appended, Metadata, NewEvent, StreamAppend
from hub import process
from hub.services import Services
from hub.settings import from_environment

WRITERS: Final = 20
"""Executions that write at once to the channel of their workflow, which all subscribers share."""
_AT_ONCE: Final = 256
_DEFINITION: Final = {"components": [{"id": "start", "type": "start"}]}
_METADATA: Final = Metadata(actor="system")


class Run:
    """An execution that lines are appended to, one append after the other."""

    def __init__(self, id: str, workflow_id: str, appended: Appended) -> None:
        self.id, self.workflow_id, self.state, self.version = id, workflow_id, appended.state, appended.version
        self.turn = asyncio.Lock()


class Loaded:
    """Publishes. Implements `orders.Publisher`."""

    def __init__(self, services: Services) -> None:
        self._log, self._clock, self._registry = services.store.log, services.clock, services.registry
        self._organization = self._workflow = ""
        self._free: asyncio.LifoQueue[Run] = asyncio.LifoQueue()
        self._runs: list[Run] = []

    async def workflow(self, organization_id: str, workflow_id: str) -> Answer:
        """Whose executions write."""
        self._organization, self._workflow = organization_id, workflow_id
        for run in await self._created(WRITERS):
            self._free.put_nowait(run)
        return {}

    async def executions(self, count: int) -> Answer:
        """So many executions, each for a channel of its own; their ids."""
        self._runs += await self._created(count - len(self._runs))
        return {"ids": [run.id for run in self._runs[:count]]}

    async def spread(self, workflow_ids: list[str], rate: float, events: int) -> Answer:
        """At fixed times, each to the next workflow of these: as many to one as to another."""
        runs = [run for id in workflow_ids for run in await self._created(1, id)]
        turns = itertools.cycle(runs)

        async def publish(due: int) -> None:
            run = next(turns)
            async with run.turn:
                await self._append(run, 1, due)

        await at_rate(publish, rate, events)
        return {}

    async def head(self) -> Answer:
        return {"position": self._log.head}

    async def publish(self, due: int) -> None:
        run = await self._free.get()
        try:
            await self._append(run, 1, due)
        finally:
            self._free.put_nowait(run)

    async def burst(self, events: int, channels: int) -> None:
        if channels == 1:
            writers = min(WRITERS, events)
            runs = [self._free.get_nowait() for _ in range(writers)]
            counts = [events // writers + (number < events % writers) for number in range(writers)]
        else:
            runs, counts = self._runs[:channels], [events] * channels
        await asyncio.gather(*(self._append(run, count, now()) for run, count in zip(runs, counts, strict=True)))
        if channels == 1:
            for run in runs:
                self._free.put_nowait(run)

    async def _append(self, run: Run, count: int, due: int) -> None:
        events = tuple(
            NewEvent(self._clock.new_id(), LogWritten(level="info", message=line(due))) for _ in range(count)
        )
        (done,) = await self._log.append(
            (self._part(run.id, run.workflow_id, run.version, run.state, events),), _METADATA
        )
        run.state, run.version = done.state, done.version

    async def _created(self, count: int, workflow_id: str | None = None) -> list[Run]:
        creation = Creation(
            workflow_id=workflow_id or self._workflow,
            workflow_name="benchmark",
            workflow_version=1,
            workflow_status="active",
            definition=compile_definition(_DEFINITION, self._registry),
            parameters={},
            priority=5,
            tags=(),
            project_id=None,
            scheduled_at=None,
            created_by=self._organization,
            is_held=True,
        )
        made: list[Run] = []
        while (left := count - len(made)) > 0:
            made += await asyncio.gather(*(self._create(creation) for _ in range(min(left, _AT_ONCE))))
        return made

    async def _create(self, creation: Creation) -> Run:
        id, state = self._clock.new_id(), initial()
        events = tuple(
            NewEvent(self._clock.new_id(), event) for event in decide_create(state, creation, self._clock.now())
        )
        part = self._part(id, creation.workflow_id, NEW, state, events)
        (done,) = await self._log.append((part,), _METADATA)
        return Run(id, creation.workflow_id, done)

    def _part(
        self, id: str, workflow_id: str, expected: int, state: Any, events: tuple[NewEvent, ...]
    ) -> StreamAppend:
        return StreamAppend(
            stream=f"execution:{id}",
            expected=expected,
            state=state,
            events=events,
            organization_id=self._organization,
            workflow_id=workflow_id,
            execution_id=id,
        )


_opened = process.opened


@contextlib.asynccontextmanager
async def opened(*arguments: Any, **options: Any) -> AsyncIterator[Services]:
    async with _opened(*arguments, **options) as services:
        loaded = Loaded(services)
        more = {each.__name__: each for each in (loaded.workflow, loaded.executions, loaded.spread, loaded.head)}
        obeying = asyncio.create_task(obey(loaded, **more))
        try:
            yield services
        finally:
            obeying.cancel()
            await asyncio.gather(obeying, return_exceptions=True)


if __name__ == "__main__":
    process.opened = opened
    process.run(from_environment(os.environ, port=0, data_dir=Path(sys.argv[1])))
