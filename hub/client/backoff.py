"""How long to wait before the next try: exponential, with jitter, so that many who fail together come back apart.

(AWS Architecture Blog, "Exponential Backoff And Jitter": full jitter.)
"""

from __future__ import annotations

from collections.abc import Callable
from random import random
from typing import Final, NamedTuple

Chance = Callable[[], float]
"""From 0 to below 1."""


class Pace(NamedTuple):
    """Seconds: the n-th wait is at most `first` times 2 to the n, and at most `longest`; at least `least` of that, as
    a share."""

    first: float
    longest: float
    least: float = 0.0


SOON: Final = Pace(0.25, 15.0)
LATER: Final = Pace(2.0, 60.0, 0.5)
"""For a hub that said that it is overloaded, or that this client asks too much of it."""
_MOST_DOUBLINGS: Final = 30


class Backoff:
    """Counts the tries that failed in a row."""

    def __init__(self, chance: Chance = random) -> None:
        self._chance = chance
        self.failures = 0

    def next(self, pace: Pace = SOON, least: float = 0.0) -> float:
        """Seconds until the next try, and no less than what the other side asked for."""
        bound = min(pace.longest, pace.first * 2.0 ** min(self.failures, _MOST_DOUBLINGS))
        self.failures += 1
        return max(least, bound * (pace.least + (1 - pace.least) * self._chance()))

    def reset(self) -> None:
        self.failures = 0
