"""A URL to an opened store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from executor.ports import Aggregate, Clock
from storage.codec import CODEC, Codec
from storage.errors import WrongDatabase
from storage.sqlite.store import ReadOnlyStore, SqliteStore, open_for_reading, open_for_writing


async def open_store(
    url: str, aggregates: Sequence[Aggregate[Any]], *, clock: Clock, codec: Codec = CODEC
) -> SqliteStore:
    """Opens for writing: `sqlite:///relative/path` or `sqlite:////absolute/path`.

    Raises `Locked` where another process has it, `WrongDatabase` for another URL or file, `Unavailable`.
    """
    return await open_for_writing(sqlite_path(url), aggregates, clock=clock, codec=codec)


async def open_readonly(
    path: Path, aggregates: Sequence[Aggregate[Any]] = (), *, codec: Codec = CODEC
) -> ReadOnlyStore:
    """The log of a SQLite file, which another process may be writing to. Without aggregates nothing can be folded."""
    return await open_for_reading(path, aggregates, codec=codec)


def sqlite_path(url: str) -> Path:
    """The file of a `sqlite:///` URL; raises `WrongDatabase` for any other."""
    parts = urlsplit(url)
    if parts.scheme.partition("+")[0] in ("postgresql", "postgres"):
        raise WrongDatabase("postgresql is not available in this version; use sqlite:///path")
    path = unquote(parts.path.removeprefix("/"))
    if parts.scheme != "sqlite" or parts.netloc or not path:
        shown = f"{parts.scheme}:" if parts.scheme else "the text"
        raise WrongDatabase(f"{shown} is not a database URL of this version; use sqlite:///path")
    return Path(path)
