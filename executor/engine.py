"""The engine of a process: claims runs that something can happen to, and drives each in a task of its own.

Runs are found through their rows (`runnable_at`); the tail of the log only hastens that, and tells a run in memory
that somebody else appended to its stream.
"""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from executor.attempt import Attempts
from executor.domain.errors import Unavailable
from executor.domain.values import seconds_between
from executor.ports import Clock, Engines, EventLog, Reads
from executor.run import Run

_logger = structlog.get_logger(__name__)

HEARTBEAT_SECONDS = 5.0
TTL_SECONDS = 20.0
_POLL_SECONDS = 1.0
_CLAIM_BATCH = 200
_RETRY_SECONDS = 0.5


class Engine:
    """`run()` until cancelled. `id` names this engine among those that share the log; `most_runs` bounds memory."""

    def __init__(
        self,
        id: str,
        log: EventLog,
        reads: Reads,
        engines: Engines,
        clock: Clock,
        attempts: Attempts,
        *,
        most_runs: int = 5000,
    ) -> None:
        self.id = id
        self._log = log
        self._reads = reads
        self._engines = engines
        self._clock = clock
        self._attempts = attempts
        self._most_runs = most_runs
        self._runs: dict[str, Run] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._hint = asyncio.Event()

    @property
    def owned(self) -> int:
        """How many runs are in memory."""
        return len(self._runs)

    async def run(self) -> None:
        await self._beat()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_beating(), name="engine heartbeat")
                group.create_task(self._listen(), name="engine tail")
                group.create_task(self._claim(), name="engine claims")
        finally:
            await self._stop()

    async def _beat(self) -> None:
        with contextlib.suppress(Unavailable):
            await self._engines.beat(self.id, TTL_SECONDS)

    async def _keep_beating(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            await self._beat()

    async def _listen(self) -> None:
        """Hastens claims of new runs, and lets runs in memory know what others appended to them."""
        async for batch in self._log.tail(self._log.head):
            for recorded in batch:
                if recorded.execution_id is None:
                    continue
                owned = self._runs.get(recorded.execution_id)
                if owned is not None:
                    owned.notice(recorded.version)
                else:
                    self._hint.set()

    async def _claim(self) -> None:
        while True:
            self._hint.clear()
            try:
                is_more = await self._claim_due()
                pause = 0.0 if is_more else await self._until_next()
            except Unavailable as error:
                _logger.warning("engine.store_unavailable", error=str(error))
                pause = _RETRY_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._hint.wait()

    async def _claim_due(self) -> bool:
        """Takes runs that are due; True where there may be more."""
        room = min(_CLAIM_BATCH, self._most_runs - len(self._runs))
        if room <= 0:
            return False
        due = await self._reads.claimable(self._clock.now(), room)
        fresh = [claimable for claimable in due if claimable.id not in self._runs]
        for claimable in fresh:
            self._own(claimable.id, claimable.engine)
        return len(fresh) == room

    async def _until_next(self) -> float:
        at = await self._reads.next_runnable_at(self._clock.now())
        return _POLL_SECONDS if at is None else min(_POLL_SECONDS, seconds_between(self._clock.now(), at))

    def _own(self, id: str, former: str | None = None) -> None:
        run = self._runs[id] = Run(id, self.id, self._log, self._clock, self._attempts, former=former)
        task = asyncio.create_task(self._drive(run), name=f"run {id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _drive(self, run: Run) -> None:
        """Drives a run until it ends or parks. One that breaks is logged and taken up again."""
        try:
            await run.drive()
        except Exception:
            _logger.exception("run.broke", execution_id=run.id)
            await asyncio.sleep(_RETRY_SECONDS)
            self._own(run.id)
        else:
            del self._runs[run.id]
        self._hint.set()

    async def _stop(self) -> None:
        """Lets go of every run; what was running starts again, as another attempt, under the next owner."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(Unavailable):
            await self._engines.leave(self.id)
