"""What this process has counted of deliveries: plain numbers, for whoever shows them."""

from __future__ import annotations

from collections import Counter
from typing import Final

from executor.domain.values import moment
from executor.histogram import Histogram
from executor.ports import Delivery, Settled

BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""In seconds."""


class DeliveryMeter:
    """`outcomes` counts attempts by what came of them; `latency` is that of attempts, `lag` from a delivery's
    creation to its first attempt."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.latency, self.lag = Histogram(BOUNDS), Histogram(BOUNDS)

    def attempted(self, delivery: Delivery, settled: Settled) -> None:
        attempt = settled.attempt
        self.outcomes["succeeded" if settled.status == "succeeded" else attempt.error_class or "internal"] += 1
        self.latency.observe(attempt.duration_ms / 1000)
        if attempt.attempt == 1:
            self.lag.observe(max(0.0, (moment(attempt.started_at) - moment(delivery.created_at)).total_seconds()))
