"""What a batch of attempts says of their endpoints: how each answered last, and how many there were of each kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from executor.domain.values import Instant
from executor.ports import CUT_OFF, Settled, latency_bucket

Answered = tuple[str, Instant | None, Instant | None, Instant | None]
"""Endpoint, last success, last failure, first failure after the last success."""

Counted = tuple[str, str, str, int, int]
"""Endpoint, hour, outcome, bucket of the latency, attempts."""


def answered(settled: Sequence[Settled]) -> list[Answered]:
    found: dict[str, Answered] = {}
    told = (one for one in settled if one.attempt.error_class != CUT_OFF)
    for one in sorted(told, key=lambda one: one.attempt.started_at):
        at = one.attempt.started_at
        id, success, failure, since = found.get(one.webhook_id, (one.webhook_id, None, None, None))
        if one.status == "succeeded":
            found[id] = (id, at, failure, None)
        else:
            found[id] = (id, success, at, since or at)
    return sorted(found.values())


def new(settled: Sequence[Settled], written: Iterable[Sequence[Any]]) -> list[Settled]:
    """Those whose attempt, by delivery and number, was just written: settled again, it was counted before."""
    attempts = {tuple(row) for row in written}
    return [one for one in settled if (one.attempt.delivery_id, one.attempt.attempt) in attempts]


def counted(settled: Sequence[Settled]) -> list[Counted]:
    counts = Counter(
        (
            one.webhook_id,
            one.attempt.started_at[:13],
            "succeeded" if one.status == "succeeded" else one.attempt.error_class or "internal",
            latency_bucket(one.attempt.duration_ms),
        )
        for one in settled
    )
    return sorted((*key, attempts) for key, attempts in counts.items())
