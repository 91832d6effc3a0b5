"""The rows of a run: one for the execution, one for each component that has started or was skipped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
from msgspec import Struct

from executor.domain.aggregate import Aggregate, Row
from executor.domain.events import Failure
from executor.domain.execution.folds import evolve
from executor.domain.execution.kept import KEEPER
from executor.domain.execution.parts import ComponentState
from executor.domain.execution.references import concurrency_of
from executor.domain.execution.state import State, initial
from executor.domain.secrets import redact, redact_json
from executor.domain.values import Instant, Progress


class ExecutionView(Struct, frozen=True, kw_only=True):
    """An execution as clients see it. `duration_seconds` of one that runs is as of its last event. `cancelled_…` say
    when, by whom and why it was cancelled or terminated; `triggered_by` is an actor, such as `api_key:ULID`.
    `parent_execution_id` is that of the run that waits for this one."""

    id: str
    workflow_id: str
    workflow_name: str
    workflow_version: int
    status: str
    priority: int
    progress: Progress
    parameters: dict[str, Any]
    results: dict[str, Any] | None
    error_message: str | None
    error: Failure | None
    resource_usage: dict[str, float] | None
    tags: tuple[str, ...]
    project_id: str | None
    created_by: str
    triggered_by: str
    parent_execution_id: str | None
    created_at: Instant
    scheduled_at: Instant | None
    started_at: Instant | None
    completed_at: Instant | None
    updated_at: Instant | None
    paused_at: Instant | None
    duration_seconds: float | None
    cancelled_at: Instant | None
    cancelled_by: str | None
    cancel_reason: str | None


class ComponentView(Struct, frozen=True, kw_only=True):
    """A component of a run as clients see it."""

    component_id: str
    component_type: str
    iteration: str
    status: str
    attempt: int
    input_data: Any
    output_data: Any
    error_message: str | None
    started_at: Instant | None
    completed_at: Instant | None
    duration_seconds: float | None


class ExecutionRow(Row, frozen=True, kw_only=True):
    table: ClassVar[str] = "executions"
    revision: ClassVar[int] = 2
    id: str
    organization_id: str
    workflow_id: str
    status: str
    priority: int
    tags: str
    created_by: str
    created_at: Instant
    started_at: Instant | None
    completed_at: Instant | None
    runnable_at: Instant | None
    engine: str | None
    epoch: int
    project_id: str | None
    root_execution_id: str | None
    is_in_queue: bool
    is_holding: bool
    slot: int | None
    concurrency_key: str | None
    concurrency_limit: int | None
    concurrency_slot: int | None
    queue_deadline: Instant | None
    version: int
    document: bytes


class ComponentRow(Row, frozen=True, kw_only=True):
    table: ClassVar[str] = "components"
    key: ClassVar[tuple[str, ...]] = ("execution_id", "component_id", "iteration")
    execution_id: str
    component_id: str
    iteration: str
    generation: int
    organization_id: str
    sequence: int
    status: str
    version: int
    document: bytes


def view(state: State) -> ExecutionView:
    run, is_cancelled = state.run, state.cancelled_by is not None
    return ExecutionView(
        id=run.id,
        workflow_id=run.workflow_id,
        workflow_name=run.workflow_name,
        workflow_version=run.workflow_version,
        status=str(state.status),
        priority=state.priority,
        progress=state.progress,
        parameters=redact(run.parameters),
        results=state.results,
        error_message=state.failure.message if state.failure else None,
        error=state.failure,
        resource_usage=None,
        tags=run.tags,
        project_id=run.project_id,
        created_by=run.created_by,
        triggered_by=run.triggered_by,
        parent_execution_id=run.parent.execution_id if run.parent else None,
        created_at=run.created_at,
        scheduled_at=run.scheduled_at,
        started_at=state.started_at,
        completed_at=state.completed_at,
        updated_at=state.updated_at,
        paused_at=state.paused_at,
        duration_seconds=state.elapsed(state.updated_at) if state.updated_at else None,
        cancelled_at=state.completed_at if is_cancelled else None,
        cancelled_by=state.cancelled_by,
        cancel_reason=state.reason,
    )


def component_view(component: ComponentState) -> ComponentView:
    return ComponentView(
        component_id=component.id,
        component_type=component.type,
        iteration=component.iteration,
        status=component.status,
        attempt=component.attempt,
        input_data=component.input_data,
        output_data=component.output_data,
        error_message=component.error.message if component.error else None,
        started_at=component.started_at,
        completed_at=component.completed_at,
        duration_seconds=component.duration,
    )


def rows(before: State, after: State) -> Sequence[Row]:
    if after.header is None:
        return ()
    touched = after.touched if before.header is not None else {**after.components, **after.touched}
    return (_execution_row(after), *(_component_row(after, known) for known in touched.values()))


def _execution_row(state: State) -> ExecutionRow:
    run, (key, limit) = state.run, concurrency_of(state)
    return ExecutionRow(
        id=run.id,
        organization_id=run.organization_id,
        workflow_id=run.workflow_id,
        status=str(state.status),
        priority=state.priority,
        tags=msgspec.json.encode(run.tags).decode(),
        created_by=run.created_by,
        created_at=run.created_at,
        started_at=state.started_at,
        completed_at=state.completed_at,
        runnable_at=state.runnable_at,
        engine=state.holder,
        epoch=state.epoch,
        project_id=run.project_id,
        root_execution_id=run.parent.root_execution_id if run.parent else None,
        is_in_queue=state.is_in_queue,
        is_holding=state.is_holding,
        slot=state.slots[0] if state.is_holding else None,
        concurrency_key=key,
        concurrency_limit=limit,
        concurrency_slot=state.slots[1] if state.is_holding else None,
        queue_deadline=state.queue_deadline if state.is_in_queue else None,
        version=state.version,
        document=redact_json(msgspec.json.encode(view(state))),
    )


def _component_row(state: State, component: ComponentState) -> ComponentRow:
    return ComponentRow(
        execution_id=state.run.id,
        component_id=component.id,
        iteration=component.iteration,
        generation=component.generation,
        organization_id=state.run.organization_id,
        sequence=component.sequence,
        status=component.status,
        version=component.version,
        document=redact_json(msgspec.json.encode(component_view(component))),
    )


def names(state: State) -> tuple[str, ...]:
    """The places that the run has: whoever wants one of them has to wait."""
    slot, concurrency_slot = state.slots
    if (slot is None and concurrency_slot is None) or not state.is_holding:
        return ()
    held = [] if slot is None else [f"slot:{state.run.organization_id}:{slot}"]
    held += [] if concurrency_slot is None else [f"concurrency:{concurrency_of(state)[0]}:{concurrency_slot}"]
    return tuple(held)


AGGREGATE: Aggregate[State] = Aggregate(
    prefix="execution",
    initial=initial,
    evolve=evolve,
    rows=rows,
    names=names,
    kinds=(ExecutionRow, ComponentRow),
    keeper=KEEPER,
)
