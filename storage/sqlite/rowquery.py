"""Row queries as SQL. Tables and columns come from the row's Struct and are checked; values are parameters.

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


def get(of: Shape) -> str:
    return f"{_select(of)} WHERE {' AND '.join(f'{column} = ?' for column in of.key)}"


def find(of: Shape, query: RowQuery) -> Sql:
    """Raises `ValueError` for a column that the row does not have."""
    where = [_condition(of, one) for one in query.where]
    if query.after is not None:
        where.append(_after(of, query.order, query.after))
    order = ", ".join(f"{of.check(by.column)} {'DESC' if by.descending else 'ASC'}" for by in query.order)
    text, params = _and(where)
    return Sql(f"{_select(of)} WHERE {text} ORDER BY {order} LIMIT ? OFFSET ?", (*params, query.limit, query.offset))


def count(of: Shape, where: Sequence[Where]) -> Sql:
    text, params = _and([_condition(of, one) for one in where])
    return Sql(f"SELECT count(*) FROM {of.table} WHERE {text}", params)


def _select(of: Shape) -> str:
    return f"SELECT {', '.join(of.columns)} FROM {of.table}"


def _condition(of: Shape, where: Where) -> Sql:
    match where:
        case Eq(column, None):
            return Sql(f"{of.check(column)} IS NULL")
        case Eq(column, value):
            return Sql(f"{of.check(column)} = ?", (value,))
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
            return _or([Sql(f"instr(lower({of.check(column)}), ?) > 0", (text.lower(),)) for column in columns])
        case HasAll(column, values):
            has = f"EXISTS (SELECT 1 FROM json_each({of.check(column)}) WHERE value = ?)"
            return _and([Sql(has, (value,)) for value in values])


def _after(of: Shape, order: Sequence[Order], after: Sequence[Any]) -> Sql:
    """What follows the values in the order: further in the first column, or equal there and further in the next.

    The bound on the first column alone says nothing new, but lets its index find where to begin.
    """
    if len(after) != len(order):
        raise ValueError(f"a cursor over {len(order)} columns has {len(after)} values")
    further: list[Sql] = []
    equal: list[Sql] = []
    for by, value in zip(order, after, strict=True):
        further.append(_and([*equal, _beyond(of, by, value)]))
        equal.append(_condition(of, Eq(by.column, value)))
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
