"""What may happen to a task: commands in, events out, or a refusal that names its status. Pure.

Whoever ends a task tells its run in the same append: `ending` is what the run hears.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from msgspec import Struct

from executor.domain.errors import NotFound, ResourceConflict
from executor.domain.events import Event
from executor.domain.events import task as events
from executor.domain.events.task import Level
from executor.domain.task.state import State, TaskKind
from executor.domain.values import ComponentStatus, Instant, plus, seconds_between

LEASE_EXPIRED = "lease_expired"
ESCALATED = "escalated"


class Step(Struct, frozen=True, kw_only=True):
    """A level of an escalation as a config says it: so many seconds after the task was created, by default when it
    is due."""

    after_seconds: float | None = None
    reassign_to: str | None = None
    notify: tuple[str, ...] = ()


class Opening(Struct, frozen=True, kw_only=True):
    """What a component that suspends wants done. `priority` null is the run's."""

    kind: TaskKind
    title: str
    task_type: str | None = None
    description: str | None = None
    assignee: str | None = None
    candidates: tuple[str, ...] = ()
    form: dict[str, Any] | None = None
    data: Any = None
    input: Any = None
    priority: int | None = None
    due_in_seconds: float | None = None
    escalation: tuple[Step, ...] = ()
    lease_seconds: float | None = None


class Origin(NamedTuple):
    """The attempt at a component of a run that opens a task."""

    workflow_id: str
    workflow_name: str
    execution_id: str
    component_id: str
    iteration: str
    attempt: int
    priority: int


class Ending(Struct, frozen=True):
    """What a run hears of a task that has ended, as the data of its signal."""

    status: str
    output: Any = None
    error: str | None = None
    retryable: bool = False


def _require_open(state: State, what: str, kind: TaskKind | None = None) -> None:
    """For tasks that have not ended, of one kind."""
    if not state.is_there:
        raise NotFound("task", state.id)
    if not state.is_open:
        raise _illegal(state, what)
    if kind is not None and state.kind != kind:
        raise ResourceConflict(f"a task of kind {state.kind} cannot be {what}", "kind", kind=state.kind)


def _illegal(state: State, what: str) -> ResourceConflict:
    message = f"the task is {state.status} and cannot be {what}"
    return ResourceConflict(message, "status", current_status=state.status)


def decide_create(state: State, opens: Opening, origin: Origin, now: Instant) -> list[Event]:
    if state.is_there:
        raise ResourceConflict("the task exists already")
    due_at = None if opens.due_in_seconds is None else plus(now, opens.due_in_seconds)
    facts: dict[str, Any] = origin._asdict() | {
        "kind": str(opens.kind),
        "task_type": opens.task_type,
        "title": opens.title,
        "status": ComponentStatus.PENDING,
        "priority": origin.priority if opens.priority is None else opens.priority,
        "due_at": due_at,
    }
    created = events.TaskCreated(
        **facts,
        description=opens.description,
        candidates=opens.candidates,
        form=opens.form,
        data=opens.data,
        input=opens.input,
        escalation=_levels(opens, now),
        lease_seconds=opens.lease_seconds,
    )
    if opens.assignee is None:
        return [created]
    given = facts | {"status": ComponentStatus.ASSIGNED, "assignee": opens.assignee}
    return [created, events.TaskAssigned(**given)]


def _levels(opens: Opening, now: Instant) -> tuple[Level, ...]:
    levels = [
        Level(at=plus(now, after), reassign_to=step.reassign_to, notify=step.notify)
        for step in opens.escalation
        if (after := opens.due_in_seconds if step.after_seconds is None else step.after_seconds) is not None
    ]
    return tuple(sorted(levels, key=lambda level: level.at))


def decide_assign(state: State, person: str, by: str) -> list[Event]:
    """The task becomes a person's who may have it. Said again by the same person, it changes nothing."""
    _require_open(state, "claimed", TaskKind.HUMAN)
    if state.assignee == person:
        return []
    _require_free(state, person)
    return [events.TaskAssigned(**_facts(state, ComponentStatus.ASSIGNED, person), assigned_by=by)]


def _require_free(state: State, person: str) -> None:
    if state.assignee is not None:
        message = f"the task is {state.status}: it is {state.assignee}'s"
        raise ResourceConflict(message, "assignee", current_status=state.status, assignee=state.assignee)
    if state.candidates and person not in state.candidates:
        message = f"'{person}' is not a candidate for the task"
        raise ResourceConflict(message, "assignee", candidates=list(state.candidates))


def decide_start(state: State, person: str, by: str) -> list[Event]:
    """The person who has the task begins; a task that nobody has becomes theirs first."""
    _require_open(state, "started", TaskKind.HUMAN)
    if state.status == ComponentStatus.RUNNING:
        raise _illegal(state, "started")
    assigned: list[Event] = []
    if state.assignee != person:
        _require_free(state, person)
        assigned = [events.TaskAssigned(**_facts(state, ComponentStatus.ASSIGNED, person), assigned_by=by)]
    return [*assigned, events.TaskStarted(**_facts(state, ComponentStatus.RUNNING, person))]


def decide_claim(state: State, worker: str, lease_id: str, lease_seconds: float) -> list[Event]:
    """A worker has it, for as long as its lease lasts."""
    _require_open(state, "claimed", TaskKind.EXTERNAL)
    if state.status != ComponentStatus.PENDING:
        raise _illegal(state, "claimed")
    facts = _facts(state, ComponentStatus.RUNNING, worker)
    return [events.TaskStarted(**facts, lease_id=lease_id, lease_seconds=lease_seconds)]


def decide_release(state: State, holder: str | None, reason: str | None) -> list[Event]:
    """Nobody has it any more, and it waits for somebody as it did at first."""
    _require_open(state, "released")
    if state.assignee is None:
        raise _illegal(state, "released")
    _require_holder(state, holder)
    return [_released(state, reason)]


def decide_expire(state: State, lease_id: str) -> list[Event]:
    """The lease of this id ran out. It may be another worker's by now, or at an end."""
    return [_released(state, LEASE_EXPIRED)] if state.is_open and state.lease_id == lease_id else []


def _released(state: State, reason: str | None) -> Event:
    facts = _facts(state, ComponentStatus.PENDING, None)
    return events.TaskReleased(**facts, former_assignee=state.assignee, reason=reason)


def _require_holder(state: State, holder: str | None) -> None:
    """Who says whose the task is must be right; who does not say speaks for whoever has it."""
    if holder is None or state.assignee == holder:
        return
    has = "nobody has it" if state.assignee is None else f"{state.assignee} has it"
    field = "assignee" if state.is_human else "worker_id"
    message = f"the task is {state.status}: {has}, not '{holder}'"
    raise ResourceConflict(message, field, current_status=state.status, assignee=state.assignee)


def decide_reassign(state: State, person: str, reason: str | None) -> list[Event]:
    """It is another's, candidate or not, who has not started. To who has it already, nothing changes."""
    _require_open(state, "reassigned", TaskKind.HUMAN)
    return [] if state.assignee == person else [_reassigned(state, person, reason)]


def _reassigned(state: State, person: str, reason: str | None) -> Event:
    facts = _facts(state, ComponentStatus.ASSIGNED, person)
    return events.TaskReassigned(**facts, former_assignee=state.assignee, reason=reason)


def decide_escalate(state: State, now: Instant) -> list[Event]:
    """Every level that has come; nothing where none has, or where the task has ended."""
    decided: list[Event] = []
    assignee, status = state.assignee, state.status
    for number, level in enumerate(state.escalation[state.levels :], state.levels + 1):
        if not state.is_open or level.at > now:
            break
        said: dict[str, Any] = {"level": number, "notify": level.notify, "reassign_to": level.reassign_to}
        decided.append(events.TaskEscalated(**_facts(state, status, assignee), **said))
        if level.reassign_to is not None and level.reassign_to != assignee:
            former, assignee, status = assignee, level.reassign_to, str(ComponentStatus.ASSIGNED)
            facts = _facts(state, status, assignee)
            decided.append(events.TaskReassigned(**facts, former_assignee=former, reason=ESCALATED))
    return decided


def decide_complete(
    state: State, output: Any, notes: str | None, holder: str | None, by: str, now: Instant
) -> list[Event]:
    """`holder` is the worker, or the person, who has done it; where a person does who had not claimed it, they must
    be one who may. Null speaks for whoever has it."""
    _require_open(state, "completed")
    if state.is_human and state.assignee is None and holder is not None:
        _require_free(state, holder)
    else:
        _require_holder(state, holder)
    facts = _facts(state, ComponentStatus.COMPLETED, state.assignee or holder)
    return [
        events.TaskCompleted(
            **facts, output=output, notes=notes, completed_by=by, duration=seconds_between(state.created_at, now)
        )
    ]


def decide_fail(state: State, error: str, retryable: bool, holder: str | None, by: str, now: Instant) -> list[Event]:
    _require_open(state, "failed")
    _require_holder(state, holder)
    facts, duration = _facts(state, ComponentStatus.FAILED, state.assignee), seconds_between(state.created_at, now)
    return [events.TaskFailed(**facts, error=error, retryable=retryable, failed_by=by, duration=duration)]


def decide_cancel(state: State, reason: str | None, by: str | None, now: Instant) -> list[Event]:
    _require_open(state, "cancelled")
    return [_cancelled(state, reason, by, now)]


def decide_abandon(state: State, reason: str, now: Instant) -> list[Event]:
    """The run does not wait for it any more; nothing where it has ended."""
    return [_cancelled(state, reason, None, now)] if state.is_open else []


def _cancelled(state: State, reason: str | None, by: str | None, now: Instant) -> Event:
    facts, duration = _facts(state, ComponentStatus.CANCELLED, state.assignee), seconds_between(state.created_at, now)
    return events.TaskCancelled(**facts, reason=reason, cancelled_by=by, duration=duration)


def decide_retry(state: State, by: str) -> list[Event]:
    """The run is retried from the task's component. The task stays what it is: another will be opened."""
    if not state.is_there:
        raise NotFound("task", state.id)
    if state.status not in (ComponentStatus.FAILED, ComponentStatus.CANCELLED):
        raise _illegal(state, "retried")
    return [events.TaskRetried(**_facts(state, state.status, state.assignee), retried_by=by)]


def ending(event: Event) -> Ending | None:
    """What the run of a task hears of an event of it; None where that ends nothing."""
    match event:
        case events.TaskCompleted():
            return Ending(event.status, output=event.output)
        case events.TaskFailed():
            return Ending(event.status, error=event.error, retryable=event.retryable)
        case events.TaskCancelled():
            return Ending(event.status, error=event.reason)
        case _:
            return None


def _facts(state: State, status: str, assignee: str | None) -> dict[str, Any]:
    """What every event says, with the status and the assignee that it leads to."""
    kept = {name: getattr(state, name) for name in events.TaskFacts.__struct_fields__}
    return kept | {"status": str(status), "assignee": assignee}
