"""The peers in Python, `emitters.py starlette` or `emitters.py socketio`: uvicorn as a hub runs it, and orders on
standard input. Says its port first."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from typing import Any, Final, Protocol
from urllib.parse import parse_qs

import uvicorn
import uvloop
from orders import obey, say
from payload import message, now
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from hub.server import bound

SHARED: Final = "0"
"""The channel of all."""
_NEVER: Final = 3600


class Emitter(Protocol):
    app: Any

    async def send(self, channel: str, due: int) -> None: ...


class Plain:
    """What one writes on a morning: a set of sockets for each channel, and a loop over it. A client says its channel
    and hears what it said."""

    def __init__(self) -> None:
        self.app = Starlette(routes=[WebSocketRoute("/", self._serve)])
        self._channels: dict[str, dict[WebSocket, None]] = {}

    async def _serve(self, websocket: WebSocket) -> None:
        await websocket.accept()
        with contextlib.suppress(WebSocketDisconnect):
            text = await websocket.receive_text()
            members = self._channels.setdefault(json.loads(text)["data"]["channel"], {})
            members[websocket] = None
            try:
                await websocket.send_text(text)
                while True:
                    await websocket.receive_text()
            finally:
                del members[websocket]

    async def send(self, channel: str, due: int) -> None:
        text = json.dumps(message(due), separators=(",", ":"))
        for websocket in tuple(self._channels[channel]):
            await websocket.send_text(text)


class Rooms:
    """python-socketio: a room for each channel, which a client names as it connects."""

    def __init__(self) -> None:
        import socketio

        self._server = socketio.AsyncServer(async_mode="asgi", ping_interval=_NEVER, ping_timeout=_NEVER)
        self._server.on("connect", self._enter)
        self.app = socketio.ASGIApp(self._server)

    async def _enter(self, sid: str, environ: dict[str, Any]) -> None:
        await self._server.enter_room(sid, parse_qs(environ["QUERY_STRING"])["channel"][0])

    async def send(self, channel: str, due: int) -> None:
        await self._server.emit("log", message(due), room=channel)


class Publishing:
    """Implements `orders.Publisher`."""

    def __init__(self, emitter: Emitter) -> None:
        self._emitter = emitter

    async def publish(self, due: int) -> None:
        await self._emitter.send(SHARED, due)

    async def burst(self, events: int, channels: int) -> None:
        for _ in range(events):
            for channel in range(channels):
                await self._emitter.send(str(channel), now())


async def serve(emitter: Emitter) -> None:
    listener = bound("127.0.0.1", 0)
    config = uvicorn.Config(
        emitter.app, ws="websockets-sansio", ws_per_message_deflate=False, log_config=None, access_log=False
    )
    say({"port": listener.getsockname()[1]})
    obeying = asyncio.create_task(obey(Publishing(emitter)))
    await uvicorn.Server(config).serve([listener])
    obeying.cancel()


if __name__ == "__main__":
    uvloop.run(serve(Plain() if sys.argv[1] == "starlette" else Rooms()))
