"""Brings a database file to the newest schema, step by step, forward only."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from storage import sql
from storage.errors import WrongDatabase
from storage.sql import Migration

APPLICATION_ID: Final = 0x52756E63
"""`Runc`: in the header of every database of ours (PRAGMA application_id)."""


def migrations() -> tuple[Migration, ...]:
    """Every step there is, in order."""
    return sql.migrations("storage.sqlite.migrations")


def version(connection: sqlite3.Connection) -> int:
    """The schema's version: 0 for an empty file. Raises `WrongDatabase` where the file is somebody else's."""
    found = _pragma(connection, "user_version")
    application = _pragma(connection, "application_id")
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if application != APPLICATION_ID and (application or found or tables):
        raise WrongDatabase("the file is a SQLite database, but not one of Runcast's")
    return found


def migrate(connection: sqlite3.Connection, steps: Sequence[Migration] | None = None) -> list[str]:
    """Runs the steps that are missing, each with its version in one transaction; answers their names.

    Raises `WrongDatabase` where the file was written by a newer version. Running it again does nothing.
    """
    steps = migrations() if steps is None else steps
    check(connection, steps)
    done = []
    for step in steps:
        if step.version > version(connection):
            _run(connection, step)
            done.append(step.name)
    return done


def check(connection: sqlite3.Connection, steps: Sequence[Migration] | None = None) -> int:
    """The schema's version; raises `WrongDatabase` where it is newer than we know."""
    steps = migrations() if steps is None else steps
    found, newest = version(connection), steps[-1].version
    if found > newest:
        raise WrongDatabase(f"the database has schema {found}; this version knows {newest}: use a newer Runcast")
    return found


def _run(connection: sqlite3.Connection, step: Migration) -> None:
    try:
        connection.executescript(
            f"BEGIN IMMEDIATE;\n{step.sql}\n;PRAGMA application_id = {APPLICATION_ID};"
            f"PRAGMA user_version = {step.version};\nCOMMIT;"
        )
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
