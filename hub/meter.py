"""What was done, counted in plain numbers where it happens: read by the metrics, never by who counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from executor.domain.values import Instant, moment
from executor.histogram import Histogram as Histogram

BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Upper bounds in seconds."""

REQUEST_BUCKETS: Final = (0.005, 0.02, 0.1, 0.5, 2.5, 10.0)
"""Fewer: they are there for each route."""

UNMATCHED: Final = "unmatched"
"""In the place of a route's path, where a request has none."""
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Meter:
    """Of the feed. `deliveries` are messages times those they were handed to; `bytes` theirs; `set_aside` counts
    subscriptions whose client was too slow; `pages` those handed to who was behind, `reads` those of the log;
    `events` what was dispatched, `latency` the time from an event's own to its having been handed to all."""

    def __init__(self) -> None:
        self.deliveries = self.bytes = self.set_aside = self.pages = self.reads = self.events = 0
        self.latency = Histogram(BUCKETS)

    def dispatched(self, times: Sequence[Instant], now: float) -> None:
        """Events of these times were handed over, by a clock that counts from 1970 in seconds."""
        self.events += len(times)
        for time in times:
            self.latency.observe(max(0.0, now - moment(time).timestamp()))


class RequestMeter:
    """Of HTTP: `answers` by method, the path of the route as it is declared (never as it was asked for) and status;
    `seconds` by method and path, from the request to the beginning of its answer."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, ...]] = Counter()
        self.seconds: dict[tuple[str, ...], Histogram] = {}

    def answered(self, method: str, path: str, status: int, seconds: float) -> None:
        if method not in _METHODS:
            method = "other"
        self.answers[method, path, str(status)] += 1
        if (histogram := self.seconds.get((method, path))) is None:
            histogram = self.seconds[method, path] = Histogram(REQUEST_BUCKETS)
        histogram.observe(seconds)
