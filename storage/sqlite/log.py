"""The log on SQLite: reading and following it, and appending to it."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final, TypeVar

from executor.domain.errors import Unavailable
from executor.ports import NEW, Appended, EventQuery, Metadata, Recorded, StreamAppend
from storage.aggregates import Aggregates
from storage.codec import GENESIS, Codec, Link, verify
from storage.errors import Broken
from storage.plan import prepare
from storage.ring import Ring
from storage.signal import Signal
from storage.sqlite import events
from storage.sqlite.batch import end_of_chain
from storage.sqlite.errors import ours
from storage.sqlite.pool import ReadPool
from storage.sqlite.statements import queries
from storage.sqlite.writer import Publish, Writer

T = TypeVar("T")

_ON_THE_SPOT: Final = 128
_PAGE: Final = 512
_PAGE_BYTES: Final = 4 * 1024 * 1024
_DATA: Final = 10
_POLL_SECONDS: Final = 1.0
_SYSTEM: Final = Metadata()


class LogReader:
    """Reads the log: single events and short streams on the spot, the rest off the loop.

    `connection` is used only on the loop's thread.
    """

    def __init__(self, connection: sqlite3.Connection, pool: ReadPool, aggregates: Aggregates, epoch: str) -> None:
        self._connection = connection
        self._pool = pool
        self._aggregates = aggregates
        self._epoch = epoch
        self._ring = Ring()
        self._signal = Signal()
        self._closed = False
        self._head = self._spot(last_position)

    @property
    def epoch(self) -> str:
        return self._epoch

    @property
    def head(self) -> int:
        return self._head

    async def read(self, query: EventQuery) -> list[Recorded]:
        types = None
        if query.types and "*" not in query.types:
            types = events.expand(query.types, self._spot(_types))
        sql, params = events.select(query, self._spot(lambda reader: events.span(reader, query)), types)
        return events.from_rows(await self._pool.rows(sql, params))

    async def at(self, position: int) -> Recorded | None:
        row = self._spot(lambda reader: reader.execute(events.query("at"), (position,)).fetchone())
        return events.from_values(row) if row is not None else None

    async def stream(self, stream: str, after: int = 0) -> list[Recorded]:
        sql = events.query("stream")
        found = self._spot(lambda reader: reader.execute(sql, (stream, after, _ON_THE_SPOT)).fetchall())
        recorded = events.from_rows(found)
        if len(recorded) == _ON_THE_SPOT:
            rest = await self._pool.rows(sql, (stream, recorded[-1].version, -1))
            recorded += events.from_rows(rest)
        return recorded

    async def load(self, stream: str, known: tuple[Any, int] | None = None) -> tuple[Any, int]:
        state, version = known if known is not None else (self._aggregates.initial(stream), NEW)
        recorded = await self.stream(stream, version)
        if not recorded:
            return state, version
        return self._aggregates.evolve(stream, state, recorded), recorded[-1].version

    async def tail(self, after: int) -> AsyncIterator[Sequence[Recorded]]:
        while not self._closed:
            batch = self._ring.after(after, _PAGE)
            if not batch and after < self._head:
                batch = await self._page_while_open(after)
            if batch:
                yield batch
                after = batch[-1].position
            else:
                await self._signal.wait(after, _POLL_SECONDS)
                self._poll(after)

    async def page(self, after: int) -> list[Recorded]:
        """Some of the events after a position, from the database."""
        rows = await self._pool.rows_within(events.query("page"), (after, _PAGE), _PAGE_BYTES, _DATA)
        return events.from_rows(rows)

    async def _page_while_open(self, after: int) -> list[Recorded]:
        try:
            return await self.page(after)
        except Unavailable:
            if self._closed:
                return []
            raise

    async def verify(self, after: Link = GENESIS) -> Link:
        """The end of the chain, proved from a link of it on. Raises `Broken`, also where the tail was deleted.

        What is appended meanwhile is proved too; only what was there at the beginning can be missing.
        """
        link, given = after, self._spot(end_of_chain).position
        while page := await self.page(link.position):
            link = verify(page, link)
        if given > link.position:
            raise Broken(link.position + 1, f"missing: the log had {given} events")
        return link

    def close(self) -> None:
        self._closed = True
        self._signal.close()

    def _poll(self, after: int) -> None:
        """A hint may have been lost, and a reader beside the writing process gets none."""
        if not self._closed and self._head <= after:
            self._head = max(self._head, self._spot(last_position))

    def _spot(self, read: Callable[[sqlite3.Connection], T]) -> T:
        with ours():
            return read(self._connection)


class SqliteLog(LogReader):
    """Implements `ports.EventLog`. The writer publishes here what it committed, so it is made here."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        pool: ReadPool,
        aggregates: Aggregates,
        epoch: str,
        *,
        codec: Codec,
        writer: Callable[[Publish], Writer],
    ) -> None:
        super().__init__(connection, pool, aggregates, epoch)
        self._codec = codec
        self.writer = writer(self.publish)

    async def append(self, streams: Sequence[StreamAppend], metadata: Metadata = _SYSTEM) -> tuple[Appended, ...]:
        return await self.writer.append(prepare(streams, metadata, self._aggregates, self._codec))

    def publish(self, recorded: Sequence[Recorded]) -> None:
        """What was committed, in order: from here on it is visible to those who follow."""
        self._ring.extend(recorded)
        position = recorded[-1].position
        self._head = max(self._head, position)
        self._signal.notify(position)


def last_position(connection: sqlite3.Connection) -> int:
    return int(connection.execute(queries()["last_position"]).fetchone()[0])


def _types(connection: sqlite3.Connection) -> list[str]:
    return [type for (type,) in connection.execute(queries()["types"])]
