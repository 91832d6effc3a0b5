"""uvicorn's WebSocket, which can be handed from the app to a line: bytes that are framed already go out as they are.

The handshake, and all reading of frames, are uvicorn's and those of `websockets` underneath. An app that knows of
this takes the connection out of the scope's extensions, and its call returns: an open connection needs no task, no
queue and no timer. An app that does not know is served as by uvicorn alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame
from websockets.http11 import Request
from websockets.protocol import OPEN

from hub.socket.frames import PING

EXTENSION: Final = "runcast.transport"
CLOSE_SECONDS: Final = 3.0
"""How long a client may take to be closed: to read what waits for it, and to answer."""
_UNSENT_IN_KERNEL: Final = 64 * 1024


class Receiver(Protocol):
    """Who a connection was handed to. All are called within the loop."""

    def received(self, frame: str | bytes) -> None:
        """A message: text, or bytes of a binary one."""

    def is_full(self) -> None:
        """Too much is unsent."""

    def has_room(self) -> None:
        """What was unsent has gone out, but for a little."""

    def lost(self) -> None:
        """The connection is over. Nothing follows."""


class Transport(WebSocketsSansIOProtocol):
    """One connection. After `take`, by its receiver alone."""

    _receiver: Receiver | None = None
    _is_taken = False
    heard_at = 0.0
    """When the client last sent anything, by the loop's clock."""

    # before it is taken

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.handshake_complete:
            extensions: dict[str, Any] = self.scope["extensions"]
            extensions[EXTENSION] = self

    async def run_asgi(self) -> None:
        """As uvicorn's, but for an app that has handed the connection on."""
        try:
            await self.app(self.scope, self.receive, self.send)
        except ClientDisconnected:
            pass
        except BaseException:
            self.logger.exception("Exception in ASGI application\n")
            self.send_500_response()
        if not self._is_taken and self.close_timer is None:
            self.transport.close()

    # being taken

    def take(self, receiver: Receiver, most_unsent: int) -> Callable[[bytes], None]:
        """From now on what comes goes to the receiver, and more than `most_unsent` bytes make it full. Answers the
        way to send framed bytes; what cannot be sent at once waits in memory. To be called in the app's call, after
        the handshake was accepted, at most once."""
        came, self.queue = self.queue, _NOWHERE
        self._receiver, self._is_taken = receiver, True
        self.heard_at = self.loop.time()
        self.writable = _ALWAYS
        for name in ("request", "response", "scope"):  # Only the handshake needed them.
            self.__dict__.pop(name, None)
        self.transport.set_write_buffer_limits(high=most_unsent)
        with contextlib.suppress(OSError, AttributeError):
            # What the kernel has not sent yet could no longer be left out, and is not seen to be late.
            peer = self.transport.get_extra_info("socket")
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_IN_KERNEL)
        self._came = came
        if self.disconnected:
            self.loop.call_soon(self._lose)
        return self.transport.write

    def begin(self) -> None:
        """Hands on what came before it was taken; to be called once. What comes next waits for `listen`."""
        came: asyncio.Queue[Any] = self.__dict__.pop("_came")
        while not came.empty():
            self._hand_on(came.get_nowait())

    # what its receiver may do

    @property
    def unsent_bytes(self) -> int:
        return self.transport.get_write_buffer_size()

    @property
    def close_code(self) -> int | None:
        """Of the close that began here, whoever of us sent it; an answer to the client's is none."""
        sent = self.conn.close_sent
        return None if sent is None or self.conn.close_rcvd_then_sent else sent.code

    def listen(self, *, is_listening: bool) -> None:
        """Whether to read what the client sends."""
        if self.transport.is_closing() or self.read_paused is not is_listening:
            return
        self.read_paused = not is_listening
        if is_listening:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def ping(self) -> None:
        if not self.close_sent and not self.transport.is_closing():
            self.transport.write(PING)

    def end(self, code: int, reason: str) -> None:
        """Closes, after all that was sent before; a client that does not go within `CLOSE_SECONDS` is cut off."""
        if self.transport.is_closing() or self.conn.state is not OPEN:
            return
        with contextlib.suppress(InvalidState):
            self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.listen(is_listening=True)
        self.close_timer = self.loop.call_later(CLOSE_SECONDS, self.transport.abort)

    def abort(self) -> None:
        self.transport.abort()

    # what comes

    def data_received(self, data: bytes) -> None:
        self.heard_at = self.loop.time()
        super().data_received(data)
        if self.transport.is_closing():
            self._go()

    def eof_received(self) -> None:
        """Half a connection is none: it closes once all is sent."""
        self._go()

    def _go(self) -> None:
        """It closes. Nothing more is sent; the last words may wait behind what the client does not read."""
        if self._is_taken:
            self.close_timer = self.close_timer or self.loop.call_later(CLOSE_SECONDS, self.transport.abort)
            self._lose()

    def send_receive_event_to_app(self) -> None:
        if not self._is_taken:
            super().send_receive_event_to_app()
            return
        data = self.frames[0] if len(self.frames) == 1 else b"".join(self.frames)
        self.frames = []
        if self._receiver is None or self.close_sent:
            return
        if self.curr_msg_data_type == "bytes":
            self._receiver.received(bytes(data))
            return
        try:
            text = data.decode()
        except UnicodeDecodeError:
            self.conn.fail(1007, "not UTF-8")
            self.handle_parser_exception()
            return
        self._receiver.received(text)

    def handle_cont(self, event: Frame) -> None:
        if event.data:  # Of empty ones there may be any number.
            self.frames.append(bytes(event.data))
        if event.fin:
            self.send_receive_event_to_app()

    def handle_ping(self) -> None:
        """After our close there are no answers: whoever does not read would be owed more and more of them."""
        answer = b"".join(self.conn.data_to_send())
        if not self.close_sent:
            self.transport.write(answer)

    def shutdown(self) -> None:
        """The server goes. uvicorn's fails where the client is closing at that moment."""
        with contextlib.suppress(InvalidState):
            super().shutdown()
        self.transport.close()

    def pause_writing(self) -> None:
        if self._receiver is None:
            super().pause_writing()
        else:
            self._receiver.is_full()

    def resume_writing(self) -> None:
        if self._receiver is None:
            super().resume_writing()
        else:
            self._receiver.has_room()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._is_taken:
            self._lose()

    def _lose(self) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.lost()

    def _hand_on(self, message: Mapping[str, Any]) -> None:
        """What came between the handshake and the app's taking it."""
        if self._receiver is None or message["type"] != "websocket.receive":
            return
        text = message.get("text")
        self._receiver.received(message["bytes"] if text is None else text)


class _Nowhere:
    """In the place of the app's queue, and of what tells it that it may write, where no app waits any more."""

    def put_nowait(self, message: object) -> None:
        pass

    def set(self) -> None:
        pass

    def clear(self) -> None:
        pass

    def empty(self) -> bool:
        return True


_NOWHERE: Any = _Nowhere()
_ALWAYS: asyncio.Event = _NOWHERE
