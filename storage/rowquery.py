"""Row queries as SQL. Tables and columns come from the row's Struct and are checked; values are parameters, as `?`.

SQLite's `lower` knows only ASCII: a column to be searched without regard to case holds lower-cased text already, as
`search` does. (A function of ours in its place would take the GIL for each row.)
"""
# ruff: noqa: S608 - the text comes from our own types, checked; every value is a parameter

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from executor.ports import Contains, Eq, HasAll, In, Order, Range, RowQuery, Where
from storage.rows import Shape


class Sql(NamedTuple):
    text: str
    params: tuple[Any, ...] = ()


class Dialect(NamedTuple):
    """What backends say differently. `contains` and `has_all` are conditions on a `{column}` and one parameter; where
    null comes in an order has to be said unless `nulls_are_least`."""

    contains: str
    has_all: str
    nulls_are_least: bool


def get(of: Shape) -> str:
    return f"{_select(of)} WHERE {' AND '.join(f'{column} = ?' for column in of.key)}"


def find(of: Shape, query: RowQuery, dialect: Dialect) -> Sql:
    """Raises `ValueError` for a column that the row does not have."""
    where = [_condition(of, one, dialect) for one in query.where]
    if query.after is not None:
        where.append(_after(of, query.order, query.after, dialect))
    order = ", ".join(_order(of, by, dialect) for by in query.order)
    text, params = _and(where)
    return Sql(f"{_select(of)} WHERE {text} ORDER BY {order} LIMIT ? OFFSET ?", (*params, query.limit, query.offset))


def count(of: Shape, where: Sequence[Where], dialect: Dialect) -> Sql:
    text, params = _and([_condition(of, one, dialect) for one in where])
    return Sql(f"SELECT count(*) FROM {of.table} WHERE {text}", params)


def _select(of: Shape) -> str:
    return f"SELECT {', '.join(of.columns)} FROM {of.table}"


def _order(of: Shape, by: Order, dialect: Dialect) -> str:
    column = f"{of.check(by.column)} {'DESC' if by.descending else 'ASC'}"
    if dialect.nulls_are_least or by.column not in of.nullable:
        return column
    return f"{column} NULLS {'LAST' if by.descending else 'FIRST'}"


def _condition(of: Shape, where: Where, dialect: Dialect) -> Sql:
    match where:
        case Eq(column, None):
            return Sql(f"{of.check(column)} IS NULL")
        case Eq(column, value):
            return Sql(f"{of.check(column)} = ?", (value,))
        case In(_, ()):
            return Sql("false")
        case In(column, values):
            return Sql(f"{of.check(column)} IN ({', '.join('?' * len(values))})", values)
        case Range(column, start, end):
            bounds = [
                Sql(f"{of.check(column)} {sign} ?", (at,))
                for sign, at in ((">=", start), ("<", end))
                if at is not None
            ]
            return _and(bounds)
        case Contains(columns, text):
            return _or([Sql(dialect.contains.format(column=of.check(c)), (text.lower(),)) for c in columns])
        case HasAll(column, values):
            has = dialect.has_all.format(column=of.check(column))
            return _and([Sql(has, (value,)) for value in values])


def _after(of: Shape, order: Sequence[Order], after: Sequence[Any], dialect: Dialect) -> Sql:
    """What follows the values in the order: further in the first column, or equal there and further in the next.

    The bound on the first column alone says nothing new, but lets its index find where to begin.
    """
    if len(after) != len(order):
        raise ValueError(f"a cursor over {len(order)} columns has {len(after)} values")
    further: list[Sql] = []
    equal: list[Sql] = []
    for by, value in zip(order, after, strict=True):
        further.append(_and([*equal, _beyond(of, by, value)]))
        equal.append(_condition(of, Eq(by.column, value), dialect))
    bound: list[Sql] = []
    first, value = order[0], after[0]
    if value is not None and not (first.descending and first.column in of.nullable):
        bound.append(Sql(f"{first.column} {'<=' if first.descending else '>='} ?", (value,)))
    return _and([*bound, _or(further)])


def _beyond(of: Shape, by: Order, value: Any) -> Sql:
    """Strictly after a value in a column's order; null comes before everything ascending, after it descending."""
    column = of.check(by.column)
    if value is None:
        return Sql("false" if by.descending else f"{column} IS NOT NULL")
    if not by.descending:
        return Sql(f"{column} > ?", (value,))
    if column in of.nullable:
        return Sql(f"({column} < ? OR {column} IS NULL)", (value,))
    return Sql(f"{column} < ?", (value,))


def _and(parts: Sequence[Sql]) -> Sql:
    return _join(parts, " AND ", "true")


def _or(parts: Sequence[Sql]) -> Sql:
    return _join(parts, " OR ", "false")


def _join(parts: Sequence[Sql], word: str, empty: str) -> Sql:
    if len(parts) == 1:
        return parts[0]
    text = word.join(f"({part.text})" for part in parts) or empty
    return Sql(text, tuple(param for part in parts for param in part.params))
