"""One owned run, from its claim until it ends or parks: a mailbox, decided together into one append at a time.

Results of components, due timers and what others did to the run (a cancellation) all arrive in the mailbox; whatever
is in it becomes one decision and one append, so that parallel branches do not fight over the stream's version.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import structlog
from msgspec.json import encode

from executor.attempt import Attempts
from executor.consequences import Consequences
from executor.domain.errors import Stale, Unavailable
from executor.domain.events import Event
from executor.domain.events import execution as events
from executor.domain.execution.decide import advance, claim
from executor.domain.execution.decision import Decision
from executor.domain.execution.inputs import Completed, Input, Suspended
from executor.domain.execution.queue import Slots
from executor.domain.execution.state import State
from executor.domain.values import ExecutionStatus, Instant, seconds_between
from executor.opening import Opens
from executor.ports import Clock, Conflict, EventLog, Metadata, NameTaken, NewEvent, StreamAppend

_logger = structlog.get_logger(__name__)

T = TypeVar("T")

SHORT_WAIT_SECONDS = 2.0
"""A run whose next timer is nearer than this stays in memory instead of being parked and loaded again."""
CANCEL_GRACE_SECONDS = 10.0
"""How long a component of a run that has ended is waited for once it was told to stop; of a terminated one, not at
all."""
LEAVE_GRACE_SECONDS = 5.0
"""The same for a run that this engine lets go of, such as at its end."""
KEPT_EVENTS = 256
"""After how many events of a run its fold is kept again; a fourth of them is enough where it parks."""
_AGAIN = -1
"""The version that was decided on, where there is more to decide on it."""
_AT_ONCE_EVENTS = 256
_AT_ONCE_BYTES = 1024 * 1024
_AT_ONCE_SECONDS = 0.02
_STORE_RETRY_SECONDS = 0.5


class Run:
    """The engine's hold on one execution. `drive` returns when the run has ended, is parked, or is another's.

    `former` is the owner that is known to be gone: from another one the run is not taken. `slots` are the places of
    one whose turn it is in the queue. `claimed` is set once it is decided whether this is the owner.
    """

    def __init__(
        self,
        id: str,
        engine: str,
        log: EventLog,
        clock: Clock,
        attempts: Attempts,
        consequences: Consequences,
        *,
        former: str | None = None,
        slots: Slots | None = None,
    ) -> None:
        self.id = id
        self._engine = engine
        self._former = former
        self._slots = slots
        self.claimed = asyncio.Event()
        self._log = log
        self._clock = clock
        self._attempts = attempts
        self._consequences = consequences
        self._stream = f"execution:{id}"
        self._state = State()
        self._version = 0
        self._epoch = 0
        self._kept = 0
        self._decided = _AGAIN
        self._seen = 0
        self._appending = 0
        self._mailbox: list[Input] = []
        self._wake = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopping: set[asyncio.Task[None]] = set()
        self._may_start = True

    def notice(self, version: int) -> None:
        """Somebody appended to the stream, up to this version."""
        if version > self._seen:
            self._seen = version
            if version > max(self._version, self._appending):
                self._wake.set()

    def drain(self) -> None:
        """From now on nothing is started here; `drive` returns once what runs has ended and is recorded."""
        self._may_start = False
        self._wake.set()

    async def drive(self) -> None:
        try:
            is_ours = self._may_start and await self._claim()
            self.claimed.set()
            if is_ours:
                self._epoch = self._state.epoch
                while await self._step():
                    pass
                await self._keep(KEPT_EVENTS // 4)
        except Stale:
            _logger.info("run.lost", execution_id=self.id, engine=self._engine)
        finally:
            self.claimed.set()
            await self._let_go()

    async def _claim(self) -> bool:
        """Becomes the owner, or stays it; False where there is nothing to own, or somebody else was faster."""
        await self._load()
        if self._state.status is None or self._state.is_ended or not self._is_due():
            return False
        is_ours = self._state.engine == self._engine and self._state.started_at is not None
        if self._state.holder is None and is_ours:
            return True
        if self._state.holder not in (None, self._engine, self._former):
            return False
        decision = claim(self._state, self._engine, self._clock.now(), self._slots)
        if decision is None:
            return False
        await self._at_once(decision)
        try:
            await self._append(decision.events)
        except (Conflict, NameTaken):
            return False
        self._start(decision.events)
        return True

    def _is_due(self) -> bool:
        at = self._state.runnable_at
        return at is not None and at <= self._clock.now()

    async def _step(self) -> bool:
        """Takes what is in the mailbox and goes on; waits where there is nothing. False when it is over for now."""
        self._wake.clear()
        if self._seen > self._version:
            await self._load()
        now = self._clock.now()
        taken, self._mailbox = self._mailbox, []
        inputs = [*taken, *self._due(now)]
        if inputs or self._is_new(now):
            decision = advance(self._state, self._epoch, inputs, now, may_start=self._may_start)
            if decision is not None and decision.events and not await self._record(decision, taken):
                return True
            is_whole = decision is None or not decision.is_cut
            self._decided = self._version if is_whole else _AGAIN
        if self._state.is_ended or not (self._may_start or self._state.running):
            return False
        return bool(self._mailbox) or self._is_called() or await self._wait()

    def _is_new(self, now: Instant) -> bool:
        """Since this run was last decided on, others have appended to it, or a time has come."""
        at = self._state.due_at
        return self._decided != self._version or (at is not None and at <= now)

    async def _record(self, decision: Decision, taken: list[Input]) -> bool:
        """Appends what was decided and starts what has begun; False where the stream has moved meanwhile."""
        opens = {it.signal: it.opens for it in taken if isinstance(it, Suspended) and it.signal and it.opens}
        await self._at_once(decision)
        try:
            await self._append(decision.events, opens)
        except Conflict as conflict:
            self._mailbox = taken + self._mailbox
            self._seen = max(self._seen, conflict.actual)
            return False
        self._start(decision.events)
        await self._keep(KEPT_EVENTS)
        return True

    async def _at_once(self, decision: Decision) -> None:
        """Goes on with what needs nobody to wait for it: instant components that have begun, and the turns of loops.
        What is left is for a later append, so that none grows without bound or keeps others waiting."""
        seen, size, until = 0, 0, time.monotonic() + _AT_ONCE_SECONDS
        while len(decision.events) < _AT_ONCE_EVENTS and size < _AT_ONCE_BYTES and time.monotonic() < until:
            fresh, seen = decision.events[seen:], len(decision.events)
            begun = [event.key for event in fresh if isinstance(event, events.ComponentStarted)]
            state = decision.state
            inputs = [] if state.is_paused or state.is_ended else self._attempts.due_inside(state)
            for key in begun:
                if key in state.running and self._attempts.is_instant(state, key):
                    inputs.append(await self._attempts.attempt(state, key))
            if not inputs:
                return
            size += sum(len(encode(each.output)) for each in inputs if isinstance(each, Completed))
            decision.go_on(inputs)

    def _is_called(self) -> bool:
        """There is more to decide at once."""
        state = self._state
        if state.is_paused:
            return False
        return self._decided == _AGAIN or bool(state.asking or state.finished or state.signalled)

    def _due(self, now: Instant) -> list[Input]:
        """What has come for components that wait: signals, and then times. While the run is paused, nothing has."""
        state = self._state
        if state.is_paused or state.is_ended:
            return []
        due = self._attempts.due_inside(state)
        due += [self._attempts.signal_due(state, key, signal) for key, signal in state.signalled]
        return due + [self._attempts.timer_due(state, key) for key, at in state.timers.items() if at <= now]

    async def _load(self) -> None:
        """Folds what is new in the stream."""
        known = self._state, self._version
        self._state, self._version = await self._patiently(lambda: self._log.load(self._stream, known))

    async def _append(self, decided: Sequence[Event], opens: Mapping[str, Opens] | None = None) -> None:
        """Appends durably, with what follows for other streams; while the store is away, tries again with the same
        ids. Raises `Conflict` where this stream has moved."""
        run = self._state.run
        append = StreamAppend(
            stream=self._stream,
            expected=self._version,
            state=self._state,
            events=tuple(NewEvent(self._clock.new_id(), event) for event in decided),
            organization_id=run.organization_id,
            workflow_id=run.workflow_id,
            execution_id=run.id,
        )
        async with self._consequences.turn(append):
            # The tail may tell of this append before its answer is here: that is no news.
            self._appending = self._version + len(decided)
            try:
                await self._append_all(append, opens)
            finally:
                self._appending = 0

    async def _append_all(self, append: StreamAppend, opens: Mapping[str, Opens] | None) -> None:
        metadata = Metadata(actor="system", correlation_id=self.id)
        while True:
            more = await self._patiently(lambda: self._consequences.of(append, opens))
            parts = (append, *more)
            try:
                done, *_ = await self._patiently(lambda parts=parts: self._log.append(parts, metadata))  # type: ignore[misc]
            except Conflict as conflict:
                if conflict.stream == self._stream:
                    raise
            else:
                self._state, self._version = done.state, done.version
                return

    async def _keep(self, least: int) -> None:
        """Keeps the fold where it has grown by `least` events, and by a quarter: all that is ever kept of a run is a
        few times as much as it has in the end. That it fails harms nobody."""
        if self._version - self._kept < max(least, self._kept // 4):
            return
        self._kept = self._version
        try:
            await self._log.keep(self._stream, self._state, self._version)
        except Exception as error:
            _logger.warning("run.fold_not_kept", execution_id=self.id, error=type(error).__name__)

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """What the store answers, however long it is away."""
        while True:
            try:
                return await work()
            except Unavailable as error:
                _logger.warning("run.store_unavailable", execution_id=self.id, error=str(error))
                await asyncio.sleep(_STORE_RETRY_SECONDS)

    def _start(self, decided: Sequence[Event]) -> None:
        """Runs what was just recorded as started, each beside the others."""
        for event in decided:
            if isinstance(event, events.ComponentStarted):
                key = event.key
                if key in self._state.running and key not in self._tasks:
                    self._tasks[key] = asyncio.create_task(self._perform(key), name=f"component {self.id}/{key}")
            elif isinstance(event, events.ComponentCancelled) and not self._state.is_ended:
                self._stop(event.key)

    def _stop(self, key: str) -> None:
        """Nobody waits any more for what this component comes to, while the run goes on."""
        task = self._tasks.pop(key, None)
        if task is not None:
            task.cancel()
            self._stopping.add(task)
            task.add_done_callback(self._stopping.discard)

    async def _perform(self, key: str) -> None:
        came = await self._attempts.attempt(self._state, key)
        if self._tasks.get(key) is not asyncio.current_task():
            return
        # Only now: while the component ran, the mailbox was emptied, and is another list.
        self._mailbox.append(came)
        del self._tasks[key]
        self._wake.set()

    async def _wait(self) -> bool:
        """Until something arrives or comes due. False where the run can be parked: nothing runs, nothing is near."""
        at = self._state.due_at if self._may_start else None
        left = seconds_between(self._clock.now(), at) if at is not None else None
        if not self._tasks and (left is None or left > SHORT_WAIT_SECONDS) and not self._wake.is_set():
            return False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left):
                await self._wake.wait()
        return True

    @property
    def _grace(self) -> float:
        if self._state.status is ExecutionStatus.TERMINATED:
            return 0.0
        return CANCEL_GRACE_SECONDS if self._state.is_ended else LEAVE_GRACE_SECONDS

    async def _let_go(self) -> None:
        """Tells components that still run to stop, and gives them some time to; of a terminated run, none."""
        tasks = [*self._tasks.values(), *self._stopping]
        for task in tasks:
            task.cancel()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self._grace)
            for task in late:
                _logger.warning("component.does_not_stop", execution_id=self.id, task=task.get_name())
