"""What happens to tasks by time alone: leases of workers that were not heard of, and escalations.

Any number of processes may sweep: whatever they find they decide over the task's newest state, and the version of its
stream lets one of them through.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import structlog

from executor.domain.errors import Unavailable
from executor.domain.events import Event
from executor.domain.task.decide import decide_escalate, decide_expire
from executor.domain.task.rows import TaskRow
from executor.domain.task.state import State
from executor.ports import Clock, Metadata, Order, Range, Reads, RowQuery, TaskLease, TaskLeases
from executor.tasks import TaskHandler

T = TypeVar("T")

_PAUSE_SECONDS: Final = 0.5
_ORPHANS_SECONDS: Final = 30.0
_BATCH: Final = 200
_METADATA: Final = Metadata(actor="system")
_logger = structlog.get_logger(__name__)


class TaskSweep:
    """`run()` until cancelled."""

    def __init__(self, handler: TaskHandler, reads: Reads, leases: TaskLeases, clock: Clock) -> None:
        self._handler, self._reads, self._leases, self._clock = handler, reads, leases, clock
        self._orphans_at = 0.0

    async def run(self) -> None:
        while True:
            try:
                is_more = await self.sweep()
            except Unavailable as error:
                _logger.warning("tasks.store_unavailable", error=str(error))
                is_more = False
            await asyncio.sleep(0 if is_more else _PAUSE_SECONDS)

    async def sweep(self) -> bool:
        """Whatever is due now; True where there may be more."""
        done = [await self._expired(), await self._woken()]
        if time.monotonic() >= self._orphans_at:
            self._orphans_at = time.monotonic() + _ORPHANS_SECONDS
            done.append(await self._orphaned())
        return _BATCH in done

    async def _expired(self) -> int:
        expired = await self._leases.expired(_BATCH)
        await _each(expired, self._expire)
        return len(expired)

    async def _expire(self, lease: TaskLease) -> None:
        """The task first: while its lease is there, nobody takes it for one that no worker has."""
        await self._decide(lease.task_id, lambda state: decide_expire(state, lease.lease_id))
        await self._leases.drop(lease.task_id, lease.lease_id)

    async def _woken(self) -> int:
        due = (Range("wakes_at", end=self._clock.now()),)
        order = (Order("wakes_at"), Order("id"))
        found = await self._reads.find(TaskRow, RowQuery(where=due, order=order, limit=_BATCH))
        await _each(found, self._escalate)
        return len(found)

    async def _escalate(self, row: TaskRow) -> None:
        await self._decide(row.id, lambda state: decide_escalate(state, self._clock.now()))

    async def _orphaned(self) -> int:
        orphans = await self._leases.orphans(_BATCH)
        await _each(orphans, self._free)
        return len(orphans)

    async def _free(self, orphan: tuple[str, int]) -> None:
        id, version = orphan
        await self._decide(id, lambda state: _lost(state, version))

    async def _decide(self, id: str, decide: Callable[[State], Sequence[Event]]) -> None:
        await self._handler.handle(id, decide, _METADATA)


async def _each(things: Sequence[T], work: Callable[[T], Awaitable[None]]) -> None:
    """All of them together, so that they share the log's commits. Raises `Unavailable`; what else one breaks on holds
    up no other."""
    for came in await asyncio.gather(*map(work, things), return_exceptions=True):
        if isinstance(came, Exception) and not isinstance(came, Unavailable):
            _logger.error("tasks.sweep_failed", exc_info=came)
        elif isinstance(came, BaseException):
            raise came


def _lost(state: State, version: int) -> list[Event]:
    return decide_expire(state, state.lease_id) if state.version == version and state.lease_id is not None else []
