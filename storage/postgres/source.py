"""Long reads of a PostgreSQL log, over a connection of their own."""
# ruff: noqa: S608 - tables and columns are the schema's own, checked; every value is a parameter

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from storage.codec import Link
from storage.postgres import events
from storage.postgres.connection import Connection, connect
from storage.postgres.errors import ours
from storage.postgres.migrate import require
from storage.postgres.values import back, inward, outward
from storage.projections import NOTES, Projection, Span
from storage.source import FOLDED, Chunk
from storage.sql import named

_CHUNK: Final = 512


class PostgresSource:
    """Implements `storage.source.Source`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, url: str) -> PostgresSource:
        """Raises `WrongDatabase` where the database has no hub's data of this version."""
        with ours():
            connection = await connect(url)
            try:
                await require(connection)
            except BaseException:
                await connection.close()
                raise
            return cls(connection)

    async def given(self) -> int:
        with ours():
            return int(await self._connection.fetchval(named("storage.postgres")["head"]))

    async def link(self, position: int) -> Link | None:
        with ours():
            found = await self._connection.fetchrow(named("storage.postgres")["link_at"], position)
        return Link(*found) if found is not None else None

    async def events(self, after: int, through: int) -> AsyncGenerator[Chunk, None]:
        with ours():
            while chunk := await self._connection.fetch(events.query("raw"), after, through, _CHUNK):
                yield chunk
                after = chunk[-1][0]

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[None]:
        with ours():
            async with self._connection.transaction(isolation="repeatable_read", readonly=True):
                # It holds no lock, and folds for as long as it takes.
                await self._connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
                yield

    async def borders(self, after: str | None, size: int) -> list[str]:
        borders: list[str] = []
        sql, at = named("storage.postgres")["border"], outward(after or "")
        with ours():
            while (at := await self._connection.fetchval(sql, at, size)) is not None:
                borders.append(inward(at))
        return borders

    async def streams(self, span: Span) -> AsyncGenerator[Chunk, None]:
        where, params = _within("stream", span)
        sql = f"SELECT {FOLDED} FROM events WHERE {where} ORDER BY stream, version"
        with ours():
            cursor = await self._connection.cursor(sql, *params)
            while chunk := await cursor.fetch(_CHUNK):
                yield back(chunk)

    async def rows(self, projection: Projection, span: Span) -> list[tuple[Any, ...]]:
        where, params = _within(projection.owner, span)
        sql = f"SELECT {', '.join(projection.columns)} FROM {projection.table} WHERE {where}"
        with ours():
            return back(await self._connection.fetch(sql, *params))

    async def notes(self) -> dict[str, str]:
        with ours():
            return await notes_of(self._connection)

    async def close(self) -> None:
        with ours():
            await self._connection.close()


async def notes_of(connection: Connection) -> dict[str, str]:
    return dict(back(await connection.fetch(named("storage.postgres")["notes"], NOTES)))


def _within(column: str, span: Span) -> tuple[str, list[str]]:
    bounds = [(f"{column} {sign}", value) for sign, value in ((">", span.after), ("<=", span.through))]
    wanted = [(sql, outward(value)) for sql, value in bounds if value is not None]
    where = " AND ".join(f"{sql} ${number}" for number, (sql, _) in enumerate(wanted, 1))
    return where or "true", [value for _, value in wanted]
