"""Schedules and their executions: what happens to one happens to the other in the same append.

An execution's id follows from its schedule and its time, and what a schedule becomes is decided at the version that
was looked at: so several may fire the same schedules at once, or die in the middle of it, and each time has one
execution, or says why it has none. Whoever comes too late finds that nothing is left to do.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from executor.consequences import Consequences
from executor.domain import schedule, workflow
from executor.domain import schedule_decide as decider
from executor.domain.errors import Invalid, NotFound, Refusal, ResourceConflict, Unavailable
from executor.domain.events import Event
from executor.domain.events.schedule import Overlap, ScheduleFired, SkipReason
from executor.domain.execution.decide import Creation, decide_create
from executor.domain.execution.lifecycle import decide_cancel, decide_start
from executor.domain.execution.rows import ExecutionRow
from executor.domain.execution.state import State as Execution
from executor.domain.execution.state import initial
from executor.domain.schedule import ScheduleRow, State
from executor.domain.schedule_decide import Found, Refused
from executor.domain.values import ExecutionStatus, Instant, derived_id, ulid_time
from executor.ports import (
    NEW,
    Appended,
    Clock,
    Conflict,
    EventLog,
    In,
    Metadata,
    NewEvent,
    Reads,
    RowQuery,
    StreamAppend,
)
from executor.secrets import Opener
from executor.timetable import turn
from executor.workflows import creation_of

_ATTEMPTS: Final = 20
_MOST_TURNS: Final = 100
_READ_AT_ONCE: Final = 500


class _Runnable(NamedTuple):
    """A schedule's workflow as it is, and why it cannot run, if it cannot."""

    known: workflow.State
    version: int
    creation: Creation | None
    refusal: Refusal | None


class Firing:
    """Every command raises `Unavailable`, also where something keeps changing under it."""

    def __init__(self, log: EventLog, reads: Reads, sealer: Opener, clock: Clock, consequences: Consequences) -> None:
        self._log, self._reads, self._sealer, self._clock = log, reads, sealer, clock
        self._consequences = consequences

    async def due(self, id: str) -> bool:
        """Runs or skips the times of a schedule that have come; nothing where none has. Of very many only the first:
        then it answers that there are more."""
        for _ in range(_MOST_TURNS):
            if not await self._one_due(id):
                return False
        return True

    async def _one_due(self, id: str) -> bool:
        for _ in range(_ATTEMPTS):
            state, version = await self.load(id)
            now = self._clock.now()
            if not state.is_due(now) or state.next_time is None:
                return False
            what = turn(state, state.next_time, now, state.catch_up, state.catch_up_window_seconds)
            runnable = await self._runnable(state)
            found = Found(live=await self._in_the_way(state), refused=_refused(runnable.refusal))
            execution_id = _execution_id(id, what.runs or state.next_time)
            decided = decider.decide_due(state, what, found, execution_id)
            if await self._fired(state, version, decided, runnable, Metadata()):
                return True
        raise _moving(id)

    async def trigger(self, id: str, organization_id: str, metadata: Metadata) -> Execution:
        """A new execution, now. Raises `NotFound`, `Invalid` for its parameters, and `ResourceConflict` where the
        workflow does not run or the overlap policy says no."""
        for _ in range(_ATTEMPTS):
            state, version = await self._owned(id, organization_id)
            runnable = await self._runnable(state)
            if runnable.refusal is not None:
                raise _told(runnable.refusal)
            live = await self._in_the_way(state)
            decided = decider.decide_trigger(state, self._clock.now(), live, self._clock.new_id())
            if appended := await self._fired(state, version, decided, runnable, metadata):
                execution: Execution = appended[1].state
                return execution
        raise _moving(id)

    async def release(self, id: str) -> str | None:
        """Starts the first of a schedule's queue where nothing before it is left; else answers what it waits for."""
        for _ in range(_ATTEMPTS):
            state, version = await self.load(id)
            if not state.queue:
                return None
            decided = decider.decide_release(state, await self._live(state.executions))
            if not decided:
                return state.current
            streams = [self._append_to(state, version, decided)]
            first = decided[0].execution_id
            if first is not None:
                execution, at = await self._log.load(f"execution:{first}")
                if execution.is_paused and execution.started_at is None:
                    return first
                streams.append(self._start(execution, at, state))
            if await self._appended(streams, Metadata()):
                return first
        raise _moving(id)

    async def delete(self, id: str, organization_id: str, metadata: Metadata) -> None:
        """No time comes any more, and what waits in its queue is cancelled; what runs goes on. Raises `NotFound`."""
        for _ in range(_ATTEMPTS):
            state, version = await self._owned(id, organization_id)
            streams = [self._append_to(state, version, decider.decide_delete(state))]
            streams += await self._cancelled(state.queue, state, "the schedule was deleted")
            if await self._appended(streams, metadata):
                return
        raise _moving(id)

    async def _fired(
        self, state: State, version: int, decided: Sequence[Event], runnable: _Runnable, metadata: Metadata
    ) -> tuple[Appended, ...]:
        """Appends what was decided with all that belongs to it; empty where something moved meanwhile."""
        streams = [self._append_to(state, version, decided)]
        for fired in decided:
            if isinstance(fired, ScheduleFired) and runnable.creation is not None:
                streams.append(self._create(state, fired, runnable.creation))
                streams.append(_unchanged(state, runnable))
                reason = f"the schedule '{state.name}' started the next one"
                streams += await self._cancelled(fired.cancelled, state, reason)
        return await self._appended(streams, metadata)

    def _create(self, state: State, fired: ScheduleFired, creation: Creation) -> StreamAppend:
        """What waits in the queue waits for us to start it, whatever the time."""
        at = None if fired.waits else fired.scheduled_time
        unborn = initial()
        events = decide_create(unborn, creation._replace(scheduled_at=at, is_held=fired.waits), self._clock.now())
        return self._execution(fired.execution_id, NEW, unborn, events, state)

    def _start(self, execution: Execution, version: int, state: State) -> StreamAppend:
        """What somebody has started already only has to stay what it is."""
        is_held = execution.status is ExecutionStatus.PENDING
        events = decide_start(execution, state.id, self._clock.now()) if is_held else []
        return self._execution(execution.run.id, version, execution, events, state)

    async def _cancelled(self, ids: Iterable[str], state: State, reason: str) -> list[StreamAppend]:
        """The ends of executions, and of what they opened."""
        streams: dict[str, StreamAppend] = {}
        for id in ids:
            execution, version = await self._log.load(f"execution:{id}")
            if execution.status is not None and not execution.is_ended:
                events = decide_cancel(execution, state.id, reason, self._clock.now())
                end = self._execution(id, version, execution, events, state)
                streams |= {each.stream: each for each in (end, *await self._consequences.of(end))}
        return list(streams.values())

    async def _runnable(self, state: State) -> _Runnable:
        known, version = await self._log.load(f"workflow:{state.workflow_id}")
        try:
            creation = await creation_of(
                self._sealer,
                known,
                state.parameters,
                priority=state.priority,
                tags=state.tags,
                project_id=state.project_id,
                created_by=state.id,
                triggered_by=schedule.stream(state.id),
                keeps_sealed=True,
            )
        except Refusal as refusal:
            return _Runnable(known, version, None, refusal)
        return _Runnable(known, version, creation, None)

    async def _in_the_way(self, state: State) -> tuple[str, ...]:
        """The executions that are live, as far as the overlap policy cares. A queue with room counts as it is: where
        somebody has cancelled all of it, the next one is released at once."""
        if state.overlap_policy == Overlap.ALLOW:
            return ()
        if state.overlap_policy == Overlap.QUEUE and 0 < len(state.queue) < state.queue_limit:
            return state.executions
        return await self._live(state.executions)

    async def _live(self, ids: tuple[str, ...]) -> tuple[str, ...]:
        found: set[str] = set()
        for start in range(0, len(ids), _READ_AT_ONCE):
            some = ids[start : start + _READ_AT_ONCE]
            rows = await self._reads.find(ExecutionRow, RowQuery(where=(In("id", some),), limit=len(some)))
            found.update(row.id for row in rows if not ExecutionStatus(row.status).is_ended)
        return tuple(id for id in ids if id in found)

    async def load(self, id: str) -> tuple[State, int]:
        """A schedule's fold and its version, from its row on. An id that nothing has gives what is not there."""
        row = await self._reads.get(ScheduleRow, id)
        known: tuple[State, int] | None = None
        if row is not None:
            with contextlib.suppress(msgspec.DecodeError):
                known = schedule.state_of(row), row.version
        state, version = await self._log.load(schedule.stream(id), known)
        return state, version

    async def _owned(self, id: str, organization_id: str) -> tuple[State, int]:
        state, version = await self.load(id)
        if not state.is_there or state.organization_id != organization_id:
            raise NotFound("schedule", id)
        return state, version

    def _append_to(self, state: State, version: int, decided: Sequence[Event]) -> StreamAppend:
        return StreamAppend(
            stream=schedule.stream(state.id),
            expected=version,
            state=state,
            events=self._named(decided),
            organization_id=state.organization_id,
            workflow_id=state.workflow_id,
        )

    def _execution(
        self, id: str, version: int, execution: Execution, events: Sequence[Event], state: State
    ) -> StreamAppend:
        return StreamAppend(
            stream=f"execution:{id}",
            expected=version,
            state=execution,
            events=self._named(events),
            organization_id=state.organization_id,
            workflow_id=state.workflow_id if version == NEW else execution.run.workflow_id,
            execution_id=id,
        )

    def _named(self, events: Sequence[Event]) -> tuple[NewEvent, ...]:
        return tuple(NewEvent(self._clock.new_id(), event) for event in events)

    async def _appended(self, streams: Sequence[StreamAppend], metadata: Metadata) -> tuple[Appended, ...]:
        try:
            return await self._log.append(streams, metadata)
        except Conflict:
            return ()


def _execution_id(schedule_id: str, at: Instant) -> str:
    """A ULID of the time, so that executions of a time sort beside others of then; one for each schedule and time."""
    return derived_id(ulid_time(at), schedule_id, at)


def _unchanged(state: State, runnable: _Runnable) -> StreamAppend:
    return StreamAppend(
        stream=f"workflow:{state.workflow_id}",
        expected=runnable.version,
        state=runnable.known,
        events=(),
        organization_id=state.organization_id,
        workflow_id=state.workflow_id,
    )


def _refused(refusal: Refusal | None) -> Refused | None:
    """As the log says it. A deleted workflow never comes back."""
    if refusal is None:
        return None
    if isinstance(refusal, Invalid):
        return Refused(SkipReason.PARAMETERS, str(refusal))
    if isinstance(refusal, NotFound):
        return Refused(SkipReason.WORKFLOW, "the workflow was deleted", is_final=True)
    return Refused(SkipReason.WORKFLOW, str(refusal))


def _told(refusal: Refusal) -> Refusal:
    """As whoever asks for an execution hears it: it is the schedule that was found, and not its workflow."""
    if isinstance(refusal, NotFound):
        return ResourceConflict("the workflow was deleted; give the schedule another one", "workflow_id")
    return refusal


def _moving(id: str) -> Unavailable:
    return Unavailable(f"the schedule '{id}' is changing too fast; try again")
