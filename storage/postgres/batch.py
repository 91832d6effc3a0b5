"""Writes a batch of appends: takes the log's lock, looks up what the batch asks about, lets the plan decide, writes.

Other processes append too, so what is remembered between batches (the versions of streams in use) is right only while
the end of the chain is where this process left it.
"""
# ruff: noqa: S608 - the text comes from our own types, checked; every value is a parameter

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from msgspec.structs import astuple

from executor.domain.errors import Unavailable
from executor.domain.values import Instant
from executor.ports import Appended, Clock, Recorded, Row
from storage.aggregates import Aggregates
from storage.codec import Link
from storage.plan import Folded, Known, Plan, Prepared, claimed_names, fold
from storage.postgres import events
from storage.postgres.connection import Connection, arrays
from storage.postgres.errors import is_unavailable
from storage.postgres.values import back, columns, inward, outward
from storage.rows import shape
from storage.sql import named

_REMEMBERED_STREAMS: Final = 16_384
_VERSIONS, _IDS, _NAMES, _MOVED = 1, 2, 3, 4

Result = tuple[Appended, ...] | Exception
Folds = dict[tuple[str, int], Any]


class Batch(NamedTuple):
    """What became of each append, the events that are visible once the transaction has been committed, and the SQL
    that moves the log on and ends the transaction in one message to the server."""

    results: list[Result]
    recorded: list[Recorded]
    end: str


class Appender:
    """The log's side of the writer. `write` within a transaction, then `committed` or `forget`."""

    def __init__(self, aggregates: Aggregates, clock: Clock) -> None:
        self._aggregates = aggregates
        self._clock = clock
        self._link: Link | None = None
        self._versions: OrderedDict[str, int] = OrderedDict()
        self._planned: Plan | None = None

    async def write(self, connection: Connection, appends: Sequence[Prepared]) -> Batch:
        link = Link(*await connection.fetchrow(_sql("lock_log")))
        if link != self._link:
            self._versions.clear()
        time = max(Instant(link.time), self._clock.now())
        folded = [fold(prepared, time) for prepared in appends]
        known = await self._look_up(connection, appends, folded)
        folds = await self._first_results(connection, appends, known)
        plan = Plan(link, time, known, lambda stream, version: folds[stream, version])
        results = [_decide(plan, prepared, parts) for prepared, parts in zip(appends, folded, strict=True)]
        await _write(connection, plan)
        self._planned = plan
        return Batch(results, plan.recorded, _end(plan))

    def committed(self) -> None:
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
        """The transaction of the last `write` failed, or nobody knows: look at the database again."""
        self._planned = self._link = None
        self._versions.clear()

    async def _look_up(
        self, connection: Connection, appends: Sequence[Prepared], folded: Sequence[tuple[Folded, ...] | Exception]
    ) -> Known:
        streams = {part.append.stream for prepared in appends for part in prepared.parts}
        versions = {stream: self._versions[stream] for stream in streams if stream in self._versions}
        ids = [id for prepared in appends for id in prepared.ids]
        names = {outward(name): name for name in claimed_names(folded)}
        known = Known({}, versions, {})
        found = []
        for kind, key, number, holder in await connection.fetch(
            _sql("look_up"), [outward(stream) for stream in streams - versions.keys()], ids, list(names)
        ):
            if kind == _VERSIONS:
                versions[inward(key)] = number
            elif kind == _IDS:
                found.append(key)
            elif kind == _MOVED:
                raise Unavailable(f"this hub {key}")
            else:
                known.names[names[key]] = inward(holder)
        if found:
            known.ids.update(
                (e.id, e) for e in events.from_rows(back(await connection.fetch(events.query("by_id"), found)))
            )
        return known

    async def _first_results(self, connection: Connection, appends: Sequence[Prepared], known: Known) -> Folds:
        """The folds that appends which are said again answer with."""
        folds: Folds = {}
        if known.ids:
            for stream, version in _repeated(appends, known):
                rows = await connection.fetch(events.query("stream_to"), outward(stream), version)
                recorded = events.from_rows(back(rows))
                folds[stream, version] = self._aggregates.evolve(stream, self._aggregates.initial(stream), recorded)
        return folds


def _repeated(appends: Sequence[Prepared], known: Known) -> set[tuple[str, int]]:
    wanted = set()
    for prepared in appends:
        for part in prepared.parts:
            versions = [known.ids[event.id].version for event in part.events if event.id in known.ids]
            if versions:
                wanted.add((part.append.stream, max(versions)))
    return wanted


def _decide(plan: Plan, prepared: Prepared, folded: tuple[Folded, ...] | Exception) -> Result:
    try:
        return plan.decide(prepared, folded)
    except Exception as error:
        if is_unavailable(error):
            raise
        return error


async def _write(connection: Connection, plan: Plan) -> None:
    """All that the plan gathered, one statement a table.

    Never by COPY: a server that waits for more of its data heeds no time-out, and a process that is frozen in the
    middle of one would keep the log's lock for ever.
    """
    if not plan.recorded:
        return
    records = [
        (*_envelope(recorded), metadata, digest, recorded.hash)
        for recorded, metadata, digest in zip(plan.recorded, plan.metadata, plan.digests, strict=True)
    ]
    await connection.execute(_INSERT_EVENTS, *map(list, zip(*records, strict=True)))
    if plan.names:
        await connection.execute(_sql("free_names"), [outward(name) for name in plan.names])
        held = [(name, stream) for name, stream in plan.names.items() if stream is not None]
        if held:
            await connection.execute(_HOLD_NAMES, *columns(held, 2))
    for row, of_kind in plan.rows.items():
        into = upsert(row)
        await connection.execute(into.sql, *columns([astuple(one) for one in of_kind.values()], into.width))


def _end(plan: Plan) -> str:
    if not plan.recorded:
        return "ROLLBACK"
    position, time, hash = plan.link
    return f"UPDATE log SET position = {int(position)}, time = '{time}', hash = '\\x{hash.hex()}'; COMMIT"


def _envelope(recorded: Recorded) -> tuple[Any, ...]:
    """Ids, types and times are ours; the names of streams and what they belong to may be anybody's."""
    return (
        recorded.position,
        recorded.id,
        recorded.type,
        recorded.schema,
        recorded.time,
        outward(recorded.organization_id),
        outward(recorded.stream),
        recorded.version,
        outward(recorded.workflow_id),
        outward(recorded.execution_id),
        recorded.data,
    )


class Upsert(NamedTuple):
    sql: str
    width: int


@cache
def upsert(row: type[Row]) -> Upsert:
    """How rows of a kind are written: where there is one already, an older one gives way."""
    of = shape(row)
    changed = ", ".join(f"{column} = excluded.{column}" for column in of.changing)
    types = [_TYPES[of.kinds[column]] for column in of.columns]
    sql = (
        f"INSERT INTO {of.table} ({', '.join(of.columns)}) SELECT * FROM unnest({arrays(types)}) "
        f"ON CONFLICT ({', '.join(of.key)}) DO UPDATE SET {changed} WHERE excluded.version >= {of.table}.version"
    )
    return Upsert(sql, len(of.columns))


_TYPES: Final = {str: "text", int: "bigint", bytes: "bytea"}
_EVENTS: Final = {"position": int, "schema": int, "version": int} | dict.fromkeys(
    ("data", "metadata", "digest", "hash"), bytes
)
_INSERT_EVENTS: Final = (
    f"INSERT INTO events ({events.ALL}) SELECT * FROM "
    f"unnest({arrays([_TYPES[_EVENTS.get(column, str)] for column in events.ALL.split(', ')])})"
)
_HOLD_NAMES: Final = f"INSERT INTO names (name, stream) SELECT * FROM unnest({arrays(['text', 'text'])})"


def _sql(name: str) -> str:
    return named("storage.postgres")[name]
