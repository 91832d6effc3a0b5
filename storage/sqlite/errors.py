"""SQLite's errors become ours, here and only here."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from executor.domain.errors import Unavailable
from storage.errors import Unstorable

_UNAVAILABLE = {
    sqlite3.SQLITE_BUSY: "the database is locked by another program",
    sqlite3.SQLITE_LOCKED: "the database is locked",
    sqlite3.SQLITE_NOMEM: "there is no memory left",
    sqlite3.SQLITE_READONLY: "the database cannot be written",
    sqlite3.SQLITE_INTERRUPT: "the database was interrupted",
    sqlite3.SQLITE_IOERR: "the disk does not answer as it should",
    sqlite3.SQLITE_CORRUPT: "the database file is damaged",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_CANTOPEN: "the database file cannot be opened",
    sqlite3.SQLITE_PROTOCOL: "the database is locked",
    sqlite3.SQLITE_NOTADB: "the file is not a database",
}


def is_unavailable(error: Exception) -> bool:
    """The database's state is to blame, not the data of a statement."""
    return isinstance(error, sqlite3.Error) and (_code(error) in _UNAVAILABLE or _is_closed(error))


def translate(error: Exception) -> Exception:
    """The error to raise in place of a driver's: `Unavailable`, or `Unstorable` where the data is to blame."""
    if is_unavailable(error):
        return Unavailable(_UNAVAILABLE.get(_code(error), "the database is closed"))
    if isinstance(error, sqlite3.Error | OverflowError | UnicodeError):
        return Unstorable(str(error))
    return error


@contextmanager
def ours() -> Iterator[None]:
    """Around reads: what the driver raises comes out as ours."""
    try:
        yield
    except sqlite3.Error as error:
        raise translate(error) from error
    except ValueError as error:  # what aiosqlite raises where its connection is closed
        if "no active connection" in str(error):
            raise Unavailable("the database is closed") from error
        raise


def _code(error: Exception) -> int:
    code = getattr(error, "sqlite_errorcode", None)
    return (code & 0xFF) if isinstance(code, int) else -1


def _is_closed(error: Exception) -> bool:
    return isinstance(error, sqlite3.ProgrammingError) and "closed database" in str(error)
