"""One statement for many rows.

Between statements a thread gives up the GIL and, while the event loop is busy, waits up to 5 ms to get it back. So a
batch has to be few statements: `VALUES` with a parameter for each value, padded to a power of two and cut by `LIMIT`,
so that a handful of prepared texts serves every batch. With a busy loop, 64 events take 17 ms so, and 250 ms as
single statements. Against `json_each` it is up to 2.5 times faster on an idle machine, and exact where that is not:
SQLite's JSON cuts a text at U+0000.
"""
# ruff: noqa: S608 - the text comes from our own types, checked; every value is a parameter

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Final

from storage.sql import named

Values = Sequence[Any]

_MAX_ROWS: Final = 256


def insert(
    connection: sqlite3.Connection, into: str, rows: Sequence[Values], on_conflict: str = ""
) -> list[tuple[Any, ...]]:
    """Inserts rows `into` a table with its columns, such as `names(name, stream)`; what `on_conflict` returns."""
    returned: list[tuple[Any, ...]] = []
    for start in range(0, len(rows), _MAX_ROWS):
        chunk = rows[start : start + _MAX_ROWS]
        size, width = _padded(len(chunk)), len(chunk[0])
        flat = [value for row in chunk for value in row]
        flat.extend([None] * ((size - len(chunk)) * width))
        flat.append(len(chunk))
        returned += connection.execute(_insert_sql(into, size, width, on_conflict), flat)
    return returned


def select_in(connection: sqlite3.Connection, sql: str, values: Iterable[Any], *before: Any) -> list[tuple[Any, ...]]:
    """The rows of a statement that has `{values}` for a list of parameters once, as in `… IN ({values})`.

    With `{rows}`, as in `VALUES {rows}`, each value is a tuple of as many columns. The parameters in `before` come
    first. Repeats are harmless; the order is the database's.
    """
    wanted = list(values)
    rows: list[tuple[Any, ...]] = []
    for start in range(0, len(wanted), _MAX_ROWS):
        chunk = wanted[start : start + _MAX_ROWS]
        size = _padded(len(chunk))
        chunk += [chunk[-1]] * (size - len(chunk))
        if isinstance(chunk[0], tuple):
            sql_of_size = _rows_sql(sql, size, len(chunk[0]))
            chunk = [value for row in chunk for value in row]
        else:
            sql_of_size = _values_sql(sql, size)
        rows += connection.execute(sql_of_size, (*before, *chunk))
    return rows


@cache
def _insert_sql(into: str, size: int, width: int, on_conflict: str) -> str:
    row = f"({', '.join('?' * width)})"
    return f"INSERT INTO {into} SELECT * FROM (VALUES {', '.join([row] * size)}) WHERE true LIMIT ? {on_conflict}"


@cache
def _values_sql(sql: str, size: int) -> str:
    return sql.replace("{values}", ", ".join("?" * size))


@cache
def _rows_sql(sql: str, size: int, width: int) -> str:
    return sql.replace("{rows}", ", ".join([f"({', '.join('?' * width)})"] * size))


def _padded(count: int) -> int:
    return 1 << max(0, count - 1).bit_length()


def queries() -> dict[str, str]:
    """The statements of `queries.sql` by their names."""
    return named("storage.sqlite")
