"""A socket door on uvicorn, in the test's own loop, and clients of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp
from websockets.asyncio.client import ClientConnection, connect

from executor.domain.values import Instant
from hub.auth.permissions import PERMISSIONS
from hub.auth.principal import Principal
from hub.channels import Key
from hub.socket.connection import Doors
from hub.socket.endpoint import Sockets
from hub.socket.limits import LIMITS, Limits, Quotas
from hub.socket.transport import Transport
from tests.unit.hub.socket.casting import EXECUTION, ORGANIZATION, OTHER_EXECUTION, WORKFLOW, World, until

TOKEN, STRANGER_S_TOKEN = "sk_ours", "sk_stranger"
STRANGER = "01HQSTRANGERZZZZZZZZZZZZZZ"
_SEND_BUFFER = 16 * 1024


def principal(
    *permissions: str, organization_id: str = ORGANIZATION, expires_at: Instant | None = None, id: str = "key"
) -> Principal:
    return Principal(
        type="api_key",
        id=id,
        name=id,
        organization_id=organization_id,
        organization_name="",
        role=None,
        permissions=frozenset(permissions) or PERMISSIONS,
        expires_at=expires_at,
    )


class Hub:
    """The door: who has which token, and what belongs to the organization, may be changed at any time."""

    def __init__(self, world: World, allowed_origins: tuple[str, ...] = (), quotas: Quotas | None = None) -> None:
        self.world = world
        self.principals = {TOKEN: principal(), STRANGER_S_TOKEN: principal(organization_id=STRANGER)}
        self.things = {(id, ORGANIZATION) for id in (EXECUTION, OTHER_EXECUTION, WORKFLOW)}
        self.lost: set[tuple[str, int]] = set()
        self.quotas = quotas or Quotas()
        self.doors = Doors(
            world.feed,
            world.log,
            self.authenticate,
            self.exists,
            self.is_lost,
            world.replays,
            world.clock,
            self.quotas,
        )
        self.sockets = Sockets(self.doors, allowed_origins)
        self.url = ""

    async def authenticate(self, token: str) -> Principal | None:
        return self.principals.get(token)

    async def exists(self, kind: str, id: str, organization_id: str) -> bool:
        return (id, organization_id) in self.things

    async def is_lost(self, key: Key, since: int) -> bool:
        return (key.name, since) in self.lost

    def client(self, token: str | None = TOKEN, **options: Any) -> connect:
        query = "" if token is None else f"?token={token}"
        return connect(
            self.url + query, compression=None, ping_interval=None, proxy=None, **({"max_queue": None} | options)
        )


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


Serving = Callable[[ASGIApp, socket.socket], AbstractAsyncContextManager[None]]
"""A server of an app on a listening socket, ready while it is open."""


@contextlib.asynccontextmanager
async def by_uvicorn(app: ASGIApp, listener: socket.socket, ws: Any = Transport) -> AsyncIterator[None]:
    config = uvicorn.Config(
        app,
        ws=ws,
        ws_ping_interval=None,
        ws_max_size=64 * 1024,
        ws_per_message_deflate=False,
        log_config=None,
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve([listener]))
    try:
        await until(lambda: server.started)
        yield
    finally:
        server.should_exit = True
        await serving


@contextlib.asynccontextmanager
async def served(
    world: World, allowed_origins: tuple[str, ...] = (), limits: Limits = LIMITS, by: Serving = by_uvicorn
) -> AsyncIterator[Hub]:
    """While it is open the feed follows the log. At the end nothing may be left of any connection."""
    hub = Hub(world, allowed_origins, Quotas(limits))
    app = Starlette(routes=[WebSocketRoute("/ws", hub.sockets.serve)])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        hub.url = f"ws://127.0.0.1:{listener.getsockname()[1]}/ws"
        looking_after = asyncio.create_task(hub.sockets.run())
        try:
            async with by(app, listener), world.following():
                yield hub
                await until(lambda: hub.sockets.connection_count == 0)
        finally:
            looking_after.cancel()
            await asyncio.gather(looking_after, return_exceptions=True)
    assert world.feed.live_count == 0
    assert hub.quotas.is_empty
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("socket ")]


async def say(client: ClientConnection, type: str, id: str | None = None, **data: Any) -> None:
    await client.send(json.dumps({"type": type, "id": id, "data": data}))


async def hear(client: ClientConnection) -> Any:
    async with asyncio.timeout(20):
        return json.loads(await client.recv())


async def welcomed(client: ClientConnection) -> Any:
    message = await hear(client)
    assert message["type"] == "welcome"
    return message["data"]


async def subscribe(client: ClientConnection, channel: str = "execution", **data: Any) -> Any:
    """The answer, whatever it is."""
    if channel == "execution":
        data = {"execution_id": EXECUTION} | data
    await say(client, "subscribe", "s", channel=channel, **data)
    return await hear(client)


async def texts(client: ClientConnection, count: int) -> list[bytes]:
    """The next messages as they came."""
    async with asyncio.timeout(30):
        return [await client.recv(decode=False) for _ in range(count)]


async def closed(client: ClientConnection) -> tuple[int | None, str | None]:
    """The code and reason of the end; what came before it may still be read."""
    async with asyncio.timeout(20):
        await client.wait_closed()
    return client.close_code, client.close_reason
