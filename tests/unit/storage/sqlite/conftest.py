from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from storage.open import open_store
from storage.sqlite.store import SqliteStore
from tests.contract.notes import AGGREGATES, CODEC, Author, SetClock


async def open_at(directory: Path, clock: SetClock) -> SqliteStore:
    return await open_store(f"sqlite:///{directory}/log.db", AGGREGATES, clock=clock, codec=CODEC)


@contextmanager
def by_hand(directory: Path) -> Iterator[sqlite3.Connection]:
    """Another program's connection to the file."""
    with closing(sqlite3.connect(directory / "log.db", isolation_level=None)) as connection:
        yield connection


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
async def store(tmp_path: Path, clock: SetClock) -> AsyncIterator[SqliteStore]:
    store = await open_at(tmp_path, clock)
    yield store
    await store.close()


@pytest.fixture
def author(store: SqliteStore, clock: SetClock) -> Author:
    return Author(store.log, clock)
