"""Schedules: make one, change it, pause it, run it now, see when it comes and what it ran."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from executor.domain.errors import Invalid, Problem
from executor.domain.execution.rows import ExecutionRow
from executor.domain.schedule import ScheduleRow, State, Status, state_of, view
from executor.domain.values import Instant
from executor.ports import Contains, Eq, In, Order, Where
from executor.timetable import preview
from hub.envelope import Answer
from hub.errors import Forbidden
from hub.operation import Call, NoBody, Resource
from hub.queries import NoQuery, Paging, page_of
from hub.routes.executions import shown_as_of
from hub.routes.lifecycle import WithReason
from hub.schedules.requests import CreateSchedule, UpdateSchedule, change_of, problems_of
from hub.services import Services

RESOURCE = Resource("schedules")
_NEWEST_FIRST = (Order("created_at", True), Order("id", True))
_THERE = (str(Status.ACTIVE), str(Status.PAUSED), str(Status.FINISHED))
_SHOWN_TIMES = 5


class ListSchedules(Paging, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`search` looks in names and descriptions."""

    workflow_id: str | None = None
    status: Literal["active", "paused", "finished"] | None = None
    search: str | None = None


class Preview(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    count: Annotated[int, Meta(ge=1, le=100)] = 10


class Triggered(Struct, frozen=True, kw_only=True):
    """`id` and `execution_id` are the same. It is pending where it waits for another one to end."""

    id: str
    execution_id: str
    schedule_id: str
    workflow_id: str
    status: str
    created_at: Instant


async def inspect(hub: Services, fields: dict[str, Any]) -> list[Problem]:
    """What is wrong with some fields whose neighbours are wrong too."""
    try:
        part = msgspec.convert(fields, UpdateSchedule)
        found = problems_of(change_of(part), State(), hub.clock.now())
    except (msgspec.ValidationError, Invalid):
        return []
    return [problem for problem in found if problem.field in fields]


@RESOURCE.route("POST", "/schedules", needs="schedule.write", body=CreateSchedule, status=201, inspect=inspect)
async def create(call: Call[CreateSchedule, NoQuery]) -> Answer:
    """Create a schedule."""
    _require_execute(call)
    state = await call.hub.schedules.create(call.organization_id, call.body, call.metadata)
    return Answer(_shown(call, state), "Schedule created")


@RESOURCE.route("GET", "/schedules", needs="schedule.read", query=ListSchedules)
async def list_(call: Call[NoBody, ListSchedules]) -> Answer:
    """List schedules, newest first."""
    query = call.query
    where: list[Where] = [Eq("organization_id", call.organization_id)]
    where.append(In("status", (query.status,) if query.status else _THERE))
    if query.workflow_id is not None:
        where.append(Eq("runs", query.workflow_id))
    if query.search:
        where.append(Contains(("search",), query.search.lower()))
    rows, page = await page_of(call.hub.store.reads, ScheduleRow, where, _NEWEST_FIRST, query)
    return Answer([view(state_of(row)) for row in rows], page=page)


@RESOURCE.route("GET", "/schedules/{id}", needs="schedule.read")
async def get(call: Call[NoBody, NoQuery]) -> Answer:
    """Get a schedule, with the next times that it runs."""
    return Answer(_shown(call, await _found(call)))


@RESOURCE.route("PUT", "/schedules/{id}", needs="schedule.write", body=UpdateSchedule)
async def update(call: Call[UpdateSchedule, NoQuery]) -> Answer:
    """Change a schedule; fields left out keep their values."""
    await _found(call)
    _require_execute(call)
    state = await call.hub.schedules.update(call.organization_id, call.path["id"], call.body, call.metadata)
    return Answer(_shown(call, state), "Schedule updated")


@RESOURCE.route("DELETE", "/schedules/{id}", needs="schedule.write")
async def delete(call: Call[NoBody, NoQuery]) -> Answer:
    """Delete a schedule: what waits in its queue is cancelled, what runs goes on."""
    await call.hub.schedules.delete(call.organization_id, call.path["id"], call.metadata)
    return Answer(None, "Schedule deleted")


@RESOURCE.route("POST", "/schedules/{id}/pause", needs="schedule.write", body=WithReason)
async def pause(call: Call[WithReason, NoQuery]) -> Answer:
    """Pause a schedule: no time runs until it is resumed."""
    id, reason = call.path["id"], call.body.reason
    state = await call.hub.schedules.pause(call.organization_id, id, reason, call.metadata)
    return Answer(_shown(call, state), "Schedule paused")


@RESOURCE.route("POST", "/schedules/{id}/resume", needs="schedule.write")
async def resume(call: Call[NoBody, NoQuery]) -> Answer:
    """Resume a schedule, from its next time on."""
    await _found(call)
    _require_execute(call)
    state = await call.hub.schedules.resume(call.organization_id, call.path["id"], call.metadata)
    return Answer(_shown(call, state), "Schedule resumed")


@RESOURCE.route("POST", "/schedules/{id}/trigger", needs="schedule.write", status=202)
async def trigger(call: Call[NoBody, NoQuery]) -> Answer:
    """Run a schedule's workflow now, beside its times."""
    await _found(call)
    _require_execute(call)
    state = await call.hub.schedules.trigger(call.organization_id, call.path["id"], call.metadata)
    triggered = Triggered(
        id=state.run.id,
        execution_id=state.run.id,
        schedule_id=call.path["id"],
        workflow_id=state.run.workflow_id,
        status=str(state.status),
        created_at=state.run.created_at,
    )
    return Answer(triggered, "Workflow execution started")


@RESOURCE.route("GET", "/schedules/{id}/next", needs="schedule.read", query=Preview)
async def next_(call: Call[NoBody, Preview]) -> Answer:
    """List the next times that a schedule runs; none while it is paused."""
    return Answer(_times(call, await _found(call), call.query.count))


@RESOURCE.route("GET", "/schedules/{id}/executions", needs="execution.read", query=Paging)
async def executions(call: Call[NoBody, Paging]) -> Answer:
    """List the executions of a schedule, newest first."""
    state = await _found(call)
    where = [Eq("organization_id", call.organization_id), Eq("created_by", state.id)]
    rows, page = await page_of(call.hub.store.reads, ExecutionRow, where, _NEWEST_FIRST, call.query)
    return Answer([shown_as_of(row, call.now) for row in rows], page=page)


async def _found(call: Call[Any, Any]) -> State:
    return await call.hub.schedules.get(call.organization_id, call.path["id"])


def _require_execute(call: Call[Any, Any]) -> None:
    """Nobody does by a schedule what they may not do themselves."""
    if not call.principal.allows("workflow.execute"):
        raise Forbidden("workflow.execute")


def _shown(call: Call[Any, Any], state: State) -> dict[str, Any]:
    return msgspec.structs.asdict(view(state)) | {"next_run_times": _times(call, state, _SHOWN_TIMES)}


def _times(call: Call[Any, Any], state: State, count: int) -> list[Instant]:
    """From the next one on, which may be overdue."""
    if state.next_time is None or state.next_run_at is None:
        return []
    return [state.next_run_at, *preview(state, state.next_time, count - 1)]
