"""Carrying a hub into a SQLite file and out of it. Written through the one writer, a page a transaction."""
# ruff: noqa: S608 - tables and columns are the schema's own, checked; every value is a parameter

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from msgspec.structs import astuple

from executor.ports import MARKS, Clock, Organization, Stored
from executor.ports.copying import Values
from storage.copying import Folding, Followed, carried
from storage.organizations import organization_of
from storage.sqlite import events as event_rows
from storage.sqlite.batch import end_of_chain, upsert
from storage.sqlite.errors import ours
from storage.sqlite.log import SqliteLog
from storage.sqlite.pool import ReadPool
from storage.sqlite.statements import insert, queries, select_in


class SqliteCopySource:
    """Implements `ports.CopySource`. `connection` is used only on the loop's thread."""

    def __init__(self, connection: sqlite3.Connection, pool: ReadPool) -> None:
        self._connection = connection
        self._pool = pool

    async def marks(self) -> dict[str, str]:
        with ours():
            found = select_in(self._connection, queries()["marks"], MARKS)
        return dict(found)

    async def organizations(self) -> list[Organization]:
        found = await self._pool.rows(queries()["organizations"])
        return [organization_of(row) for row in found]

    async def columns(self, table: str) -> tuple[str, ...]:
        with ours():
            return tuple(sorted(row[1] for row in self._connection.execute(f"PRAGMA table_info({carried(table)})")))

    async def rows(self, table: str, key: Sequence[str], after: Values | None, limit: int) -> list[Values]:
        columns, of_key = await self.columns(table), ", ".join(key)
        where = "" if after is None else f"WHERE ({of_key}) > ({', '.join('?' * len(key))})"
        sql = f"SELECT {', '.join(columns)} FROM {carried(table)} {where} ORDER BY {of_key} LIMIT {int(limit)}"
        return await self._pool.rows(sql, after or ())

    async def count(self, table: str) -> int:
        found = await self._pool.rows(f"SELECT count(*) FROM {carried(table)}")
        return int(found[0][0])


class SqliteCopying(SqliteCopySource):
    """Implements `ports.Copying`. `forget` tells the log's side of the writer to look at the database again."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        pool: ReadPool,
        log: SqliteLog,
        folding: Folding,
        forget: Callable[[], None],
        clock: Clock,
    ) -> None:
        super().__init__(connection, pool)
        self._log, self._folding, self._forget, self._clock = log, folding, forget, clock

    async def others(self) -> int:
        """The file lock keeps every other process out."""
        return 0

    @asynccontextmanager
    async def frozen(self) -> AsyncIterator[None]:
        """The same."""
        yield

    async def mark(self, marks: Mapping[str, str | None]) -> None:
        await self._log.writer.run(lambda db: set_marks(db, marks))

    async def new_epoch(self) -> str:
        epoch = self._clock.new_id()
        await self._log.writer.run(lambda db: set_marks(db, {"epoch": epoch}))
        return epoch

    async def bring(
        self,
        events: Sequence[Stored],
        *,
        organizations: Sequence[Organization] = (),
        checkpoints: Mapping[str, int] | None = None,
        marks: Mapping[str, str | None] | None = None,
        is_folded: bool = True,
    ) -> None:
        followed = await self._folding.fold(events) if is_folded else Followed({}, [], [])

        def write(db: sqlite3.Connection) -> None:
            if events:
                _write_events(db, events)
                self._forget()
            _write_followed(db, followed)
            kept = [astuple(organization) for organization in organizations]
            insert(db, f"organizations({', '.join(Organization.__struct_fields__)})", kept, "ON CONFLICT DO NOTHING")
            for name, position in (checkpoints or {}).items():
                db.execute(queries()["set_checkpoint"], (name, position))
            set_marks(db, marks or {})

        try:
            await self._log.writer.run(write)
        except BaseException:
            self._folding.forget()
            raise
        if events:
            self._log.following.notice(events[-1].position)

    async def put(self, table: str, columns: Sequence[str], rows: Sequence[Values]) -> None:
        into = f"{carried(table)}({', '.join(columns)})"
        await self._log.writer.run(lambda db: insert(db, into, rows))

    async def clear(self, table: str) -> None:
        def write(db: sqlite3.Connection) -> None:
            db.execute(f"DELETE FROM {carried(table)}")

        await self._log.writer.run(write)


def set_marks(connection: sqlite3.Connection, marks: Mapping[str, str | None]) -> None:
    """Within the caller's transaction."""
    for key, value in marks.items():
        if value is None:
            connection.execute(queries()["drop_meta"], (key,))
        else:
            connection.execute(queries()["set_meta"], (key, value))


def _write_events(connection: sqlite3.Connection, events: Sequence[Stored]) -> None:
    head = end_of_chain(connection).position
    if [event.position for event in events] != list(range(head + 1, head + 1 + len(events))):
        raise ValueError(f"the events do not follow position {head}")
    insert(connection, event_rows.INTO, events)


def _write_followed(connection: sqlite3.Connection, followed: Followed) -> None:
    if followed.freed:
        select_in(connection, queries()["free_names"], followed.freed)
    insert(
        connection, "names(name, stream)", followed.held, "ON CONFLICT (name) DO UPDATE SET stream = excluded.stream"
    )
    for kind, rows in followed.rows.items():
        into, on_conflict = upsert(kind)
        insert(connection, into, [astuple(row) for row in rows], on_conflict)
