"""The connections to the outside that are open, and which of them wait for the next request."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from executor.connection import Connection
from executor.targets import Origin

KEEP_ALIVE_SECONDS: Final = 4.0
"""Shorter than the five seconds after which common servers close an idle connection."""
MOST_IDLE: Final = 1024
MOST_IDLE_OF_ONE: Final = 256
"""Origin."""
_SWEEP_SECONDS = 1.0


class Pool:
    """What was used last is used again first, so that those that are too many grow old. One timer for all of them,
    while there are any."""

    def __init__(self) -> None:
        self._all: set[Connection] = set()
        self._idle: dict[Origin, list[Connection]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False
        self.idle_count = 0

    def add(self, connection: Connection) -> None:
        """A new one, which is in use. `forget` is to be called at its end."""
        self._all.add(connection)

    def take(self, origin: Origin) -> Connection | None:
        """One that was kept. Who takes it gives it back by `keep`, or aborts it."""
        while idle := self._idle.get(origin):
            connection = idle[-1]
            since = connection.idle_since or 0.0
            self._use(connection)
            if not connection.transport.is_closing() and since > time.monotonic() - KEEP_ALIVE_SECONDS:
                return connection
            connection.abort()
        return None

    def keep(self, connection: Connection) -> None:
        idle = self._idle.get(connection.origin, ())
        if len(idle) >= MOST_IDLE_OF_ONE or self.idle_count >= MOST_IDLE or self._is_closed:
            connection.abort()
            return
        connection.idle_since = time.monotonic()
        self._idle.setdefault(connection.origin, []).append(connection)
        self.idle_count += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep)

    def forget(self, connection: Connection) -> None:
        self._all.discard(connection)
        if connection.idle_since is not None:
            self._use(connection)

    async def close(self) -> None:
        """Also what is in use. Returns when every socket is closed; what comes later is not kept."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for connection in tuple(self._all):
            connection.abort()
        while self._all:
            await asyncio.sleep(0)

    def _use(self, connection: Connection) -> None:
        """It is idle no more."""
        idle = self._idle[connection.origin]
        if idle[-1] is connection:
            idle.pop()
        else:
            idle.remove(connection)
        if not idle:
            del self._idle[connection.origin]
        connection.idle_since = None
        self.idle_count -= 1

    def _sweep(self) -> None:
        oldest = time.monotonic() - KEEP_ALIVE_SECONDS
        for connection in [each for idle in self._idle.values() for each in idle]:
            if (connection.idle_since or 0.0) <= oldest:
                self._use(connection)
                connection.abort()
        waits = bool(self._idle)
        self._timer = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep) if waits else None
