"""A URL to an opened store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from executor.ports import Aggregate, Clock
from storage.codec import CODEC, Codec
from storage.errors import WrongDatabase
from storage.postgres.store import PostgresStore, migrate_postgres, open_postgres
from storage.sqlite.store import ReadOnlyStore, SqliteStore, migrate_sqlite, open_for_reading, open_for_writing

OpenedStore = SqliteStore | PostgresStore


async def open_store(
    url: str, aggregates: Sequence[Aggregate[Any]], *, clock: Clock, codec: Codec = CODEC
) -> OpenedStore:
    """Opens for writing: `sqlite:///relative/path`, `sqlite:////absolute/path`, or `postgresql://…`, which may name a
    socket's directory (`?host=/directory`).

    Raises `Locked` where another process has it, `WrongDatabase` for another URL or file, `Unavailable`.
    """
    if is_postgres(url):
        return await open_postgres(url, aggregates, clock=clock, codec=codec)
    return await open_for_writing(sqlite_path(url), aggregates, clock=clock, codec=codec)


async def open_reader(
    url: str, aggregates: Sequence[Aggregate[Any]] = (), *, clock: Clock, codec: Codec = CODEC
) -> ReadOnlyStore | PostgresStore:
    """The log behind any URL, beside whoever writes it: nothing is made and nothing migrated. Only its reads are
    meant. Raises `WrongDatabase`, `Unavailable`."""
    if is_postgres(url):
        return await open_postgres(url, aggregates, clock=clock, codec=codec, makes=False)
    return await open_readonly(sqlite_path(url), aggregates, codec=codec)


async def migrate(url: str) -> list[str]:
    """Brings a database to the newest schema; answers the names of the steps that were missing, none where it is new
    already. Raises `Locked` where a hub runs on an SQLite file, `WrongDatabase`, `Unavailable`."""
    if is_postgres(url):
        return await migrate_postgres(url)
    return migrate_sqlite(sqlite_path(url))


def is_postgres(url: str) -> bool:
    return urlsplit(url).scheme in ("postgresql", "postgres")


async def open_readonly(
    path: Path, aggregates: Sequence[Aggregate[Any]] = (), *, codec: Codec = CODEC
) -> ReadOnlyStore:
    """The log of a SQLite file, which another process may be writing to. Without aggregates nothing can be folded."""
    return await open_for_reading(path, aggregates, codec=codec)


def sqlite_path(url: str) -> Path:
    """The file of a `sqlite:///` URL; raises `WrongDatabase` for any other."""
    parts = urlsplit(url)
    path = unquote(parts.path.removeprefix("/"))
    if parts.scheme != "sqlite" or parts.netloc or not path:
        shown = f"{parts.scheme}:" if parts.scheme else "the text"
        raise WrongDatabase(f"{shown} is not a database URL; use sqlite:///path or postgresql://…")
    return Path(path)
