"""A subscription as people hold it: to be looped over, left, and looped over again from where it was left."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType

from hub.client.errors import Misused
from hub.client.live.inbox import Ended, Inbox
from hub.client.live.link import Link
from hub.client.live.links import Links
from hub.client.live.message import Message, Wish
from hub.client.live.protocol import Course


class Subscription:
    """`async for message in subscription`: subscribed with the first message that is asked for, ended with the loop.

    `async with subscription:` is subscribed from its beginning, which raises `SubscriptionRefused`, to its end,
    whatever loops there are in it. `position` and `epoch` are where the caller has come to: keep them to go on there
    another day.
    """

    def __init__(self, links: Links, wish: Wish, since: int | None, epoch: str | None) -> None:
        self._links, self._wish = links, wish
        self._position, self._epoch = since, epoch
        self._open: tuple[Link, Inbox] | None = None
        self._is_held = self._is_closed = False
        self._looped: int | None = None
        """Which loop is over it, if one is."""
        self._loops = 0

    @property
    def channel(self) -> str:
        return self._wish.name

    @property
    def position(self) -> int | None:
        return self._position if self._open is None else self._open[1].position

    @property
    def epoch(self) -> str | None:
        return self._epoch if self._open is None else self._open[1].epoch

    async def __aenter__(self) -> Subscription:
        self._is_held, self._is_closed = True, False
        try:
            await self._opened().granted()
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __aiter__(self) -> Loop:
        """Raises `Misused` where it is looped over already."""
        if self._looped is not None:
            raise Misused(f"the subscription of {self.channel} is looped over already; make another one")
        self._is_closed = False
        self._loops += 1
        self._looped = self._loops
        return Loop(self, self._loops)

    def close(self) -> None:
        """Ends it, and a loop over it. May be called twice."""
        self._is_held, self._is_closed = False, True
        self._leave()

    async def _next(self) -> Message:
        if self._is_closed:
            raise Ended
        try:
            return await self._opened().take()
        except asyncio.CancelledError:
            raise
        except BaseException:
            self._leave()
            raise

    def _opened(self) -> Inbox:
        if self._open is None:
            inbox = Inbox(Course(self._wish, self._position, self._epoch))
            self._open = self._links.add(inbox), inbox
        return self._open[1]

    def _leave(self) -> None:
        if self._open is not None:
            link, inbox = self._open
            self._position, self._epoch = inbox.position, inbox.epoch
            self._open = None
            link.remove(inbox)

    def _left(self) -> None:
        """A loop was left; perhaps another one has begun since."""
        if self._looped is None and not self._is_held:
            self._leave()


class Loop:
    """One `async for` over a subscription, which is left when the loop is, however that comes."""

    def __init__(self, subscription: Subscription, number: int) -> None:
        self._subscription, self._number = subscription, number
        self._loop = asyncio.get_running_loop()
        self._is_over = False

    def __aiter__(self) -> Loop:
        return self

    async def __anext__(self) -> Message:
        if self._is_over:
            raise StopAsyncIteration
        try:
            return await self._subscription._next()
        except Ended:
            self._is_over = True
            raise StopAsyncIteration from None
        except Exception:
            self._is_over = True
            raise

    def __del__(self) -> None:
        # Nobody has it any more: the loop was left. It may be another thread that finds out, or the middle of a step.
        if self._subscription._looped == self._number:
            self._subscription._looped = None
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._subscription._left)
