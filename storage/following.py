"""Following the log: the newest events in memory, the rest by pages from the database. Of every backend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final

from executor.domain.errors import Unavailable
from executor.ports import Recorded
from storage.ring import Ring
from storage.signal import Signal

PAGE: Final = 512
PAGE_BYTES: Final = 4 * 1024 * 1024
_POLL_SECONDS: Final = 1.0

Page = Callable[[int], Awaitable[list[Recorded]]]
"""Some of the events after a position, in order: at most `PAGE`, about `PAGE_BYTES`; none only at the head."""

LookUp = Callable[[], Awaitable[int]]
"""The position of the last visible event."""


class Following:
    """What this process knows of the log's end, and the tails that wait there.

    Hints (`publish`, `notice`) make it quick; a look every second makes it sure.
    """

    def __init__(self, head: int, page: Page, look_up: LookUp) -> None:
        self.head = head
        self._closed = False
        self._page = page
        self._look_up = look_up
        self._ring = Ring()
        self._signal = Signal()
        self._reading = asyncio.Lock()
        self._told: list[Callable[[int], None]] = []

    def publish(self, recorded: Sequence[Recorded]) -> None:
        """What this process committed, in order: from here on it is visible to those who follow."""
        self._ring.extend(recorded)
        self.notice(recorded[-1].position)
        for call in self._told:
            call(self.head)

    def on_append(self, call: Callable[[int], None]) -> None:
        """Calls with the head after each `publish`."""
        self._told.append(call)

    def notice(self, position: int) -> None:
        """The log has come to a position, whoever wrote it."""
        self.head = max(self.head, position)
        self._signal.notify(position)

    async def refresh(self) -> int:
        self.notice(await self._look_up())
        return self.head

    async def tail(self, after: int) -> AsyncIterator[Sequence[Recorded]]:
        while not self.is_closed:
            batch = self._ring.after(after, PAGE)
            if not batch and after < self.head:
                batch = await self._read(after)
            if batch:
                yield batch
                after = batch[-1].position
            elif after < self.head:
                await self._disbelieve()
            else:
                await self._signal.wait(after, _POLL_SECONDS)
                if self.head <= after:
                    await self._poll()

    @property
    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """Every tail ends."""
        self._closed = True
        self._signal.close()

    async def _poll(self) -> None:
        """A hint may have been lost, and who reads beside the writing process gets none."""
        if not self._closed:
            await self.refresh()

    async def _disbelieve(self) -> None:
        """A hint named a position that the log has not come to: what the database says holds."""
        believed = self.head
        if not self.is_closed:
            found = await self._look_up()
            if self.head == believed:
                self.head = found
                self._signal.take_back(found)
            await asyncio.sleep(_POLL_SECONDS)

    async def _read(self, after: int) -> Sequence[Recorded]:
        """A page. What follows on the ring goes into it: of those who wait at the head, one reads for all."""
        try:
            if after < self._ring.end:
                return await self._page(after)
            async with self._reading:
                batch = self._ring.after(after, PAGE)
                if not batch:
                    batch = await self._page(after)
                    self._ring.extend(batch)
                return batch
        except Unavailable:
            if self.is_closed:
                return []
            raise
