"""What is to be said to the hub, at a pace that it does not mind."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Final

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

BURST: Final = 100
A_SECOND: Final = 80.0
"""Messages: fewer than what a hub counts as too many."""


class Outgoing:
    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque()
        self._news = asyncio.Event()

    def say(self, text: bytes) -> None:
        self._waiting.append(text)
        self._news.set()

    def forget(self) -> None:
        """The connection is gone: what still matters is said again on the next one."""
        self._waiting.clear()

    async def write(self, connection: ClientConnection) -> None:
        """Until the connection ends, or this is cancelled."""
        loop = asyncio.get_running_loop()
        credit, since = float(BURST), loop.time()
        with contextlib.suppress(ConnectionClosed):
            while True:
                while self._waiting:
                    credit, since = min(BURST, credit + (loop.time() - since) * A_SECOND), loop.time()
                    if credit < 1:
                        await asyncio.sleep((1 - credit) / A_SECOND)
                        continue
                    credit -= 1
                    await connection.send(self._waiting.popleft(), text=True)
                self._news.clear()
                await self._news.wait()
