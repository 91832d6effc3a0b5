"""Long reads of a PostgreSQL log, over a connection of their own."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

from storage.codec import Link
from storage.postgres import events
from storage.postgres.connection import Connection, connect
from storage.postgres.errors import ours
from storage.source import Chunk
from storage.sql import named

_CHUNK: Final = 512


class PostgresSource:
    """Implements `storage.source.Source`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, url: str) -> PostgresSource:
        with ours():
            return cls(await connect(url))

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

    async def close(self) -> None:
        with ours():
            await self._connection.close()
