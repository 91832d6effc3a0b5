"""Events as PostgreSQL rows, and queries over them. Every filter is answered by an index, in order of position."""
# ruff: noqa: S608 - the text comes from our own types, checked; every value is a parameter

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from executor.domain.values import Instant
from executor.ports import EventQuery, Recorded
from storage.codec import decode_metadata
from storage.sql import named

_FIELDS: Final = (
    "position, id, type, schema, time, organization_id, stream, version, workflow_id, execution_id, data, metadata"
)
ALL: Final = f"{_FIELDS}, digest, hash"
COLUMNS: Final = f"{_FIELDS}, hash"
_NULLABLE: Final = ("execution_id", "workflow_id")
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
    indexes (`column || ''`).

    An execution is small: what else is asked is checked on its events. A workflow and an organization are not: they
    have an index with the type in it, so that a type that is rare here and common elsewhere is found by a seek.
    """

    def __init__(self, query: EventQuery, span: Span, types: list[str] | None) -> None:
        self._query, self._span, self._types = query, span, types
        self._params: list[Any] = []
        self._way = "DESC" if query.descending else "ASC"

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
        if self._types is not None and query.execution_id is None:
            chosen = self._by_type(filters)
        else:
            where = self._hidden(filters[1:])
            if self._types is not None:
                where.append(f"type || '' = ANY ({self._param(self._types)}::text[])")
            lead = [(column, f"{self._param(value)}::text") for column, value in filters[:1]]
            limit, offset = self._param(query.limit), self._param(query.offset)
            chosen = f"{self._seek(lead, where)} LIMIT {limit} OFFSET {offset}"
        # Positions first, from indexes alone where there are no other filters: what an offset skips is never read.
        sql = f"SELECT {COLUMNS} FROM events WHERE position = ANY (ARRAY({chosen})) ORDER BY position {self._way}"
        return sql, self._params

    def _by_type(self, filters: list[tuple[str, Any]]) -> str:
        """Each type's index entries are in order of position: take the first of each, then the first of those."""
        hidden = self._hidden(filters[1:])
        lead = [(column, f"{self._param(value)}::text") for column, value in filters[:1]]
        types = f"unnest({self._param(self._types)}::text[]) AS wanted (type)"
        limit, offset = self._param(self._query.limit), self._param(self._query.offset)
        one = f"{self._seek([*lead, ('type', 'wanted.type')], hidden)} LIMIT {limit}::bigint + {offset}::bigint"
        return (
            f"SELECT found.position FROM {types} CROSS JOIN LATERAL ({one}) AS found "
            f"ORDER BY found.position {self._way} LIMIT {limit}::bigint OFFSET {offset}::bigint"
        )

    def _seek(self, lead: list[tuple[str, str]], where: list[str]) -> str:
        """Positions in order, in the index of the leading columns and the position."""
        after, before = self._param(self._span.after), self._param(self._span.before)
        columns = ", ".join([*(column for column, _ in lead), "position"])
        bounds = [
            f"({columns}) {sign} ({', '.join([*(value for _, value in lead), f'{bound}::bigint'])})"
            for sign, bound in ((">", after), ("<", before))
        ]
        there = [f"{column} IS NOT NULL" for column, _ in lead if column in _NULLABLE]
        order = ", ".join(f"{column} {self._way}" for column in columns.split(", "))
        return f"SELECT position FROM events WHERE {' AND '.join([*bounds, *there, *where])} ORDER BY {order}"

    def _hidden(self, filters: list[tuple[str, Any]]) -> list[str]:
        return [f"{column} || '' = {self._param(value)}::text" for column, value in filters]

    def _param(self, value: Any) -> str:
        self._params.append(value)
        return f"${len(self._params)}"


def span(after: int, before: int | None) -> Span:
    return Span(after, _END if before is None else before)
