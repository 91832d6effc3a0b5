"""Writes a batch of appends: looks up what it asks about, lets the plan decide, writes what the plan gathered.

Runs inside a transaction of the writer, on its thread. What it remembers between batches (the end of the chain, the
versions of streams in use) is right because nobody else writes; after a failure it forgets all and looks again.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from msgspec.structs import astuple

from executor.domain.values import Instant
from executor.ports import Appended, Clock, Recorded, Row
from storage.aggregates import Aggregates
from storage.codec import GENESIS, Link
from storage.plan import Folded, Known, Plan, Prepared, claimed_names, fold
from storage.rows import shape
from storage.sqlite import events
from storage.sqlite.statements import insert, queries, select_in

_REMEMBERED_STREAMS: Final = 16_384

Result = tuple[Appended, ...] | Exception


class Batch(NamedTuple):
    """What became of each append, and the events that will be visible once the transaction commits."""

    results: list[Result]
    recorded: list[Recorded]


class Appender:
    """The log's side of the writer."""

    def __init__(self, aggregates: Aggregates, clock: Clock) -> None:
        self._aggregates = aggregates
        self._clock = clock
        self._link: Link | None = None
        self._versions: OrderedDict[str, int] = OrderedDict()
        self._planned: Plan | None = None

    def write(self, connection: sqlite3.Connection, appends: Sequence[Prepared]) -> Batch:
        """Writes the appends that hold, within the caller's transaction. Then call `committed` or `forget`."""
        link = self._link if self._link is not None else end_of_chain(connection)
        time = max(Instant(link.time), self._clock.now())
        folded = [fold(prepared, time) for prepared in appends]
        known = self._look_up(connection, appends, folded)
        plan = Plan(link, time, known, lambda stream, version: self._fold_at(connection, stream, version))
        results = [_decide(plan, prepared, parts) for prepared, parts in zip(appends, folded, strict=True)]
        _write_events(connection, plan)
        _write_names(connection, plan)
        for row, rows in plan.rows.items():
            into, on_conflict = upsert(row)
            insert(connection, into, [astuple(one) for one in rows.values()], on_conflict)
        self._planned = plan
        return Batch(results, plan.recorded)

    def committed(self) -> None:
        """The transaction of the last `write` is durable."""
        plan, self._planned = self._planned, None
        if plan is None:
            return
        self._link = plan.link
        for recorded in plan.recorded:
            self._versions[recorded.stream] = recorded.version
            self._versions.move_to_end(recorded.stream)
        while len(self._versions) > _REMEMBERED_STREAMS:
            self._versions.popitem(last=False)

    def forget(self) -> None:
        """The transaction of the last `write` failed: look at the database again."""
        self._planned = self._link = None
        self._versions.clear()

    def _look_up(
        self,
        connection: sqlite3.Connection,
        appends: Sequence[Prepared],
        folded: Sequence[tuple[Folded, ...] | Exception],
    ) -> Known:
        ids = [id for prepared in appends for id in prepared.ids]
        found = events.from_rows(select_in(connection, events.query("by_id"), ids))
        names = claimed_names(folded)
        held = dict(select_in(connection, queries()["holders"], names))
        streams = {part.append.stream for prepared in appends for part in prepared.parts}
        return Known({event.id: event for event in found}, self._current(connection, streams), held)

    def _current(self, connection: sqlite3.Connection, streams: set[str]) -> dict[str, int]:
        versions = {stream: self._versions[stream] for stream in streams if stream in self._versions}
        unknown = streams - versions.keys()
        for stream, version in select_in(connection, queries()["versions"], [(stream,) for stream in unknown]):
            versions[stream] = version or 0
        return versions

    def _fold_at(self, connection: sqlite3.Connection, stream: str, version: int) -> Any:
        rows = connection.execute(events.query("stream_to"), (stream, version))
        return self._aggregates.evolve(stream, self._aggregates.initial(stream), events.from_rows(rows))


def end_of_chain(connection: sqlite3.Connection) -> Link:
    """The last event, at the last position that was ever given: where the log's tail was deleted, the next event
    leaves the gap open for all to see."""
    last = connection.execute(queries()["head"]).fetchone()
    given = int(connection.execute(queries()["last_given"]).fetchone()[0])
    _, time, hash = last if last is not None else GENESIS
    return Link(given, time, hash)


def _decide(plan: Plan, prepared: Prepared, folded: tuple[Folded, ...] | Exception) -> Result:
    try:
        return plan.decide(prepared, folded)
    except sqlite3.Error:
        raise
    except Exception as error:
        return error


def _write_events(connection: sqlite3.Connection, plan: Plan) -> None:
    rows = [
        events.to_values(recorded, metadata, digest)
        for recorded, metadata, digest in zip(plan.recorded, plan.metadata, plan.digests, strict=True)
    ]
    insert(connection, events.INTO, rows)


def _write_names(connection: sqlite3.Connection, plan: Plan) -> None:
    if plan.names:
        select_in(connection, queries()["free_names"], plan.names)
        insert(connection, "names(name, stream)", [held for held in plan.names.items() if held[1] is not None])


@cache
def upsert(row: type[Row]) -> tuple[str, str]:
    """Where rows of a kind go, and what happens where there is one already: an older one gives way."""
    of = shape(row)
    changed = ", ".join(f"{column} = excluded.{column}" for column in of.changing)
    return (
        f"{of.table}({', '.join(of.columns)})",
        f"ON CONFLICT ({', '.join(of.key)}) DO UPDATE SET {changed} WHERE excluded.version >= {of.table}.version",
    )
