"""How each endpoint has answered this process lately, and what it may have under way because of it. Pure: times are
seconds of a clock that never jumps.

**Window.** Each failure halves what an endpoint may have under way at once, each success allows one more, up to its
`max_in_flight`. Where the slow lane is crowded, everybody in it has one at a time: of a thousand endpoints that hang,
each holds one connection and not ten.

**Breaker.** One that failed `FAILURES` times in a row, over `STREAK_SECONDS` at least, rests for a while, that
doubles up to a minute, until one request probes it. What waits meanwhile keeps its attempts.

**Lanes.** Who answers well has the fast lane, everybody else the slow one: who is new, who failed last, who takes
longer than `SLOW_SECONDS`. Each has its own room, so that a full slow lane holds nobody else up.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

from executor.ports import EndpointLimits

FAST_ROOM: Final = 1000
SLOW_ROOM: Final = 2000
CROWD: Final = 500
"""From so many in the slow lane on, everybody there has one at a time."""
SLOW_SECONDS: Final = 1.0
FAILURES: Final = 5
STREAK_SECONDS: Final = 10.0
PAUSE_SECONDS: Final = (5.0, 60.0)
LONGEST_HOLD_SECONDS: Final = 300.0
"""For which an endpoint as a whole is left alone because it asked for it (`Retry-After` of a 429 or a 503)."""


class Health:
    """Of one endpoint."""

    __slots__ = ("_failures", "_has_answered", "_open_until", "_pause", "_streak_began", "_window", "under_way")

    def __init__(self) -> None:
        self.under_way: dict[str, float] = {}
        """When each request began, the oldest first."""
        self._window = math.inf
        self._failures = 0
        self._has_answered = False
        self._streak_began = 0.0
        self._pause = 0.0
        self._open_until = 0.0

    @property
    def is_open(self) -> bool:
        """Nothing but a probe, now and then, goes there."""
        return self._pause > 0

    @property
    def is_new(self) -> bool:
        return not self._has_answered and not self._failures

    def is_fast(self, now: float) -> bool:
        if self._failures or not self._has_answered:
            return False
        return not self.under_way or now - next(iter(self.under_way.values())) < SLOW_SECONDS

    def room(self, most: int, now: float) -> int:
        if now < self._open_until:
            return 0
        return max(0, (1 if self._pause else int(min(most, self._window))) - len(self.under_way))

    def ended(self, id: str, now: float, *, is_success: bool, chance: float) -> None:
        """`chance` is -1 to 1, for the jitter of a pause."""
        began = self.under_way.pop(id, now)
        if is_success:
            self._has_answered = now - began < SLOW_SECONDS
            self._window += 1
            self._failures, self._pause, self._open_until = 0, 0.0, 0.0
            return
        if not self._failures:
            self._streak_began = began
        self._failures += 1
        self._window = max(1.0, min(self._window, len(self.under_way) + 1) / 2)
        if self._failures >= FAILURES and now - self._streak_began >= STREAK_SECONDS:
            shortest, longest = PAUSE_SECONDS
            self._pause = min(max(shortest, self._pause * 2), longest)
            self._open_until = max(self._open_until, now + self._pause * (1 + 0.2 * chance))

    def hold(self, until: float) -> None:
        """Nothing goes there before that."""
        self._open_until = max(self._open_until, until)


class Census(NamedTuple):
    """Endpoints of this process by what is thought of them."""

    closed: int
    half_open: int
    open: int


class Lanes:
    """All endpoints of a process, and the room that they share."""

    def __init__(self, fast_room: int = FAST_ROOM, slow_room: int = SLOW_ROOM, crowd: int = CROWD) -> None:
        self._fast_room, self._slow_room, self._crowded = fast_room, slow_room, slow_room - crowd
        self._of: dict[str, Health] = {}
        self._fast: OrderedDict[str, float] = OrderedDict()
        self._slow: set[str] = set()

    def room(self, now: float) -> int:
        """How many requests may begin, in both lanes together."""
        self._overtake(now)
        return max(0, self._fast_room - len(self._fast)) + max(0, self._slow_room - len(self._slow))

    def limits(
        self, of: Callable[[str], EndpointLimits | None], now: float
    ) -> Callable[[str], EndpointLimits | None]:
        """What a claim may take of each endpoint that it asks about: by its own health, and by the room of its lane,
        out of which all that ask are served."""
        self._overtake(now)
        fast, slow = self._fast_room - len(self._fast), self._slow_room - len(self._slow)

        def limited(webhook_id: str) -> EndpointLimits | None:
            nonlocal slow
            wanted = of(webhook_id)
            if wanted is None:
                return None
            health = self._of.get(webhook_id) or _NEW
            is_fast = health.is_fast(now)
            most = wanted.max_in_flight if is_fast or slow > self._crowded else 1
            # For the ledger what was cancelled is not under way; here it is while its exchange lasts.
            most = 1 if wanted.ordered else most
            room = min(health.room(most, now), fast if is_fast else slow)
            if room <= 0:
                return None
            if not is_fast:
                slow -= room
            return wanted._replace(room=room)

        return limited

    def began(self, webhook_id: str, id: str, now: float) -> None:
        health = self._of.get(webhook_id)
        if health is None:
            health = self._of[webhook_id] = Health()
        if health.is_fast(now):
            self._fast[id] = now
        else:
            self._slow.add(id)
        health.under_way[id] = now

    def ended(self, webhook_id: str, id: str, now: float, *, is_success: bool, chance: float = 0.0) -> None:
        self._left(id)
        health = self._of.get(webhook_id)
        if health is not None:
            health.ended(id, now, is_success=is_success, chance=chance)

    def withdrawn(self, webhook_id: str, id: str) -> None:
        """Ended without saying anything of its endpoint."""
        self._left(id)
        health = self._of.get(webhook_id)
        if health is not None:
            health.under_way.pop(id, None)

    def hold(self, webhook_id: str, seconds: float, now: float) -> None:
        """Because the endpoint asked for it."""
        health = self._of.get(webhook_id)
        if health is not None:
            health.hold(now + min(seconds, LONGEST_HOLD_SECONDS))

    def forget(self, webhook_id: str) -> None:
        """An endpoint that was changed or enabled is met without prejudice."""
        health = self._of.pop(webhook_id, None)
        if health is not None and health.under_way:
            self._of[webhook_id] = fresh = Health()
            fresh.under_way = health.under_way

    def in_flight(self, now: float) -> tuple[int, int]:
        """How many requests are under way in the fast and in the slow lane."""
        self._overtake(now)
        return len(self._fast), len(self._slow)

    def census(self, now: float) -> Census:
        found = [health for health in self._of.values() if health.is_open]
        open = sum(health.room(1, now) == 0 and not health.under_way for health in found)
        return Census(len(self._of) - len(found), len(found) - open, open)

    def _left(self, id: str) -> None:
        if self._fast.pop(id, None) is None:
            self._slow.discard(id)

    def _overtake(self, now: float) -> None:
        """What takes long does not hold a place in the fast lane."""
        while self._fast:
            id, began = next(iter(self._fast.items()))
            if now - began < SLOW_SECONDS:
                return
            del self._fast[id]
            self._slow.add(id)


_NEW: Final = Health()
"""What is thought of an endpoint that nothing is known of."""
