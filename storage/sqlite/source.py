"""Long reads of a SQLite log, on the spot: the process that opens this has no event loop that somebody waits for."""
# ruff: noqa: S608 - tables and columns are the schema's own, checked; every value is a parameter

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from executor.ports import Stored
from storage.codec import Link
from storage.errors import Broken
from storage.projections import NOTES, Projection, Span
from storage.source import FOLDED, Chunk
from storage.sqlite import events
from storage.sqlite.batch import end_of_chain
from storage.sqlite.checked import connect_checked
from storage.sqlite.errors import ours
from storage.sqlite.statements import queries

_CHUNK: Final = 256
_NOT_TEXT: Final = ("position", "schema", "version", "data", "metadata", "digest", "hash")
_IS_TEXT: Final = tuple(field not in _NOT_TEXT for field in Stored._fields)


class SqliteSource:
    """Implements `storage.source.Source`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    def open(cls, path: Path) -> SqliteSource:
        return cls(connect_checked(path))

    async def given(self) -> int:
        with ours():
            return end_of_chain(self._connection).position

    async def link(self, position: int) -> Link | None:
        with ours():
            found = self._connection.execute(queries()["link_at"], (position,)).fetchone()
        return Link(*found) if found is not None else None

    async def events(self, after: int, through: int) -> AsyncGenerator[Chunk, None]:
        with ours():
            cursor = self._connection.execute(events.query("raw"), (after, through))
            try:
                while chunk := cursor.fetchmany(_CHUNK):
                    yield chunk
                    after = chunk[-1][0]
                return
            except sqlite3.OperationalError as error:
                if "decode to UTF-8" not in str(error):
                    raise
            readable, bad = self._up_to_the_unreadable(after, through)
            if readable:
                yield readable
            raise Broken(bad, "it has a text that is not UTF-8")

    def _up_to_the_unreadable(self, after: int, through: int) -> tuple[list[tuple[Any, ...]], int]:
        """The driver drops a whole chunk for one text that is none: what stands before it, and its position."""
        readable: list[tuple[Any, ...]] = []
        self._connection.text_factory = bytes
        try:
            for row in self._connection.execute(events.query("raw"), (after, through)):
                try:
                    readable.append(tuple(map(_decoded, row, _IS_TEXT)))
                except UnicodeDecodeError:
                    return readable, row[0]
        finally:
            self._connection.text_factory = str
        return readable, through

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[None]:
        with ours():
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                self._connection.execute("COMMIT")

    async def borders(self, after: str | None, size: int) -> list[str]:
        borders: list[str] = []
        at = (after or "",)
        with ours():
            while (at := self._connection.execute(queries()["border"], (*at, size)).fetchone()) is not None:
                borders.append(at[0])
        return borders

    async def streams(self, span: Span) -> AsyncGenerator[Chunk, None]:
        where, params = _within("stream", span)
        with ours():
            cursor = self._connection.execute(
                f"SELECT {FOLDED} FROM events WHERE {where} ORDER BY stream, version", params
            )
            while chunk := cursor.fetchmany(_CHUNK):
                yield chunk

    async def rows(self, projection: Projection, span: Span) -> list[tuple[Any, ...]]:
        where, params = _within(projection.owner, span)
        sql = f"SELECT {', '.join(projection.columns)} FROM {projection.table} WHERE {where}"
        with ours():
            return self._connection.execute(sql, params).fetchall()

    async def notes(self) -> dict[str, str]:
        with ours():
            return read_notes(self._connection)

    async def close(self) -> None:
        self._connection.close()


def read_notes(connection: sqlite3.Connection) -> dict[str, str]:
    return dict(connection.execute(queries()["notes"], (NOTES,)).fetchall())


def _within(column: str, span: Span) -> tuple[str, list[str]]:
    bounds = [(f"{column} {sign} ?", value) for sign, value in ((">", span.after), ("<=", span.through))]
    wanted = [(sql, value) for sql, value in bounds if value is not None]
    return " AND ".join(sql for sql, _ in wanted) or "true", [value for _, value in wanted]


def _decoded(value: Any, is_text: bool) -> Any:
    return value.decode() if is_text and value is not None else value
