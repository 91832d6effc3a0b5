"""How the events of a run make its state.

`evolve` never changes the state it got: it copies the dicts once for each call and folds all facts into the copy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import structs

from executor.domain.definition import Graph
from executor.domain.events import ComponentFacts, Event, Fact, Stamp
from executor.domain.events import execution as events
from executor.domain.events import loop as loop_events
from executor.domain.execution import loops
from executor.domain.execution.parts import ComponentState, Header, Signal
from executor.domain.execution.state import State, copied
from executor.domain.values import ComponentStatus, ExecutionStatus, component_key, seconds_between, split_key


def evolve(state: State, facts: Sequence[Fact]) -> State:
    draft = copied(state)
    for fact in facts:
        apply(draft, fact.event, fact.stamp)
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
        triggered_by=event.triggered_by or event.created_by,
        parent=event.parent,
    )
    draft.graph = Graph(event.definition)
    draft.priority = event.priority
    _queue(draft, ExecutionStatus(event.status), stamp)
    _lay(draft)


def _queue(draft: State, status: ExecutionStatus, stamp: Stamp) -> None:
    draft.status = status
    draft.queued_at = stamp.time if status in (ExecutionStatus.PENDING, ExecutionStatus.QUEUED) else None


def _lay(draft: State) -> None:
    """Settles the connections of all components that have ended, and finds what is ready and what is dead."""
    draft.unsettled, draft.taken, draft.ready, draft.dead = {}, {}, {}, {}
    done = [known for known in draft.in_order() if known.status.is_settled and known.key in draft.map.components]
    draft.settled = len(done)
    for root in draft.map.roots:
        if not _is_settled(draft, root):
            is_start = draft.map.components[root].type == "start"
            (draft.ready if is_start else draft.dead)[root] = None
    for known in done:
        _settle(draft, known.id, known.taken)


def _claimed(draft: State, event: events.ExecutionStarted | events.ExecutionReclaimed, stamp: Stamp) -> None:
    """A new owner. What the former one was at is ready again, and will be another attempt."""
    if draft.started_at is None:
        draft.status, draft.started_at = ExecutionStatus.RUNNING, event.started_at or stamp.time
    if isinstance(event, events.ExecutionStarted):
        draft.slots = event.slot, event.concurrency_slot
    draft.engine, draft.epoch = event.engine, event.epoch
    draft.ready = {**draft.running, **draft.ready}
    draft.running = {}


def _paused(draft: State, event: events.ExecutionPaused, stamp: Stamp) -> None:
    draft.before_pause, draft.status, draft.paused_at = draft.status, ExecutionStatus.PAUSED, stamp.time
    draft.paused_by = event.paused_by


def _resumed(draft: State, event: events.ExecutionResumed, stamp: Stamp) -> None:
    if draft.paused_at is not None and draft.started_at is not None:
        draft.paused_seconds += seconds_between(draft.paused_at, stamp.time)
    draft.before_pause, draft.paused_at, draft.paused_by = None, None, None
    _queue(draft, ExecutionStatus(event.status), stamp)


def _signalled(draft: State, event: events.ExecutionSignalled, stamp: Stamp) -> None:
    signal = Signal(stamp.version, stamp.time, event.data)
    draft.signals[event.key] = (*draft.signals.get(event.key, ()), signal)


def _reprioritized(draft: State, event: events.ExecutionReprioritized, stamp: Stamp) -> None:
    draft.priority = event.priority


def _ended(draft: State, event: Event, stamp: Stamp) -> None:
    draft.completed_at, draft.before_pause, draft.paused_at, draft.paused_by = stamp.time, None, None, None
    draft.ready, draft.dead, draft.running, draft.timers, draft.waits, draft.retries = {}, {}, {}, {}, {}, {}
    for loop in list(draft.loops):
        loops.drop(draft, loop, keeps_outputs=True)
    match event:
        case events.ExecutionCompleted():
            draft.status, draft.results, draft.duration = ExecutionStatus.COMPLETED, event.results, event.duration
        case events.ExecutionFailed():
            draft.status, draft.failure, draft.duration = ExecutionStatus.FAILED, event.error, event.duration
        case events.ExecutionCancelled():
            draft.status, draft.duration = ExecutionStatus.CANCELLED, event.duration
            draft.cancelled_by, draft.reason = event.cancelled_by, event.reason
        case events.ExecutionTerminated():
            draft.status, draft.duration = ExecutionStatus.TERMINATED, event.duration
            draft.cancelled_by, draft.reason = event.terminated_by, event.reason


def _retried(draft: State, event: events.ExecutionRetried, stamp: Stamp) -> None:
    is_same = event.definition is None and event.parameters == draft.run.parameters
    draft.header = structs.replace(draft.run, workflow_version=event.workflow_version, parameters=event.parameters)
    if draft.run.parent is not None:
        draft.header = structs.replace(draft.run, parent=structs.replace(draft.run.parent, waits=False))
    if event.definition is not None:
        draft.graph = Graph(event.definition)
    draft.started_at, draft.completed_at, draft.duration, draft.paused_seconds = None, None, None, 0.0
    draft.results, draft.failure, draft.cancelled_by, draft.reason = None, None, None, None
    kept = set(event.kept)
    for known in [known for known in draft.in_order() if known.key in draft.map.components]:
        if known.id not in kept:
            _put(draft, _again(known, draft.map.components[known.id].type))
            if not (is_same and _goes_on(draft, known.id, event)):
                loops.forget_outputs(draft, known.id)
        elif known.id in event.taken:
            _put(draft, structs.replace(known, taken=event.taken[known.id]))
    _queue(draft, ExecutionStatus(event.status), stamp)
    _lay(draft)


def _goes_on(draft: State, id: str, event: events.ExecutionRetried) -> bool:
    """What this loop completed is as good as before: all before it is kept, and nobody asked for the whole of it."""
    return id != event.from_component and set(draft.map.sources(id)) <= set(event.kept)


def _again(known: ComponentState, type: str) -> ComponentState:
    """As if it had never run; but its attempts go on counting, so that no two of them are ever the same."""
    return ComponentState(
        id=known.id,
        type=type,
        sequence=known.sequence,
        iteration=known.iteration,
        status=ComponentStatus.PENDING,
        attempt=known.attempt,
        generation=known.generation + 1,
    )


def _is_settled(draft: State, id: str) -> bool:
    known = draft.components.get(id)
    return known is not None and known.status.is_settled


def _component(draft: State, event: ComponentFacts) -> ComponentState:
    known = draft.components.get(event.key)
    if known is not None:
        return known
    draft.begun += 1
    return ComponentState(
        id=event.component_id,
        type=event.component_type,
        sequence=draft.begun - 1,
        iteration=event.iteration,
        status=ComponentStatus.PENDING,
    )


def _put(draft: State, component: ComponentState) -> None:
    now = structs.replace(component, version=draft.version)
    draft.components[component.key] = draft.touched[component.key] = now


def _component_started(draft: State, event: events.ComponentStarted, stamp: Stamp) -> None:
    id, known = event.key, _component(draft, event)
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
    id = event.key
    for waiting in (draft.running, draft.timers, draft.waits, draft.retries, draft.ready, draft.dead):
        waiting.pop(id, None)
    if id in draft.loops:
        loops.drop(draft, id, keeps_outputs=changes["status"] is not ComponentStatus.COMPLETED)
    known = _component(draft, event)
    _put(draft, structs.replace(known, completed_at=stamp.time, duration=event.duration, **changes))
    draft.settled += not event.iteration
    _settle(draft, id, draft.components[id].taken)
    loops.settled(draft, id)


def _settle(draft: State, source: str, taken: tuple[int, ...]) -> None:
    """The source ended: its connections are settled, and with them perhaps what they lead to."""
    id, path = split_key(source)
    graph, followed = draft.map.home[id], frozenset(taken)
    for index in graph.outgoing[id]:
        aim = graph.connections[index].target
        target = component_key(aim, path)
        if _is_settled(draft, target):
            continue
        left = draft.unsettled.get(target, graph.inbound[aim]) - 1
        draft.unsettled[target] = left
        if index in followed:
            draft.taken[target] = draft.taken.get(target, 0) + 1
        if left == 0:
            del draft.unsettled[target]
            (draft.ready if draft.taken.pop(target, 0) else draft.dead)[target] = None


def _take_signal(draft: State, id: str) -> None:
    """What a component that waits for a signal comes to, it comes to by the first there is."""
    key = draft.waits.pop(id, None)
    if key is not None and key in draft.signals:
        _, *left = draft.signals.pop(key)
        if left:
            draft.signals[key] = tuple(left)


def _component_completed(draft: State, event: events.ComponentCompleted, stamp: Stamp) -> None:
    _take_signal(draft, event.key)
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
    _take_signal(draft, event.key)
    _component_ended(
        draft, event, stamp, status=ComponentStatus.FAILED, error=event.error, taken=event.taken, failures=failures
    )
    if not event.taken:
        loops.failed(draft, event.key, event.error)


def _component_skipped(draft: State, event: events.ComponentSkipped, stamp: Stamp) -> None:
    _component_ended(draft, event, stamp, status=ComponentStatus.SKIPPED)


def _component_cancelled(draft: State, event: events.ComponentCancelled, stamp: Stamp) -> None:
    _component_ended(draft, event, stamp, status=ComponentStatus.CANCELLED)


def _retry_scheduled(draft: State, event: events.ComponentRetryScheduled, stamp: Stamp) -> None:
    id = event.key
    _take_signal(draft, id)
    if id in draft.loops:
        loops.drop(draft, id, keeps_outputs=True)
    draft.running.pop(id, None)
    draft.timers.pop(id, None)
    draft.retries[id] = event.retry_at
    known = _component(draft, event)
    _put(draft, structs.replace(known, status=ComponentStatus.PENDING, error=event.error, failures=event.retry_count))


def _timer_scheduled(draft: State, event: events.TimerScheduled, stamp: Stamp) -> None:
    draft.running.pop(event.key, None)
    if event.fires_at is not None:
        draft.timers[event.key] = event.fires_at
    if event.signal is not None:
        draft.waits[event.key] = event.signal


def _timer_fired(draft: State, event: events.TimerFired, stamp: Stamp) -> None:
    draft.timers.pop(event.key, None)
    draft.waits.pop(event.key, None)
    draft.running[event.key] = None


def _nothing(draft: State, event: Event, stamp: Stamp) -> None:
    """A fact that changes nothing in the fold."""


_FOLDS: dict[type[Event], Callable[[State, Any, Stamp], None]] = {
    events.ExecutionCreated: _created,
    events.ExecutionStarted: _claimed,
    events.ExecutionReclaimed: _claimed,
    events.ExecutionPaused: _paused,
    events.ExecutionResumed: _resumed,
    events.ExecutionSignalled: _signalled,
    events.ExecutionReprioritized: _reprioritized,
    events.ExecutionRetried: _retried,
    events.ExecutionCompleted: _ended,
    events.ExecutionFailed: _ended,
    events.ExecutionCancelled: _ended,
    events.ExecutionTerminated: _ended,
    events.ComponentStarted: _component_started,
    events.ComponentCompleted: _component_completed,
    events.ComponentFailed: _component_failed,
    events.ComponentRetryScheduled: _retry_scheduled,
    events.ComponentSkipped: _component_skipped,
    events.ComponentCancelled: _component_cancelled,
    events.TimerScheduled: _timer_scheduled,
    events.TimerFired: _timer_fired,
    events.LogWritten: _nothing,
    loop_events.LoopStarted: loops.loop_started,
    loop_events.IterationCompleted: loops.iteration_completed,
    loop_events.IterationFailed: loops.iteration_failed,
}
