"""Events as SQLite rows, and the queries over them. Every filter is answered by an index, in order of position."""
# ruff: noqa: S608 - the text comes from our own types, checked; every value is a parameter

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from executor.domain.values import Instant
from executor.ports import EventQuery, Recorded
from storage.codec import decode_metadata
from storage.sqlite.statements import queries

_FIELDS: Final = (
    "position, id, type, schema, time, organization_id, stream, version, workflow_id, execution_id, data, metadata"
)
ALL: Final = f"{_FIELDS}, digest, hash"
INTO: Final = f"events({ALL})"
COLUMNS: Final = f"{_FIELDS}, hash"


@cache
def query(name: str) -> str:
    """A query of `queries.sql` over events, its `{columns}` or `{all}` filled in."""
    return queries()[name].replace("{columns}", COLUMNS).replace("{all}", ALL)


def to_values(recorded: Recorded, metadata: bytes, digest: bytes) -> tuple[Any, ...]:
    return (
        recorded.position,
        recorded.id,
        recorded.type,
        recorded.schema,
        recorded.time,
        recorded.organization_id,
        recorded.stream,
        recorded.version,
        recorded.workflow_id,
        recorded.execution_id,
        recorded.data,
        metadata,
        digest,
        recorded.hash,
    )


def from_values(values: Sequence[Any]) -> Recorded:
    return Recorded(
        position=values[0],
        id=values[1],
        type=values[2],
        schema=values[3],
        time=values[4],
        organization_id=values[5],
        stream=values[6],
        version=values[7],
        workflow_id=values[8],
        execution_id=values[9],
        data=values[10],
        metadata=decode_metadata(values[11]),
        hash=values[12],
    )


def from_rows(rows: Iterable[Sequence[Any]]) -> list[Recorded]:
    return [from_values(row) for row in rows]


class Span(NamedTuple):
    """Positions, both exclusive."""

    after: int
    before: int | None


def span(connection: sqlite3.Connection, query: EventQuery) -> Span:
    """A query's positions, its times included: time never runs backwards along the log, so a time is a position,
    found by halving in some twenty point reads, and needs no index."""
    after, before = query.after, query.before
    if query.start_time is not None:
        after = max(after, first_at(connection, query.start_time) - 1)
    if query.end_time is not None:
        end = first_at(connection, query.end_time)
        before = end if before is None else min(before, end)
    return Span(after, before)


def first_at(connection: sqlite3.Connection, time: Instant) -> int:
    """The lowest position whose event is at a time or later; one past the last where all are earlier."""
    low, high = 1, connection.execute(queries()["last_position"]).fetchone()[0] + 1
    while low < high:
        middle = (low + high) // 2
        found = connection.execute(queries()["time_at"], (middle,)).fetchone()
        if found is None or found[1] >= time:
            high = middle
        else:
            low = found[0] + 1
    return low


def select(query: EventQuery, span: Span, types: list[str] | None) -> tuple[str, list[Any]]:
    """The SQL of a query and its parameters. The most selective filter leads; `types` are those that its patterns
    match, null for no such filter (of a workflow they are always named). `+` before a column keeps SQLite from
    choosing its index.

    An execution is small: what else is asked is checked on its events. A workflow and an organization are not: they
    have an index with the type in it, so that a type that is rare here and common elsewhere is found by a seek.
    """
    order = "DESC" if query.descending else "ASC"
    within, positions = _within(span)
    if query.execution_id is not None:
        where, params = ["execution_id = ?", *within], [query.execution_id, *positions]
        lead: tuple[str, str] | None = None
    else:
        lead = ("workflow_id", query.workflow_id or "") if query.workflow_id is not None else None
        if lead is None and query.organization_id is not None:
            lead = ("organization_id", query.organization_id)
        where, params = ([f"{lead[0]} = ?", *within], [lead[1], *positions]) if lead else (within, positions)
    for column, value in (("workflow_id", query.workflow_id), ("organization_id", query.organization_id)):
        if value is not None and (lead is None or column != lead[0]):
            where.append(f"+{column} = ?")
            params.append(value)
    if types is not None and query.execution_id is None:
        return _merged(types, " AND ".join(where), params, order, query)
    if types is not None:
        where.append(f"+type IN ({', '.join('?' * len(types))})")
        params.extend(types)
    chosen = f"SELECT position FROM events WHERE {' AND '.join(where)} ORDER BY position {order} LIMIT ? OFFSET ?"
    return _whole(chosen, order), [*params, query.limit, query.offset]


def _within(span: Span) -> tuple[list[str], list[Any]]:
    if span.before is None:
        return ["position > ?"], [span.after]
    return ["position > ?", "position < ?"], [span.after, span.before]


def _merged(types: list[str], where: str, params: list[Any], order: str, query: EventQuery) -> tuple[str, list[Any]]:
    """Each type's index entries are in order of position, and SQLite merges them as they come: it reads no more than
    are asked for, and one of each type."""
    if not types:
        return f"SELECT {COLUMNS} FROM events WHERE false", []
    one = f"SELECT position FROM events WHERE type = ? AND {where}"
    chosen = f"{' UNION ALL '.join([one] * len(types))} ORDER BY position {order} LIMIT ? OFFSET ?"
    values = [value for type in types for value in (type, *params)]
    return _whole(chosen, order), [*values, query.limit, query.offset]


def _whole(chosen: str, order: str) -> str:
    """Positions first, from indexes alone where there are no other filters: what an offset skips is never read."""
    return f"SELECT {COLUMNS} FROM events WHERE position IN ({chosen}) ORDER BY position {order}"
