"""What people and clients may do to a run: pause it and let it go on, signal it, end it. Commands in, events out.

None of these starts a component: that is for the engine that has the run, or takes it. What does not go with the
run's status is refused, and the refusal names the status.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from executor.domain.errors import ResourceConflict
from executor.domain.events import Event
from executor.domain.events import execution as events
from executor.domain.execution.decision import Decision, illegal
from executor.domain.execution.state import State
from executor.domain.values import ExecutionStatus, Instant

MOST_SIGNALS: Final = 1000
"""How many signals a run keeps that nobody took."""
MOST_SIGNAL_BYTES: Final = 8 * 1024 * 1024
"""And how much they say together before no other is taken."""

_QUEUED: Final = (ExecutionStatus.PENDING, ExecutionStatus.QUEUED)


def decide_pause(state: State, by: str, reason: str | None, now: Instant) -> list[Event]:
    """What runs may finish; nothing starts until the run is resumed. It may be paused before it starts as well."""
    if state.is_ended or state.is_paused:
        raise illegal(state, "paused")
    facts = Decision(state, now).facts() | {"status": ExecutionStatus.PAUSED}
    return [events.ExecutionPaused(**facts, paused_by=by, reason=reason)]


def decide_resume(state: State, by: str, reason: str | None, now: Instant) -> list[Event]:
    """The run goes on where it was. What came due in the meantime is due now."""
    if not state.is_paused or state.before_pause is None:
        raise illegal(state, "resumed")
    facts = Decision(state, now).facts() | {"status": state.before_pause}
    return [events.ExecutionResumed(**facts, resumed_by=by, reason=reason)]


def decide_start(state: State, by: str, now: Instant) -> list[Event]:
    """A run that was created to be started by somebody, or that has its time before it, enters the queue."""
    if state.status is not ExecutionStatus.PENDING:
        raise illegal(state, "started")
    facts = Decision(state, now).facts() | {"status": ExecutionStatus.QUEUED}
    return [events.ExecutionResumed(**facts, resumed_by=by)]


def decide_reprioritize(state: State, priority: int, by: str, now: Instant) -> list[Event]:
    """Only before it starts: then priority has had its say. The same priority again changes nothing."""
    if state.status not in _QUEUED:
        raise illegal(state, "given another priority")
    if priority == state.priority:
        return []
    facts = Decision(state, now).facts() | {"priority": priority}
    return [events.ExecutionReprioritized(**facts, former_priority=state.priority, changed_by=by)]


def decide_signal(state: State, key: str, data: Any, now: Instant) -> list[Event]:
    """For the component that waits for `key`, or for the next one that will: also while the run is paused or waits in
    the queue."""
    if state.is_ended or state.status is None:
        raise illegal(state, "signalled")
    if sum(map(len, state.signals.values())) >= MOST_SIGNALS:
        raise ResourceConflict(f"the execution keeps {MOST_SIGNALS} signals already that nobody waits for", "key")
    kept = sum(len(msgspec.json.encode(each.data)) for signals in state.signals.values() for each in signals)
    if kept > MOST_SIGNAL_BYTES:
        raise ResourceConflict(f"the execution keeps signals of {kept} bytes already that nobody waits for", "data")
    return [events.ExecutionSignalled(**Decision(state, now).facts(), key=key, data=data)]


def decide_told(state: State, key: str, data: Any, now: Instant) -> list[Event]:
    """What the run opened has ended. Nothing where it does not wait for that any more."""
    if state.is_ended or key not in state.waits.values():
        return []
    return [events.ExecutionSignalled(**Decision(state, now).facts(), key=key, data=data)]


def decide_cancel(state: State, by: str, reason: str | None, now: Instant) -> list[Event]:
    """Ends the run at once: nothing more starts, and what still comes in changes nothing."""
    if state.status is None:
        return []
    if state.is_ended:
        raise illegal(state, "cancelled")
    decision = Decision(state, now)
    decision.cancel_components()
    facts = decision.facts() | {"status": ExecutionStatus.CANCELLED}
    decision.emit(events.ExecutionCancelled(**facts, cancelled_by=by, reason=reason))
    return decision.events


def decide_terminate(state: State, by: str, reason: str | None, now: Instant) -> list[Event]:
    """As cancelling; but nobody waits for what runs, and the run cannot be retried."""
    if state.is_ended or state.status is None:
        raise illegal(state, "terminated")
    decision = Decision(state, now)
    decision.cancel_components()
    facts = decision.facts() | {"status": ExecutionStatus.TERMINATED}
    decision.emit(events.ExecutionTerminated(**facts, terminated_by=by, reason=reason))
    return decision.events
