"""A URL to an opened store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from executor.ports import Aggregate, Clock
from storage.codec import CODEC, Codec
from storage.errors import WrongDatabase
from storage.sqlite.store import ReadOnlyStore, SqliteStore, migrate_sqlite, open_for_reading, open_for_writing
from storage.urls import is_postgres as is_postgres
from storage.urls import sqlite_path as sqlite_path

if TYPE_CHECKING:
    from storage.postgres.store import PostgresStore

OpenedStore: TypeAlias = "SqliteStore | PostgresStore"


async def open_store(
    url: str, aggregates: Sequence[Aggregate[Any]], *, clock: Clock, codec: Codec = CODEC, makes: bool = True
) -> OpenedStore:
    """Opens for writing: `sqlite:///relative/path`, `sqlite:////absolute/path`, or `postgresql://…`, which may name a
    socket's directory (`?host=/directory`). Where there is nothing yet, it is made if this `makes` anything.

    Raises `Locked` where another process has it, `WrongDatabase` for another URL or file, `Unavailable`.
    """
    if is_postgres(url):
        from storage.postgres.store import open_postgres  # It takes a while to load, and few need it.

        return await open_postgres(url, aggregates, clock=clock, codec=codec, makes=makes)
    path = sqlite_path(url)
    if not makes and not path.exists():
        raise WrongDatabase(f"there is no hub's data at '{path.parent}'; say --data-dir")
    return await open_for_writing(path, aggregates, clock=clock, codec=codec)


async def open_reader(
    url: str, aggregates: Sequence[Aggregate[Any]] = (), *, clock: Clock, codec: Codec = CODEC
) -> ReadOnlyStore | PostgresStore:
    """The log behind any URL, beside whoever writes it: nothing is made and nothing migrated. Only its reads are
    meant. Raises `WrongDatabase`, `Unavailable`."""
    if is_postgres(url):
        from storage.postgres.store import open_postgres

        return await open_postgres(url, aggregates, clock=clock, codec=codec, makes=False)
    return await open_readonly(sqlite_path(url), aggregates, codec=codec)


async def migrate(url: str) -> list[str]:
    """Brings a database to the newest schema; answers the names of the steps that were missing, none where it is new
    already. Raises `Locked` where a hub runs on an SQLite file, `WrongDatabase`, `Unavailable`."""
    if is_postgres(url):
        from storage.postgres.store import migrate_postgres

        return await migrate_postgres(url)
    return migrate_sqlite(sqlite_path(url))


async def open_readonly(
    path: Path, aggregates: Sequence[Aggregate[Any]] = (), *, codec: Codec = CODEC
) -> ReadOnlyStore:
    """The log of a SQLite file, which another process may be writing to. Without aggregates nothing can be folded."""
    return await open_for_reading(path, aggregates, codec=codec)
