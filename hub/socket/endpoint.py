"""The door of the socket, and all connections that came through it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from random import SystemRandom
from typing import Final
from urllib.parse import parse_qs

import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect

from executor.ports import Recorded
from hub.socket.codes import CloseCode
from hub.socket.connection import Connection, Doors
from hub.socket.lines import FramedLine, Line, PlainLine
from hub.socket.transport import CLOSE_SECONDS, EXTENSION

_GOING_DOWN: Final = "the hub is going down"
_BATCH: Final = 100
_BATCH_PAUSE_SECONDS: Final = 0.02
_FIRST_RETRY_MS: Final = 500
_RETRY_SPREAD_MS: Final = 2_000
_CHECK_SECONDS: Final = 1.0
_CHECKED_AT_ONCE: Final = 500
_random = SystemRandom()
_logger = structlog.get_logger(__name__)


class Sockets:
    """Every open WebSocket of this process."""

    def __init__(self, doors: Doors, allowed_origins: Sequence[str] = ()) -> None:
        self._doors = doors
        self._allowed_origins = frozenset(allowed_origins)
        self._open: set[Connection] = set()
        self._is_closing = False
        self.closes: Counter[int] = Counter()
        """Closes that began here and were sent, by code; `refused` those of clients that were never welcomed."""
        self.refused: Counter[int] = Counter()
        doors.feed.watch("apikey.revoked", self._revoke)

    def __iter__(self) -> Iterator[Connection]:
        return iter(tuple(self._open))

    @property
    def connection_count(self) -> int:
        return len(self._open)

    @property
    def subscription_count(self) -> int:
        return sum(connection.subscription_count for connection in self._open)

    async def census(self) -> tuple[int, int]:
        """How many subscriptions there are, and connections that are read on from what happened before; counted a
        few at a time, since there may be many."""
        subscriptions = behind = 0
        for index, connection in enumerate(self):
            subscriptions += connection.subscription_count
            behind += connection.is_behind
            if index % _CHECKED_AT_ONCE == _CHECKED_AT_ONCE - 1:
                await asyncio.sleep(0)
        return subscriptions, behind

    async def run(self) -> None:
        """Looks after all that are open, until cancelled: who is not there any more, whose credentials expired."""
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            for index, connection in enumerate(self):
                connection.check(asyncio.get_running_loop().time())
                if index % _CHECKED_AT_ONCE == _CHECKED_AT_ONCE - 1:
                    await asyncio.sleep(0)

    async def serve(self, websocket: WebSocket) -> None:
        """One connection, from the handshake on; under our own transport this returns as soon as it is open. The
        handshake is accepted whatever the credentials: of a refusal browsers see only the code of a close."""
        token = credentials(websocket)
        forget_credentials(websocket)
        try:
            await websocket.accept()
        except WebSocketDisconnect:
            return
        if not self._may_come_from(websocket.headers.get("origin")):
            self._closed(CloseCode.FORBIDDEN, was_welcomed=False)
            await websocket.close(CloseCode.FORBIDDEN, "this origin is not allowed")
            return
        connection = Connection(self._doors, self._gone)
        self._open.add(connection)
        most = self._doors.quotas.limits.unsent_bytes
        transport = websocket.scope.get("extensions", {}).get(EXTENSION)
        if transport is not None:
            framed = FramedLine(transport, self._doors.feed, connection, most)
            self._begin(connection, framed, token)
            framed.begin()
            return
        line = PlainLine(websocket, self._doors.feed, connection, most)
        self._begin(connection, line, token)
        await line.serve()

    def _begin(self, connection: Connection, line: Line, token: str | None) -> None:
        connection.open(line, token)
        if self._is_closing:
            connection.leave(CloseCode.RESTART, _GOING_DOWN, _retry_after_ms(len(self._open)))

    def _gone(self, connection: Connection) -> None:
        self._open.discard(connection)
        if (code := connection.close_code) is not None:
            self._closed(code, was_welcomed=connection.principal is not None)

    def _closed(self, code: int, *, was_welcomed: bool) -> None:
        self.closes[code] += 1
        if not was_welcomed:
            self.refused[code] += 1

    def _may_come_from(self, origin: str | None) -> bool:
        """Browsers say the origin of the page that connects; other clients say none (RFC 6455, section 10.2)."""
        return origin is None or not self._allowed_origins or origin in self._allowed_origins

    async def close_all(self, code: int = CloseCode.RESTART, reason: str = _GOING_DOWN) -> None:
        """Tells every client, in batches, when to come back; returns when all are gone, or after some seconds.

        From then on, whoever connects is told the same.
        """
        self._is_closing = True
        leaving = list(self._open)
        for start in range(0, len(leaving), _BATCH):
            for connection in leaving[start : start + _BATCH]:
                connection.leave(code, reason, _retry_after_ms(len(leaving)))
            await asyncio.sleep(_BATCH_PAUSE_SECONDS)
        try:
            async with asyncio.timeout(CLOSE_SECONDS + 1):
                while self._open:
                    await asyncio.sleep(_BATCH_PAUSE_SECONDS)
        except TimeoutError:
            _logger.warning("sockets.left", count=len(self._open))

    def _revoke(self, recorded: Recorded) -> None:
        id = recorded.stream.partition(":")[2]
        for connection in self:
            principal = connection.principal
            if principal is not None and principal.type == "api_key" and principal.id == id:
                connection.revoke()


async def serve_socket(websocket: WebSocket) -> None:
    """The route: the hub's sockets are in the app's state."""
    sockets: Sockets = websocket.app.state.services.sockets
    await sockets.serve(websocket)


def credentials(websocket: WebSocket) -> str | None:
    """`?token=`, `X-API-Key`, or `Authorization: Bearer`, the first there is; None where the first message brings
    them."""
    if websocket.scope["query_string"] and (token := websocket.query_params.get("token")) is not None:
        return token
    key = websocket.headers.get("x-api-key")
    if key is not None:
        return key
    authorization = websocket.headers.get("authorization")
    if authorization is None:
        return None
    scheme, _, value = authorization.partition(" ")
    return value.strip() if scheme.lower() == "bearer" else authorization


def forget_credentials(websocket: WebSocket) -> None:
    """Takes the token out of what the server knows of the request: uvicorn logs it when the handshake is accepted."""
    query = websocket.scope["query_string"]
    if query and parse_qs(query).get(b"token"):
        websocket.scope["query_string"] = b"token=[REDACTED]"


def _retry_after_ms(count: int) -> int:
    """Spread over a time that grows with the number of those who will come back."""
    return _FIRST_RETRY_MS + _random.randrange(_RETRY_SPREAD_MS + count)
