"""The row of a task, and the task as clients see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import msgspec
from msgspec import Struct

from executor.domain.aggregate import Aggregate, Row
from executor.domain.events.task import Level
from executor.domain.secrets import redact, redact_json
from executor.domain.task.state import State, TaskKind, evolve, initial
from executor.domain.values import ComponentStatus, Instant, seconds_between

NEVER: Final = Instant("9999-12-31T23:59:59.999Z")
"""The `due_at` in the row of a task that is never due, or not any more, so that lists in that order have it last."""
KEPT_BYTES: Final = 16 * 1024
"""How much of what people and workers get and give is in a row, and so in lists; the largest of it is left out."""
_LARGE: Final = ("form", "data", "input", "output")


class TaskView(Struct, frozen=True, kw_only=True):
    """A task as clients see it. `overdue` is as of when one looks; `omitted` names what is too large for a list."""

    id: str
    execution_id: str
    workflow_id: str
    workflow_name: str
    component_id: str
    iteration: str
    attempt: int
    kind: str
    task_type: str | None
    title: str
    description: str | None
    status: str
    priority: int
    assignee: str | None
    candidates: tuple[str, ...]
    form: Any
    data: Any
    input: Any
    due_at: Instant | None
    overdue: bool = False
    escalation: tuple[Level, ...]
    escalation_level: int
    output: Any
    notes: str | None
    error_message: str | None
    reason: str | None
    ended_by: str | None
    created_at: Instant
    assigned_at: Instant | None
    started_at: Instant | None
    completed_at: Instant | None
    updated_at: Instant
    duration_seconds: float | None
    omitted: tuple[str, ...] = ()


class TaskRow(Row, frozen=True, kw_only=True):
    """`document` is the `TaskView`. `claimable_type` is the type of an external task that waits for a worker;
    `wakes_at` when the next level of its escalation comes."""

    table: ClassVar[str] = "tasks"
    id: str
    organization_id: str
    workflow_id: str
    execution_id: str
    kind: str
    task_type: str | None
    status: str
    priority: int
    assignee: str | None
    candidates: str
    due_at: Instant
    wakes_at: Instant | None
    claimable_type: str | None
    created_at: Instant
    updated_at: Instant
    version: int
    document: bytes


def view(state: State) -> TaskView:
    """The whole task, without secrets; whether it is overdue is for whoever knows the time."""
    return TaskView(
        id=state.id,
        execution_id=state.execution_id,
        workflow_id=state.workflow_id,
        workflow_name=state.workflow_name,
        component_id=state.component_id,
        iteration=state.iteration,
        attempt=state.attempt,
        kind=state.kind,
        task_type=state.task_type,
        title=redact(state.title),
        description=redact(state.description),
        status=state.status,
        priority=state.priority,
        assignee=state.assignee,
        candidates=state.candidates,
        form=state.form,
        data=state.data,
        input=redact(state.input),
        due_at=state.due_at,
        escalation=state.escalation,
        escalation_level=state.levels,
        output=state.output,
        notes=state.notes,
        error_message=state.error,
        reason=state.reason,
        ended_by=state.ended_by,
        created_at=state.created_at,
        assigned_at=state.assigned_at,
        started_at=state.started_at,
        completed_at=state.completed_at,
        updated_at=state.updated_at,
        duration_seconds=seconds_between(state.created_at, state.completed_at) if state.completed_at else None,
    )


def is_overdue(of: TaskView, now: Instant) -> bool:
    return of.completed_at is None and of.due_at is not None and of.due_at < now


def rows(before: State, after: State) -> Sequence[Row]:
    if not after.is_there:
        return ()
    is_claimable = after.kind == TaskKind.EXTERNAL and after.status == ComponentStatus.PENDING
    return (
        TaskRow(
            id=after.id,
            organization_id=after.organization_id,
            workflow_id=after.workflow_id,
            execution_id=after.execution_id,
            kind=after.kind,
            task_type=after.task_type,
            status=after.status,
            priority=after.priority,
            assignee=after.assignee,
            candidates=msgspec.json.encode(after.candidates).decode(),
            due_at=after.due_at if after.is_open and after.due_at is not None else NEVER,
            wakes_at=after.wakes_at,
            claimable_type=after.task_type if is_claimable else None,
            created_at=after.created_at,
            updated_at=after.updated_at,
            version=after.version,
            document=_document(view(after)),
        ),
    )


def _document(whole: TaskView) -> bytes:
    sizes = {name: len(msgspec.json.encode(getattr(whole, name))) for name in _LARGE}
    omitted: list[str] = []
    while sum(sizes.values()) > KEPT_BYTES:
        largest = max(sizes, key=sizes.__getitem__)
        omitted.append(largest)
        del sizes[largest]
    kept = msgspec.structs.replace(whole, **dict.fromkeys(omitted), omitted=tuple(sorted(omitted)))
    return redact_json(msgspec.json.encode(kept))


_VIEW = msgspec.json.Decoder(TaskView)


def view_of(row: TaskRow) -> TaskView:
    return _VIEW.decode(row.document)


AGGREGATE: Aggregate[State] = Aggregate(prefix="task", initial=initial, evolve=evolve, rows=rows, kinds=(TaskRow,))
