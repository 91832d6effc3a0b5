"""The queue as clients see it: what waits, for what, since when, and how long it may take, by what was before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from statistics import median
from typing import Final

import msgspec
from msgspec import Struct

from executor.domain.execution.rows import ExecutionRow, ExecutionView
from executor.domain.values import Instant, seconds_between
from executor.ports import Eq, Order, Range, Reads, RowQuery, Where

ORDER: Final = (Order("priority", True), Order("id"))
"""In which executions of an organization leave the queue, but for those that wait for a concurrency key."""
_REMEMBERED: Final = 20
"""How many of a workflow's newest executions say how long the next one takes."""


class QueuedExecution(Struct, frozen=True, kw_only=True):
    """`waiting_for` is `organization_limit`, `concurrency_key`, or `engine` where nothing but an engine is missing.
    `position` counts from 1 in the order of the organization. Estimates are seconds, null without a history."""

    execution_id: str
    workflow_id: str
    workflow_name: str
    priority: int
    position: int
    waiting_since: Instant
    waiting_seconds: float
    waiting_for: str
    queue_deadline: Instant | None
    estimated_wait_seconds: float | None
    estimated_duration_seconds: float | None


class QueueView(Struct, frozen=True, kw_only=True):
    """`running` counts what has begun and not ended, `runs_at_once` how many may (null: any number), `scheduled` what
    waits for its time."""

    running: int
    runs_at_once: int | None
    queued: int
    scheduled: int
    executions: list[QueuedExecution]


def now_queued(organization_id: str, now: Instant) -> list[Where]:
    """What waits for its turn, and for nothing else."""
    due = Range("runnable_at", None, Instant(f"{now}~"))
    return [Eq("organization_id", organization_id), Eq("is_in_queue", 1), due]


async def estimated_duration(reads: Reads, workflow_id: str) -> float | None:
    """Seconds that an execution of a workflow takes: the median of the newest that completed."""
    found = await reads.recent_durations(workflow_id, _REMEMBERED)
    return round(median(found), 3) if found else None


class Situation(Struct, frozen=True, kw_only=True):
    """What an organization's queue is seen against."""

    running: int
    runs_at_once: int | None
    begun: dict[str, int]
    """How many have begun with each concurrency key."""
    durations: dict[str, float | None]
    """By workflow."""


async def situation(
    reads: Reads, organization_id: str, runs_at_once: int | None, rows: Iterable[ExecutionRow]
) -> Situation:
    holding = (Eq("organization_id", organization_id), Eq("is_holding", 1))
    places = await reads.places(organization_id)
    return Situation(
        running=await reads.count(ExecutionRow, holding),
        runs_at_once=runs_at_once,
        begun=Counter(each.concurrency_key for each in places if each.concurrency_key is not None),
        durations={id: await estimated_duration(reads, id) for id in {row.workflow_id for row in rows}},
    )


def shown(row: ExecutionRow, position: int, ahead: int, of: Situation, now: Instant) -> QueuedExecution:
    """`ahead` are those before it with the same concurrency key."""
    view = msgspec.json.decode(row.document, type=ExecutionView)
    since = max(row.created_at, row.runnable_at or row.created_at)
    duration = of.durations.get(row.workflow_id)
    return QueuedExecution(
        execution_id=row.id,
        workflow_id=row.workflow_id,
        workflow_name=view.workflow_name,
        priority=row.priority,
        position=position,
        waiting_since=since,
        waiting_seconds=round(seconds_between(since, now), 3),
        waiting_for=_reason(row, ahead, of),
        queue_deadline=row.queue_deadline,
        estimated_wait_seconds=_wait(row, position, ahead, of),
        estimated_duration_seconds=duration,
    )


def _reason(row: ExecutionRow, ahead: int, of: Situation) -> str:
    if of.runs_at_once is not None and of.running >= of.runs_at_once:
        return "organization_limit"
    with_key = of.begun.get(row.concurrency_key or "", 0) + ahead
    return "engine" if row.concurrency_limit is None or with_key < row.concurrency_limit else "concurrency_key"


def _wait(row: ExecutionRow, position: int, ahead: int, of: Situation) -> float | None:
    """Every place becomes free once in the time that an execution takes; who waits is as many turns away as there are
    in front of it."""
    duration, turns = of.durations.get(row.workflow_id), 0.0
    if of.runs_at_once is not None:
        turns = max(0, of.running + position - of.runs_at_once) / of.runs_at_once
    if row.concurrency_key is not None and row.concurrency_limit is not None:
        waiting = of.begun.get(row.concurrency_key, 0) + ahead + 1 - row.concurrency_limit
        turns = max(turns, max(0, waiting) / row.concurrency_limit)
    if not turns:
        return 0.0
    return None if duration is None else round(turns * duration, 3)


async def ahead_of(reads: Reads, row: ExecutionRow, now: Instant) -> tuple[int, int]:
    """How many wait before an execution, and how many of them with its concurrency key."""
    queued = now_queued(row.organization_id, now)
    before: list[list[Where]] = [
        [Range("priority", start=row.priority + 1)],
        [Eq("priority", row.priority), Range("id", end=row.id)],
    ]
    same: list[Where] = [Eq("concurrency_key", row.concurrency_key)]
    all_ahead = sum([await reads.count(ExecutionRow, [*queued, *each]) for each in before])
    if row.concurrency_key is None:
        return all_ahead, 0
    return all_ahead, sum([await reads.count(ExecutionRow, [*queued, *each, *same]) for each in before])


async def in_order(reads: Reads, organization_id: str, now: Instant, limit: int, offset: int) -> list[ExecutionRow]:
    query = RowQuery(where=tuple(now_queued(organization_id, now)), order=ORDER, limit=limit, offset=offset)
    return await reads.find(ExecutionRow, query)
