"""A run as the fold of its events, by the rule of settled connections.

A connection is settled when its source ended; it was then taken, or it is dead. A component is ready when every
connection into it is settled and at least one was taken; with none taken it is dead, will be skipped, and so on down.
That one rule serves forks, joins, choices, merges, and error connections.

`evolve` never changes the state it got: it copies the dicts once for each call and folds all facts into the copy.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct, structs

from executor.domain.definition import Graph
from executor.domain.events import ComponentFacts, Event, Fact, Failure, Stamp
from executor.domain.events import execution as events
from executor.domain.values import ComponentStatus, ExecutionStatus, Instant, Progress, plus, seconds_between


class ComponentState(Struct, frozen=True, kw_only=True):
    """One component of a run. `attempt` counts starts; `failures` only those that ended in failure. `version` is the
    stream's as of the last fact about it, however many facts came together."""

    id: str
    type: str
    sequence: int
    iteration: str = ""
    status: ComponentStatus
    attempt: int = 0
    failures: int = 0
    generation: int = 0
    input_data: Any = None
    output_data: Any = None
    error: Failure | None = None
    started_at: Instant | None = None
    first_started_at: Instant | None = None
    completed_at: Instant | None = None
    duration: float | None = None
    taken: tuple[int, ...] = ()
    version: int = 0


class Header(Struct, frozen=True, kw_only=True):
    """What never changes in a run."""

    id: str
    organization_id: str
    workflow_id: str
    workflow_name: str
    workflow_version: int
    workflow_status: str
    parameters: dict[str, Any]
    tags: tuple[str, ...]
    project_id: str | None
    scheduled_at: Instant | None
    created_by: str
    created_at: Instant


class State:
    """The fold. `ready`, `dead`, `running`, `timers` and `retries` say what can happen next; dicts keep order.

    `running` are components that an engine is at; `timers` those that wait for a time; `retries` those that wait for
    their next attempt. `touched` are the components that the last call of `evolve` changed.
    """

    __slots__ = (
        "cancelled_by",
        "completed_at",
        "components",
        "dead",
        "duration",
        "engine",
        "epoch",
        "failure",
        "graph",
        "header",
        "priority",
        "ready",
        "reason",
        "results",
        "retries",
        "running",
        "settled",
        "started_at",
        "status",
        "taken",
        "timers",
        "touched",
        "unsettled",
        "updated_at",
        "version",
    )

    def __init__(self) -> None:
        self.header: Header | None = None
        self.graph: Graph | None = None
        self.status: ExecutionStatus | None = None
        self.priority = 5
        self.version = 0
        self.engine: str | None = None
        self.epoch = 0
        self.started_at: Instant | None = None
        self.completed_at: Instant | None = None
        self.updated_at: Instant | None = None
        self.duration: float | None = None
        self.results: dict[str, Any] | None = None
        self.failure: Failure | None = None
        self.cancelled_by: str | None = None
        self.reason: str | None = None
        self.settled = 0
        self.components: dict[str, ComponentState] = {}
        self.unsettled: dict[str, int] = {}
        self.taken: dict[str, int] = {}
        self.ready: dict[str, None] = {}
        self.dead: dict[str, None] = {}
        self.running: dict[str, None] = {}
        self.timers: dict[str, Instant] = {}
        self.retries: dict[str, Instant] = {}
        self.touched: dict[str, None] = {}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, State):
            return NotImplemented
        return all(
            getattr(self, name) == getattr(other, name) for name in self.__slots__ if name not in ("graph", "touched")
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def run(self) -> Header:
        """The header of a run that exists."""
        if self.header is None:
            raise LookupError("the execution does not exist")
        return self.header

    @property
    def map(self) -> Graph:
        """The graph of a run that exists."""
        if self.graph is None:
            raise LookupError("the execution does not exist")
        return self.graph

    @property
    def is_ended(self) -> bool:
        return self.status is not None and self.status.is_ended

    @property
    def is_busy(self) -> bool:
        """Something is ready or in an engine's hands: the run needs an owner now."""
        return bool(self.ready or self.dead or self.running)

    @property
    def holder(self) -> str | None:
        """The engine that is at a component of the run now; where there is none, any engine may take what is due."""
        return self.engine if self.running else None

    @property
    def deadline(self) -> Instant | None:
        limit = self.map.definition.max_execution_time
        return plus(self.started_at, limit) if limit is not None and self.started_at is not None else None

    @property
    def due_at(self) -> Instant | None:
        """The earliest time at which something happens by itself: a timer, a next attempt, the run's deadline."""
        times = [*self.timers.values(), *self.retries.values()]
        if self.deadline is not None:
            times.append(self.deadline)
        return min(times, default=None)

    @property
    def runnable_at(self) -> Instant | None:
        """When an engine should next look at this run: now if something can happen, else when it is due."""
        if self.is_ended or self.status is None:
            return None
        if self.status is ExecutionStatus.PENDING:
            return self.run.scheduled_at
        return self.updated_at if self.started_at is None or self.is_busy else self.due_at

    @property
    def progress(self) -> Progress:
        total = len(self.map.components)
        percentage = 100 if self.status is ExecutionStatus.COMPLETED else self.settled * 100 // total
        current = next(reversed(self.running), None) or next(reversed(self.timers), None)
        return Progress(
            current_component=current,
            completed_components=self.settled,
            total_components=total,
            percentage=percentage,
        )

    def elapsed(self, now: Instant) -> float | None:
        """Seconds that the run took until its end, or until now; None before it started."""
        if self.duration is not None or self.started_at is None:
            return self.duration
        return seconds_between(self.started_at, self.completed_at or now)


def initial() -> State:
    return State()


def evolve(state: State, facts: Sequence[Fact]) -> State:
    draft = copied(state)
    for fact in facts:
        apply(draft, fact.event, fact.stamp)
    return draft


def copied(state: State) -> State:
    """A state of its own to fold into, with nothing touched yet."""
    draft = copy.copy(state)
    for name in ("components", "unsettled", "taken", "ready", "dead", "running", "timers", "retries"):
        setattr(draft, name, getattr(state, name).copy())
    draft.touched = {}
    return draft


def apply(draft: State, event: Event, stamp: Stamp) -> None:
    """Folds one fact into a draft, in place."""
    draft.version = stamp.version
    draft.updated_at = stamp.time
    _FOLDS[type(event)](draft, event, stamp)


def _created(draft: State, event: events.ExecutionCreated, stamp: Stamp) -> None:
    draft.header = Header(
        id=stamp.id,
        organization_id=stamp.organization_id,
        workflow_id=event.workflow_id,
        workflow_name=event.workflow_name,
        workflow_version=event.workflow_version,
        workflow_status=event.workflow_status,
        parameters=event.parameters,
        tags=event.tags,
        project_id=event.project_id,
        scheduled_at=event.scheduled_at,
        created_by=event.created_by,
        created_at=stamp.time,
    )
    draft.graph = Graph(event.definition)
    draft.status = ExecutionStatus(event.status)
    draft.priority = event.priority
    for root in draft.graph.roots:
        is_start = draft.graph.components[root].type == "start"
        (draft.ready if is_start else draft.dead)[root] = None


def _claimed(draft: State, event: events.ExecutionStarted | events.ExecutionReclaimed, stamp: Stamp) -> None:
    """A new owner. What the former one was at is ready again, and will be another attempt."""
    if draft.started_at is None:
        draft.status, draft.started_at = ExecutionStatus.RUNNING, event.started_at or stamp.time
    draft.engine, draft.epoch = event.engine, event.epoch
    draft.ready = {**draft.running, **draft.ready}
    draft.running = {}


def _ended(draft: State, event: Event, stamp: Stamp) -> None:
    draft.completed_at = stamp.time
    draft.ready, draft.dead, draft.running, draft.timers, draft.retries = {}, {}, {}, {}, {}
    match event:
        case events.ExecutionCompleted():
            draft.status, draft.results, draft.duration = ExecutionStatus.COMPLETED, event.results, event.duration
        case events.ExecutionFailed():
            draft.status, draft.failure, draft.duration = ExecutionStatus.FAILED, event.error, event.duration
        case events.ExecutionCancelled():
            draft.status, draft.duration = ExecutionStatus.CANCELLED, event.duration
            draft.cancelled_by, draft.reason = event.cancelled_by, event.reason


def _component(draft: State, event: ComponentFacts) -> ComponentState:
    known = draft.components.get(event.component_id)
    return known or ComponentState(
        id=event.component_id,
        type=event.component_type,
        sequence=len(draft.components),
        status=ComponentStatus.PENDING,
    )


def _put(draft: State, component: ComponentState) -> None:
    draft.components[component.id] = structs.replace(component, version=draft.version)
    draft.touched[component.id] = None


def _component_started(draft: State, event: events.ComponentStarted, stamp: Stamp) -> None:
    id, known = event.component_id, _component(draft, event)
    draft.ready.pop(id, None)
    draft.retries.pop(id, None)
    draft.running[id] = None
    _put(
        draft,
        structs.replace(
            known,
            status=ComponentStatus.RUNNING,
            attempt=event.attempt,
            generation=event.generation,
            input_data=event.input_data,
            started_at=event.started_at or stamp.time,
            first_started_at=known.first_started_at or event.started_at or stamp.time,
        ),
    )


def _component_ended(draft: State, event: ComponentFacts, stamp: Stamp, **changes: Any) -> None:
    id = event.component_id
    for waiting in (draft.running, draft.timers, draft.retries, draft.ready, draft.dead):
        waiting.pop(id, None)
    known = _component(draft, event)
    _put(draft, structs.replace(known, completed_at=stamp.time, duration=event.duration, **changes))
    draft.settled += 1
    _settle(draft, id, draft.components[id].taken)


def _settle(draft: State, source: str, taken: tuple[int, ...]) -> None:
    """The source ended: its connections are settled, and with them perhaps what they lead to."""
    graph = draft.map
    for index in graph.outgoing[source]:
        target = graph.connections[index].target
        left = draft.unsettled.get(target, graph.inbound[target]) - 1
        draft.unsettled[target] = left
        if index in taken:
            draft.taken[target] = draft.taken.get(target, 0) + 1
        if left == 0:
            (draft.ready if draft.taken.get(target) else draft.dead)[target] = None


def _component_completed(draft: State, event: events.ComponentCompleted, stamp: Stamp) -> None:
    _component_ended(
        draft,
        event,
        stamp,
        status=ComponentStatus.COMPLETED,
        output_data=event.output_data,
        taken=event.taken,
        error=None,
    )


def _component_failed(draft: State, event: events.ComponentFailed, stamp: Stamp) -> None:
    failures = event.retry_count + 1
    _component_ended(
        draft, event, stamp, status=ComponentStatus.FAILED, error=event.error, taken=event.taken, failures=failures
    )
    if not event.taken and draft.failure is None:
        draft.failure = event.error


def _component_skipped(draft: State, event: events.ComponentSkipped, stamp: Stamp) -> None:
    _component_ended(draft, event, stamp, status=ComponentStatus.SKIPPED)


def _component_cancelled(draft: State, event: events.ComponentCancelled, stamp: Stamp) -> None:
    _component_ended(draft, event, stamp, status=ComponentStatus.CANCELLED)


def _retry_scheduled(draft: State, event: events.ComponentRetryScheduled, stamp: Stamp) -> None:
    draft.running.pop(event.component_id, None)
    draft.retries[event.component_id] = event.retry_at
    known = _component(draft, event)
    _put(draft, structs.replace(known, status=ComponentStatus.PENDING, error=event.error, failures=event.retry_count))


def _timer_scheduled(draft: State, event: events.TimerScheduled, stamp: Stamp) -> None:
    draft.running.pop(event.component_id, None)
    draft.timers[event.component_id] = event.fires_at


def _timer_fired(draft: State, event: events.TimerFired, stamp: Stamp) -> None:
    draft.timers.pop(event.component_id, None)
    draft.running[event.component_id] = None


def _nothing(draft: State, event: Event, stamp: Stamp) -> None:
    """A fact that changes nothing in the fold."""


_FOLDS: dict[type[Event], Callable[[State, Any, Stamp], None]] = {
    events.ExecutionCreated: _created,
    events.ExecutionStarted: _claimed,
    events.ExecutionReclaimed: _claimed,
    events.ExecutionCompleted: _ended,
    events.ExecutionFailed: _ended,
    events.ExecutionCancelled: _ended,
    events.ComponentStarted: _component_started,
    events.ComponentCompleted: _component_completed,
    events.ComponentFailed: _component_failed,
    events.ComponentRetryScheduled: _retry_scheduled,
    events.ComponentSkipped: _component_skipped,
    events.ComponentCancelled: _component_cancelled,
    events.TimerScheduled: _timer_scheduled,
    events.TimerFired: _timer_fired,
    events.LogWritten: _nothing,
}
