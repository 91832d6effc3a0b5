"""Events as PostgreSQL rows, and queries over them. Every filter is answered by an index, in order of position."""
# ruff: noqa: S608 - the text comes from our own types, checked; every value is a parameter

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from executor.domain.values import Instant
from executor.ports import EventQuery, Recorded
from storage.codec import decode_metadata
from storage.postgres.connection import arrays
from storage.sql import named

_FIELDS: Final = (
    "position, id, type, schema, time, organization_id, stream, version, workflow_id, execution_id, data, metadata"
)
ALL: Final = f"{_FIELDS}, digest, hash"
COLUMNS: Final = f"{_FIELDS}, hash"
_TEXT, _NUMBER, _BYTES = "text", "bigint", "bytea"
_TYPES: Final = (
    *(_NUMBER, _TEXT, _TEXT, _NUMBER, _TEXT, _TEXT, _TEXT, _NUMBER, _TEXT, _TEXT),
    *(_BYTES, _BYTES, _BYTES, _BYTES),
)
WIDTH: Final = len(_TYPES)
INSERT: Final = f"INSERT INTO events ({ALL}) SELECT * FROM unnest({arrays(_TYPES)})"
_END: Final = 2**63 - 1


@cache
def query(name: str) -> str:
    """A query of `queries.sql` over events, its `{columns}` or `{all}` filled in."""
    return named("storage.postgres")[name].replace("{columns}", COLUMNS).replace("{all}", ALL)


def from_values(values: Sequence[Any]) -> Recorded:
    return Recorded(
        position=values[0],
        id=values[1],
        type=values[2],
        schema=values[3],
        time=Instant(values[4]),
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
    before: int


class Select:
    """The SQL of a query, built so that the index of its most selective filter is the only one that can give its
    order: that filter and the position stand together in a comparison of rows, and the others are hidden from their
    indexes (`column || ''`)."""

    def __init__(self, query: EventQuery, span: Span, types: list[str] | None) -> None:
        self._query, self._span, self._types = query, span, types
        self._params: list[Any] = []

    def sql(self) -> tuple[str, list[Any]]:
        query = self._query
        filters = [
            (column, value)
            for column, value in (
                ("execution_id", query.execution_id),
                ("workflow_id", query.workflow_id),
                ("organization_id", query.organization_id),
            )
            if value is not None
        ]
        if self._types is not None and not (query.execution_id or query.workflow_id):
            return self._by_type(filters), self._params
        column, value = filters[0] if filters else (None, None)
        where = [*self._range(column, value), *self._hidden(filters[1:])]
        if self._types is not None:
            where.append(f"type || '' = ANY ({self._param(self._types)}::text[])")
        return self._select(where, column), self._params

    def _by_type(self, filters: list[tuple[str, Any]]) -> str:
        """Each type's index entries are in order of position: take the first of each, then the first of those."""
        wanted = self._param(self._types)
        after, before = self._param(self._span.after), self._param(self._span.before)
        hidden = self._hidden(filters)
        where = [f"(type, position) > (wanted.type, {after})", f"(type, position) < (wanted.type, {before})", *hidden]
        way, limit = self._way, self._param(self._query.limit)
        order = f"ORDER BY type {way}, position {way} LIMIT {limit}"
        one = f"SELECT position FROM events WHERE {' AND '.join(where)} {order}"
        types = f"unnest({wanted}::text[]) AS wanted (type)"
        some = (
            f"SELECT found.position FROM {types} CROSS JOIN LATERAL ({one}) AS found "
            f"ORDER BY found.position {way} LIMIT {limit}"
        )
        return f"SELECT {COLUMNS} FROM events WHERE position IN ({some}) ORDER BY position {way}"

    def _range(self, column: str | None, value: Any) -> list[str]:
        after, before = self._param(self._span.after), self._param(self._span.before)
        if column is None:
            return [f"position > {after}", f"position < {before}"]
        given = self._param(value)
        bounds = [(">", after), ("<", before)]
        return [
            *(f"({column}, position) {sign} ({given}::text, {bound}::bigint)" for sign, bound in bounds),
            f"{column} IS NOT NULL",
        ]

    def _hidden(self, filters: list[tuple[str, Any]]) -> list[str]:
        return [f"{column} || '' = {self._param(value)}::text" for column, value in filters]

    def _select(self, where: list[str], lead: str | None) -> str:
        way = self._way
        order = f"position {way}" if lead is None else f"{lead} {way}, position {way}"
        limit = self._param(self._query.limit)
        return f"SELECT {COLUMNS} FROM events WHERE {' AND '.join(where)} ORDER BY {order} LIMIT {limit}"

    @property
    def _way(self) -> str:
        return "DESC" if self._query.descending else "ASC"

    def _param(self, value: Any) -> str:
        self._params.append(value)
        return f"${len(self._params)}"


def span(after: int, before: int | None) -> Span:
    return Span(after, _END if before is None else before)
