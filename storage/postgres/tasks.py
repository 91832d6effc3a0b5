"""The ledger of task leases on PostgreSQL, by its clock."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from executor.ports import TaskLease
from storage.postgres.connection import Pool
from storage.postgres.values import back, outward
from storage.sql import named

_AT_ONCE: Final = 4
"""Claims of one process: those that wait for their turn must not have all connections."""


class PostgresTaskLeases:
    """Implements `ports.TaskLeases`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def claim(
        self, organization_id: str, types: Sequence[str], worker_id: str, lease_id: str, seconds: float, limit: int
    ) -> list[str]:
        wanted = [outward(type) for type in sorted(set(types))]
        async with self._room, self._pool.transaction() as connection:
            await connection.execute(_sql("task_claim_lock"), organization_id)
            rows = await connection.fetch(
                _sql("task_claim"), organization_id, wanted, limit, outward(worker_id), lease_id, seconds
            )
        return [id for (id,) in back(rows)]

    async def take(self, lease: TaskLease, seconds: float) -> bool:
        return bool(await self._pool.value(_sql("task_lease_take"), *lease, seconds))

    async def renew(self, task_id: str, worker_id: str, seconds: float) -> bool:
        return await self._pool.execute(_sql("task_lease_renew"), task_id, worker_id, seconds) > 0

    async def drop(self, task_id: str, lease_id: str) -> None:
        await self._pool.execute(_sql("task_lease_drop"), task_id, lease_id)

    async def expired(self, limit: int) -> list[TaskLease]:
        return [TaskLease._make(row) for row in await self._pool.rows(_sql("task_leases_expired"), limit)]

    async def orphans(self, limit: int) -> list[tuple[str, int]]:
        return [(id, int(version)) for id, version in await self._pool.rows(_sql("tasks_without_lease"), limit)]


def _sql(name: str) -> str:
    return named("storage.postgres")[name]
