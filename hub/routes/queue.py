"""The queue: what waits, for what, and where an execution stands in it."""

from __future__ import annotations

from executor.domain.errors import NotFound
from executor.domain.execution.rows import ExecutionRow
from executor.ports import Eq, Range, Where
from hub.envelope import Answer, Page
from hub.lookups import execution_row
from hub.operation import Call, NoBody, Resource
from hub.queries import Paging
from hub.queue import QueuedExecution, QueueView, ahead_of, in_order, now_queued, shown, situation

RESOURCE = Resource("system")


class ShowQueue(Paging, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`execution_id`: only where this one stands."""

    execution_id: str | None = None


@RESOURCE.route("GET", "/queue", needs="execution.read", query=ShowQueue)
async def show(call: Call[NoBody, ShowQueue]) -> Answer:
    """What waits in the queue, in the order in which it will begin."""
    reads, query, id = call.hub.store.reads, call.query, call.organization_id
    if query.execution_id is not None:
        rows, first = [await _queued(call)], 0
    else:
        rows, first = await in_order(reads, id, call.now, query.limit, query.offset), query.offset
    organization = await call.hub.store.ledgers.organizations.get(id)
    of = await situation(reads, id, organization.runs_at_once if organization else None, rows)
    found: list[QueuedExecution] = []
    seen: dict[str | None, int] = {}
    for index, row in enumerate(rows):
        is_first = index == 0 or row.concurrency_key not in seen
        all_ahead, same = await ahead_of(reads, row, call.now) if is_first else (0, seen[row.concurrency_key] + 1)
        seen[row.concurrency_key] = same
        position = all_ahead + 1 if query.execution_id is not None else first + index + 1
        found.append(shown(row, position, same, of, call.now))
    queued = await reads.count(ExecutionRow, now_queued(id, call.now))
    later: list[Where] = [Eq("organization_id", id), Eq("is_in_queue", 1), Range("runnable_at", start=f"{call.now}~")]
    view = QueueView(
        running=of.running,
        runs_at_once=of.runs_at_once,
        queued=queued,
        scheduled=await reads.count(ExecutionRow, later),
        executions=found,
    )
    has_more = query.execution_id is None and query.offset + len(rows) < queued
    page = Page(total_count=queued, limit=query.limit, offset=query.offset, has_more=has_more, next_cursor=None)
    return Answer(view, page=page)


async def _queued(call: Call[NoBody, ShowQueue]) -> ExecutionRow:
    """Raises `NotFound` also for one that does not wait there."""
    id = call.query.execution_id or ""
    row = await execution_row(call.hub.store.reads, id, call.organization_id)
    if not row.is_in_queue or (row.runnable_at or "") > call.now:
        raise NotFound("queued execution", id)
    return row
