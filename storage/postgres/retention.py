"""The ledger of what was archived, on PostgreSQL, and the blanking of events."""
# ruff: noqa: S608 - the text comes from our own types, checked; every value is a parameter

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec.structs import astuple

from executor.domain.values import Instant
from executor.ports import Archived, Ended, Stored
from storage.postgres import events
from storage.postgres.connection import Connection, Pool, arrays
from storage.postgres.values import back, columns
from storage.retention import is_replayed, unchanged
from storage.rows import kinds
from storage.sql import named

_COLUMNS: Final = ", ".join(Archived.__struct_fields__)
_TYPES: Final = ["bigint" if kind is int else "text" for kind in kinds(Archived).values()]
_INSERT: Final = f"INSERT INTO archived_executions ({_COLUMNS}) SELECT * FROM unnest({arrays(_TYPES)})"


class PostgresRetention:
    """Implements `ports.Retention`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def ended(self, before: Instant, after: tuple[Instant, str], limit: int) -> list[Ended]:
        return [Ended._make(row) for row in await self._pool.rows(_sql("ended"), before, *after, limit)]

    async def events(self, execution_id: str) -> list[Stored]:
        rows = await self._pool.rows(events.query("of_execution"), execution_id)
        return [Stored._make(row) for row in rows]

    async def blank(self, archived: Sequence[Archived]) -> list[str]:
        if not archived:
            return []
        async with self._pool.transaction() as connection:
            await connection.execute(_sql("frozen"))
            # Whoever appends waits: nothing can be added to an execution while it is being looked at.
            await connection.execute(_sql("lock_log"))
            return await _blank(connection, archived)

    async def get(self, execution_id: str) -> Archived | None:
        row = await self._pool.row(_sql("archived").replace("{columns}", _COLUMNS), execution_id)
        return Archived(**dict(zip(Archived.__struct_fields__, row, strict=True))) if row is not None else None

    async def is_lost(
        self, organization_id: str, after: int, *, execution_id: str | None = None, workflow_id: str | None = None
    ) -> bool:
        return bool(await self._pool.value(_sql("is_lost"), organization_id, after, execution_id, workflow_id))


async def _blank(connection: Connection, archived: Sequence[Archived]) -> list[str]:
    ids = [each.execution_id for each in archived]
    first, last = min(each.first_position for each in archived), max(each.last_position for each in archived)
    awaited = {id for (id,) in await connection.fetch(_sql("awaited"), first, last, ids)}
    open_replays = back(await connection.fetch(_sql("replays_under_way")))
    awaited |= {each.execution_id for each in archived if is_replayed(each, open_replays)}
    versions = dict(back(await connection.fetch(_sql("ended_versions"), ids)))
    kept = unchanged(archived, versions, awaited)
    done = [each.execution_id for each in kept]
    if done:
        await connection.execute(_sql("blank_executions"), done)
        await connection.execute(_sql("drop_deliveries"), done)
        await connection.execute(_sql("drop_tasks"), done)
        await connection.execute(_sql("drop_components"), done)
        await connection.execute(_sql("drop_folds"), [f"execution:{id}" for id in done])
        await connection.execute(_sql("drop_executions"), done)
        await connection.execute(_INSERT, *columns([astuple(each) for each in kept], len(_TYPES)))
    return done


def _sql(name: str) -> str:
    return named("storage.postgres")[name]
