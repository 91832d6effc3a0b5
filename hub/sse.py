"""The door of server-sent events: the feed over plain HTTP, for whoever needs no socket.

A stream is a subscription as the socket's are, with the same bound on what waits for its client: one that reads
slowly is set aside and read on from the log.
"""

from __future__ import annotations

import asyncio
from random import SystemRandom
from typing import Final

import structlog
from msgspec.structs import replace
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from executor.domain.errors import Code, Problem, Refusal
from executor.domain.values import seconds_between
from executor.ports import Clock, Recorded
from hub.auth.principal import Principal
from hub.channels import Key, Wish
from hub.entries import Form
from hub.feed import Feed, Subscription
from hub.messages import Channel
from hub.replayed import ReplayChannels
from hub.server_sent import HEARTBEAT, RETRY_MS, closing, opening
from hub.socket.limits import Holding, Quotas
from hub.socket.outbox import Outbox

HEARTBEAT_SECONDS: Final = 15.0
CLOSE_SECONDS: Final = 3.0
"""How long a client may take to read what waits for it when the hub goes."""
_LONGEST_TIMER: Final = 86_400.0
_RETRY_SPREAD_MS: Final = 2_000
_RETRY_SECONDS: Final = 10
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_random = SystemRandom()
_logger = structlog.get_logger(__name__)


class Streams:
    """Every open stream of this process."""

    def __init__(
        self,
        feed: Feed,
        replays: ReplayChannels,
        clock: Clock,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        quotas: Quotas | None = None,
    ) -> None:
        self.quotas = quotas or Quotas()
        self.feed, self.replays, self.clock = feed, replays, clock
        self.heartbeat_seconds = heartbeat_seconds
        self._open: set[EventStream] = set()
        self._is_closing = False
        feed.watch("apikey.revoked", self._revoke)

    def __len__(self) -> int:
        return len(self._open)

    @property
    def subscription_count(self) -> int:
        return sum(stream.channel_count for stream in self._open)

    @property
    def behind_count(self) -> int:
        """Streams that are read on from what happened before."""
        return sum(stream.is_behind for stream in self._open)

    def response(
        self, principal: Principal, key: Key, after: int, wish: Wish, *, is_lost: bool = False
    ) -> EventStream:
        """All of a channel's events after a position, whole, or the messages of a wish's union, whose carrier it is;
        and then those to come. `is_lost` says that some of what comes first was archived. Raises `Refusal` where the
        organization has too many of what a stream takes."""
        holding = self.quotas.admit(principal.organization_id)
        if holding is None:
            said = f"the organization has {self.quotas.limits.connections} connections here already"
            raise _too_many(Problem(Code.RATE_LIMIT_EXCEEDED, said))
        for each in (key,) if wish.union is None else wish.union.keys:
            if (problem := holding.refusal(each, wish.condition)) is not None:
                holding.close()
                raise _too_many(problem)
            holding.add(each, wish.condition)
        return EventStream(self, principal, key, after, wish, is_lost, holding)

    def opened(self, stream: EventStream) -> None:
        self._open.add(stream)
        if self._is_closing:
            stream.leave("the hub is going down")

    def closed(self, stream: EventStream) -> None:
        self._open.discard(stream)

    async def close_all(self) -> None:
        """Ends every stream; returns when all are gone, or after some seconds."""
        self._is_closing = True
        leaving = list(self._open)
        for stream in leaving:
            stream.leave("the hub is going down")
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                for stream in leaving:
                    await stream.is_gone.wait()
        except TimeoutError:
            _logger.warning("streams.left", count=len(self._open))

    def _revoke(self, recorded: Recorded) -> None:
        id = recorded.stream.partition(":")[2]
        for stream in tuple(self._open):
            if stream.principal.type == "api_key" and stream.principal.id == id:
                stream.leave("the credentials were revoked")


class EventStream(Response):
    """One client's, as an answer that ends only when the client goes, its credentials do, or the hub."""

    media_type = "text/event-stream"

    def __init__(
        self,
        streams: Streams,
        principal: Principal,
        key: Key,
        after: int,
        wish: Wish,
        is_lost: bool,
        holding: Holding,
    ) -> None:
        self.status_code, self.background = 200, None
        self.init_headers(_HEADERS)
        self.principal = principal
        self.is_gone = asyncio.Event()
        self._streams = streams
        self._key, self._after, self._wish, self._is_lost = key, after, wish, is_lost
        self._holding = holding
        self._outbox = Outbox(streams.feed, max_bytes=streams.quotas.limits.unsent_bytes)
        self._subscription: Subscription | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._reason = "the stream has ended"

    @property
    def unsent_bytes(self) -> int:
        return self._outbox.unsent_bytes

    @property
    def channel_count(self) -> int:
        return 1 if self._wish.union is None else len(self._wish.union.keys)

    @property
    def is_behind(self) -> bool:
        return self._outbox.is_behind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            if scope["method"] == "HEAD":
                await send({"type": "http.response.body", "body": b""})
            else:
                await self._serve(receive, send)
        finally:
            self._holding.close()

    async def _serve(self, receive: Receive, send: Send) -> None:
        self._begin()
        tasks = [asyncio.create_task(self._write(send)), asyncio.create_task(_until_gone(receive))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._end()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._streams.closed(self)
            self.is_gone.set()

    def leave(self, reason: str) -> None:
        """Sends what waits, says why, and ends."""
        self._reason = reason
        self._end()

    def _begin(self) -> None:
        streams, key = self._streams, self._key
        if key.channel is Channel.REPLAY:
            self._subscription = streams.replays.subscribe(
                key, self._outbox, after=self._after, wish=self._wish, form=Form.SERVER_SENT
            )
        else:
            self._subscription = streams.feed.subscribe(
                key,
                self._outbox,
                after=self._after,
                wish=self._wish,
                is_lost=self._is_lost,
                form=Form.SERVER_SENT if self._wish.union is None else Form.SERVER_SENT_MESSAGE,
            )
        self._check_expiry()
        self._streams.opened(self)

    def _end(self) -> None:
        """Nothing more comes in. May be called twice."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._subscription is not None:
            self._streams.feed.unsubscribe(self._subscription)
        self._outbox.finish()

    def _check_expiry(self) -> None:
        """Now, and again at the time when the credentials end."""
        if self.principal.expires_at is None:
            return
        left = seconds_between(self._streams.clock.now(), self.principal.expires_at)
        if left <= 0:
            self.leave("the credentials have expired")
        else:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(min(left, _LONGEST_TIMER), self._check_expiry)

    async def _write(self, send: Send) -> None:
        await send(_more(opening(self._after)))
        taking: asyncio.Task[list[bytes]] | None = None
        try:
            while True:
                taking = taking or asyncio.create_task(self._outbox.take())
                done, _ = await asyncio.wait([taking], timeout=self._streams.heartbeat_seconds)
                if not done:
                    await send(_more(HEARTBEAT))
                    continue
                messages, taking = taking.result(), None
                if not messages:
                    break
                await send(_more(b"".join(messages)))
        except Exception:
            _logger.exception("stream.failed")
            self._reason = "something went wrong here"
        finally:
            if taking is not None:
                taking.cancel()
                await asyncio.gather(taking, return_exceptions=True)
        retry_ms = RETRY_MS + _random.randrange(_RETRY_SPREAD_MS)
        await send({"type": "http.response.body", "body": closing(self._reason, retry_ms), "more_body": False})


def _too_many(problem: Problem) -> Refusal:
    return Refusal([replace(problem, details={"retry_after": _RETRY_SECONDS})])


def _more(body: bytes) -> dict[str, object]:
    return {"type": "http.response.body", "body": body, "more_body": True}


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
