"""One hub a test process: tests keep apart by organizations, which cost nothing."""

from __future__ import annotations

import gc
import warnings
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.integration.hubs import Client, Hub, running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    async with running(tmp_path_factory.mktemp("hub")) as hub:
        yield hub


@pytest_asyncio.fixture(loop_scope="session")
async def admin(hub: Hub) -> Client:
    """An admin of an organization of its own."""
    return await hub.client()


@pytest.fixture
def forgotten() -> Iterator[None]:
    """What redis-py forgot goes here, and not in the middle of another test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
