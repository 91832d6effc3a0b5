"""How a connection's messages reach its client: two lines, alike for what is above them.

`FramedLine` writes to our own transport under uvicorn: what the feed offers goes out as it is, in the turn of the
loop in which it was offered. `PlainLine` works with any ASGI server, by one `websocket.send` for each message. Both
are bounded: past the bound a subscription is set aside by the feed, and is read on from the log when there is room.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final, Protocol

import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect

from executor.domain.errors import Unavailable
from hub.entries import Batch, Form
from hub.feed import Feed, Sink, Subscription
from hub.socket.frames import text_frame
from hub.socket.outbox import AGAIN_SECONDS, Outbox
from hub.socket.transport import CLOSE_SECONDS, Transport

PING_SECONDS: Final = 25.0
"""A client that has said nothing for so long is asked whether it is there."""
ANSWER_SECONDS: Final = 20.0
_logger = structlog.get_logger(__name__)


class Speaker(Protocol):
    """Who is above a line. All are called within the loop."""

    def received(self, frame: str | bytes) -> None: ...

    def broke(self) -> None:
        """Something went wrong here."""

    def lost(self) -> None:
        """The line is gone. Nothing follows."""


class Line(Protocol):
    form: Form

    @property
    def sink(self) -> Sink: ...

    @property
    def unsent_bytes(self) -> int: ...

    @property
    def is_behind(self) -> bool:
        """Some of its subscriptions wait to be read on."""

    @property
    def close_code(self) -> int | None:
        """With which the line was closed from here, if it was."""

    def send(self, message: bytes) -> None:
        """A message of the connection itself."""

    def listen(self, *, is_listening: bool) -> None:
        """Whether to read what the client sends; while it does not read what we send, nothing is read anyway."""

    def close(self, code: int, reason: str) -> None:
        """After all that was sent before; nothing more is taken in. The client has some seconds to go."""

    def finish(self) -> None:
        """Nothing more is taken in. May be called twice."""

    def check(self, now: float) -> None:
        """To be called every now and then, by the loop's clock: is the client still there?"""


class FramedLine:
    """A line on our transport. It has a task only while it reads on what it was too slow for."""

    form = Form.FRAME
    __slots__ = (
        "_behind",
        "_feed",
        "_is_finished",
        "_is_full",
        "_is_listening",
        "_pinged_at",
        "_reading",
        "_speaker",
        "_transport",
        "_write",
    )

    def __init__(self, transport: Transport, feed: Feed, speaker: Speaker, max_bytes: int) -> None:
        self._transport, self._feed, self._speaker = transport, feed, speaker
        self._behind: dict[Subscription, None] = {}
        self._reading: asyncio.Task[None] | None = None
        self._is_full = self._is_finished = False
        self._is_listening = True
        self._pinged_at: float | None = None
        # What is offered or read at once is at most as much again.
        self._write = transport.take(self, max_bytes // 2)

    def begin(self) -> None:
        """To be called once its speaker knows of it: what came since the handshake is heard first."""
        self._transport.begin()
        self._transport.listen(is_listening=self._is_listening and not self._is_full)

    # for the feed

    @property
    def sink(self) -> Sink:
        return self

    def offer(self, batch: Batch) -> bool:
        if self._is_full:
            return False
        self._write(batch.joined)
        return True

    def put(self, batch: Batch) -> None:
        if not self._is_finished:
            self._write(batch.joined)

    def falls_behind(self, subscription: Subscription) -> None:
        self._behind[subscription] = None
        self._read_on()

    # for the connection

    @property
    def unsent_bytes(self) -> int:
        return self._transport.unsent_bytes

    @property
    def is_behind(self) -> bool:
        return bool(self._behind) or self._reading is not None

    @property
    def close_code(self) -> int | None:
        return self._transport.close_code

    def send(self, message: bytes) -> None:
        if not self._is_finished:
            self._write(text_frame(message))

    def listen(self, *, is_listening: bool) -> None:
        self._is_listening = is_listening
        self._transport.listen(is_listening=is_listening and not self._is_full)

    def close(self, code: int, reason: str) -> None:
        self.finish()
        self._transport.end(code, reason)

    def finish(self) -> None:
        self._is_finished = True
        self._behind.clear()
        if self._reading is not None:
            self._reading.cancel()

    def check(self, now: float) -> None:
        """While something is unsent TCP finds out by itself; one that does not read is not dead. While it is not
        listened to, its answer would not be heard."""
        silent = now - self._transport.heard_at
        if self._pinged_at is not None and self._transport.heard_at >= self._pinged_at:
            self._pinged_at = None
        if silent < PING_SECONDS or self._transport.unsent_bytes or not self._is_listening:
            return
        if self._pinged_at is None:
            self._pinged_at = now
            self._transport.ping()
        elif now - self._pinged_at > ANSWER_SECONDS:
            self._transport.abort()

    # for the transport

    def received(self, frame: str | bytes) -> None:
        self._speaker.received(frame)

    def is_full(self) -> None:
        self._is_full = True
        self._transport.listen(is_listening=False)

    def has_room(self) -> None:
        self._is_full = False
        self._pinged_at = None
        self._transport.listen(is_listening=self._is_listening)
        self._read_on()

    def lost(self) -> None:
        self.finish()
        self._speaker.lost()

    # reading on

    def _read_on(self) -> None:
        if self._behind and self._reading is None and not self._is_full and not self._is_finished:
            self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        """A page for each of the subscriptions that are behind, in turns, while there is room."""
        try:
            while self._behind and not self._is_full:
                subscription = next(iter(self._behind))
                del self._behind[subscription]
                try:
                    await self._feed.catch_up(subscription)
                except Unavailable:
                    self._behind[subscription] = None
                    await asyncio.sleep(AGAIN_SECONDS)
        except Exception:
            _logger.exception("socket.failed")
            self._speaker.broke()
        finally:
            self._reading = None


class PlainLine:
    """A line on any ASGI server. Its call of the app reads; one more task writes."""

    form = Form.MESSAGE

    def __init__(self, websocket: WebSocket, feed: Feed, speaker: Speaker, max_bytes: int) -> None:
        self._websocket, self._speaker = websocket, speaker
        self._outbox = Outbox(feed, max_bytes=max_bytes)
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._limit = asyncio.timeout(None)
        self._closing: tuple[int, str] = (1011, "")
        self._closed_with: int | None = None

    @property
    def sink(self) -> Sink:
        return self._outbox

    @property
    def unsent_bytes(self) -> int:
        return self._outbox.unsent_bytes

    @property
    def is_behind(self) -> bool:
        return self._outbox.is_behind

    @property
    def close_code(self) -> int | None:
        return self._closed_with

    def send(self, message: bytes) -> None:
        self._outbox.send(message)

    def listen(self, *, is_listening: bool) -> None:
        if is_listening:
            self._may_read.set()
        else:
            self._may_read.clear()

    def close(self, code: int, reason: str) -> None:
        self._closing = (code, reason)
        self.finish()
        self._wait_no_longer()

    def finish(self) -> None:
        self._outbox.finish()
        self._may_read.set()

    def check(self, now: float) -> None:
        """The server's own pings do."""

    async def serve(self) -> None:
        """Until nothing of the connection is left."""
        writer = asyncio.create_task(self._write())
        try:
            async with self._limit:
                await self._read()
        except TimeoutError:
            if not self._limit.expired():  # Else it was to be closed, and did not answer.
                raise
        finally:
            self.finish()
            self._speaker.lost()
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)

    async def _read(self) -> None:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            self._speaker.received(message.get("bytes") or b"" if text is None else text)
            await self._may_read.wait()
            await self._outbox.room()

    async def _write(self) -> None:
        """Sends what there is to send, then closes. Servers say by these errors that the client is gone already."""
        try:
            while messages := await self._next():
                for message in messages:
                    await self._websocket.send({"type": "websocket.send", "text": message.decode()})
            await self._websocket.close(*self._closing)
            self._closed_with = self._closing[0]
        except (WebSocketDisconnect, RuntimeError):
            self.finish()
        self._wait_no_longer()

    async def _next(self) -> list[bytes]:
        try:
            return await self._outbox.take()
        except Exception:
            _logger.exception("socket.failed")
            self._speaker.broke()
        return await self._outbox.take()

    def _wait_no_longer(self) -> None:
        with contextlib.suppress(RuntimeError):  # It is over already.
            self._limit.reschedule(asyncio.get_running_loop().time() + CLOSE_SECONDS)
