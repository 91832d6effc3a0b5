"""Tasks: what runs wait for people and workers to do."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct, structs

from executor.domain.task.rows import TaskRow, TaskView, is_overdue, view, view_of
from executor.domain.task.state import State, TaskKind, stream
from executor.domain.values import ComponentStatus, Instant, LogLevel
from executor.ports import Eq, HasAll, Order, Range, Where
from hub.envelope import Answer
from hub.operation import Call, NoBody, Resource
from hub.priorities import PriorityValue, priority_of
from hub.queries import NoQuery, Paging, page_of, sliced
from hub.tasks.commands import Caller
from hub.tasks.history import task_log_entry
from hub.tasks.requests import (
    CancelTask,
    ClaimTask,
    ClaimTasks,
    CompleteTask,
    FailTask,
    Heartbeat,
    ReassignTask,
    ReleaseTask,
)
from hub.tasks.retry import retry_task

RESOURCE = Resource("tasks")


class ListTasks(Paging, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`candidate` may have it; `overdue` ones are open past their time."""

    status: ComponentStatus | None = None
    kind: TaskKind | None = None
    task_type: str | None = None
    assignee: str | None = None
    candidate: str | None = None
    execution_id: str | None = None
    workflow_id: str | None = None
    overdue: bool | None = None
    priority: PriorityValue | None = None
    sort: Literal["created_at", "updated_at", "due_at", "priority"] = "created_at"
    order: Literal["asc", "desc"] | None = None


class ListTaskLogs(Paging, frozen=True, kw_only=True, forbid_unknown_fields=True):
    level: LogLevel | None = None
    order: Literal["asc", "desc"] = "asc"


class Held(Struct, frozen=True, kw_only=True):
    """How long a worker has a task from now on."""

    id: str
    status: str
    worker_id: str
    lease_seconds: float
    lease_expires_at: Instant


@RESOURCE.route("GET", "/tasks", needs="task.read", query=ListTasks)
async def list_(call: Call[NoBody, ListTasks]) -> Answer:
    """List tasks, newest first."""
    query = call.query
    is_descending = (query.order or ("asc" if query.sort == "due_at" else "desc")) == "desc"
    order = (Order(query.sort, is_descending), Order("id", is_descending))
    rows, page = await page_of(call.hub.store.reads, TaskRow, _where(call), order, query)
    return Answer([_as_of(view_of(row), call.now) for row in rows], page=page)


def _where(call: Call[NoBody, ListTasks]) -> list[Where]:
    query = call.query
    where: list[Where] = [Eq("organization_id", call.organization_id)]
    where += [
        Eq(column, str(value))
        for column in ("status", "kind", "task_type", "assignee", "execution_id", "workflow_id")
        if (value := getattr(query, column)) is not None
    ]
    if query.priority is not None:
        where.append(Eq("priority", priority_of(query.priority)))
    if query.candidate is not None:
        where.append(HasAll("candidates", (query.candidate,)))
    if query.overdue is not None:
        where.append(Range("due_at", end=call.now) if query.overdue else Range("due_at", start=call.now))
    return where


@RESOURCE.route("POST", "/tasks/claim", needs="task.write", body=ClaimTasks)
async def claim_some(call: Call[ClaimTasks, NoQuery]) -> Answer:
    """Claim external tasks for a worker; where there are none, wait for some."""
    found = await call.hub.claims.claim(call.organization_id, call.body, call.metadata, call.gone)
    return Answer(found, f"{len(found)} claimed")


@RESOURCE.route("GET", "/tasks/{id}", needs="task.read")
async def get(call: Call[NoBody, NoQuery]) -> Answer:
    """Get a task."""
    return _answer(call, await call.hub.tasks.get(call.organization_id, call.path["id"]), "")


@RESOURCE.route("GET", "/tasks/{id}/logs", needs="task.read", query=ListTaskLogs)
async def logs(call: Call[NoBody, ListTaskLogs]) -> Answer:
    """List what happened to a task."""
    query = call.query
    state = await call.hub.tasks.get(call.organization_id, call.path["id"])
    entries = [task_log_entry(recorded) for recorded in await call.hub.store.log.stream(stream(state.id))]
    kept = [entry for entry in entries if entry is not None and query.level in (None, entry.level)]
    shown, page = sliced(kept if query.order == "asc" else kept[::-1], query)
    return Answer(shown, page=page)


@RESOURCE.route("POST", "/tasks/{id}/claim", needs="task.write", body=ClaimTask)
async def claim(call: Call[ClaimTask, NoQuery]) -> Answer:
    """Claim a task: from here on it is the assignee's, or the worker's."""
    if call.body.worker_id is not None:
        return await _started(call)
    return _answer(call, await call.hub.tasks.assign(_caller(call), call.path["id"], call.body), "Task claimed")


@RESOURCE.route("POST", "/tasks/{id}/start", needs="task.write", body=ClaimTask)
async def start(call: Call[ClaimTask, NoQuery]) -> Answer:
    """Begin a task; one that nobody has is claimed by that."""
    return await _started(call)


async def _started(call: Call[ClaimTask, NoQuery]) -> Answer:
    state = await call.hub.tasks.start(_caller(call), call.path["id"], call.body)
    if state.is_human:
        return _answer(call, state, "Task started")
    return Answer(await call.hub.claims.shown(state, call.body.lease_seconds), "Task started")


@RESOURCE.route("POST", "/tasks/{id}/heartbeat", needs="task.write", body=Heartbeat)
async def heartbeat(call: Call[Heartbeat, NoQuery]) -> Answer:
    """Keep the lease of a task."""
    state, lease = await call.hub.tasks.heartbeat(_caller(call), call.path["id"], call.body)
    held = Held(
        id=state.id,
        status=state.status,
        worker_id=call.body.worker_id,
        lease_seconds=lease.seconds,
        lease_expires_at=lease.expires_at,
    )
    return Answer(held, "The lease is kept")


@RESOURCE.route("POST", "/tasks/{id}/complete", needs="task.write", body=CompleteTask)
async def complete(call: Call[CompleteTask, NoQuery]) -> Answer:
    """Complete a task: its output is the component's."""
    return _answer(call, await call.hub.tasks.complete(_caller(call), call.path["id"], call.body), "Task completed")


@RESOURCE.route("POST", "/tasks/{id}/fail", needs="task.write", body=FailTask)
async def fail(call: Call[FailTask, NoQuery]) -> Answer:
    """Fail a task, and with it its component's attempt."""
    return _answer(call, await call.hub.tasks.fail(_caller(call), call.path["id"], call.body), "Task failed")


@RESOURCE.route("POST", "/tasks/{id}/retry", needs="task.write")
async def retry(call: Call[NoBody, NoQuery]) -> Answer:
    """Retry the execution of a task that ended it, from the task's component."""
    return _answer(call, await retry_task(call.hub, call.principal, call.path["id"], call.metadata), "Task retried")


@RESOURCE.route("POST", "/tasks/{id}/release", needs="task.write", body=ReleaseTask)
async def release(call: Call[ReleaseTask, NoQuery]) -> Answer:
    """Give a task back: it waits for somebody else."""
    return _answer(call, await call.hub.tasks.release(_caller(call), call.path["id"], call.body), "Task released")


@RESOURCE.route("POST", "/tasks/{id}/reassign", needs="task.write", body=ReassignTask)
async def reassign(call: Call[ReassignTask, NoQuery]) -> Answer:
    """Give a task to somebody."""
    body = call.body
    state = await call.hub.tasks.reassign(_caller(call), call.path["id"], body.assignee, body.reason)
    return _answer(call, state, "Task reassigned")


@RESOURCE.route("POST", "/tasks/{id}/cancel", needs="task.write", body=CancelTask)
async def cancel(call: Call[CancelTask, NoQuery]) -> Answer:
    """Cancel a task: its component fails."""
    state = await call.hub.tasks.cancel(_caller(call), call.path["id"], call.body.reason)
    return _answer(call, state, "Task cancelled")


def _answer(call: Call[Any, Any], state: State, message: str) -> Answer:
    return Answer(_as_of(view(state), call.now), message)


def _as_of(task: TaskView, now: Instant) -> TaskView:
    return structs.replace(task, overdue=is_overdue(task, now))


def _caller(call: Call[Any, Any]) -> Caller:
    return Caller(call.principal, call.metadata)
