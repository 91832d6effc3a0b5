"""The engine of a process: claims runs that something can happen to, and drives each in a task of its own.

Runs are found through their rows (`runnable_at`); the tail of the log only hastens that, and tells a run in memory
that somebody else appended to its stream.

An engine lives while it beats. One that was away for longer than its time to live (paused, cut off) finds, when it is
back, that others went on with its runs: whatever it says about them is refused, and it lets go of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence

import structlog

from executor.attempt import Attempts
from executor.consequences import Consequences
from executor.domain.errors import Unavailable
from executor.domain.execution.queue import Slots
from executor.domain.values import seconds_between
from executor.ports import Clock, Engines, EventLog, Reads, Recorded
from executor.queue import Queue
from executor.run import Run

_logger = structlog.get_logger(__name__)

TTL_SECONDS = 20.0
"""How long an engine is taken to live after a beat; it beats four times as often."""
GRACE_SECONDS = 8.0
"""How long an engine that is stopped waits for the components that it runs."""
_POLL_SECONDS = 1.0
_CLAIM_BATCH = 200
_RETRY_SECONDS = 0.5
_LONGEST_RETRY_SECONDS = 60.0
_LEAVE_SECONDS = 2.0


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
        consequences: Consequences,
        queue: Queue,
        *,
        most_runs: int = 5000,
        ttl_seconds: float = TTL_SECONDS,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self.id = id
        self._log = log
        self._reads = reads
        self._engines = engines
        self._clock = clock
        self._attempts = attempts
        self._consequences = consequences
        self._queue = queue
        self._most_runs = most_runs
        self._ttl = ttl_seconds
        self._grace = grace_seconds
        self._beaten = float("-inf")
        self._runs: dict[str, Run] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._hint = asyncio.Event()
        self._leaving = asyncio.Event()

    @property
    def owned(self) -> int:
        """How many runs are in memory."""
        return len(self._runs)

    async def run(self) -> None:
        """Claims and drives runs. Cancelled, it drains: it starts nothing more, waits some seconds for the components
        that run, hands the rest back, and is gone for the others."""
        self._leaving.clear()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_beating(), name="engine heartbeat")
                group.create_task(self._listen(), name="engine tail")
                try:
                    await self._claim()
                finally:
                    await self._drain()
        finally:
            with contextlib.suppress(Unavailable, TimeoutError):
                await asyncio.wait_for(self._engines.leave(self.id), _LEAVE_SECONDS)

    async def _keep_beating(self) -> None:
        while True:
            with contextlib.suppress(Unavailable):
                await self._beat()
            await asyncio.sleep(self._ttl / 4)

    async def _beat(self) -> None:
        now = time.monotonic()
        if self._ttl < now - self._beaten < float("inf"):
            _logger.warning("engine.was_away", engine=self.id, seconds=round(now - self._beaten, 1))
        await self._engines.beat(self.id, self._ttl)
        self._beaten = now

    async def _listen(self) -> None:
        """Hastens claims of new runs, and lets runs in memory know what others appended to them."""
        position = self._log.head
        while True:
            try:
                async for batch in self._log.tail(position):
                    self._notice(batch)
                    position = batch[-1].position
                return
            except Unavailable as error:
                _logger.warning("engine.store_unavailable", error=str(error))
                await asyncio.sleep(_RETRY_SECONDS)

    def _notice(self, batch: Sequence[Recorded]) -> None:
        for recorded in batch:
            if recorded.execution_id is None or not recorded.stream.startswith("execution:"):
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
        if time.monotonic() - self._beaten > self._ttl / 2:
            # What one takes who is taken for dead, the next one takes from him at once.
            await self._beat()
        room = min(_CLAIM_BATCH, self._most_runs - len(self._runs))
        if room <= 0:
            return False
        due = await self._reads.claimable(self._clock.now(), room)
        fresh = [claimable for claimable in due if claimable.id not in self._runs]
        for claimable in fresh:
            self._own(claimable.id, claimable.engine)
        return len(fresh) == room or await self._admit(room - len(fresh))

    async def _admit(self, room: int) -> bool:
        """Lets runs of the queue begin; True where more of them may. Whose turn is next depends on who has begun: so
        their places are taken before anybody looks again."""
        admitted = await self._queue.next(self._clock.now(), room)
        begun = [self._own(each.id, None, each.slots) for each in admitted if each.id not in self._runs]
        for run in begun:
            await run.claimed.wait()
        return len(begun) == room

    async def _until_next(self) -> float:
        at = await self._reads.next_runnable_at(self._clock.now())
        return _POLL_SECONDS if at is None else min(_POLL_SECONDS, seconds_between(self._clock.now(), at))

    def _own(self, id: str, former: str | None, slots: Slots | None = None) -> Run:
        run = self._taken(id, former, slots)
        task = asyncio.create_task(self._hold(run), name=f"run {id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return run

    def _taken(self, id: str, former: str | None = None, slots: Slots | None = None) -> Run:
        run = self._runs[id] = Run(
            id, self.id, self._log, self._clock, self._attempts, self._consequences, former=former, slots=slots
        )
        return run

    async def _hold(self, run: Run) -> None:
        """Drives a run until it ends or parks. One that breaks is taken up again, each time after a longer pause."""
        pause = _RETRY_SECONDS
        try:
            while not await self._is_over(run, pause):
                pause = min(pause * 2, _LONGEST_RETRY_SECONDS)
                run = self._taken(run.id)
        finally:
            del self._runs[run.id]
            self._hint.set()

    async def _is_over(self, run: Run, pause: float) -> bool:
        try:
            await run.drive()
        except Exception:
            _logger.exception("run.broke", execution_id=run.id, again_in_seconds=pause)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._leaving.wait()
            return self._leaving.is_set()
        return True

    async def _drain(self) -> None:
        """Lets go of every run: with what its components come to within the grace, or in the middle of them; what is
        cut short starts again, as another attempt, under the next owner."""
        self._leaving.set()
        for run in self._runs.values():
            run.drain()
        try:
            if self._tasks:
                await asyncio.wait(list(self._tasks), timeout=self._grace)
        finally:
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._runs.clear()
