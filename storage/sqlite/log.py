"""The log on SQLite: reading and following it, and appending to it."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final, TypeVar

from executor.domain.values import Instant, plus
from executor.ports import NEW, Appended, EventQuery, Metadata, Recorded, Stored, StreamAppend
from storage.aggregates import Aggregates
from storage.codec import GENESIS, Codec, Link, Prover
from storage.errors import Broken
from storage.following import PAGE, PAGE_BYTES, Following
from storage.patterns import expand
from storage.plan import prepare
from storage.sqlite import events
from storage.sqlite.batch import end_of_chain
from storage.sqlite.errors import ours
from storage.sqlite.pool import ReadPool
from storage.sqlite.statements import queries
from storage.sqlite.writer import Publish, Writer

T = TypeVar("T")

_ON_THE_SPOT: Final = 128
_DATA: Final = 10
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
        self.following = Following(self._spot(last_position), self.page, self._last_position)

    @property
    def epoch(self) -> str:
        return self._epoch

    @property
    def head(self) -> int:
        return self.following.head

    async def refresh(self) -> int:
        return await self.following.refresh()

    def notice(self, position: int) -> None:
        self.following.notice(position)

    def on_append(self, call: Callable[[int], None]) -> None:
        self.following.on_append(call)

    async def position_at(self, time: Instant) -> int:
        return self._spot(lambda reader: events.first_at(reader, plus(time, 0.001)) - 1)

    async def read(self, query: EventQuery) -> list[Recorded]:
        sql, params = events.select(query, self._spot(lambda reader: events.span(reader, query)), self._wanted(query))
        return events.from_rows(await self._pool.rows(sql, params))

    def _wanted(self, query: EventQuery) -> list[str] | None:
        """The types that a query is about, null for all. Those of a workflow are always named: its index has them."""
        is_workflow = query.workflow_id is not None and query.execution_id is None
        if not is_workflow and (not query.types or "*" in query.types):
            return None
        types = self._spot(_types)
        wanted = expand(query.types, types)
        if is_workflow:
            return types if wanted is None else wanted
        return None if wanted is not None and len(wanted) == len(types) else wanted

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

    async def load(
        self, stream: str, known: tuple[Any, int] | None = None, *, through: int | None = None
    ) -> tuple[Any, int]:
        if known is None and through is None:
            known = self._kept(stream)
        state, version = known if known is not None else (self._aggregates.initial(stream), NEW)
        recorded = await self.stream(stream, version)
        if through is not None:
            recorded = [event for event in recorded if event.position <= through]
        if not recorded:
            return state, version
        return self._aggregates.evolve(stream, state, recorded), recorded[-1].version

    def _kept(self, stream: str) -> tuple[Any, int] | None:
        revision = self._aggregates.keeps(stream)
        if revision is None:
            return None
        params = (stream, revision)
        found = self._spot(lambda reader: reader.execute(queries()["fold"], params).fetchone())
        return None if found is None else self._aggregates.unpack(stream, *found)

    def tail(self, after: int) -> AsyncIterator[Sequence[Recorded]]:
        return self.following.tail(after)

    async def page(self, after: int) -> list[Recorded]:
        """Some of the events after a position, from the database."""
        rows = await self._pool.rows_within(events.query("page"), (after, PAGE), PAGE_BYTES, _DATA)
        return events.from_rows(rows)

    async def scan(self, after: int) -> list[Stored]:
        rows = await self._pool.rows_within(events.query("scan"), (after, PAGE), PAGE_BYTES, _DATA)
        return [Stored._make(row) for row in rows]

    async def verify(self, after: Link = GENESIS) -> Link:
        """The end of the chain, proved from a link of it on. Raises `Broken`, also where the tail was deleted.

        What is appended meanwhile is proved too; only what was there at the beginning can be missing.
        """
        prover, given = Prover(after), self._spot(end_of_chain).position
        while page := await self.scan(prover.link.position):
            prover.extend(page)
        if given > prover.link.position:
            raise Broken(prover.link.position + 1, f"missing: the log had {given} events")
        return prover.link

    def close(self) -> None:
        self.following.close()

    async def _last_position(self) -> int:
        return self._spot(last_position)

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
        self.writer = writer(self.following.publish)

    async def append(self, streams: Sequence[StreamAppend], metadata: Metadata = _SYSTEM) -> tuple[Appended, ...]:
        return await self.writer.append(prepare(streams, metadata, self._aggregates, self._codec))

    async def keep(self, stream: str, state: Any, version: int) -> None:
        if (packed := self._aggregates.pack(stream, state)) is not None:
            params = (stream, version, *packed)
            await self.writer.run(lambda db: db.execute(queries()["fold_keep"], params).rowcount)


def last_position(connection: sqlite3.Connection) -> int:
    return int(connection.execute(queries()["last_position"]).fetchone()[0])


def _types(connection: sqlite3.Connection) -> list[str]:
    return [type for (type,) in connection.execute(queries()["types"])]
