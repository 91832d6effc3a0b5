"""One socket to the hub: opened, read, and opened again until nobody wants anything of it.

One task drives it: connect, read until the end, judge the end, wait, again. While a connection lives, some more help:
they write, ask for signs of life, renew credentials before they expire.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import aiohttp
import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from hub.client.backoff import LATER, SOON, Backoff, Chance
from hub.client.credentials import Credentials
from hub.client.errors import ClientClosed, NoSocket, SocketStopped, SubscriptionRefused
from hub.client.live.codes import ABNORMAL, TOO_MANY, After, End, after, end_of
from hub.client.live.inbox import Ended, Inbox
from hub.client.live.message import Wish
from hub.client.live.outgoing import Outgoing
from hub.client.live.protocol import Closing, Course, Deliver, Granted, Output, Protocol, Refused, Send, Welcomed

PATIENCE_SECONDS: Final = 0.25
"""How long the others on a socket wait for a slow reader, before it is set aside."""
HEARTBEAT_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 10.0
"""A hub that says nothing for so long after a ping is gone: that is noticed within 30 seconds of its last word."""
LINGER_SECONDS: Final = 5.0
"""How long a socket stays open that nobody wants anything of."""
_LOUD: Final = 3
"""So many failures in a row are a warning."""
_STEADY_SECONDS: Final = 1.0
"""A connection that held so long ends a row of failures."""
_MOST_SUBSCRIPTIONS: Final = 1000
_PASSING: Final = frozenset({408, 425, 429})
"""Statuses that may be another next time, as those from 500 on; any other is of an address that has no socket, where
it never had one."""
_logger = logging.getLogger(__name__)

Connect = Callable[[str], Awaitable[ClientConnection]]
"""From a token to an open connection. Raises `OSError`, `TimeoutError`, `InvalidHandshake`."""
Lifetime = Callable[[], Awaitable[float | None]]
"""How many seconds the credentials at hand hold; None for long."""


class Link:
    """`gone` is called when it has ended by itself: it is then of no more use."""

    def __init__(
        self,
        connect: Connect,
        credentials: Credentials,
        lifetime: Lifetime,
        gone: Callable[[Link], None],
        chance: Chance,
    ) -> None:
        self._connect, self._credentials, self._lifetime, self._gone = connect, credentials, lifetime, gone
        self._protocol = Protocol()
        self._inboxes: dict[Course, Inbox] = {}
        self._outgoing, self._unwanted = Outgoing(), asyncio.Event()
        self._backoff = Backoff(chance)
        self._chance = chance
        self._heard = 0
        self._was_open = self._is_expired = False
        self._retries: set[asyncio.TimerHandle] = set()
        self._task: asyncio.Task[None] | None = None

    # what people want

    def fits(self, wish: Wish) -> bool:
        """Whether a subscription may share this socket."""
        its = [inbox.course.wish for inbox in self._inboxes.values()]
        return len(its) < _MOST_SUBSCRIPTIONS and not any(each.overlaps(wish) for each in its)

    def add(self, inbox: Inbox) -> None:
        self._inboxes[inbox.course] = inbox
        self._unwanted.clear()
        self._say(self._protocol.add(inbox.course))
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="runcast socket")

    def remove(self, inbox: Inbox) -> None:
        """May be called twice."""
        if self._inboxes.pop(inbox.course, None) is not None:
            self._say(self._protocol.remove(inbox.course))
        inbox.end(Ended())
        if not self._inboxes:
            self._unwanted.set()

    async def close(self) -> None:
        """Ends it with all its subscriptions."""
        self._end(ClientClosed("the client was closed"))
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    # its life

    async def _run(self) -> None:
        try:
            while self._inboxes:
                end = await self._lived()
                if self._inboxes:
                    await asyncio.sleep(self._pause(end))
        except Exception as error:
            # Of the hub, or of a callable that was to give a token: it is raised where people wait.
            self._end(error)
        finally:
            for retry in self._retries:
                retry.cancel()
            self._gone(self)

    def _pause(self, end: End) -> float:
        """Seconds until the next connection. Raises `SocketStopped` where there must be none."""
        closing = end.closing
        least = closing.retry_after_seconds if closing is not None else 0.0
        what = after(end.code)
        if what is After.RENEW and not self._credentials.is_renewable:
            raise SocketStopped(end.code, f"{end.reason}; give a callable as api_key to renew them")
        may_come_back = closing is None or closing.reconnect or what is After.RENEW
        if what is After.STOP or not may_come_back:
            raise SocketStopped(end.code, end.reason)
        self._is_expired = what is After.RENEW
        pause = self._backoff.next(LATER if what is After.LATER else SOON, least)
        level = logging.INFO if self._backoff.failures < _LOUD else logging.WARNING
        _logger.log(level, "the socket ended (%d %s); it is opened again in %.1f s", end.code, end.reason, pause)
        return pause

    async def _lived(self) -> End:
        """One connection from its beginning to its end; also one that never came to be."""
        try:
            connection = await self._connect(await self._token())
        except (InvalidStatus, ssl.SSLCertVerificationError) as error:
            if isinstance(error, ssl.SSLError):
                raise NoSocket(f"the hub's certificate cannot be trusted: {error.verify_message}") from None
            status = error.response.status_code
            if status < 500 and status not in _PASSING and not self._was_open:
                raise NoSocket(f"there is no socket of a hub: its address answered {status}") from None
            return End(TOO_MANY if status == 429 else ABNORMAL, f"the handshake was answered by {status}")
        except (OSError, TimeoutError, InvalidHandshake, aiohttp.ClientError) as error:
            return End(ABNORMAL, _told(error))
        began = asyncio.get_running_loop().time()
        try:
            return await self._served(connection)
        finally:
            self._protocol.lost()
            self._outgoing.forget()
            if asyncio.get_running_loop().time() - began >= _STEADY_SECONDS:
                self._backoff.reset()

    async def _token(self) -> str:
        """A fresh one for each connection but the first."""
        token = await self._credentials.current()
        return await self._credentials.renewed(token) if self._was_open or self._is_expired else token

    async def _served(self, connection: ClientConnection) -> End:
        helpers: list[Coroutine[Any, Any, None]] = [
            self._outgoing.write(connection),
            self._look_after(connection),
            self._let_go(connection),
        ]
        if self._credentials.is_renewable:
            helpers.append(self._renew())
        tasks = [asyncio.create_task(helper) for helper in helpers]
        try:
            return await self._read(connection)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await connection.close()

    async def _read(self, connection: ClientConnection) -> End:
        closing: Closing | None = None
        try:
            while True:
                text = await connection.recv(decode=False)
                self._heard += 1
                for output in self._understood(text):
                    if isinstance(output, Closing):
                        closing = output
                    await self._do(output, len(text))
        except ConnectionClosed as closed:
            return end_of(closed, closing)

    def _understood(self, text: bytes) -> list[Output]:
        try:
            return self._protocol.received(text)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            _logger.warning("a message of the hub cannot be read: %s", error)
            return []

    async def _do(self, output: Output, size: int) -> None:
        match output:
            case Send():
                self._say([output])
            case Welcomed(burst, a_second):
                self._was_open = True
                self._outgoing.keep_below(burst, a_second)
            case Granted(course, gap):
                inbox = self._inboxes[course]
                if gap is not None:
                    inbox.put(gap, size)
                inbox.grant()
            case Deliver(course, message):
                inbox = self._inboxes[course]
                if await inbox.room(PATIENCE_SECONDS):
                    inbox.put(message, size)
                elif not inbox.is_over:
                    self._set_aside(inbox)
            case Refused():
                self._refuse(output)

    def _refuse(self, refused: Refused) -> None:
        course, problem, is_temporary = refused
        if is_temporary:
            self._ask_again(self._inboxes[course])
        else:
            self._inboxes.pop(course).end(SubscriptionRefused(course.wish.name, problem))

    def _set_aside(self, inbox: Inbox) -> None:
        """Until its reader has taken what waits: then the hub reads on for it from there."""

        def resume() -> None:
            inbox.drained = None
            self._say(self._protocol.resume(inbox.course))

        inbox.drained = resume
        self._say(self._protocol.set_aside(inbox.course))

    def _ask_again(self, inbox: Inbox) -> None:
        def again() -> None:
            self._retries.discard(timer)
            if inbox.course in self._inboxes:
                self._say(self._protocol.resume(inbox.course))

        pause = Backoff(self._chance).next(LATER)
        timer = asyncio.get_running_loop().call_later(pause, again)
        self._retries.add(timer)

    # its helpers

    def _say(self, outputs: list[Output]) -> None:
        """What is said while nobody listens is said again after the next welcome, as far as it still matters."""
        for output in outputs:
            if isinstance(output, Send):
                self._outgoing.say(output.text)
            elif isinstance(output, Refused):
                self._refuse(output)

    async def _look_after(self, connection: ClientConnection) -> None:
        """Ends a connection on which nothing comes back. A pong also says how far everything was sent."""
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            before = self._heard
            self._say([self._protocol.ping()])
            await asyncio.sleep(ANSWER_SECONDS)
            if self._heard == before:
                _logger.warning("the hub is silent")
                connection.transport.abort()
                return

    async def _let_go(self, connection: ClientConnection) -> None:
        """Ends a connection of which nobody wants anything for a while."""
        while True:
            await self._unwanted.wait()
            await asyncio.sleep(LINGER_SECONDS)
            if self._unwanted.is_set():
                await connection.close()
                return

    async def _renew(self) -> None:
        """Fresh credentials in band, some time before those at hand expire. Where that fails, the hub closes in time
        (4411), and they are asked for again."""
        try:
            while (seconds := await self._lifetime()) is not None:
                await asyncio.sleep(max(seconds * 0.8, seconds - 60.0, 0.1))
                token = await self._credentials.renewed(await self._credentials.current())
                self._say([self._protocol.authenticate(token)])
        except Exception as error:
            _logger.warning("the credentials could not be renewed in time: %s", type(error).__name__)

    def _end(self, error: BaseException) -> None:
        for inbox in self._inboxes.values():
            inbox.end(error)
        self._inboxes.clear()


def _told(error: Exception) -> str:
    return "it took too long" if isinstance(error, TimeoutError) else f"{type(error).__name__}: {error}"
