"""One WebSocket: the protocol's thin adapter to its line and the feed.

What a client says is answered in its order: at once where nobody has to be asked, else by a task that ends with the
last answer. So a connection on which nothing happens has no task and no timer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from executor.domain.errors import Unavailable
from executor.ports import Clock, EventLog
from hub.auth.principal import Principal
from hub.channels import Key, needs_check
from hub.feed import Feed, Subscription
from hub.messages import Channel
from hub.replayed import ReplayChannels
from hub.socket import protocol, requests
from hub.socket.codes import CloseCode
from hub.socket.limits import Quotas
from hub.socket.lines import Line
from hub.socket.outputs import (
    CheckCredentials,
    CheckResource,
    Close,
    Listen,
    Output,
    Outputs,
    ReportPosition,
    Send,
    Unlisten,
)
from hub.socket.protocol import Protocol

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
    """Implements `lines.Speaker`. `on_gone` is called once, when nothing of it is left."""

    __slots__ = ("_answering", "_doors", "_inbox", "_line", "_on_gone", "_protocol", "_subscriptions", "_timer", "id")

    def __init__(self, doors: Doors, on_gone: Callable[[Connection], None]) -> None:
        self.id = doors.clock.new_id()
        self._doors = doors
        self._on_gone = on_gone
        clock, quotas = doors.clock, doors.quotas
        self._protocol = Protocol(self.id, doors.log.epoch, new_id=clock.new_id, now=clock.now, quotas=quotas)
        self._subscriptions: dict[Key, Subscription] = {}
        self._inbox: deque[str | bytes] | None = None
        self._answering: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._line: Line

    @property
    def subscription_count(self) -> int:
        return len(self._subscriptions)

    @property
    def unsent_bytes(self) -> int:
        return self._line.unsent_bytes

    @property
    def is_behind(self) -> bool:
        return self._line.is_behind

    @property
    def close_code(self) -> int | None:
        """With which it was closed from here; None where the client closed it, or is simply gone."""
        return self._line.close_code

    @property
    def principal(self) -> Principal | None:
        return self._protocol.principal

    def open(self, line: Line, credentials: str | None) -> None:
        """The handshake was accepted."""
        self._line = line
        self._timer = asyncio.get_running_loop().call_later(
            protocol.AUTH_SECONDS, lambda: self._do(self._protocol.timed_out())
        )
        self._take(self._protocol.opened(credentials))

    def leave(self, code: int, reason: str, retry_after_ms: int = 0) -> None:
        self._do(self._protocol.leave(code, reason, retry_after_ms))

    def revoke(self) -> None:
        self._do(self._protocol.revoked())

    def check(self, now: float) -> None:
        """To be called every second or so."""
        self._line.check(now)
        if self._protocol.principal is not None and self._protocol.principal.expires_at is not None:
            self._do(self._protocol.expired())
        most = self._doors.quotas.limits.lag
        if most is not None and any(subscription.lag > most for subscription in self._subscriptions.values()):
            self._do(self._protocol.too_far_behind(self._position))

    # what the line says

    def received(self, frame: str | bytes) -> None:
        if self._answering is None:
            self._take(self._protocol.received(frame))
        else:
            self._inbox = self._inbox or deque()
            self._inbox.append(frame)

    def broke(self) -> None:
        self.leave(CloseCode.INTERNAL, "something went wrong here", _RETRY_MS)

    def lost(self) -> None:
        self._protocol.lost()
        self._end()
        if self._answering is not None:
            self._answering.cancel()
        self._on_gone(self)

    # answers

    def _take(self, outputs: Outputs) -> None:
        """Does what the protocol says, up to where somebody has to be asked; from there on by a task."""
        for index, output in enumerate(outputs):
            if isinstance(output, CheckCredentials | CheckResource):
                self._line.listen(is_listening=False)
                self._answering = asyncio.create_task(self._answer(outputs[index:]), name=f"socket {self.id}")
                return
            self._do_one(output)

    async def _answer(self, outputs: Outputs) -> None:
        try:
            while True:
                for output in outputs:
                    await self._ask_or_do(output)
                if not self._inbox:
                    break
                outputs = self._protocol.received(self._inbox.popleft())
        except Exception:
            _logger.exception("socket.failed", connection=self.id)
            self.broke()
        finally:
            self._answering = self._inbox = None
        self._line.listen(is_listening=True)

    async def _ask_or_do(self, output: Output) -> None:
        match output:
            case CheckCredentials(token, request):
                await self._check_credentials(token, request)
            case CheckResource(key):
                await self._check_resource(output, key)
            case _:
                self._do_one(output)

    async def _check_credentials(self, token: str, request: requests.Authenticate | None) -> None:
        try:
            principal = await self._doors.authenticate(token)
        except Unavailable:
            self.leave(CloseCode.TRY_LATER, "credentials cannot be checked for now", _RETRY_MS)
            return
        self._do(self._protocol.credentials_checked(request, principal, self._doors.log.head))
        if self._protocol.state is protocol.State.OPEN:
            self._stop_timer()

    async def _check_resource(self, check: CheckResource, key: Key) -> None:
        is_there, is_lost, since = True, False, check.request.since
        begins = None
        try:
            if key.channel is Channel.REPLAY:
                begins = await self._doors.replays.begins(key)
                is_there = begins is not None
            elif needs_check(key):
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
        for output in outputs:
            self._do_one(output)

    def _do_one(self, output: Output) -> None:
        """Does what needs no waiting."""
        match output:
            case Send(message):
                self._line.send(message)
            case Listen():
                self._subscriptions[output.key] = self._subscribed(output)
            case Unlisten(key):
                self._doors.feed.unsubscribe(self._subscriptions.pop(key))
            case ReportPosition(reply_to):
                self._do(self._protocol.pong(reply_to, self._position))
            case Close(code, reason):
                self._end()
                self._line.close(code, reason)

    def _subscribed(self, to: Listen) -> Subscription:
        line, doors = self._line, self._doors
        if to.key.channel is Channel.REPLAY:
            return doors.replays.subscribe(to.key, line.sink, after=to.after, wish=to.wish, form=line.form)
        return doors.feed.subscribe(
            to.key, line.sink, after=to.after, wish=to.wish, is_lost=to.is_lost, form=line.form
        )

    @property
    def _position(self) -> int:
        """Through here everything was handed over, on all of this connection's channels."""
        positions = [subscription.position for subscription in self._subscriptions.values()]
        return min(positions, default=self._doors.feed.cast)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self) -> None:
        """Nothing more comes in from the feed or a timer. May be called twice."""
        self._stop_timer()
        for subscription in self._subscriptions.values():
            self._doors.feed.unsubscribe(subscription)
        self._subscriptions.clear()
        self._line.finish()
