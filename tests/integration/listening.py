"""A client of the socket of a whole hub."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from tests.integration.hubs import Client


class Socket:
    """One that was welcomed, and how."""

    def __init__(self, connection: ClientConnection, welcome: dict[str, Any]) -> None:
        self.connection, self.welcome = connection, welcome

    async def say(self, type: str, **data: Any) -> None:
        await self.connection.send(json.dumps({"type": type, "id": "m", "data": data}))

    async def hear(self) -> dict[str, Any]:
        async with asyncio.timeout(30):
            message: dict[str, Any] = json.loads(await self.connection.recv())
            return message

    async def subscribe(self, channel: str, **data: Any) -> dict[str, Any]:
        """The answer's data, whatever the answer is."""
        await self.say("subscribe", channel=channel, **data)
        answer: dict[str, Any] = (await self.hear())["data"]
        return answer

    async def take(self, count: int) -> list[dict[str, Any]]:
        return [await self.hear() for _ in range(count)]

    async def answers(self, *types: str, count: int) -> list[dict[str, Any]]:
        """The next messages of these types; what channels say in between is passed over."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            message = await self.hear()
            if message["type"] in types:
                found.append(message)
        return found

    async def through(self) -> list[dict[str, Any]]:
        """What came before the answer of a ping."""
        await self.say("ping")
        heard: list[dict[str, Any]] = []
        while (message := await self.hear())["type"] != "pong":
            heard.append(message)
        return heard


@contextlib.asynccontextmanager
async def listening(client: Client) -> AsyncIterator[Socket]:
    url = client.url.replace("http", "ws", 1) + "/api/v1/ws"
    headers = {"X-API-Key": client.key or ""}
    async with connect(url, additional_headers=headers, compression=None, proxy=None, max_queue=None) as connection:
        async with asyncio.timeout(30):
            welcome = json.loads(await connection.recv())
        assert welcome["type"] == "welcome", welcome
        yield Socket(connection, welcome["data"])
