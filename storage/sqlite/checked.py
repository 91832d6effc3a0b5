"""A file opened for reading that is ours and of the newest schema, or a clear word about what it is instead."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from storage.errors import WrongDatabase
from storage.sqlite.connection import connect_reader
from storage.sqlite.errors import translate
from storage.sqlite.migrate import check, migrations


def connect_checked(path: Path) -> sqlite3.Connection:
    """A reading connection to a file of the newest schema; for the thread that opens it. Raises as above."""
    with ExitStack() as undo, opening(path):
        reader = undo.enter_context(closing(connect_reader(path)))
        if check(reader) < migrations()[-1].version:
            raise WrongDatabase("the database has an older schema: start the hub once, which brings it up to date")
        undo.pop_all()
    return reader


@contextmanager
def opening(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if not path.exists():
            raise WrongDatabase(f"there is no database at '{path}'") from error
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
            raise WrongDatabase(f"'{path}' is not a SQLite database") from error
        raise translate(error) from error
