"""Reads that may take a while: connections of their own, each on a thread of aiosqlite's, off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiosqlite

from executor.domain.errors import Unavailable
from storage.sqlite.connection import BUSY_SECONDS, read_only_uri
from storage.sqlite.errors import ours

_CHUNK: Final = 64


class ReadPool:
    """Opens a connection when all that it has are busy, up to `size` of them."""

    def __init__(self, path: Path, size: int = 4) -> None:
        self._uri = read_only_uri(path)
        self._idle: list[aiosqlite.Connection] = []
        self._all: list[aiosqlite.Connection] = []
        self._free = asyncio.Semaphore(size)
        self._closed = False

    async def rows(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query. Raises `Unavailable`."""
        async with self._connection() as connection:
            return [tuple(row) for row in await connection.execute_fetchall(sql, params)]

    async def rows_within(self, sql: str, params: Sequence[Any], size: int, column: int) -> list[tuple[Any, ...]]:
        """The rows of a query until their blobs of a column make up `size` bytes; at least one where there is one."""
        rows: list[tuple[Any, ...]] = []
        async with self._connection() as connection, connection.execute(sql, params) as cursor:
            while size > 0 and (chunk := await cursor.fetchmany(_CHUNK)):
                for row in chunk:
                    rows.append(tuple(row))
                    size -= len(row[column])
                    if size <= 0:
                        break
        return rows

    async def close(self) -> None:
        """May be called twice. What is being read ends first."""
        self._closed = True
        while self._all:
            await self._all.pop().close()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[aiosqlite.Connection]:
        with ours():
            async with self._free:
                if self._closed:
                    raise Unavailable("the database is closed")
                connection = self._idle.pop() if self._idle else await self._open()
                try:
                    yield connection
                finally:
                    self._idle.append(connection)

    async def _open(self) -> aiosqlite.Connection:
        connection = await aiosqlite.connect(self._uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
        self._all.append(connection)
        return connection
