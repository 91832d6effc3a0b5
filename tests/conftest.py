"""What tests of several kinds stand on."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.postgres import PostgresServer


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors: many tests wait for processes of their own."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One for each test process. Tests that stop or kill a server start one of their own."""
    server = PostgresServer()
    server.start()
    yield server
    server.remove()


@pytest.fixture
async def postgres_url(postgres_server: PostgresServer) -> AsyncIterator[str]:
    """A fresh database."""
    async with postgres_server.database() as url:
        yield url
