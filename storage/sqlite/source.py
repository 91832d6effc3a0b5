"""Long reads of a SQLite log, on the spot: the process that opens this has no event loop that somebody waits for."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Final

from executor.ports import Stored
from storage.codec import Link
from storage.errors import Broken
from storage.source import Chunk
from storage.sqlite import events
from storage.sqlite.batch import end_of_chain
from storage.sqlite.errors import ours
from storage.sqlite.statements import queries
from storage.sqlite.store import connect_checked

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

    async def close(self) -> None:
        self._connection.close()


def _decoded(value: Any, is_text: bool) -> Any:
    return value.decode() if is_text and value is not None else value
