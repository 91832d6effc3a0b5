"""What the socket counts of its closes, on our transport and on a server's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from websockets.typing import Origin

from hub.socket.transport import Transport
from tests.unit.hub.socket.casting import opened, until
from tests.unit.hub.socket.serving import Hub, by_uvicorn, closed, served, welcomed


@pytest.fixture(params=[Transport, "websockets-sansio"], ids=["ours", "plain"])
async def hub(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Hub]:
    async with (
        opened(tmp_path) as world,
        served(world, ("https://ours.example",), by=partial(by_uvicorn, ws=request.param)) as hub,
    ):
        yield hub


async def counted(hub: Hub) -> tuple[dict[int, int], dict[int, int]]:
    """Closes and refusals, once everybody is gone."""
    await until(lambda: hub.sockets.connection_count == 0)
    return dict(hub.sockets.closes), dict(hub.sockets.refused)


@pytest.mark.parametrize(
    ("code", "token", "options"),
    [(4401, "sk_nobody", {}), (4403, "sk_ours", {"origin": Origin("https://evil.example")})],
)
async def test_one_that_is_not_let_in_is_refused(hub: Hub, code: int, token: str, options: dict[str, Any]) -> None:
    async with hub.client(token, **options) as client:
        assert (await closed(client))[0] == code
    assert await counted(hub) == ({code: 1}, {code: 1})


async def test_one_that_was_let_in_is_closed_and_not_refused(hub: Hub) -> None:
    async with hub.client() as client:
        await welcomed(client)
        await client.send("nonsense")
        assert (await closed(client))[0] == 4400
    assert await counted(hub) == ({4400: 1}, {})


async def test_what_clients_close_or_cut_is_not_counted_whatever_their_code(hub: Hub) -> None:
    async with hub.client() as leaving, hub.client() as cut, hub.client(None) as silent:
        await welcomed(leaving)
        await welcomed(cut)
        await leaving.close(4401)
        cut.transport.abort()
        await silent.close()
    assert await counted(hub) == ({}, {})


async def test_everybody_is_counted_when_the_hub_goes(hub: Hub) -> None:
    async with hub.client() as one, hub.client() as other:
        await welcomed(one)
        await welcomed(other)
        await hub.sockets.close_all()
        assert [(await closed(client))[0] for client in (one, other)] == [1012, 1012]
    assert await counted(hub) == ({1012: 2}, {})
