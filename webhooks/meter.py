"""What this process has counted of deliveries: plain numbers, for whoever shows them."""

from __future__ import annotations

from collections import Counter
from typing import Final

from executor.domain.values import Instant, seconds_between
from executor.histogram import Histogram
from executor.ports import Settled

BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""In seconds."""


class DeliveryMeter:
    """`outcomes` counts attempts by what came of them; `latency` is that of attempts, `lag` from the time of
    an event to the first attempt at a delivery of it."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.latency, self.lag = Histogram(BOUNDS), Histogram(BOUNDS)

    def attempted(self, settled: Settled, event_time: Instant | None) -> None:
        """`event_time` is there for what is live."""
        attempt = settled.attempt
        self.outcomes["succeeded" if settled.status == "succeeded" else attempt.error_class or "internal"] += 1
        self.latency.observe(attempt.duration_ms / 1000)
        if attempt.attempt == 1 and event_time is not None:
            self.lag.observe(seconds_between(event_time, attempt.started_at))
