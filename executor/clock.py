"""The real clock: system time, and ULIDs that sort in the order they were made."""

from __future__ import annotations

import os
import threading
import time
from datetime import UTC, datetime

from ulid import ULID

from executor.domain.values import Instant, instant


class SystemClock:
    """Implements `ports.Clock`. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def now(self) -> Instant:
        return instant(datetime.now(UTC))

    def new_id(self) -> str:
        with self._lock:
            fresh = (time.time_ns() // 1_000_000 << 80) | int.from_bytes(os.urandom(10))
            if fresh <= self._last or fresh >> 80 == self._last >> 80:
                fresh = self._last + 1 + int.from_bytes(os.urandom(4))
            self._last = fresh
        return str(ULID.from_int(fresh))
