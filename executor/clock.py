"""The real clock: system time, and ULIDs that sort in the order they were made."""

from __future__ import annotations

import os
import threading
import time
from datetime import UTC, datetime
from typing import Final

from executor.domain.values import Instant, instant

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS: Final = tuple(high + low for high in _ALPHABET for low in _ALPHABET)
"""Crockford's base 32, ten bits at a time."""
_RANDOM_BITS: Final = 80
_MILLISECONDS: Final = len(".000Z")
_STEP_BYTES: Final = 4
_DRAWN_BYTES: Final = 4096


class SystemClock:
    """Implements `ports.Clock`. Safe to use from several threads.

    Ids are ULIDs (https://github.com/ulid/spec), monotonic within a millisecond and when the clock steps back. Chance
    is drawn from the system some kilobytes at a time: a call for each id costs more than all the rest.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        self._chance = b""
        self._used = 0
        self._second = (0, "")

    def now(self) -> Instant:
        """To the millisecond. A second is written once, the milliseconds each time."""
        milliseconds = time.time_ns() // 1_000_000
        second, text = self._second
        if milliseconds // 1000 != second:
            second = milliseconds // 1000
            text = instant(datetime.fromtimestamp(second, UTC))[:-_MILLISECONDS]
            self._second = (second, text)
        return Instant(f"{text}.{milliseconds % 1000:03}Z")

    def new_id(self) -> str:
        with self._lock:
            millisecond = time.time_ns() // 1_000_000
            if millisecond > self._last >> _RANDOM_BITS:
                self._last = millisecond << _RANDOM_BITS | self._draw(_RANDOM_BITS // 8)
            else:
                self._last += 1 + self._draw(_STEP_BYTES)
            number = self._last
        return "".join([_PAIRS[number >> shift & 1023] for shift in range(120, -1, -10)])

    def _draw(self, size: int) -> int:
        if self._used + size > len(self._chance):
            self._chance, self._used = os.urandom(_DRAWN_BYTES), 0
        drawn = self._chance[self._used : self._used + size]
        self._used += size
        return int.from_bytes(drawn)
