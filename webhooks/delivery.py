"""What one attempt makes of a delivery: done, again later, or given up. Pure.

And the stream of a delivery, which holds only the fact that it was given up.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

from msgspec import Struct

from executor.domain.aggregate import Aggregate
from executor.domain.events import Fact
from executor.domain.events.webhook import DeliveryExhausted
from executor.domain.values import Instant, RetryPolicy, moment, plus
from executor.ports import CUT_OFF, Attempt, Delivery, Settled

GONE: Final = 410
_LONGEST_RETRY_AFTER_SECONDS = 3600.0
_FAR_SECONDS = 366 * 86_400


class Outcome(Struct, frozen=True, kw_only=True):
    """What came of a request: an answer with its status, or an error. `retry_after` is that header as it came;
    `request_headers` and `timings` are JSON objects."""

    started_at: Instant
    duration_ms: int
    status_code: int | None = None
    error: str | None = None
    error_class: str | None = None
    response_body: str | None = None
    retry_after: str | None = None
    request_headers: str | None = None
    timings: str | None = None


class Judgement(Struct, frozen=True, kw_only=True):
    """`exhausted` is the event to append before this is settled; `is_gone`: the receiver wants no more, ever."""

    settled: Settled
    exhausted: DeliveryExhausted | None = None
    is_gone: bool = False


def judge(policy: RetryPolicy, delivery: Delivery, outcome: Outcome, now: Instant, jitter: float = 0.0) -> Judgement:
    """2xx succeeds, 410 ends, everything else is tried again until the policy is spent; at once what was cut off,
    which nobody gives up.

    `delivery.attempt_count` counts this attempt; those that were forgiven are not the policy's. `jitter` is -1 to 1.
    """
    failures = delivery.attempt_count - delivery.forgiven
    attempt = Attempt(
        delivery_id=delivery.id,
        attempt=delivery.attempt_count,
        started_at=outcome.started_at,
        duration_ms=outcome.duration_ms,
        status_code=outcome.status_code,
        error=outcome.error,
        response_body=outcome.response_body,
        error_class=outcome.error_class or class_of(outcome.status_code),
        request_headers=outcome.request_headers,
        timings=outcome.timings,
    )
    if outcome.status_code is not None and 200 <= outcome.status_code < 300:
        return Judgement(settled=_ended(delivery, attempt, "succeeded", now))
    is_gone, is_cut_off = outcome.status_code == GONE, attempt.error_class == CUT_OFF
    if is_gone or (failures >= policy.max_attempts and not is_cut_off):
        exhausted = given_up(delivery, outcome.error or f"the receiver answered {outcome.status_code}")
        return Judgement(settled=_ended(delivery, attempt, "exhausted", now), exhausted=exhausted, is_gone=is_gone)
    again = now if is_cut_off else plus(now, delay(policy, failures, outcome.retry_after, now, jitter))
    retrying = Settled(
        webhook_id=delivery.webhook_id, attempt=attempt, status="retrying", next_attempt_at=again, completed_at=None
    )
    return Judgement(settled=retrying)


def class_of(status: int | None) -> str | None:
    """What kind of failure an answer is; null for a success. `rejected` is the receiver's fault: it will not take
    this."""
    if status is None or 200 <= status < 300:
        return None
    if status < 400:
        return "redirected"
    named = {410: "gone", 429: "rate_limited", 408: "unavailable", 425: "unavailable"}
    return named.get(status) or ("rejected" if status < 500 else "unavailable")


def held_seconds(outcome: Outcome, now: Instant) -> float | None:
    """For how long the receiver asks to be left alone, whatever it is about (RFC 9110, 10.2.3; RFC 6585, 4)."""
    return seconds_asked(outcome.retry_after, now) if outcome.status_code in (429, 503) else None


def delay(policy: RetryPolicy, failures: int, retry_after: str | None, now: Instant, jitter: float = 0.0) -> float:
    """Seconds until the next attempt: the policy's, or longer where the receiver asks for it (RFC 9110, 10.2.3), but
    no longer than the policy's longest or an hour."""
    ours = policy.delay(failures, jitter)
    asked = seconds_asked(retry_after, now)
    if asked is None:
        return ours
    return max(ours, min(asked, max(policy.max_delay_seconds, _LONGEST_RETRY_AFTER_SECONDS)))


def given_up(delivery: Delivery, last_error: str) -> DeliveryExhausted:
    return DeliveryExhausted(
        delivery_id=delivery.id,
        webhook_id=delivery.webhook_id,
        event_id=delivery.event_id,
        event_type=delivery.event,
        event_position=delivery.position,
        attempt_count=delivery.attempt_count,
        last_error=last_error,
    )


def _ended(delivery: Delivery, attempt: Attempt, status: str, now: Instant) -> Settled:
    return Settled(
        webhook_id=delivery.webhook_id, attempt=attempt, status=status, next_attempt_at=None, completed_at=now
    )


def seconds_asked(retry_after: str | None, now: Instant) -> float | None:
    """`Retry-After` in seconds, from either of its forms; null for neither."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return float(min(int(text[:12]), _FAR_SECONDS))
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    aware = date if date.tzinfo else date.replace(tzinfo=UTC)
    return min((aware - moment(now)).total_seconds(), _FAR_SECONDS)


class Spent(Struct, frozen=True):
    """The fold of a delivery's stream: after how many attempts it was given up last."""

    attempt_count: int = 0


def stream(id: str) -> str:
    return f"delivery:{id}"


def evolve(state: Spent, facts: Sequence[Fact]) -> Spent:
    told = [fact.event.attempt_count for fact in facts if isinstance(fact.event, DeliveryExhausted)]
    return Spent(told[-1]) if told else state


def decide_exhausted(state: Spent, event: DeliveryExhausted, forgiven: int) -> list[DeliveryExhausted]:
    """Nothing where the log has said it since the attempts that were `forgiven`: after a crash it is said again."""
    return [] if state.attempt_count > forgiven else [event]


AGGREGATE: Aggregate[Spent] = Aggregate(
    prefix="delivery",
    initial=Spent,
    evolve=evolve,
    rows=lambda before, after: (),
)
