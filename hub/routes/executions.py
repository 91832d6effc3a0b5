"""Executions: create one, read them; their components, history and logs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from executor.domain.definition import Definition
from executor.domain.errors import Code, Invalid, Problem
from executor.domain.events.execution import ExecutionCreated, ExecutionRetried
from executor.domain.execution.rows import ComponentRow, ComponentView, ExecutionRow, ExecutionView
from executor.domain.execution.state import State
from executor.domain.values import ComponentStatus, ExecutionStatus, Instant, LogLevel, seconds_between
from executor.ports import Eq, EventQuery, HasAll, Order, Range, Recorded, RowQuery, Where
from hub.envelope import Answer, Page
from hub.execution_logs import Asked, lines
from hub.executions import execute, queue_position
from hub.lookups import kept_execution, workflow_row
from hub.messages import event_json
from hub.operation import Call, NoBody, Resource
from hub.priorities import PriorityValue, priority_of
from hub.queries import NoQuery, Paging, decode_cursor, encode_cursor, page_in, page_of, sliced, span_of
from hub.queue import estimated_duration
from hub.routes.workflows import Tags
from hub.times import TimeValue, time_of
from hub.travel import At, Moment, Span, difference, execution_at, moment_of

RESOURCE = Resource("executions")
_NEWEST_FIRST = (Order("created_at", True), Order("id", True))


class ExecuteWorkflow(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`scheduled_at` in the past starts at once; without `auto_start` it is pending until somebody starts it."""

    parameters: dict[str, Any] = {}
    priority: PriorityValue | None = None
    scheduled_at: TimeValue | None = None
    tags: Tags = ()
    project_id: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    auto_start: bool = True
    webhook_callback_url: Annotated[str, Meta(min_length=1, max_length=2048)] | None = None


class CallbackView(Struct, frozen=True, kw_only=True):
    """The webhook that hears how the run ends; its secret only in the answer that makes it."""

    webhook_id: str
    secret: str | UnsetType = UNSET


class Started(Struct, frozen=True, kw_only=True):
    """`id` and `execution_id` are the same. `estimated_duration` is seconds, null while there is no history."""

    id: str
    execution_id: str
    workflow_id: str
    status: str
    priority: int
    scheduled_at: Instant | None
    created_at: Instant
    estimated_duration: float | None
    queue_position: int | None
    callback: CallbackView | UnsetType = UNSET


class ListExecutions(Paging, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`start_date` is inclusive, `end_date` exclusive, both of the creation."""

    workflow_id: str | None = None
    status: ExecutionStatus | None = None
    user_id: str | None = None
    start_date: Instant | None = None
    end_date: Instant | None = None
    priority: PriorityValue | None = None
    tags: Tags = ()
    project_id: str | None = None


class GetExecution(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`at`: as of a position of the log, or a time."""

    at: At | None = None


class ListComponents(Paging, frozen=True, kw_only=True, forbid_unknown_fields=True):
    at: At | None = None


class ListLogs(Paging, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lines of this very level. `iteration` is the path of the indices of the loops around, such as `3.0`."""

    level: LogLevel | None = None
    component_id: str | None = None
    iteration: str | None = None
    order: Literal["asc", "desc"] = "asc"


@RESOURCE.route("POST", "/workflows/{id}/execute", needs="workflow.execute", body=ExecuteWorkflow, status=202)
async def start(call: Call[ExecuteWorkflow, NoQuery]) -> Answer:
    """Execute a workflow."""
    body = call.body
    if body.scheduled_at is not None and not body.auto_start:
        said = "auto_start: an execution with 'scheduled_at' starts by itself; leave one of them out"
        raise Invalid([Problem(Code.VALIDATION_ERROR, said, "auto_start")])
    row = await workflow_row(call.hub.store.reads, call.path["id"], call.organization_id)
    state, callback = await execute(
        call.hub,
        call.principal,
        row.id,
        call.metadata,
        parameters=body.parameters,
        priority=None if body.priority is None else priority_of(body.priority),
        scheduled_at=time_of(body.scheduled_at, "scheduled_at"),
        tags=body.tags,
        project_id=body.project_id,
        auto_start=body.auto_start,
        callback_url=body.webhook_callback_url,
    )
    run = state.run
    started = Started(
        id=run.id,
        execution_id=run.id,
        workflow_id=run.workflow_id,
        status=str(state.status),
        priority=state.priority,
        scheduled_at=run.scheduled_at,
        created_at=run.created_at,
        estimated_duration=await estimated_duration(call.hub.store.reads, run.workflow_id),
        queue_position=await queue_position(call.hub, state),
        callback=UNSET
        if callback is None
        else CallbackView(webhook_id=callback.webhook_id, secret=callback.secret or UNSET),
    )
    return Answer(started, "Workflow execution started")


@RESOURCE.route("GET", "/executions", needs="execution.read", query=ListExecutions)
async def list_(call: Call[NoBody, ListExecutions]) -> Answer:
    """List executions, newest first."""
    query = call.query
    where: list[Where] = [Eq("organization_id", call.organization_id)]
    where += [
        Eq(column, value)
        for column, value in (
            ("workflow_id", query.workflow_id),
            ("status", query.status and query.status.value),
            ("created_by", query.user_id),
            ("priority", None if query.priority is None else priority_of(query.priority)),
            ("project_id", query.project_id),
        )
        if value is not None
    ]
    if query.start_date or query.end_date:
        where.append(Range("created_at", query.start_date, query.end_date))
    if query.tags:
        where.append(HasAll("tags", query.tags))
    rows, page = await page_of(call.hub.store.reads, ExecutionRow, where, _NEWEST_FIRST, query)
    return Answer([shown_as_of(row, call.now) for row in rows], page=page)


@RESOURCE.route("GET", "/workflows/{id}/executions", needs="execution.read", query=Paging)
async def of_workflow(call: Call[NoBody, Paging]) -> Answer:
    """List the executions of a workflow, newest first."""
    reads = call.hub.store.reads
    row = await workflow_row(reads, call.path["id"], call.organization_id)
    rows, page = await page_of(reads, ExecutionRow, [Eq("workflow_id", row.id)], _NEWEST_FIRST, call.query)
    return Answer([shown_as_of(found, call.now) for found in rows], page=page)


@RESOURCE.route("GET", "/executions/{id}", needs="execution.read", query=GetExecution)
async def get(call: Call[NoBody, GetExecution]) -> Answer:
    """Get an execution, as it is or as it was."""
    if call.query.at is not None:
        moment = await moment_of(call.hub.store.log, call.query.at, "at", call.now)
        then, _ = await execution_at(call.hub.store, call.path["id"], call.organization_id, moment)
        return Answer(shown_as_of(then, moment.time))
    row = await kept_execution(call.hub.store, call.path["id"], call.organization_id)
    return Answer(shown_as_of(row, call.now))


@RESOURCE.route("GET", "/executions/{id}/diff", needs="execution.read", query=Span)
async def diff(call: Call[NoBody, Span]) -> Answer:
    """Compare an execution, its components included, between two positions or times."""

    async def whole(moment: Moment) -> Any:
        row, components = await execution_at(call.hub.store, call.path["id"], call.organization_id, moment)
        shown = msgspec.json.decode(msgspec.json.encode(shown_as_of(row, moment.time)))
        return shown | {"components": [msgspec.json.decode(component.document) for component in components]}

    return Answer(await difference(call.hub.store.log, call.query, call.now, whole))


@RESOURCE.route("GET", "/executions/{id}/components", needs="execution.read", query=ListComponents)
async def components(call: Call[NoBody, ListComponents]) -> Answer:
    """List the components of an execution: those that started, in that order, then the pending ones."""
    log, id = call.hub.store.log, call.path["id"]
    if call.query.at is None:
        row = await kept_execution(call.hub.store, id, call.organization_id)
        return await _components_now(call, row.id)
    moment = await moment_of(log, call.query.at, "at", call.now)
    _, found = await execution_at(call.hub.store, id, call.organization_id, moment)
    history = [recorded for recorded in await log.stream(f"execution:{id}") if recorded.position <= moment.position]
    touched = {component.component_id for component in found}
    listed: list[Any] = [msgspec.Raw(component.document) for component in found]
    listed += [_pending(spec.id, spec.type) for spec in _definition(history).components if spec.id not in touched]
    shown, page = sliced(listed, call.query)
    return Answer(shown, page=page)


async def _components_now(call: Call[NoBody, ListComponents], id: str) -> Answer:
    """Reads no more rows than are shown: loops make hundreds of thousands of them."""
    reads, its, (start, end) = call.hub.store.reads, Eq("execution_id", id), span_of(call.query)
    state: State
    state, _ = await call.hub.store.log.load(f"execution:{id}")
    order = (Order("sequence"), Order("component_id"), Order("iteration"))
    since = (its, Eq("iteration", ""), Range("sequence", start=state.begun))
    begun = RowQuery(where=since, order=order, limit=len(state.map.components))
    fresh = {row.component_id for row in await reads.find(ComponentRow, begun)}
    count = await reads.count(ComponentRow, (its,))
    page = RowQuery(where=(its,), order=order, limit=call.query.limit, offset=start)
    shown: list[Any] = [msgspec.Raw(row.document) for row in await reads.find(ComponentRow, page)]
    pending = [
        _pending(spec.id, spec.type)
        for spec in state.map.definition.components
        if spec.id not in state.components and spec.id not in fresh
    ]
    shown += pending[max(0, start - count) : max(0, end - count)]
    return Answer(shown, page=page_in(count + len(pending), call.query))


def _definition(history: Sequence[Recorded]) -> Definition:
    """The one that the execution runs: of its creation, or of the last retry that took another version."""
    for recorded in reversed(history):
        if recorded.type == ExecutionRetried.type:
            retried = msgspec.json.decode(recorded.data, type=ExecutionRetried)
            if retried.definition is not None:
                return retried.definition
    return msgspec.json.decode(history[0].data, type=ExecutionCreated).definition


@RESOURCE.route("GET", "/executions/{id}/history", needs="execution.read", query=Paging)
async def history(call: Call[NoBody, Paging]) -> Answer:
    """List every event of an execution, in order."""
    row = await kept_execution(call.hub.store, call.path["id"], call.organization_id)
    found, page = await _events_of(call, row, ())
    return Answer([msgspec.Raw(event_json(recorded)) for recorded in found], page=page)


@RESOURCE.route("GET", "/executions/{id}/logs", needs="execution.read", query=ListLogs)
async def logs(call: Call[NoBody, ListLogs]) -> Answer:
    """List the log of an execution: what its components wrote, and what happened to it and to its tasks."""
    query = call.query
    row = await kept_execution(call.hub.store, call.path["id"], call.organization_id)
    asked = Asked(
        level=query.level,
        component_id=query.component_id,
        iteration=query.iteration,
        newest_first=query.order == "desc",
    )
    shown, count = await lines(call.hub.store.log, row.id, call.organization_id, asked, *span_of(query))
    return Answer(shown, page=page_in(count, query))


async def _events_of(
    call: Call[NoBody, Any], row: ExecutionRow, types: tuple[str, ...]
) -> tuple[list[Recorded], Page]:
    paging: Paging = call.query
    after = 0
    if paging.cursor is not None:
        (after,) = decode_cursor(paging.cursor, int)
    query = EventQuery(execution_id=row.id, types=types, after=after, limit=paging.offset + paging.limit + 1)
    found = (await call.hub.store.log.read(query))[paging.offset :]
    has_more, shown = len(found) > paging.limit, found[: paging.limit]
    page = Page(
        total_count=None,
        limit=paging.limit,
        offset=paging.offset,
        has_more=has_more,
        next_cursor=encode_cursor([shown[-1].position]) if has_more else None,
    )
    return shown, page


def shown_as_of(row: ExecutionRow, now: Instant) -> Any:
    """The row's document; of a run that runs, with the seconds until then."""
    if row.started_at is None or row.completed_at is not None:
        return msgspec.Raw(row.document)
    shown = msgspec.json.decode(row.document, type=ExecutionView)
    return msgspec.structs.replace(shown, duration_seconds=seconds_between(row.started_at, now))


def _pending(id: str, type: str) -> ComponentView:
    return ComponentView(
        component_id=id,
        component_type=type,
        iteration="",
        status=ComponentStatus.PENDING,
        attempt=0,
        input_data=None,
        output_data=None,
        error_message=None,
        started_at=None,
        completed_at=None,
        duration_seconds=None,
    )
