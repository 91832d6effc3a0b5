"""What was read for one subscriber and not yet taken: so many messages, so many bytes, and no more."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Final

from hub.client.live.message import REPLAY_COMPLETED, Message
from hub.client.live.protocol import Course

MOST_MESSAGES: Final = 256
MOST_BYTES: Final = 1024 * 1024
"""One message more is taken, however long it is."""


class Ended(Exception):
    """Nothing more comes, and nothing is wrong."""


class Inbox:
    """`position` is the log's as its reader has come to it; what waits here lies behind it."""

    def __init__(self, course: Course) -> None:
        self.course = course
        self.drained: Callable[[], None] | None = None
        """To be called once all that waits was taken: for one that was set aside."""
        self._waiting: deque[tuple[Message, int]] = deque()
        self._bytes = 0
        self._position, self._epoch = course.position, course.epoch
        """Where the reader has come to, while something waits."""
        self._error: BaseException | None = None
        self._granted, self._news, self._room = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @property
    def is_over(self) -> bool:
        return self._error is not None

    @property
    def is_full(self) -> bool:
        return len(self._waiting) >= MOST_MESSAGES or self._bytes >= MOST_BYTES

    @property
    def position(self) -> int | None:
        return self._position if self._waiting else self.course.position

    @property
    def epoch(self) -> str | None:
        return self._epoch if self._waiting else self.course.epoch

    def put(self, message: Message, size: int) -> None:
        self._waiting.append((message, size))
        self._bytes += size
        self.course.passed(message)
        self._news.set()
        if message.type == REPLAY_COMPLETED:
            self.end(Ended())

    def grant(self) -> None:
        """The hub serves it: what happens from now on will come."""
        if not self._waiting:
            self._position, self._epoch = self.course.position, self.course.epoch
        self._granted.set()

    def end(self, error: BaseException) -> None:
        """What waits is still to be taken; then the error is raised. The first one counts."""
        self._error = self._error or error
        for event in (self._granted, self._news, self._room):
            event.set()

    async def room(self, seconds: float) -> bool:
        """Whether there is room, or half of what waits was taken within so long: to go on whenever one message was
        taken would slow all others on the socket down to this reader's pace."""
        if not self.is_full or self.is_over:
            return not self.is_over
        self._room.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._room.wait()
        return self._room.is_set() and not self.is_over

    async def granted(self) -> None:
        """Raises what it was refused with."""
        await self._granted.wait()
        if self._error is not None and not isinstance(self._error, Ended):
            raise self._error

    async def take(self) -> Message:
        """The next message. Raises `Ended`, or what it ended with."""
        while not self._waiting:
            if self._error is not None:
                raise self._error
            self._news.clear()
            await self._news.wait()
        message, size = self._waiting.popleft()
        self._bytes -= size
        if message.position is not None:
            self._position = message.position
        if message.is_gap:
            self._epoch = message.data["epoch"]
        if not self._waiting and self.drained is not None:
            self.drained()
        if len(self._waiting) <= MOST_MESSAGES // 2 and self._bytes <= MOST_BYTES // 2:
            self._room.set()
        return message
