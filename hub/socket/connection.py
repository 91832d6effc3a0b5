"""One WebSocket: the protocol's thin adapter to Starlette and the feed.

The task that serves the socket reads; one more writes. Both end with the connection, and its subscriptions and
timers with them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect

from executor.domain.errors import Unavailable
from executor.domain.values import Instant, seconds_between
from executor.ports import Clock, EventLog
from hub.auth.principal import Principal
from hub.channels import Key
from hub.feed import Feed, Subscription
from hub.messages import Channel
from hub.replayed import ReplayChannels
from hub.socket import protocol, requests
from hub.socket.limits import Quotas
from hub.socket.outbox import Outbox
from hub.socket.protocol import CloseCode, Outputs, Protocol

CLOSE_SECONDS: Final = 3.0
"""How long a client may take to be closed: to read what waits for it, and to answer."""
_LONGEST_TIMER: Final = 86_400.0
_RETRY_MS: Final = 1000
_logger = structlog.get_logger(__name__)

Authenticate = Callable[[str], Awaitable[Principal | None]]
"""From a credential to who asks; None for one that is not valid. May raise `Unavailable`."""

Exists = Callable[[str, str, str], Awaitable[bool]]
"""Whether a resource (`execution` or `workflow`, its id) is an organization's. May raise `Unavailable`."""


IsLost = Callable[[Key, int], Awaitable[bool]]
"""Whether some of what a channel had after a position was archived. May raise `Unavailable`."""


class Doors:
    """What every connection works with."""

    def __init__(
        self,
        feed: Feed,
        log: EventLog,
        authenticate: Authenticate,
        exists: Exists,
        is_lost: IsLost,
        replays: ReplayChannels,
        clock: Clock,
        quotas: Quotas,
    ) -> None:
        self.feed, self.log, self.replays, self.clock, self.quotas = feed, log, replays, clock, quotas
        self.authenticate, self.exists, self.is_lost = authenticate, exists, is_lost


class Connection:
    """To be served once, by `serve`."""

    def __init__(self, websocket: WebSocket, doors: Doors) -> None:
        self.id = doors.clock.new_id()
        self.is_gone = asyncio.Event()
        self._websocket = websocket
        self._doors = doors
        clock, quotas = doors.clock, doors.quotas
        self._protocol = Protocol(self.id, doors.log.epoch, new_id=clock.new_id, now=clock.now, quotas=quotas)
        self._outbox = Outbox(doors.feed)
        self._subscriptions: dict[Key, Subscription] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._limit = asyncio.timeout(None)
        self._close = protocol.Close(CloseCode.INTERNAL, "")

    @property
    def subscription_count(self) -> int:
        return len(self._subscriptions)

    @property
    def unsent_bytes(self) -> int:
        return self._outbox.unsent_bytes

    @property
    def principal(self) -> Principal | None:
        return self._protocol.principal

    async def serve(self, credentials: str | None) -> None:
        """From an accepted handshake until nothing of the connection is left."""
        writer = asyncio.create_task(self._write(), name=f"socket {self.id}")
        try:
            async with self._limit:
                await self._read(credentials)
        except TimeoutError:
            if not self._limit.expired():  # Else it was to be closed, and did not answer.
                raise
        finally:
            self._protocol.lost()
            self._end()
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
            self.is_gone.set()

    def leave(self, code: int, reason: str, retry_after_ms: int = 0) -> None:
        self._do(self._protocol.leave(code, reason, retry_after_ms))

    def revoke(self) -> None:
        self._do(self._protocol.revoked())

    async def _read(self, credentials: str | None) -> None:
        self._timer = asyncio.get_running_loop().call_later(
            protocol.AUTH_SECONDS, lambda: self._do(self._protocol.timed_out())
        )
        await self._answer(self._protocol.opened(credentials))
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            await self._answer(self._protocol.received(message.get("bytes") or b"" if text is None else text))
            await self._outbox.room()

    async def _answer(self, outputs: Outputs) -> None:
        """Does what the protocol says, and asks whom it wants to be asked."""
        for output in outputs:
            match output:
                case protocol.CheckCredentials(token, request):
                    await self._check_credentials(token, request)
                case protocol.CheckResource(key):
                    await self._check_resource(output, key)
                case protocol.ReportPosition(reply_to):
                    self._do(self._protocol.pong(reply_to, self._position))
                case _:
                    self._do([output])

    async def _check_credentials(self, token: str, request: requests.Authenticate | None) -> None:
        try:
            principal = await self._doors.authenticate(token)
        except Unavailable:
            self.leave(CloseCode.TRY_LATER, "credentials cannot be checked for now", _RETRY_MS)
            return
        self._do(self._protocol.credentials_checked(request, principal, self._doors.log.head))
        if self._protocol.state is protocol.State.OPEN:
            self._set_timer(principal.expires_at if principal is not None else None)

    async def _check_resource(self, check: protocol.CheckResource, key: Key) -> None:
        is_there, is_lost, since = True, False, check.request.since
        begins = None
        try:
            if key.channel is Channel.REPLAY:
                begins = await self._doors.replays.begins(key)
                is_there = begins is not None
            elif protocol.needs_check(key):
                is_there = await self._doors.exists(str(key.channel), key.id, key.organization_id)
            if since is not None and since > self._doors.log.head:
                # The client may have it from another process, which is ahead of this one.
                await self._doors.log.refresh()
            if begins is None and since is not None and since <= self._doors.log.head:
                is_lost = await self._doors.is_lost(key, since)
        except Unavailable:
            self._do(self._protocol.resource_unknown(check))
            return
        head = self._doors.log.head
        self._do(self._protocol.resource_checked(check, is_there, head, is_lost=is_lost, begins=begins))

    def _do(self, outputs: Outputs) -> None:
        """Does what needs no waiting, in one step of the loop."""
        for output in outputs:
            match output:
                case protocol.Send(message):
                    self._outbox.send(message)
                case protocol.Listen(key, after, wish) if key.channel is Channel.REPLAY:
                    replayed = self._doors.replays.subscribe(key, self._outbox, after=after, wish=wish)
                    self._subscriptions[key] = replayed
                case protocol.Listen(key, after, wish, is_lost):
                    feed = self._doors.feed
                    subscribed = feed.subscribe(key, self._outbox, after=after, wish=wish, is_lost=is_lost)
                    self._subscriptions[key] = subscribed
                case protocol.Unlisten(key):
                    self._doors.feed.unsubscribe(self._subscriptions.pop(key))
                case protocol.Close():
                    self._close = output
                    self._end()
                    self._wait_no_longer()

    @property
    def _position(self) -> int:
        """Through here everything was handed over, on all of this connection's channels."""
        positions = [subscription.position for subscription in self._subscriptions.values()]
        return min(positions, default=self._doors.feed.position)

    def _set_timer(self, expires_at: Instant | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if expires_at is not None:
            left = min(seconds_between(self._doors.clock.now(), expires_at), _LONGEST_TIMER)
            self._timer = asyncio.get_running_loop().call_later(left, self._check_expiry)

    def _check_expiry(self) -> None:
        self._do(self._protocol.expired())
        principal = self._protocol.principal
        if self._protocol.state is protocol.State.OPEN and principal is not None:
            self._set_timer(principal.expires_at)

    def _end(self) -> None:
        """Nothing more comes in from the feed or a timer. May be called twice."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for subscription in self._subscriptions.values():
            self._doors.feed.unsubscribe(subscription)
        self._subscriptions.clear()
        self._outbox.finish()

    async def _write(self) -> None:
        """Sends what there is to send, then closes. Servers say by these errors that the client is gone already."""
        try:
            while messages := await self._next():
                for message in messages:
                    await self._websocket.send({"type": "websocket.send", "text": message.decode()})
            await self._websocket.close(self._close.code, self._close.reason)
        except (WebSocketDisconnect, RuntimeError):
            self._protocol.lost()
            self._end()
        self._wait_no_longer()

    def _wait_no_longer(self) -> None:
        """The client has some seconds to go."""
        with contextlib.suppress(RuntimeError):  # It is over already.
            self._limit.reschedule(asyncio.get_running_loop().time() + CLOSE_SECONDS)

    async def _next(self) -> list[bytes]:
        try:
            return await self._outbox.take()
        except Exception:
            _logger.exception("socket.failed", connection=self.id)
            self.leave(CloseCode.INTERNAL, "something went wrong here", _RETRY_MS)
        return await self._outbox.take()
