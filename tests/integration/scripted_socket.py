"""A hub that ends a client's first connection in the way that the path says, and serves the second one well."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

ME = {"success": True, "data": {"expires_at": None}, "message": "", "errors": [], "metadata": {"timestamp": ""}}


class Seen:
    """What a case's client has said: the messages of each connection, and when that came and was left."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.connections: list[list[dict[str, Any]]] = []
        self.came: list[float] = []
        self.left: list[float] = []
        """The hub's last word on each, or a moment before."""

    def of(self, type: str) -> list[dict[str, Any]]:
        return [message["data"] for said in self.connections for message in said if message["type"] == type]


class ScriptedSocket:
    """`url` is followed by the case: `/1012`, `/closing-…`; what each does is in `_first`."""

    def __init__(self) -> None:
        self.seen: dict[str, Seen] = defaultdict(Seen)
        self.url = ""
        self.over = asyncio.Event()
        """Set once the clients have ended."""

    def ask(self, connection: ServerConnection, request: Request) -> Response | None:
        """`me` of the REST API; `nothing` is no hub, and to `unopened` no socket opens."""
        case = request.path.split("/")[1]
        if case == "nothing":
            return connection.respond(404, "no")
        if request.path.endswith("/me"):
            return connection.respond(200, msgspec.json.encode(ME).decode())
        self.seen[case].paths.append(request.path)
        return connection.respond(403, "no") if case == "unopened" else None

    async def serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        case = connection.request.path.split("/")[1]
        seen, now = self.seen[case], asyncio.get_running_loop().time
        seen.came.append(now())
        said: list[dict[str, Any]] = []
        seen.connections.append(said)
        seen.left.append(now())
        talk = _Talk(connection, said, self.over)
        with contextlib.suppress(ConnectionClosed):
            await talk.hear("auth")
            await talk.say("welcome", epoch="e")
            subscribe = await talk.hear("subscribe")
            seen.left[-1] = now()
            if len(seen.connections) == 1:
                await _first(case, talk, subscribe)
            else:
                await talk.say("subscribed", reply_to=subscribe["id"], position=subscribe["data"].get("since"))
                await talk.cast(1)
                await talk.cast(51)
                await connection.wait_closed()


class _Talk:
    def __init__(self, connection: ServerConnection, said: list[dict[str, Any]], over: asyncio.Event) -> None:
        self.connection, self._said, self._over = connection, said, over

    async def freeze(self) -> None:
        """Reads no more, and answers nothing, until the clients have ended."""
        self.connection.transport.pause_reading()
        await self._over.wait()
        self.connection.transport.abort()

    async def hear(self, type: str) -> dict[str, Any]:
        message: dict[str, Any] = msgspec.json.decode(await self.connection.recv())
        assert message["type"] == type, message
        self._said.append(message)
        return message

    async def say(self, type: str, **data: Any) -> None:
        await self.connection.send(msgspec.json.encode({"type": type, "id": "1", "data": data}).decode())

    async def cast(self, position: int) -> None:
        message = {"type": "event", "id": "1", "channel": "events", "position": position, "data": {}}
        await self.connection.send(msgspec.json.encode(message).decode())


async def _first(case: str, talk: _Talk, subscribe: dict[str, Any]) -> None:
    """The first connection, to its end."""
    if case == "unavailable":
        await talk.say("error", reply_to=subscribe["id"], code="SERVICE_UNAVAILABLE", message="not now", field=None)
        subscribe = await talk.hear("subscribe")
    await talk.say("subscribed", reply_to=subscribe["id"], position=0)
    await talk.cast(1)
    what, _, rest = case.partition("-")
    match what:
        case "silent":
            await talk.hear("ping")
            await talk.connection.wait_closed()
        case "pong":
            ping = await talk.hear("ping")
            await talk.say("pong", reply_to=ping["id"], position=50)
            await talk.connection.close(1012)
        case "frozen":
            await talk.freeze()
        case "stuck":
            await talk.cast(51)
            await talk.freeze()
        case "broken":
            talk.connection.transport.abort()
        case "unavailable":
            await talk.cast(51)
            await talk.connection.wait_closed()
        case "closing":
            code, how = rest.split("-")
            await talk.say("closing", code=int(code), reason="r", reconnect=how != "stay", retry_after_ms=400)
            await talk.connection.close(int(code)) if how != "broken" else talk.connection.transport.abort()
        case _:
            await talk.connection.close(int(what), "the reason")


@contextlib.asynccontextmanager
async def scripted_socket() -> AsyncIterator[ScriptedSocket]:
    told = ScriptedSocket()
    server: Server
    async with serve(told.serve, "127.0.0.1", 0, process_request=told.ask, compression=None) as server:
        told.url = f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        try:
            yield told
        finally:
            told.over.set()
