"""\"The log moved\": a hint that wakes those who wait for new events. It may be lost, so who waits also polls."""

from __future__ import annotations

import asyncio


class Signal:
    """Within one process and one event loop."""

    def __init__(self) -> None:
        self._position = 0
        self._waiting: set[asyncio.Future[None]] = set()
        self._closed = False

    def notify(self, position: int) -> None:
        """The log has come to this position, or beyond."""
        if position > self._position:
            self._position = position
            self._wake()

    def take_back(self, position: int) -> None:
        """The log has not come further than this, whatever was said."""
        self._position = position

    async def wait(self, position: int, timeout: float) -> None:
        """Returns once the log is known to be past a position, after `timeout` seconds, or when this closes."""
        if self._position > position or self._closed:
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.add(waiter)
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except TimeoutError:
            pass
        finally:
            self._waiting.discard(waiter)

    def close(self) -> None:
        """Nobody waits any more."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
