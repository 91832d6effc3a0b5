"""How late the event loop is: everything in a process shares it, so whoever holds it holds up everybody."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Final

from hub.meter import BUCKETS, Histogram

EVERY_SECONDS: Final = 0.1
_KEPT: Final = 600
"""Measurements: those of about the last minute."""


class LoopLag:
    """Sleeps for a moment again and again, and sees how late it is woken."""

    def __init__(self, every_seconds: float = EVERY_SECONDS) -> None:
        self._every = every_seconds
        self._lately: deque[float] = deque(maxlen=_KEPT)
        self.histogram = Histogram(BUCKETS)

    @property
    def longest(self) -> float:
        """The worst of about the last minute, in seconds."""
        return max(self._lately, default=0.0)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            due = time.monotonic() + self._every
            await asyncio.sleep(self._every)
            late = max(0.0, time.monotonic() - due)
            self.histogram.observe(late)
            self._lately.append(late)
