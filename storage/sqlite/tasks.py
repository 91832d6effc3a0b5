"""The ledger of task leases on SQLite, by this process's clock, the only one there is."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from executor.domain.values import Instant, plus
from executor.ports import Clock, TaskLease
from storage.sqlite.errors import ours
from storage.sqlite.statements import queries
from storage.sqlite.writer import Writer


class SqliteTaskLeases:
    """Implements `ports.TaskLeases`. `connection` is used only on the loop's thread."""

    def __init__(self, writer: Writer, connection: sqlite3.Connection, clock: Clock) -> None:
        self._writer = writer
        self._connection = connection
        self._clock = clock

    async def claim(
        self, organization_id: str, types: Sequence[str], worker_id: str, lease_id: str, seconds: float, limit: int
    ) -> list[str]:
        now = self._clock.now()

        def claim(db: sqlite3.Connection) -> list[str]:
            found: list[tuple[int, str, str]] = []
            for type in set(types):
                found += db.execute(queries()["tasks_to_claim"], (organization_id, type, now, limit))
            found.sort(key=lambda task: (-task[0], *task[1:]))
            ids = [id for _, _, id in found[:limit]]
            return [id for id in ids if _take(db, TaskLease(id, worker_id, lease_id), now, seconds)]

        return await self._writer.run(claim)

    async def take(self, lease: TaskLease, seconds: float) -> bool:
        now = self._clock.now()
        return await self._writer.run(lambda db: _take(db, lease, now, seconds))

    async def renew(self, task_id: str, worker_id: str, seconds: float) -> bool:
        now = self._clock.now()
        values = (task_id, worker_id, plus(now, seconds), now)
        return await self._writer.run(lambda db: db.execute(queries()["task_lease_renew"], values).rowcount > 0)

    async def drop(self, task_id: str, lease_id: str) -> None:
        await self._writer.run(lambda db: db.execute(queries()["task_lease_drop"], (task_id, lease_id)).rowcount)

    async def expired(self, limit: int) -> list[TaskLease]:
        with ours():
            rows = self._connection.execute(queries()["task_leases_expired"], (self._clock.now(), limit)).fetchall()
        return [TaskLease._make(row) for row in rows]

    async def orphans(self, limit: int) -> list[tuple[str, int]]:
        with ours():
            return self._connection.execute(queries()["tasks_without_lease"], (limit,)).fetchall()


def _take(db: sqlite3.Connection, lease: TaskLease, now: Instant, seconds: float) -> bool:
    return db.execute(queries()["task_lease_take"], (*lease, plus(now, seconds), now)).rowcount > 0
