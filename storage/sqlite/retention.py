"""The ledger of what was archived, on SQLite, and the blanking of events in the writer's transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from msgspec.structs import astuple

from executor.domain.values import Instant
from executor.ports import Archived, Ended, Stored
from storage.retention import is_replayed, unchanged
from storage.sqlite import events
from storage.sqlite.errors import ours
from storage.sqlite.pool import ReadPool
from storage.sqlite.statements import insert, queries, select_in
from storage.sqlite.writer import Writer

_COLUMNS: Final = ", ".join(Archived.__struct_fields__)


class SqliteRetention:
    """Implements `ports.Retention`. `connection` is used only on the loop's thread."""

    def __init__(self, writer: Writer, connection: sqlite3.Connection, pool: ReadPool) -> None:
        self._writer = writer
        self._connection = connection
        self._pool = pool

    async def ended(self, before: Instant, after: tuple[Instant, str], limit: int) -> list[Ended]:
        rows = await self._pool.rows(queries()["ended"], (before, *after, limit))
        return [Ended._make(row) for row in rows]

    async def events(self, execution_id: str) -> list[Stored]:
        rows = await self._pool.rows(events.query("of_execution"), (execution_id,))
        return [Stored._make(row) for row in rows]

    async def blank(self, archived: Sequence[Archived]) -> list[str]:
        return await self._writer.run(lambda db: _blank(db, archived)) if archived else []

    async def get(self, execution_id: str) -> Archived | None:
        sql = queries()["archived"].replace("{columns}", _COLUMNS)
        with ours():
            row = self._connection.execute(sql, (execution_id,)).fetchone()
        return Archived(**dict(zip(Archived.__struct_fields__, row, strict=True))) if row is not None else None

    async def is_lost(
        self, organization_id: str, after: int, *, execution_id: str | None = None, workflow_id: str | None = None
    ) -> bool:
        name, params = "lost", [organization_id, after]
        if execution_id is not None:
            name, params = "lost_of_execution", [*params, execution_id]
        elif workflow_id is not None:
            name, params = "lost_of_workflow", [*params, workflow_id]
        with ours():
            return bool(self._connection.execute(queries()[name], params).fetchone()[0])


def _blank(db: sqlite3.Connection, archived: Sequence[Archived]) -> list[str]:
    ids = [each.execution_id for each in archived]
    first, last = min(each.first_position for each in archived), max(each.last_position for each in archived)
    awaited = {id for (id,) in select_in(db, queries()["awaited"], ids, first, last)}
    open_replays = db.execute(queries()["replays_under_way"]).fetchall()
    versions = dict(select_in(db, queries()["ended_versions"], ids))
    awaited |= {each.execution_id for each in archived if is_replayed(each, open_replays)}
    kept = unchanged(archived, versions, awaited)
    done = [each.execution_id for each in kept]
    select_in(db, queries()["blank_executions"], done)
    select_in(db, queries()["drop_attempts"], done)
    select_in(db, queries()["drop_deliveries"], done)
    select_in(db, queries()["drop_tasks"], done)
    select_in(db, queries()["drop_components"], done)
    select_in(db, queries()["drop_executions"], done)
    select_in(db, queries()["drop_folds"], [f"execution:{id}" for id in done])
    insert(db, f"archived_executions({_COLUMNS})", [astuple(each) for each in kept])
    return done
