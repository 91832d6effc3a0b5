"""Carrying a hub into a PostgreSQL database and out of it, a page a transaction, under the log's lock."""
# ruff: noqa: S608 - tables and columns are the schema's own, checked; every value is a parameter

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from msgspec.structs import astuple

from executor.ports import MARKS, Clock, Organization, Stored
from executor.ports.copying import Values
from storage.copying import Folding, Followed, carried
from storage.organizations import organization_of
from storage.postgres import events as event_rows
from storage.postgres.batch import upsert
from storage.postgres.connection import Connection, Pool, arrays, numbered
from storage.postgres.log import PostgresLog
from storage.postgres.values import columns as as_columns
from storage.postgres.values import outward
from storage.sql import named


class PostgresCopying:
    """Implements `ports.Copying`."""

    def __init__(self, pool: Pool, log: PostgresLog, folding: Folding, clock: Clock) -> None:
        self._pool, self._log, self._folding, self._clock = pool, log, folding, clock

    async def marks(self) -> dict[str, str]:
        return dict(await self._pool.rows(_sql("marks"), list(MARKS)))

    async def organizations(self) -> list[Organization]:
        return [organization_of(row) for row in await self._pool.rows(_sql("organizations"))]

    async def columns(self, table: str) -> tuple[str, ...]:
        return tuple(column for column, _ in await self._pool.rows(_sql("columns_of"), carried(table)))

    async def rows(self, table: str, key: Sequence[str], after: Values | None, limit: int) -> list[Values]:
        columns, of_key = await self.columns(table), ", ".join(key)
        where = "" if after is None else f"WHERE ({of_key}) > ({', '.join('?' * len(key))})"
        sql = f"SELECT {', '.join(columns)} FROM {carried(table)} {where} ORDER BY {of_key} LIMIT {int(limit)}"
        return await self._pool.rows(numbered(sql), *(after or ()))

    async def count(self, table: str) -> int:
        return int(await self._pool.value(f"SELECT count(*) FROM {carried(table)}"))

    async def others(self) -> int:
        return await self._pool.others()

    @asynccontextmanager
    async def frozen(self) -> AsyncIterator[None]:
        """By the lock that every append takes."""
        async with self._pool.transaction() as connection:
            await connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            await connection.fetchrow(_sql("lock_log"))
            yield

    async def mark(self, marks: Mapping[str, str | None]) -> None:
        async with self._pool.transaction() as connection:
            await set_marks(connection, marks)

    async def new_epoch(self) -> str:
        epoch = self._clock.new_id()
        await self.mark({"epoch": epoch})
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
        try:
            async with self._pool.transaction() as connection:
                if events:
                    await _write_events(connection, events)
                await _write_followed(connection, followed)
                for each in organizations:
                    await connection.execute(_sql("organization_add"), *map(outward, astuple(each)))
                for name, position in (checkpoints or {}).items():
                    await connection.execute(_sql("set_checkpoint"), name, position)
                await set_marks(connection, marks or {})
        except BaseException:
            self._folding.forget()
            raise
        if events:
            self._log.notice(events[-1].position)

    async def put(self, table: str, columns: Sequence[str], rows: Sequence[Values]) -> None:
        types = dict(await self._pool.rows(_sql("columns_of"), carried(table)))
        of_columns = arrays([types[column] for column in columns])
        sql = f"INSERT INTO {table} ({', '.join(columns)}) SELECT * FROM unnest({of_columns})"
        await self._pool.execute(sql, *as_columns(rows, len(columns)))

    async def clear(self, table: str) -> None:
        await self._pool.execute(f"DELETE FROM {carried(table)}")


async def _write_events(connection: Connection, events: Sequence[Stored]) -> None:
    head, _, _ = await connection.fetchrow(_sql("lock_log"))
    if [event.position for event in events] != list(range(head + 1, head + 1 + len(events))):
        raise ValueError(f"the events do not follow position {head}")
    records = [tuple(map(outward, event)) for event in events]
    await connection.copy_records_to_table("events", records=records, columns=event_rows.ALL.split(", "))
    await connection.execute(_sql("move_log"), events[-1].position, events[-1].time, events[-1].hash)


async def _write_followed(connection: Connection, followed: Followed) -> None:
    names = [*followed.freed, *(name for name, _ in followed.held)]
    if names:
        await connection.execute(_sql("free_names"), [outward(name) for name in names])
        into = f"INSERT INTO names (name, stream) SELECT * FROM unnest({arrays(['text', 'text'])})"
        await connection.execute(into, *as_columns(followed.held, 2))
    for kind, rows in followed.rows.items():
        upsertion = upsert(kind)
        await connection.execute(upsertion.sql, *as_columns([astuple(row) for row in rows], upsertion.width))


async def set_marks(connection: Connection, marks: Mapping[str, str | None]) -> None:
    for key, value in marks.items():
        if value is None:
            await connection.execute(_sql("drop_meta"), key)
        else:
            await connection.execute(_sql("set_meta"), key, outward(value))


def _sql(name: str) -> str:
    return named("storage.postgres")[name]
