"""How many attempts an endpoint's rate lets through now: the generic cell rate algorithm (ITU-T I.371), in whole
microseconds. Pure.

A tenth of a second's worth may go at once, so that a fast endpoint is not served one by one.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from executor.domain.values import Instant, instant, moment

_SECOND: Final = 1_000_000
_BURST_SECONDS: Final = 0.1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Pace(NamedTuple):
    """A rate (attempts a second), and the theoretical arrival time of the next attempt."""

    rate: float
    until: int

    @property
    def _interval(self) -> int:
        return max(1, round(_SECOND / self.rate))

    @property
    def _burst(self) -> int:
        return max(1, int(self.rate * _BURST_SECONDS))

    def room(self, now: int) -> int:
        """How many may begin now."""
        ahead = max(0, self._sane(now) - now)
        return max(0, self._burst - -(-ahead // self._interval))

    def after(self, now: int, begun: int) -> Pace:
        """As it is once so many have begun."""
        return Pace(self.rate, max(self._sane(now), now) + begun * self._interval)

    def again(self, now: int) -> int:
        """When there is room for one more."""
        return max(now, self._sane(now) - (self._burst - 1) * self._interval)

    def _sane(self, now: int) -> int:
        """A clock that stepped back does not hold an endpoint up."""
        return min(self.until, now + self._burst * self._interval)


def microseconds(at: Instant) -> int:
    return round((moment(at) - _EPOCH) / timedelta(microseconds=1))


def at(microseconds: int) -> Instant:
    """The first instant that is not before: instants have milliseconds."""
    return instant(_EPOCH + timedelta(milliseconds=-(-microseconds // 1000)))
