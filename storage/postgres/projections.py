"""Rows and names put right in a PostgreSQL database, under the lock that every append takes."""
# ruff: noqa: S608 - tables and columns are the schema's own, checked; every value is a parameter

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final

from executor.ports import Repair
from storage.postgres.connection import Connection, Pool, arrays
from storage.postgres.copying import set_marks
from storage.postgres.source import notes_of
from storage.postgres.values import back, columns, outward
from storage.projections import NOTES, Projection, gathered
from storage.sql import named

_TYPES: Final = {str: "text", int: "bigint", bytes: "bytea"}


class PostgresProjections:
    """Implements `ports.Projections`."""

    def __init__(self, pool: Pool, of: Mapping[str, Projection]) -> None:
        self._pool, self._of = pool, of

    async def repair(self, repairs: Sequence[Repair]) -> list[str]:
        async with self._pool.transaction() as connection:
            await connection.execute(named("storage.postgres")["frozen"])
            # Whoever appends waits: no stream moves between the look at it and the writing.
            await connection.execute(named("storage.postgres")["lock_log"])
            return await self._repair(connection, repairs)

    async def notes(self) -> dict[str, str]:
        async with self._pool.connection() as connection:
            return await notes_of(connection)

    async def note(self, notes: Mapping[str, str | None]) -> None:
        async with self._pool.transaction() as connection:
            await set_marks(connection, {NOTES + key: value for key, value in notes.items()})

    async def _repair(self, connection: Connection, repairs: Sequence[Repair]) -> list[str]:
        streams = list({outward(repair.stream) for repair in repairs})
        found = back(await connection.fetch(named("storage.postgres")["standing"], streams))
        work = gathered(repairs, dict(found), self._of)
        for projection, keys in work.removed:
            await connection.execute(_delete(projection), *columns(keys, len(projection.of_row)))
        for projection, rows in work.put:
            await connection.execute(_upsert(projection), *columns(rows, len(projection.columns)))
        return work.left


@cache
def _delete(projection: Projection) -> str:
    of_row = ", ".join(projection.of_row)
    keys = arrays(["text"] * len(projection.of_row))
    return f"DELETE FROM {projection.table} WHERE ({of_row}) IN (SELECT * FROM unnest({keys}))"


@cache
def _upsert(projection: Projection) -> str:
    """As `batch.upsert`, but whatever the version says of the row that is there: it is wrong."""
    rows = arrays([_TYPES[kind] for kind in projection.kinds])
    changed = ", ".join(f"{column} = excluded.{column}" for column in projection.columns)
    return (
        f"INSERT INTO {projection.table} ({', '.join(projection.columns)}) SELECT * FROM unnest({rows}) "
        f"ON CONFLICT ({', '.join(projection.key)}) DO UPDATE SET {changed}"
    )
