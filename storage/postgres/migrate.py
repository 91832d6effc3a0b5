"""Brings a database to the newest schema, step by step, forward only. Any number of processes may try at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import asyncpg
from asyncpg import exceptions

from storage import sql
from storage.errors import WrongDatabase
from storage.postgres.connection import Connection
from storage.sql import Migration

_LOCK: Final = 1918987875
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS runcast_migrations (
    version    BIGINT PRIMARY KEY,
    name       TEXT NOT NULL,
    applied_at TIMESTAMPTZ NOT NULL DEFAULT now()
)
"""


def migrations() -> tuple[Migration, ...]:
    """Every step there is, in order."""
    return sql.migrations("storage.postgres.migrations")


async def version(connection: Connection) -> int:
    """The schema's version: 0 for a database without one."""
    if await connection.fetchval("SELECT to_regclass('runcast_migrations')") is None:
        return 0
    return int(await connection.fetchval("SELECT coalesce(max(version), 0) FROM runcast_migrations"))


async def check(connection: Connection, steps: Sequence[Migration] | None = None) -> int:
    """The schema's version; raises `WrongDatabase` where it is newer than we know."""
    steps = migrations() if steps is None else steps
    found, newest = await version(connection), steps[-1].version
    if found > newest:
        raise WrongDatabase(f"the database has schema {found}; this version knows {newest}: use a newer Runcast")
    return found


async def require(connection: Connection) -> None:
    """Raises `WrongDatabase` where the schema is not this version's."""
    found = await check(connection)
    if found == 0:
        raise WrongDatabase("there is no hub's data in this database; start one with 'runcast up', or 'runcast web'")
    if found < migrations()[-1].version:
        raise WrongDatabase("the database has an older schema: run 'runcast migrate', which brings it up to date")


async def migrate(connection: Connection, steps: Sequence[Migration] | None = None) -> list[str]:
    """Runs the steps that are missing, all in one transaction: nobody sees a schema between two. Answers their names.

    Raises `WrongDatabase` where the database was written by a newer version, or has tables that are not ours.
    Running it again does nothing.
    """
    steps = migrations() if steps is None else steps
    await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
    try:
        found = await check(connection, steps)
        missing = [step for step in steps if step.version > found]
        async with connection.transaction():
            await connection.execute(_TABLE)
            for step in missing:
                await _run(connection, step)
    finally:
        if not connection.is_closed():
            await connection.execute("SELECT pg_advisory_unlock($1)", _LOCK)
    return [step.name for step in missing]


async def _run(connection: Connection, step: Migration) -> None:
    try:
        await connection.execute(step.sql)
        await connection.execute(
            "INSERT INTO runcast_migrations (version, name) VALUES ($1, $2)", step.version, step.name
        )
    except (exceptions.DuplicateTableError, exceptions.DuplicateObjectError) as error:
        raise WrongDatabase(
            f"the database has tables that are not Runcast's, give it one of its own: {error}"
        ) from None
    except asyncpg.InsufficientPrivilegeError as error:
        raise WrongDatabase(f"the database's user may not create tables: {error}") from None
