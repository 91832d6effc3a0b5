"""A socket that speaks as a hub does, as far as a test says."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
from websockets.asyncio.server import Server, ServerConnection, serve

EPOCH = "log-1"


class Caster:
    """One connection as the hub sees it. `head` is where a subscription without a position begins."""

    def __init__(self, connection: ServerConnection, head: int = 10) -> None:
        self.connection, self.head = connection, head
        self.token = connection.request.headers.get("X-API-Key") if connection.request is not None else None
        self.asked: list[dict[str, Any]] = []

    async def welcome(self) -> None:
        await self.say("welcome", connection_id="c", epoch=EPOCH, position=self.head, limits={})

    async def say(self, type: str, **data: Any) -> None:
        await self.connection.send(
            msgspec.json.encode({"type": type, "id": "h", "timestamp": "t", "data": data}), text=True
        )

    async def cast(self, position: int, channel: str = "events") -> None:
        message = {"type": "event", "id": "h", "timestamp": "t", "channel": channel, "position": position, "data": {}}
        await self.connection.send(msgspec.json.encode(message), text=True)

    async def hear(self) -> dict[str, Any]:
        message: dict[str, Any] = msgspec.json.decode(await self.connection.recv())
        self.asked.append(message)
        return message

    async def granted(self) -> dict[str, Any]:
        """The next subscription, granted; its data."""
        message = await self.hear()
        assert message["type"] == "subscribe", message
        data: dict[str, Any] = message["data"]
        position = data.get("since", self.head)
        await self.say(
            "subscribed",
            reply_to=message["id"],
            channel=data["channel"],
            position=position,
            head=self.head,
            recovered=True,
        )
        return data

    async def close(self, code: int, reason: str = "because", retry_after_ms: int | None = None) -> None:
        if retry_after_ms is not None:
            await self.say("closing", code=code, reason=reason, reconnect=True, retry_after_ms=retry_after_ms)
        await self.connection.close(code, reason)


Life = Callable[[Caster], Awaitable[None]]


class Casting:
    """Each connection lives the next of the lives; the last one is lived by all that come after."""

    def __init__(self, lives: list[Life]) -> None:
        self._lives = lives
        self.casters: list[Caster] = []
        self.url = ""

    async def serve(self, connection: ServerConnection) -> None:
        caster = Caster(connection)
        life = self._lives[min(len(self.casters), len(self._lives) - 1)]
        self.casters.append(caster)
        await life(caster)


@contextlib.asynccontextmanager
async def casting(*lives: Life) -> AsyncIterator[Casting]:
    cast = Casting(list(lives))
    server: Server
    async with serve(cast.serve, "127.0.0.1", 0, ping_interval=None, close_timeout=0.2) as server:
        cast.url = f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        yield cast
