from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.domain.events import Fact, Stamp
from executor.domain.values import Instant, RetryPolicy, plus
from executor.ports import Delivery
from webhooks.delivery import (
    AGGREGATE,
    CUT_OFF,
    Judgement,
    Outcome,
    Spent,
    class_of,
    decide_exhausted,
    delay,
    given_up,
    held_seconds,
    judge,
)

NOW = Instant("2026-01-31T12:00:00.000Z")
POLICY = RetryPolicy(max_attempts=3, initial_delay_seconds=5, max_delay_seconds=100, backoff_multiplier=3)


def delivery(attempt: int = 1) -> Delivery:
    return Delivery(
        id="D",
        organization_id="O",
        webhook_id="W",
        shard=0,
        event_id="E",
        event="execution.failed",
        position=7,
        status="in_flight",
        attempt_count=attempt,
        next_attempt_at=None,
        created_at=NOW,
    )


def judged(
    status: int | None, attempt: int = 1, error: str | None = None, retry_after: str | None = None
) -> Judgement:
    outcome = Outcome(started_at=NOW, duration_ms=12, status_code=status, error=error, retry_after=retry_after)
    return judge(POLICY, delivery(attempt), outcome, NOW)


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_two_hundreds_succeed(status: int) -> None:
    judgement = judged(status, attempt=3)
    assert (judgement.settled.status, judgement.settled.completed_at) == ("succeeded", NOW)
    assert judgement.settled.next_attempt_at is None
    assert judgement.exhausted is None


@pytest.mark.parametrize("status", [100, 301, 302, 400, 401, 404, 408, 422, 425, 429, 500, 503])
def test_every_other_answer_is_tried_again(status: int) -> None:
    settled = judged(status).settled
    assert (settled.status, settled.next_attempt_at, settled.completed_at) == ("retrying", plus(NOW, 5), None)
    assert (settled.attempt.status_code, settled.attempt.attempt, settled.attempt.duration_ms) == (status, 1, 12)


def test_no_answer_is_tried_again_with_its_error() -> None:
    settled = judged(None, attempt=2, error="no complete answer within 15 s").settled
    assert (settled.status, settled.next_attempt_at) == ("retrying", plus(NOW, 15))
    assert settled.attempt.error == "no complete answer within 15 s"


@pytest.mark.parametrize("attempt", [3, 4])
def test_the_last_attempt_of_the_policy_spends_the_delivery(attempt: int) -> None:
    judgement = judged(None, attempt, error="the connection was refused")
    assert judgement.settled.status == "exhausted"
    assert judgement.exhausted == given_up(delivery(attempt), "the connection was refused")
    assert not judgement.is_gone
    answered = judged(500, attempt)
    assert answered.exhausted is not None
    assert answered.exhausted.last_error == "the receiver answered 500"


def test_gone_ends_at_once() -> None:
    judgement = judged(410)
    assert (judgement.settled.status, judgement.is_gone) == ("exhausted", True)
    assert judgement.exhausted is not None
    assert judgement.exhausted.event_position == 7


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        (None, 5),
        ("", 5),
        ("0", 5),
        ("3", 5),
        ("60", 60),
        (" 60 ", 60),
        ("99999", 3600),
        ("9" * 400, 3600),
        ("-5", 5),
        ("1.5", 5),
        ("soon", 5),
        ("²", 5),
        ("Sat, 31 Jan 2026 12:01:00 GMT", 60),
        ("Saturday, 31-Jan-26 12:01:00 GMT", 60),
        ("Sat, 31 Jan 2026 11:00:00 GMT", 5),
        ("Sat, 31 Jan 2099 11:00:00 GMT", 3600),
        ("Sat, 31 Jan 2026 12:01:00", 60),
        ("Sat, 99 Jan 2026 12:01:00 GMT", 5),
    ],
)
def test_retry_after_is_honoured_within_bounds(retry_after: str | None, seconds: float) -> None:
    assert delay(POLICY, 1, retry_after, NOW) == seconds


def test_a_policy_that_waits_longer_than_an_hour_lets_the_receiver_ask_for_as_long() -> None:
    policy = RetryPolicy(max_delay_seconds=36_000)
    assert delay(policy, 1, "30000", NOW) == 30_000


@given(st.text(), st.integers(1, 100))
def test_no_retry_after_makes_a_delay_shorter_or_longer_than_the_bounds(text: str, failures: int) -> None:
    assert POLICY.delay(failures) <= delay(POLICY, failures, text, NOW) <= 3600


@given(st.integers(1, 50), st.floats(-1, 1))
def test_delays_grow_up_to_the_longest_and_jitter_moves_them_by_a_fifth(failures: int, jitter: float) -> None:
    plain = delay(POLICY, failures, None, NOW)
    assert plain <= 100
    assert 0.8 * plain - 0.001 <= delay(POLICY, failures, None, NOW, jitter) <= 1.2 * plain + 0.001


def test_a_deliverys_stream_remembers_when_it_was_given_up() -> None:
    event = given_up(delivery(12), "x")
    once = AGGREGATE.evolve(Spent(), [Fact(event, Stamp(NOW, "O", "D", 1))])
    assert once == Spent(12)
    assert AGGREGATE.evolve(once, []) == once
    assert AGGREGATE.rows(Spent(), once) == ()
    assert AGGREGATE.names(once) == ()


def test_that_it_was_given_up_is_said_once_each_time() -> None:
    event = given_up(delivery(13), "x")
    assert decide_exhausted(Spent(), event, 0) == [event]
    assert decide_exhausted(Spent(12), event, 0) == [], "as after a crash"
    assert decide_exhausted(Spent(12), event, 12) == [event], "it was sent again, and in vain"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, None) for status in (None, 200, 204, 299)),
        *((status, "redirected") for status in (301, 304)),
        *((status, "rejected") for status in (400, 401, 404, 413, 499)),
        *((status, "unavailable") for status in (408, 425, 500, 503, 599)),
        (410, "gone"),
        (429, "rate_limited"),
    ],
)
def test_what_kind_of_failure_an_answer_is(status: int | None, kind: str | None) -> None:
    assert class_of(status) == kind


def test_who_is_busy_may_ask_to_be_left_alone() -> None:
    def asks(status: int, retry_after: str | None = "30") -> float | None:
        return held_seconds(Outcome(started_at=NOW, duration_ms=1, status_code=status, retry_after=retry_after), NOW)

    assert [asks(429), asks(503)] == [30, 30]
    assert [asks(429, None), asks(500), asks(200)] == [None, None, None]


def test_the_last_attempt_that_is_cut_off_gives_nothing_up() -> None:
    """Its endpoint was deleted: the delivery is cancelled, and a retry after that is not wanted."""
    outcome = Outcome(started_at=NOW, duration_ms=1, error="cut off", error_class=CUT_OFF)
    judgement = judge(RetryPolicy(max_attempts=3), delivery(3), outcome, NOW)
    assert (judgement.settled.status, judgement.exhausted) == ("retrying", None)
