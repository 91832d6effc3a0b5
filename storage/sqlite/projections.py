"""Rows and names put right in a SQLite file, in the writer's transactions."""
# ruff: noqa: S608 - tables and columns are the schema's own, checked; every value is a parameter

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from functools import cache

from executor.ports import NEW, Repair
from storage.projections import NOTES, Projection, gathered
from storage.sqlite.copying import set_marks
from storage.sqlite.errors import ours
from storage.sqlite.source import read_notes
from storage.sqlite.statements import insert, queries, select_in
from storage.sqlite.writer import Writer


class SqliteProjections:
    """Implements `ports.Projections`. `connection` is used only on the loop's thread."""

    def __init__(self, writer: Writer, connection: sqlite3.Connection, of: Mapping[str, Projection]) -> None:
        self._writer, self._connection, self._of = writer, connection, of

    async def repair(self, repairs: Sequence[Repair]) -> list[str]:
        return await self._writer.run(lambda db: self._repair(db, repairs))

    async def notes(self) -> dict[str, str]:
        with ours():
            return read_notes(self._connection)

    async def note(self, notes: Mapping[str, str | None]) -> None:
        await self._writer.run(lambda db: set_marks(db, {NOTES + key: value for key, value in notes.items()}))

    def _repair(self, db: sqlite3.Connection, repairs: Sequence[Repair]) -> list[str]:
        streams = {repair.stream for repair in repairs}
        found = select_in(db, queries()["standing"], [(stream,) for stream in streams])
        work = gathered(repairs, {stream: version or NEW for stream, version in found}, self._of)
        for projection, keys in work.removed:
            select_in(db, _delete(projection), keys)
        for projection, rows in work.put:
            into, on_conflict = _upsert(projection)
            insert(db, into, rows, on_conflict)
        return work.left


@cache
def _delete(projection: Projection) -> str:
    return f"DELETE FROM {projection.table} WHERE ({', '.join(projection.of_row)}) IN (VALUES {{rows}})"


@cache
def _upsert(projection: Projection) -> tuple[str, str]:
    """As `batch.upsert`, but whatever the version says of the row that is there: it is wrong."""
    changed = ", ".join(f"{column} = excluded.{column}" for column in projection.columns)
    into = f"{projection.table}({', '.join(projection.columns)})"
    return into, f"ON CONFLICT ({', '.join(projection.key)}) DO UPDATE SET {changed}"
