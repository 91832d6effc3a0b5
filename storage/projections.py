"""The tables that follow from the log, and which of their rows are which stream's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from executor.domain.aggregate import nameless
from executor.ports import NAMES, Aggregate, Repair, Row
from storage.rows import shape

NOTES: Final = "projection."
"""How the keys of notes begin where they stand among other things."""

_PAST_COLON: Final = ";"
"""What sorts right after the colon of a stream's name."""


class Projection(NamedTuple):
    """A table. `owner` is the column that says whose a row is: the id in the stream's name, or with `prefix` null the
    whole name. `of_row` names a row among its stream's and others'."""

    table: str
    columns: tuple[str, ...]
    kinds: tuple[type, ...]
    key: tuple[str, ...]
    owner: str
    prefix: str | None
    revision: int

    @property
    def of_row(self) -> tuple[str, ...]:
        return self.key if self.owner in self.key else (*self.key, self.owner)

    def by_key(self, rows: Iterable[tuple[Any, ...]]) -> dict[tuple[Any, ...], tuple[Any, ...]]:
        """Rows by the values of `of_row`."""
        places = [self.columns.index(column) for column in self.of_row]
        return {tuple([row[place] for place in places]): row for row in rows}


_NAMES: Final = Projection(NAMES, ("name", "stream"), (str, str), ("name",), "stream", None, 1)


def projections(aggregates: Iterable[Aggregate[Any]]) -> dict[str, Projection]:
    """All that there are, by table."""
    of_rows = [_of_kind(kind, aggregate.prefix) for aggregate in aggregates for kind in aggregate.kinds]
    return {each.table: each for each in sorted([*of_rows, _NAMES], key=lambda each: each.table)}


@cache
def _of_kind(kind: type[Row], prefix: str) -> Projection:
    of = shape(kind)
    kinds = tuple(of.kinds[column] for column in of.columns)
    key = ("id",) if "id" in of.columns else of.key
    return Projection(of.table, of.columns, kinds, key, key[0], prefix, kind.revision)


def tables_of(aggregate: Aggregate[Any]) -> set[str]:
    """The tables that an aggregate's streams have anything in."""
    return {kind.table for kind in aggregate.kinds} | (set() if aggregate.names is nameless else {NAMES})


class Span(NamedTuple):
    """Streams by their names, or things by their ids, after one (exclusive) through another (inclusive). Null is the
    beginning, or the end."""

    after: str | None = None
    through: str | None = None

    def of_prefix(self, prefix: str) -> Span | None:
        """The names in the span that begin with a prefix; null where it has no room for any."""
        first, last = f"{prefix}:", f"{prefix}{_PAST_COLON}"
        after = first if self.after is None else max(self.after, first)
        through = last if self.through is None else min(self.through, last)
        return Span(after, through) if after < through else None

    def of_ids(self, prefix: str) -> Span | None:
        """The ids of those."""
        names = self.of_prefix(prefix)
        if names is None or names.after is None or names.through is None:
            return None
        begin = f"{prefix}:"
        return Span(
            names.after.removeprefix(begin) or None,
            names.through.removeprefix(begin) if names.through.startswith(begin) else None,
        )


def span_of(stream: str) -> Span:
    """A span with a stream, and few others in it."""
    return Span(stream[:-1], stream)


class Gathered(NamedTuple):
    """What is to be written of some repairs, by table: first all that is removed, so that rows may be swapped. `left`
    are the streams that are not where their repair was made."""

    removed: list[tuple[Projection, list[tuple[Any, ...]]]]
    put: list[tuple[Projection, list[tuple[Any, ...]]]]
    left: list[str]


def gathered(repairs: Sequence[Repair], versions: Mapping[str, int], of: Mapping[str, Projection]) -> Gathered:
    """`versions` are those of the streams now. Raises `ValueError` for a table that nothing is folded into."""
    removed: dict[str, list[tuple[Any, ...]]] = {}
    put: dict[str, list[tuple[Any, ...]]] = {}
    left: dict[str, None] = {}
    for repair in repairs:
        if repair.table not in of:
            raise ValueError(f"{repair.table!r} is not a table that follows from the log")
        if versions[repair.stream] != repair.version:
            left[repair.stream] = None
            continue
        if repair.removed is not None:
            removed.setdefault(repair.table, []).append(repair.removed)
        if repair.put is not None:
            put.setdefault(repair.table, []).append(repair.put)
    return Gathered(_by_projection(removed, of), _by_projection(put, of), list(left))


def _by_projection(
    values: dict[str, list[tuple[Any, ...]]], of: Mapping[str, Projection]
) -> list[tuple[Projection, list[tuple[Any, ...]]]]:
    return [(of[table], rows) for table, rows in values.items()]


def revision_key(table: str) -> str:
    """Of the note that says by which revision the rows of a table were made."""
    return f"revision.{table}"


def revisions(of: Iterable[Projection]) -> dict[str, str]:
    """Notes that tables are as the program makes them."""
    return {revision_key(each.table): str(each.revision) for each in of}


def noted_revisions(of: Iterable[Projection], notes: Mapping[str, str]) -> dict[str, str]:
    """As `revisions`, but as the tables are. Those of before there were notes are all of the first."""
    return {key: notes.get(key, "1") for key in revisions(of)}


def stale(of: Iterable[Projection], notes: Mapping[str, str]) -> list[str]:
    """The tables that a program made to which their columns meant another thing."""
    return [each.table for each in of if notes.get(revision_key(each.table), "1") != str(each.revision)]
