"""The newest events in memory, so that those who follow the log closely do not touch the disk."""

from __future__ import annotations

from collections.abc import Sequence

from executor.ports import Recorded


class Ring:
    """The last events that were committed, at most `events` of them and about `size` bytes of data."""

    def __init__(self, events: int = 4096, size: int = 16 * 1024 * 1024) -> None:
        self._max_events, self._max_bytes = events, size
        self._kept: list[Recorded] = []
        self._bytes = 0

    def extend(self, recorded: Sequence[Recorded]) -> None:
        """Takes what follows on what it has, and ignores what is older than its end; positions that leave a gap start
        it anew."""
        if not recorded or recorded[-1].position <= self.end:
            return
        if self._kept and recorded[0].position != self.end + 1:
            self._kept, self._bytes = [], 0
        self._kept.extend(recorded)
        self._bytes += sum(len(event.data) for event in recorded)
        self._trim()

    @property
    def end(self) -> int:
        """The position of its newest event; 0 while it has none."""
        return self._kept[-1].position if self._kept else 0

    def after(self, position: int, limit: int) -> Sequence[Recorded] | None:
        """The events after a position, at most `limit`; null where older ones than it has would be among them."""
        if not self._kept:
            return None
        start = position + 1 - self._kept[0].position
        return self._kept[start : start + limit] if start >= 0 else None

    def _trim(self) -> None:
        drop = max(0, len(self._kept) - self._max_events)
        dropped = sum(len(event.data) for event in self._kept[:drop])
        while self._bytes - dropped > self._max_bytes and drop < len(self._kept):
            dropped += len(self._kept[drop].data)
            drop += 1
        del self._kept[:drop]
        self._bytes -= dropped
