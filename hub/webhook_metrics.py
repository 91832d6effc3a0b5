"""What is known of deliveries, as samples: what this process has done, and what waits for all of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from executor.domain.errors import Unavailable
from executor.domain.values import seconds_between
from executor.ports import Backlog, Clock, Deliveries
from hub.samples import PREFIX, gauge, histogram
from webhooks.assembly import Webhooks

MOST_COUNTED: Final = 100_000


class WebhookMetrics:
    """`webhooks` is None in a process that delivers nothing."""

    def __init__(self, deliveries: Deliveries, clock: Clock, webhooks: Webhooks | None) -> None:
        self._deliveries, self._clock, self._webhooks = deliveries, clock, webhooks

    async def families(self) -> list[Metric]:
        """What waits is left out while the store is away."""
        now = self._clock.now()
        try:
            backlog = await self._deliveries.backlog(now, MOST_COUNTED)
        except Unavailable:
            return list(self._of_this_process())
        age = 0.0 if backlog.oldest is None else seconds_between(backlog.oldest, now)
        return [*self._of_all(backlog, age), *self._of_this_process()]

    def _of_all(self, backlog: Backlog, age: float) -> Iterator[Metric]:
        yield gauge("webhook_deliveries_due", "Deliveries that are due; counted up to 100,000.", backlog.due)
        yield gauge("webhook_oldest_due_seconds", "For how long the oldest of them has waited.", age)

    def _of_this_process(self) -> Iterator[Metric]:
        if self._webhooks is None:
            return
        meter, lanes, now = self._webhooks.meter, self._webhooks.lanes, time.monotonic()
        attempts = CounterMetricFamily(
            f"{PREFIX}webhook_attempts", "Attempts at deliveries, by what came of them.", labels=["outcome"]
        )
        for outcome in sorted(meter.outcomes.keys() | {"succeeded"}):
            attempts.add_metric([outcome], meter.outcomes[outcome])
        yield attempts
        yield histogram("webhook_attempt_seconds", "How long attempts took.", {(): meter.latency})
        yield histogram(
            "webhook_first_attempt_lag_seconds",
            "From the time of an event to the first attempt at a delivery of it.",
            {(): meter.lag},
        )
        census = lanes.census(now)
        breakers = GaugeMetricFamily(
            f"{PREFIX}webhook_breakers", "Endpoints that this process knows, by their breaker.", labels=["state"]
        )
        for state, endpoints in census._asdict().items():
            breakers.add_metric([state], endpoints)
        yield breakers
        in_flight = GaugeMetricFamily(
            f"{PREFIX}webhook_in_flight", "Requests to endpoints that are under way.", labels=["lane"]
        )
        fast, slow = lanes.in_flight(now)
        in_flight.add_metric(["fast"], fast)
        in_flight.add_metric(["slow"], slow)
        yield in_flight
