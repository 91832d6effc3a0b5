"""Rows on SQLite: one by its key on the spot, lists and counts off the loop. All see what was acknowledged."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import TypeVar

from executor.domain.execution.queue import Held, Waiting
from executor.domain.values import Instant, seconds_between
from executor.ports import Claimable, Clock, ExecutionStats, Row, RowQuery, Where
from storage import rowquery
from storage.rowquery import Dialect
from storage.rows import build, shape
from storage.sqlite.errors import ours
from storage.sqlite.pool import ReadPool
from storage.sqlite.statements import queries

R = TypeVar("R", bound=Row)

_MAX_IDS = 1000
DIALECT = Dialect(
    contains="instr(lower({column}), ?) > 0",
    has_all="EXISTS (SELECT 1 FROM json_each({column}) WHERE value = ?)",
    nulls_are_least=True,
)


class SqliteReads:
    """Implements `ports.Reads`. `connection` is used only on the loop's thread."""

    def __init__(self, connection: sqlite3.Connection, pool: ReadPool, clock: Clock) -> None:
        self._connection = connection
        self._pool = pool
        self._clock = clock

    async def get(self, row: type[R], *key: str) -> R | None:
        with ours():
            found = self._connection.execute(rowquery.get(shape(row)), key).fetchone()
        return build(row, found) if found is not None else None

    async def find(self, row: type[R], query: RowQuery) -> list[R]:
        found = await self._pool.rows(*rowquery.find(shape(row), query, DIALECT))
        return [build(row, values) for values in found]

    async def count(self, row: type[Row], where: Sequence[Where] = ()) -> int:
        found = await self._pool.rows(*rowquery.count(shape(row), where, DIALECT))
        return int(found[0][0])

    async def execution_stats(self, workflow_ids: Sequence[str]) -> dict[str, ExecutionStats]:
        stats: dict[str, ExecutionStats] = {}
        for start in range(0, len(workflow_ids), _MAX_IDS):
            ids = workflow_ids[start : start + _MAX_IDS]
            sql = queries()["execution_stats"].replace("{values}", ", ".join("?" * len(ids)))
            for id, total, ended, succeeded, last in await self._pool.rows(sql, ids):
                stats[id] = ExecutionStats(total, ended, succeeded, last)
        return stats

    async def claimable(self, now: Instant, limit: int) -> list[Claimable]:
        params = (now, self._clock.now(), limit)
        return [Claimable(*row) for row in await self._pool.rows(queries()["claimable"], params)]

    async def next_runnable_at(self, now: Instant) -> Instant | None:
        with ours():
            found = self._connection.execute(queries()["next_runnable_at"], (now,)).fetchone()[0]
        return Instant(found) if found is not None else None

    async def queues(self) -> dict[str, int]:
        return dict(await self._pool.rows(queries()["queues"]))

    async def places(self, organization_id: str) -> list[Held]:
        return [Held(*row) for row in await self._pool.rows(queries()["places"], (organization_id,))]

    async def in_queue(self, organization_id: str, now: Instant, limit: int) -> list[Waiting]:
        params = (organization_id, now, limit)
        return [Waiting(*row) for row in await self._pool.rows(queries()["in_queue"], params)]

    async def recent_durations(self, workflow_id: str, limit: int) -> list[float]:
        found = await self._pool.rows(queries()["recent_durations"], (workflow_id, limit))
        return [seconds_between(Instant(start), Instant(end)) for start, end in found]
