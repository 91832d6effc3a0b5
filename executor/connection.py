"""One connection to the outside: an exchange, then the next."""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Callable, Iterator
from typing import Final, cast

from executor.exchange import Course, Failure, Kind
from executor.http1 import CLOSED, Incoming, Request
from executor.targets import Origin

_AT_ONCE: Final = 64 * 1024
"""A longer body goes in pieces of this size, each when the one before is with the system but for a rest."""


class Unheard(Failure):
    """A connection that had been kept was closed before a byte of the answer came: as servers do with idle ones,
    most likely without having seen the request."""

    def __init__(self) -> None:
        super().__init__(CLOSED, Kind.PROTOCOL)


class Connection(asyncio.Protocol):
    """Belongs to one exchange at a time. Of the end of it all, `ended` is told once."""

    def __init__(self, origin: Origin, ended: Callable[[Connection], None]) -> None:
        self.origin = origin
        self.idle_since: float | None = None
        """Moment of the monotonic clock; null while it is in use."""
        self._ended = ended
        self._incoming = Incoming()
        self._waiter: Future[None] | None = None
        """Of the answer. Without it there is nothing that might come."""
        self._writable: Future[None] | None = None
        self._is_paused = self._has_served = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def secure(self, transport: asyncio.Transport) -> None:
        """From now on it speaks through TLS, to another server than the one before."""
        self.transport, self._incoming, self._has_served = transport, Incoming(), False

    async def exchange(self, request: Request, course: Course) -> Incoming:
        """Sends one request and reads its answer, which is valid until the next. Raises `Failure`; whoever is
        cancelled here has to `abort`."""
        incoming = self._incoming
        incoming.expect(request, course)
        if self.transport.is_closing():
            raise Unheard
        self._waiter = waiter = asyncio.get_running_loop().create_future()
        is_sent, head, body = True, request.head, request.body or b""
        try:
            if len(body) <= _AT_ONCE:
                self.transport.write(head + body)
            else:
                is_sent = await self._pour(head, memoryview(body), waiter)
            await waiter
        finally:
            self._waiter = None
            if waiter.done() and not waiter.cancelled():
                waiter.exception()  # Seen, though who waited was cancelled in this very moment.
        self._has_served = True
        incoming.is_reusable &= is_sent and not self.transport.is_closing()
        return incoming

    def abort(self) -> None:
        """Without ceremony: what is not sent is dropped, and of TLS no farewell is waited for."""
        self._settle(Failure(CLOSED, Kind.PROTOCOL))
        self.transport.abort()

    async def _pour(self, head: bytes, body: memoryview, waiter: Future[None]) -> bool:
        """Whether all of it was sent. The answer may come before that, and whoever gave it wants no more."""
        self.transport.write(head)
        for piece in _pieces(body):
            self.transport.write(piece)
            if self._is_paused and not waiter.done():
                self._writable = asyncio.get_running_loop().create_future()
                try:
                    await self._writable
                finally:
                    self._writable = None
            if waiter.done():
                return False
        return True

    def data_received(self, data: bytes) -> None:
        if self._waiter is None or self._waiter.done():
            self.abort()  # Nobody asked.
            return
        try:
            self._incoming.feed(data)
        except Failure as failure:
            self._settle(failure)
        else:
            if self._incoming.is_over:
                self._settle(None)

    def eof_received(self) -> None:
        self._end(None)
        self.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._end(error)
        self._ended(self)

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._go_on()

    def _end(self, error: Exception | None) -> None:
        if self._waiter is None or self._waiter.done():
            return
        try:
            if self._has_served and not self._incoming.has_begun:
                raise Unheard
            if error is not None:
                raise Failure(CLOSED, Kind.PROTOCOL)
            self._incoming.end()
        except Failure as failure:
            self._settle(failure)
        else:
            self._settle(None)

    def _settle(self, failure: Failure | None) -> None:
        if self._waiter is not None and not self._waiter.done():
            if failure is None:
                self._waiter.set_result(None)
            else:
                self._waiter.set_exception(failure)
        self._go_on()

    def _go_on(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)


def _pieces(body: memoryview) -> Iterator[memoryview]:
    return (body[at : at + _AT_ONCE] for at in range(0, len(body), _AT_ONCE))
