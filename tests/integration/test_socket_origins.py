from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from websockets.typing import Origin

from tests.unit.hub.socket.casting import opened
from tests.unit.hub.socket.serving import Hub, closed, served, welcomed

OURS = "https://app.example"


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    async with opened(tmp_path) as world, served(world, (OURS,)) as hub:
        yield hub


async def test_a_page_of_an_allowed_origin_may_connect(hub: Hub) -> None:
    async with hub.client(origin=Origin(OURS)) as client:
        await welcomed(client)


async def test_a_client_that_is_no_browser_says_no_origin_and_may_connect(hub: Hub) -> None:
    async with hub.client() as client:
        await welcomed(client)


@pytest.mark.parametrize("origin", ["https://evil.example", "http://app.example", "https://app.example.evil", "null"])
async def test_a_page_of_another_origin_is_closed_whatever_its_credentials(hub: Hub, origin: str) -> None:
    async with hub.client(origin=Origin(origin)) as client:
        assert (await closed(client))[0] == 4403
