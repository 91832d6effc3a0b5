"""How many deliveries of each endpoint a claim may take, by the limits that all processes keep together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from executor.domain.values import Instant
from executor.ports import EndpointLimits
from storage.pacing import Pace, at, microseconds


class Rooms:
    """Of one claim. `again_at` is when the first rate that held back lets more through."""

    def __init__(self, now: Instant) -> None:
        self._now = microseconds(now)
        self._paces: dict[str, Pace] = {}
        self.again_at: Instant | None = None

    def of(self, wanted: EndpointLimits, under_way: int, paced_until: int | None) -> int:
        if wanted.ordered and under_way:
            return 0
        room = wanted.max_in_flight - under_way
        if wanted.room is not None:
            room = min(wanted.room, room)
        if wanted.rate_per_second is None or room <= 0:
            return room
        pace = self._paces[wanted.webhook_id] = Pace(wanted.rate_per_second, paced_until or 0)
        paced = pace.room(self._now)
        if paced < room:
            again = at(pace.after(self._now, paced).again(self._now))
            self.again_at = again if self.again_at is None else min(again, self.again_at)
        return min(room, paced)

    def paced(self, begun: Iterable[str]) -> list[tuple[str, int]]:
        """Endpoints with a rate, of which so many are begun, and until when it is spent then."""
        return [
            (id, self._paces[id].after(self._now, count).until)
            for id, count in sorted(Counter(begun).items())
            if id in self._paces
        ]
