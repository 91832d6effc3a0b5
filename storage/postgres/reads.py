"""Rows on PostgreSQL. All see what was acknowledged: it was committed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeVar

from executor.domain.execution.queue import Held, Waiting
from executor.domain.values import Instant, seconds_between
from executor.ports import Claimable, ExecutionStats, Row, RowQuery, Where
from storage import rowquery
from storage.postgres.connection import Pool, numbered
from storage.rowquery import Dialect, Sql
from storage.rows import build, shape
from storage.sql import named

R = TypeVar("R", bound=Row)

DIALECT: Final = Dialect(
    contains="strpos(lower({column}), ?) > 0",
    # jsonb cannot hold U+0000: it stands there as `values.outward` writes it.
    has_all="jsonb_exists(replace({column}, '\\u0000', '\ue000\ue001')::jsonb, ?)",
    nulls_are_least=False,
)


class PostgresReads:
    """Implements `ports.Reads`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def get(self, row: type[R], *key: str) -> R | None:
        found = await self._pool.row(numbered(rowquery.get(shape(row))), *key)
        return build(row, found) if found is not None else None

    async def find(self, row: type[R], query: RowQuery) -> list[R]:
        return [build(row, values) for values in await self._rows(rowquery.find(shape(row), query, DIALECT))]

    async def count(self, row: type[Row], where: Sequence[Where] = ()) -> int:
        return int((await self._rows(rowquery.count(shape(row), where, DIALECT)))[0][0])

    async def execution_stats(self, workflow_ids: Sequence[str]) -> dict[str, ExecutionStats]:
        rows = await self._pool.rows(named("storage.postgres")["execution_stats"], list(workflow_ids))
        return {
            id: ExecutionStats(total, ended, succeeded, Instant(last)) for id, total, ended, succeeded, last in rows
        }

    async def claimable(self, now: Instant, limit: int) -> list[Claimable]:
        return [Claimable(*row) for row in await self._pool.rows(named("storage.postgres")["claimable"], now, limit)]

    async def next_runnable_at(self, now: Instant) -> Instant | None:
        found = await self._pool.value(named("storage.postgres")["next_runnable_at"], now)
        return Instant(found) if found is not None else None

    async def queues(self) -> dict[str, int]:
        return dict(await self._pool.rows(named("storage.postgres")["queues"]))

    async def places(self, organization_id: str) -> list[Held]:
        rows = await self._pool.rows(named("storage.postgres")["places"], organization_id)
        return [Held(*row) for row in rows]

    async def in_queue(self, organization_id: str, now: Instant, limit: int) -> list[Waiting]:
        rows = await self._pool.rows(named("storage.postgres")["in_queue"], organization_id, now, limit)
        return [Waiting(*row) for row in rows]

    async def recent_durations(self, workflow_id: str, limit: int) -> list[float]:
        found = await self._pool.rows(named("storage.postgres")["recent_durations"], workflow_id, limit)
        return [seconds_between(Instant(start), Instant(end)) for start, end in found]

    async def _rows(self, sql: Sql) -> list[tuple[Any, ...]]:
        return await self._pool.rows(numbered(sql.text), *sql.params)
