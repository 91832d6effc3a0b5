"""The log on PostgreSQL: reading and following it, and appending to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

from executor.domain.values import Instant, plus
from executor.ports import NEW, Appended, EventQuery, Metadata, Recorded, Stored, StreamAppend
from storage.aggregates import Aggregates
from storage.codec import GENESIS, Codec, Link, Prover
from storage.errors import Broken
from storage.following import PAGE, PAGE_BYTES, Following
from storage.patterns import expand
from storage.plan import prepare
from storage.postgres import events
from storage.postgres.batch import Appender
from storage.postgres.connection import Pool
from storage.postgres.values import outward
from storage.postgres.writer import Connect, Writer
from storage.sql import named

_SYSTEM: Final = Metadata()


class PostgresLog:
    """Implements `ports.EventLog`."""

    def __init__(
        self,
        pool: Pool,
        connect: Connect,
        aggregates: Aggregates,
        appender: Appender,
        codec: Codec,
        epoch: str,
        head: int,
    ) -> None:
        self._pool = pool
        self._aggregates = aggregates
        self._codec = codec
        self._epoch = epoch
        self.following = Following(head, self.page, self._last_position)
        self.writer = Writer(connect, appender, self.following.publish, self.following.notice)

    @property
    def epoch(self) -> str:
        return self._epoch

    @property
    def head(self) -> int:
        return self.following.head

    async def append(self, streams: Sequence[StreamAppend], metadata: Metadata = _SYSTEM) -> tuple[Appended, ...]:
        return await self.writer.append(prepare(streams, metadata, self._aggregates, self._codec))

    async def read(self, query: EventQuery) -> list[Recorded]:
        types = await self._wanted(query)
        if types == []:
            return []
        sql, params = events.Select(query, await self._span(query), types).sql()
        return events.from_rows(await self._pool.rows(sql, *params))

    async def _wanted(self, query: EventQuery) -> list[str] | None:
        """The types that a query is about, null for all. Those of a workflow are always named: its index has them."""
        is_workflow = query.workflow_id is not None and query.execution_id is None
        if not is_workflow and (not query.types or "*" in query.types):
            return None
        there = [type for (type,) in await self._pool.rows(named("storage.postgres")["types"])]
        wanted = expand(query.types, there)
        return there if wanted is None else wanted

    async def at(self, position: int) -> Recorded | None:
        row = await self._pool.row(events.query("at"), position)
        return events.from_values(row) if row is not None else None

    async def stream(self, stream: str, after: int = 0) -> list[Recorded]:
        return events.from_rows(await self._pool.rows(events.query("stream"), stream, after))

    async def load(
        self, stream: str, known: tuple[Any, int] | None = None, *, through: int | None = None
    ) -> tuple[Any, int]:
        if known is None and through is None:
            known = await self._kept(stream)
        state, version = known if known is not None else (self._aggregates.initial(stream), NEW)
        recorded = await self.stream(stream, version)
        if through is not None:
            recorded = [event for event in recorded if event.position <= through]
        if not recorded:
            return state, version
        return self._aggregates.evolve(stream, state, recorded), recorded[-1].version

    async def keep(self, stream: str, state: Any, version: int) -> None:
        if (packed := self._aggregates.pack(stream, state)) is not None:
            await self._pool.execute(named("storage.postgres")["fold_keep"], outward(stream), version, *packed)

    async def _kept(self, stream: str) -> tuple[Any, int] | None:
        revision = self._aggregates.keeps(stream)
        if revision is None:
            return None
        found = await self._pool.row(named("storage.postgres")["fold"], outward(stream), revision)
        return None if found is None else self._aggregates.unpack(stream, *found)

    async def position_at(self, time: Instant) -> int:
        return await self._first_at(plus(time, 0.001)) - 1

    async def refresh(self) -> int:
        return await self.following.refresh()

    def notice(self, position: int) -> None:
        self.following.notice(position)

    def on_append(self, call: Callable[[int], None]) -> None:
        self.following.on_append(call)

    def tail(self, after: int) -> AsyncIterator[Sequence[Recorded]]:
        return self.following.tail(after)

    async def page(self, after: int) -> list[Recorded]:
        """Some of the events after a position, from the database."""
        return events.from_rows(await self._pool.rows(events.query("page"), after, PAGE, PAGE_BYTES))

    async def scan(self, after: int) -> list[Stored]:
        rows = await self._pool.rows(events.query("scan"), after, PAGE, PAGE_BYTES)
        return [Stored._make(row) for row in rows]

    async def verify(self, after: Link = GENESIS) -> Link:
        """The end of the chain, proved from a link of it on. Raises `Broken`, also where the tail was deleted.

        What is appended meanwhile is proved too; only what was there at the beginning can be missing.
        """
        prover, given = Prover(after), await self._last_position()
        while page := await self.scan(prover.link.position):
            prover.extend(page)
        if given > prover.link.position:
            raise Broken(prover.link.position + 1, f"missing: the log had {given} events")
        return prover.link

    def close(self) -> None:
        self.following.close()

    async def _last_position(self) -> int:
        return int(await self._pool.value(named("storage.postgres")["head"]))

    async def _span(self, query: EventQuery) -> events.Span:
        """A query's positions, its times included: time never runs backwards along the log, so a time is a position,
        found by halving in some twenty point reads, and needs no index."""
        after, before = events.span(query.after, query.before)
        if query.start_time is not None:
            after = max(after, await self._first_at(query.start_time) - 1)
        if query.end_time is not None:
            before = min(before, await self._first_at(query.end_time))
        return events.Span(after, before)

    async def _first_at(self, time: Instant) -> int:
        """The lowest position whose event is at a time or later; one past the last where all are earlier."""
        low, high = 1, await self._last_position() + 1
        while low < high:
            middle = (low + high) // 2
            found = await self._pool.row(named("storage.postgres")["time_at"], middle)
            if found is None or found[1] >= time:
                high = middle
            else:
                low = found[0] + 1
        return low
