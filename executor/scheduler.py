"""The scheduler of a process: one loop for all schedules, whatever their number.

Those that are due are found through their rows (`next_run_at`); the tail of the log hastens that where one changes,
and says which executions have ended that others wait for. Any number of schedulers may share a log: `firing` sees to
it that each time runs once.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import structlog

from executor.domain.errors import Unavailable
from executor.domain.schedule import STREAMS, ScheduleRow
from executor.domain.values import plus, seconds_between
from executor.firing import Firing
from executor.ports import Clock, EventLog, In, Order, Range, Reads, Recorded, RowQuery

_logger = structlog.get_logger(__name__)

_POLL_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 0.5
_BROKEN_SECONDS: Final = 30.0
_BATCH: Final = 100
_ABREAST: Final = 20
_PAGE: Final = 500


class Scheduler:
    """`run()` until cancelled."""

    def __init__(self, log: EventLog, reads: Reads, clock: Clock, firing: Firing) -> None:
        self._log, self._reads, self._clock, self._firing = log, reads, clock, firing
        self._hint = asyncio.Event()
        self._watched: dict[str, str] = {}
        """Executions that a schedule's queue waits for."""
        self._touched: set[str] = set()
        """Schedules that changed, or whose watched execution did."""
        self._broken: dict[str, float] = {}
        """Schedules that could not be worked on, and until when they are let be."""

    async def run(self) -> None:
        position = self._log.head
        await self.look_at_all()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen(position), name="scheduler tail")
            await self._keep()

    async def look_at_all(self) -> None:
        """Every queue, as nobody knows what happened before."""
        after: tuple[str, ...] | None = None
        while True:
            query = RowQuery(where=(Range("waits_for", start=""),), order=(Order("id"),), after=after, limit=_PAGE)
            rows = await self._reads.find(ScheduleRow, query)
            self._touched.update(row.id for row in rows)
            if len(rows) < _PAGE:
                return
            after = (rows[-1].id,)

    async def _listen(self, position: int) -> None:
        while True:
            try:
                async for batch in self._log.tail(position):
                    self._notice(batch)
                    position = batch[-1].position
                return
            except Unavailable as error:
                _logger.warning("scheduler.store_unavailable", error=str(error))
                await asyncio.sleep(_RETRY_SECONDS)

    def _notice(self, batch: Sequence[Recorded]) -> None:
        for recorded in batch:
            if recorded.stream.startswith(STREAMS):
                self._touched.add(recorded.stream.removeprefix(STREAMS))
                self._hint.set()
            elif recorded.type.startswith("execution.") and recorded.execution_id in self._watched:
                self._touched.add(self._watched.pop(recorded.execution_id))
                self._hint.set()

    async def _keep(self) -> None:
        while True:
            self._hint.clear()
            try:
                is_more = await self.turn()
                pause = 0.0 if is_more else await self._until_next()
            except Unavailable as error:
                _logger.warning("scheduler.store_unavailable", error=str(error))
                pause = _RETRY_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._hint.wait()

    async def turn(self) -> bool:
        """Lets queues go on, and fires what is due; True where there may be more."""
        await self._look()
        now, held = self._clock.now(), set(self._broken)
        due = (Range("next_run_at", end=plus(now, 0.001)),)
        order = (Order("next_run_at"), Order("id"))
        rows = await self._reads.find(ScheduleRow, RowQuery(where=due, order=order, limit=_BATCH + len(held)))
        fresh = [row.id for row in rows if row.id not in held][:_BATCH]
        is_more = await self._each(fresh, self._firing.due)
        return is_more or len(fresh) == _BATCH

    async def _look(self) -> None:
        touched, self._touched = sorted(self._touched | self._mended()), set()
        try:
            waiting = [id for start in range(0, len(touched), _PAGE) for id in await self._waiting(touched[start:])]
            await self._each(waiting, self._release)
        except Unavailable:
            self._touched.update(touched)
            raise

    async def _waiting(self, ids: Sequence[str]) -> list[str]:
        """Those of the first ids that have a queue."""
        some = (In("id", tuple(ids[:_PAGE])), Range("waits_for", start=""))
        return [row.id for row in await self._reads.find(ScheduleRow, RowQuery(where=some, limit=_PAGE))]

    async def _release(self, id: str) -> bool:
        """Watches first and looks then: so no end falls between."""
        while (blocker := await self._firing.release(id)) is not None and self._watched.get(blocker) != id:
            self._watched[blocker] = id
        return False

    async def _each(self, ids: Iterable[str], work: Callable[[str], Awaitable[bool]]) -> bool:
        """Some at a time, so that their appends share a flush; whether any has more to do. One that breaks harms no
        other."""
        room = asyncio.Semaphore(_ABREAST)

        async def one(id: str) -> bool:
            async with room:
                try:
                    return await work(id)
                except Unavailable:
                    raise
                except Exception:
                    _logger.exception("schedule.broke", schedule_id=id, again_in_seconds=_BROKEN_SECONDS)
                    self._broken[id] = time.monotonic() + _BROKEN_SECONDS
                    return False

        results = await asyncio.gather(*(one(id) for id in ids), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return any(results)

    def _mended(self) -> set[str]:
        """Those that have been let be for long enough."""
        now = time.monotonic()
        mended = {id for id, until in self._broken.items() if until <= now}
        for id in mended:
            del self._broken[id]
        return mended

    async def _until_next(self) -> float:
        """Seconds until the next time that is known; schedules that are let be are looked for all the same."""
        query = RowQuery(where=(Range("next_run_at", start=""),), order=(Order("next_run_at"), Order("id")), limit=1)
        rows = await self._reads.find(ScheduleRow, query)
        if not rows or rows[0].next_run_at is None or self._broken:
            return _POLL_SECONDS
        return min(_POLL_SECONDS, seconds_between(self._clock.now(), rows[0].next_run_at))
