"""The stores that the contract is for. Another backend is another opener here, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from executor.ports import Clock, Store
from storage.open import open_store
from tests.contract.notes import AGGREGATES, CODEC, Author, SetClock
from tests.postgres import PostgresServer

Opener = Callable[[Path, Clock], Awaitable[Store]]
"""(an empty directory, or one with a store that was closed; a clock) → a store."""

UrlOf = Callable[[Path], Awaitable[str]]
"""The URL of the database that belongs to a directory."""


async def sqlite_url(directory: Path) -> str:
    return f"sqlite:///{directory}/log.db"


async def open_sqlite(directory: Path, clock: Clock) -> Store:
    return await open_store(await sqlite_url(directory), AGGREGATES, clock=clock, codec=CODEC)


@pytest.fixture(params=["sqlite", "postgres"])
async def url_of(request: pytest.FixtureRequest) -> AsyncIterator[UrlOf]:
    if request.param == "sqlite":
        yield sqlite_url
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    async with AsyncExitStack() as databases:
        urls: dict[Path, str] = {}

        async def postgres_url(directory: Path) -> str:
            if directory not in urls:
                urls[directory] = await databases.enter_async_context(server.database())
            return urls[directory]

        yield postgres_url


@pytest.fixture
def opener(url_of: UrlOf) -> Opener:
    async def open(directory: Path, clock: Clock) -> Store:
        return await open_store(await url_of(directory), AGGREGATES, clock=clock, codec=CODEC)

    return open


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
async def store(opener: Opener, tmp_path: Path, clock: SetClock) -> AsyncIterator[Store]:
    async with opened(opener, tmp_path, clock) as store:
        yield store


@pytest.fixture
def author(store: Store, clock: SetClock) -> Author:
    return Author(store.log, clock)


@asynccontextmanager
async def opened(opener: Opener, directory: Path, clock: Clock) -> AsyncIterator[Store]:
    store = await opener(directory, clock)
    try:
        yield store
    finally:
        await store.close()
