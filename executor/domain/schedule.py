"""A schedule: by which a workflow runs at its times. Its fold and its row; what may happen to it is in
`schedule_decide`.

When the next time is comes from outside (`executor/timetable.py`), since time zones are no pure thing; each event
says it, so that the row follows from the log alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, ClassVar, Final, NamedTuple

import msgspec
from msgspec import Struct, structs

from executor.domain.aggregate import Aggregate, Row
from executor.domain.events import Event, Fact, Stamp
from executor.domain.events import schedule as events
from executor.domain.events.schedule import CatchUp, Overlap, ScheduleFacts
from executor.domain.secrets import redact
from executor.domain.values import Instant

STREAMS: Final = "schedule:"


class Status(StrEnum):
    """`finished`: no time is left."""

    ACTIVE = "active"
    PAUSED = "paused"
    FINISHED = "finished"
    DELETED = "deleted"


class Next(NamedTuple):
    """The next time, and when it runs; both null where none is left."""

    time: Instant | None
    run_at: Instant | None


class Turn(NamedTuple):
    """What the timetable says of a schedule that is due: the time that `runs`, if one does, and the first of those
    that were `missed`, up to before `until` (null: all that there were)."""

    runs: Instant | None
    missed: Instant | None
    until: Instant | None
    next: Next


class Skipped(Struct, frozen=True, kw_only=True):
    scheduled_time: Instant
    reason: str
    message: str


class State(Struct, frozen=True, kw_only=True):
    """The fields of `ScheduleFacts`, and what became of them. `last_time` is the latest that ran or was skipped: none
    before it comes again. `current` is the execution that was started last, `queue` those that wait for it."""

    id: str = ""
    organization_id: str = ""
    name: str = ""
    workflow_id: str = ""
    description: str | None = None
    cron: str | None = None
    interval_seconds: int | None = None
    anchor: Instant = Instant("")
    timezone: str = "UTC"
    parameters: dict[str, Any] = {}
    priority: int | None = None
    tags: tuple[str, ...] = ()
    project_id: str | None = None
    overlap_policy: str = str(Overlap.SKIP)
    queue_limit: int = 100
    catch_up: str = str(CatchUp.LATEST)
    catch_up_window_seconds: int = 86_400
    jitter_seconds: int = 0
    start_at: Instant | None = None
    end_at: Instant | None = None
    next_time: Instant | None = None
    next_run_at: Instant | None = None
    is_paused: bool = False
    pause_reason: str | None = None
    is_deleted: bool = False
    last_time: Instant = Instant("")
    current: str | None = None
    queue: tuple[str, ...] = ()
    run_count: int = 0
    last_run_at: Instant | None = None
    last_execution_id: str | None = None
    last_skipped: Skipped | None = None
    created_by: str = ""
    created_at: Instant = Instant("")
    updated_at: Instant = Instant("")
    version: int = 0

    @property
    def is_there(self) -> bool:
        return self.version > 0 and not self.is_deleted

    @property
    def status(self) -> Status:
        if self.is_deleted:
            return Status.DELETED
        if self.is_paused:
            return Status.PAUSED
        return Status.ACTIVE if self.next_time is not None else Status.FINISHED

    @property
    def executions(self) -> tuple[str, ...]:
        """Those that may still run or wait, in order."""
        return (self.current, *self.queue) if self.current is not None else self.queue

    def is_due(self, now: Instant) -> bool:
        is_on = self.is_there and not self.is_paused
        return is_on and self.next_run_at is not None and self.next_run_at <= now


class ScheduleView(Struct, frozen=True, kw_only=True):
    """A schedule as clients see it, without its secrets."""

    id: str
    name: str
    description: str | None
    workflow_id: str
    cron: str | None
    interval_seconds: int | None
    timezone: str
    parameters: dict[str, Any]
    priority: int | None
    tags: tuple[str, ...]
    project_id: str | None
    overlap_policy: str
    queue_limit: int
    catch_up: str
    catch_up_window_seconds: int
    jitter_seconds: int
    start_at: Instant | None
    end_at: Instant | None
    status: str
    paused: bool
    pause_reason: str | None
    next_run_at: Instant | None
    last_run_at: Instant | None
    last_execution_id: str | None
    last_skipped: Skipped | None
    run_count: int
    queued_count: int
    created_by: str
    created_at: Instant
    updated_at: Instant


class ScheduleRow(Row, frozen=True, kw_only=True):
    """`runs` is the workflow's id, `waits_for` the execution that those in the queue wait for. The document is the
    whole state, so that a schedule that has run a million times need not be folded from its beginning."""

    table: ClassVar[str] = "schedules"
    id: str
    organization_id: str
    runs: str
    status: str
    search: str
    next_run_at: Instant | None
    waits_for: str | None
    created_at: Instant
    updated_at: Instant
    version: int
    document: bytes


FIELDS: Final = ScheduleFacts.__struct_fields__


def stream(id: str) -> str:
    return f"{STREAMS}{id}"


def evolve(state: State, facts: Sequence[Fact]) -> State:
    for event, stamp in facts:
        state = structs.replace(_fold(state, event, stamp), version=stamp.version, updated_at=stamp.time)
    return state


def _fold(state: State, event: Event, stamp: Stamp) -> State:
    match event:
        case events.ScheduleCreated():
            born = State(
                id=stamp.id,
                organization_id=stamp.organization_id,
                is_paused=event.is_paused,
                created_by=stamp.actor.rpartition(":")[2],
                created_at=stamp.time,
            )
            return structs.replace(born, **_facts(event))
        case events.ScheduleUpdated():
            return structs.replace(state, **_facts(event))
        case events.SchedulePaused():
            return structs.replace(state, is_paused=True, pause_reason=event.reason, next_time=None, next_run_at=None)
        case events.ScheduleResumed():
            return structs.replace(
                state,
                is_paused=False,
                pause_reason=None,
                next_time=event.next_time,
                next_run_at=event.next_run_at,
            )
        case events.ScheduleFired():
            return _fired(state, event, stamp)
        case events.ScheduleReleased():
            return _released(state, event)
        case events.ScheduleSkipped():
            return _skipped(state, event)
        case events.ScheduleDeleted():
            return structs.replace(state, is_deleted=True, current=None, queue=(), next_time=None, next_run_at=None)
    raise TypeError(f"a schedule does not fold {event.type}")


def _facts(event: ScheduleFacts) -> dict[str, Any]:
    return {name: getattr(event, name) for name in FIELDS}


def _fired(state: State, event: events.ScheduleFired, stamp: Stamp) -> State:
    queue = tuple(id for id in state.queue if id not in event.cancelled)
    return structs.replace(
        state,
        current=state.current if event.waits else event.execution_id,
        queue=(*queue, event.execution_id) if event.waits else queue,
        run_count=state.run_count + 1,
        last_run_at=stamp.time,
        last_execution_id=event.execution_id,
        last_time=state.last_time if event.is_manual else max(state.last_time, event.scheduled_time),
        next_time=event.next_time,
        next_run_at=event.next_run_at,
    )


def _released(state: State, event: events.ScheduleReleased) -> State:
    """Those before the one that starts are gone."""
    if event.execution_id not in state.queue:
        return structs.replace(state, current=None, queue=())
    position = state.queue.index(event.execution_id)
    return structs.replace(state, current=event.execution_id, queue=state.queue[position + 1 :])


def _skipped(state: State, event: events.ScheduleSkipped) -> State:
    skipped = Skipped(scheduled_time=event.scheduled_time, reason=event.reason, message=event.message)
    return structs.replace(
        state,
        last_skipped=skipped,
        last_time=max(state.last_time, event.scheduled_time),
        next_time=event.next_time,
        next_run_at=event.next_run_at,
    )


def view(state: State) -> ScheduleView:
    fields: dict[str, Any] = {name: getattr(state, name, None) for name in ScheduleView.__struct_fields__}
    fields |= {"status": str(state.status), "paused": state.is_paused, "queued_count": len(state.queue)}
    fields["parameters"] = redact(state.parameters)
    return ScheduleView(**fields)


def rows(before: State, after: State) -> Sequence[Row]:
    return (
        ScheduleRow(
            id=after.id,
            organization_id=after.organization_id,
            runs=after.workflow_id,
            status=str(after.status),
            search=f"{after.name}\n{after.description or ''}".lower(),
            next_run_at=after.next_run_at,
            waits_for=after.current if after.queue else None,
            created_at=after.created_at,
            updated_at=after.updated_at,
            version=after.version,
            document=msgspec.json.encode(after),
        ),
    )


def state_of(row: ScheduleRow) -> State:
    """The fold at the row's version. Raises `msgspec.DecodeError` for a row of another version of the program."""
    return msgspec.json.decode(row.document, type=State)


def names(state: State) -> tuple[str, ...]:
    """The name is unique in its organization until the schedule is deleted."""
    return (f"schedule:{state.organization_id}:{state.name}",) if state.is_there else ()


AGGREGATE: Aggregate[State] = Aggregate(
    prefix="schedule", initial=State, evolve=evolve, rows=rows, names=names, kinds=(ScheduleRow,)
)
