"""How an endpoint does, from the counts of its attempts. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from msgspec import Struct

from executor.domain.values import Instant, plus
from executor.ports import AttemptCount, EndpointBacklog, EndpointState, bucket_milliseconds
from webhooks.endpoint import State

Period = Literal["1h", "24h", "7d"]
SECONDS: Final[Mapping[Period, float]] = {"1h": 3600.0, "24h": 86_400.0, "7d": 604_800.0}
MOST_COUNTED: Final = 100_000
"""Waiting deliveries beyond this are not counted."""
DAY_SECONDS: Final = 86_400.0
FAILING_DAYS: Final = 5
"""So long may every attempt fail before an endpoint is switched off."""
HOUR: Final = len("2026-01-31T12")
"""What of an instant names its hour."""


class Latency(Struct, frozen=True, kw_only=True):
    """Milliseconds of a whole exchange, to a fifth; null where there was no attempt."""

    p50: float | None
    p95: float | None
    p99: float | None


class WaitingView(Struct, frozen=True, kw_only=True):
    """`is_capped`: there are more than `count`. `oldest_at` is when the oldest was created."""

    count: int
    is_capped: bool
    oldest_at: Instant | None


class StatsView(Struct, frozen=True, kw_only=True):
    """Attempts from the full hour `since` on. `outcomes` counts them by succeeded or the class of their error.
    `disables_at` is when it is switched off if every attempt until then fails, as all have since `failing_since`."""

    webhook_id: str
    period: Period
    since: Instant
    attempts: int
    succeeded: int
    failed: int
    success_rate: float | None
    outcomes: dict[str, int]
    latency_ms: Latency
    waiting: WaitingView
    last_success_at: Instant | None
    last_failure_at: Instant | None
    failing_since: Instant | None
    disables_at: Instant | None


def since_hour(period: Period, now: Instant) -> str:
    """The hour in which a period began: attempts are counted by the hour."""
    return plus(now, -SECONDS[period])[:HOUR]


def stats(
    state: State,
    period: Period,
    hour: str,
    counts: Sequence[AttemptCount],
    backlog: EndpointBacklog,
    health: EndpointState | None,
) -> StatsView:
    outcomes: Counter[str] = Counter()
    for count in counts:
        outcomes[count.outcome] += count.attempts
    attempts, succeeded = outcomes.total(), outcomes["succeeded"]
    health = health or EndpointState(webhook_id=state.id)
    since = health.failing_since
    return StatsView(
        webhook_id=state.id,
        period=period,
        since=Instant(f"{hour}:00:00.000Z"),
        attempts=attempts,
        succeeded=succeeded,
        failed=attempts - succeeded,
        success_rate=round(succeeded / attempts, 4) if attempts else None,
        outcomes={name: outcomes[name] for name in sorted(+outcomes)},
        latency_ms=latency(counts),
        waiting=WaitingView(
            count=min(backlog.waiting, MOST_COUNTED),
            is_capped=backlog.waiting > MOST_COUNTED,
            oldest_at=backlog.oldest_at,
        ),
        last_success_at=health.last_success_at,
        last_failure_at=health.last_failure_at,
        failing_since=since,
        disables_at=plus(since, FAILING_DAYS * DAY_SECONDS) if since is not None and state.is_active else None,
    )


def latency(counts: Sequence[AttemptCount]) -> Latency:
    """The upper bounds of the buckets in which the percentiles lie."""
    buckets: Counter[int] = Counter()
    for count in counts:
        buckets[count.bucket] += count.attempts
    return Latency(p50=_at(buckets, 0.50), p95=_at(buckets, 0.95), p99=_at(buckets, 0.99))


def _at(buckets: Counter[int], share: float) -> float | None:
    rank = math.ceil(buckets.total() * share)
    for bucket in sorted(buckets):
        rank -= buckets[bucket]
        if rank <= 0:
            return round(bucket_milliseconds(bucket), 1)
    return None
