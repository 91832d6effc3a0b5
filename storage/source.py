"""What a process of its own reads of a store, read-only: events as they are stored, in long sequential runs.

Proofs and rebuilds read so, off the hub's process, since what burns CPU there would hold its loop.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Protocol

from storage.codec import Link
from storage.projections import Projection, Span
from storage.urls import is_postgres, sqlite_path

Chunk = Sequence[tuple[Any, ...]]
"""Some events with the columns of `Stored`, as plain tuples."""

FOLDED: Final = "stream, version, type, schema, time, organization_id, data, metadata"
"""What a fold needs of events."""


class Source(Protocol):
    """Raises `Unavailable` where the database does not answer."""

    async def given(self) -> int:
        """The last position that was ever given; its event may have been deleted since."""

    async def link(self, position: int) -> Link | None:
        """The link of the chain that an event claims to be; None where there is no such event."""

    def events(self, after: int, through: int) -> AsyncGenerator[Chunk, None]:
        """The events after a position (exclusive) through another (inclusive), in order. Raises `Broken` at one that
        cannot be read at all."""

    def snapshot(self) -> AbstractAsyncContextManager[None]:
        """What is read within it is of one moment."""

    async def borders(self, after: str | None, size: int) -> list[str]:
        """Names of streams after one that cut the log into spans of some `size` events each."""

    def streams(self, span: Span) -> AsyncGenerator[Chunk, None]:
        """The events of the streams in a span, stream by stream and each in order, with the columns of `FOLDED`.
        Within a snapshot."""

    async def rows(self, projection: Projection, span: Span) -> list[tuple[Any, ...]]:
        """The rows of a table whose owners are in a span."""

    async def notes(self) -> dict[str, str]:
        """As `ports.Projections` has them."""

    async def close(self) -> None: ...


@asynccontextmanager
async def opened_source(url: str) -> AsyncIterator[Source]:
    """Raises `WrongDatabase`, `Unavailable`. Use it in one thread."""
    source = await _source(url)
    try:
        yield source
    finally:
        await source.close()


async def _source(url: str) -> Source:
    if is_postgres(url):
        from storage.postgres.source import PostgresSource

        return await PostgresSource.open(url)
    from storage.sqlite.source import SqliteSource

    return SqliteSource.open(sqlite_path(url))
