"""What is to be said to the hub, at a pace that it does not mind."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Final

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

_BURST: Final = 100.0
_A_SECOND: Final = 80.0
"""Messages, unless the hub says what it takes."""
_SHARE: Final = 0.8
"""Of that: it counts by a clock of its own."""


class Outgoing:
    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._burst, self._a_second = _BURST, _A_SECOND

    def say(self, text: bytes) -> None:
        self._waiting.append(text)
        self._news.set()

    def keep_below(self, burst: float | None, a_second: float | None) -> None:
        """What the hub takes at once and in a second."""
        self._burst = max(1.0, (burst or _BURST / _SHARE) * _SHARE)
        self._a_second = max(1.0, (a_second or _A_SECOND / _SHARE) * _SHARE)

    def forget(self) -> None:
        """The connection is gone: what still matters is said again on the next one."""
        self._waiting.clear()

    async def write(self, connection: ClientConnection) -> None:
        """Until the connection ends, or this is cancelled."""
        loop = asyncio.get_running_loop()
        credit, since = self._burst, loop.time()
        with contextlib.suppress(ConnectionClosed):
            while True:
                while self._waiting:
                    earned = (loop.time() - since) * self._a_second
                    credit, since = min(self._burst, credit + earned), loop.time()
                    if credit < 1:
                        await asyncio.sleep((1 - credit) / self._a_second)
                        continue
                    credit -= 1
                    await connection.send(self._waiting.popleft(), text=True)
                self._news.clear()
                await self._news.wait()
