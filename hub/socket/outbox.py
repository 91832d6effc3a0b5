"""What waits to be sent to one client: bounded, however slow it is.

Past the bound its subscriptions are set aside by the feed and read on from the log here, a page at a time, whenever
all before it was sent. So a client that stops reading costs its bound and one page, and nobody else anything.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final

from executor.domain.errors import Unavailable
from hub.entries import Batch
from hub.feed import Feed, Subscription

MAX_UNSENT_BYTES: Final = 256 * 1024
MAX_UNSENT_MESSAGES: Final = 1000
AGAIN_SECONDS: Final = 0.5
"""How long until a log that is away is asked again."""


class Outbox:
    """Implements `feed.Sink`. One task calls `take`, and has sent what it got when it calls it again."""

    def __init__(
        self, feed: Feed, *, max_bytes: int = MAX_UNSENT_BYTES, max_messages: int = MAX_UNSENT_MESSAGES
    ) -> None:
        self._feed = feed
        self._max_bytes = max_bytes
        self._max_messages = max_messages
        self._waiting: list[Sequence[bytes]] = []
        self._behind: dict[Subscription, None] = {}
        self._bytes = self._count = 0
        self._taken_bytes = self._taken_count = 0
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._is_finished = False

    @property
    def unsent_bytes(self) -> int:
        """What waits and what is being sent."""
        return self._bytes

    @property
    def is_behind(self) -> bool:
        return bool(self._behind)

    @property
    def is_full(self) -> bool:
        return self._bytes >= self._max_bytes or self._count >= self._max_messages

    def send(self, message: bytes) -> None:
        """A message of the connection itself. Whoever causes many of them waits for `room` in between."""
        self.put(Batch((message,)))

    def offer(self, batch: Batch) -> bool:
        is_too_much = (
            self._bytes + batch.size > self._max_bytes or self._count + len(batch.messages) > self._max_messages
        )
        if is_too_much and self._count:
            return False
        self.put(batch)
        return True

    def put(self, batch: Batch) -> None:
        if not self._is_finished:
            self._waiting.append(batch.messages)
            self._bytes += batch.size
            self._count += len(batch.messages)
            self._news.set()

    def falls_behind(self, subscription: Subscription) -> None:
        self._behind[subscription] = None
        self._news.set()

    def finish(self) -> None:
        """Nothing more is taken in; what waits may still be sent."""
        self._is_finished = True
        self._behind.clear()
        self._news.set()
        self._room.set()

    async def take(self) -> list[bytes]:
        """What to send next, in order; empty once all is sent after `finish`. While the log is away, those
        who are behind wait for it."""
        self._bytes -= self._taken_bytes
        self._count -= self._taken_count
        self._taken_bytes = self._taken_count = 0
        self._room.set()
        while True:
            is_log_there = await self._read_on()
            if self._waiting or self._is_finished:
                break
            if not is_log_there or not self._behind:
                self._news.clear()
                await self._wait_for_news(None if is_log_there else AGAIN_SECONDS)
        taken = [message for messages in self._waiting for message in messages]
        self._waiting.clear()
        self._taken_bytes, self._taken_count = self._bytes, self._count
        return taken

    async def room(self) -> None:
        """Returns once the client has been sent enough of what waits for it."""
        while self.is_full and not self._is_finished:
            self._room.clear()
            await self._room.wait()

    async def _wait_for_news(self, seconds: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()

    async def _read_on(self) -> bool:
        """A page for one of the subscriptions that are behind, each in its turn; False where the log is away."""
        if self._behind and not self.is_full:
            subscription = next(iter(self._behind))
            del self._behind[subscription]
            try:
                await self._feed.catch_up(subscription)
            except Unavailable:
                if not self._is_finished:
                    self._behind[subscription] = None
                return False
        return True
