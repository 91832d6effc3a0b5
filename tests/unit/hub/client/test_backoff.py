from __future__ import annotations

from hub.client.backoff import LATER, SOON, Backoff, Pace


def test_the_bound_doubles_up_to_the_longest() -> None:
    backoff = Backoff(lambda: 1.0)
    assert [backoff.next(Pace(0.25, 3.0)) for _ in range(6)] == [0.25, 0.5, 1.0, 2.0, 3.0, 3.0]


def test_the_jitter_is_full_and_a_reset_begins_anew() -> None:
    chances = iter([0.0, 0.5, 0.999, 0.5])
    backoff = Backoff(lambda: next(chances))
    assert [backoff.next(Pace(1.0, 8.0)) for _ in range(3)] == [0.0, 1.0, 3.996]
    assert backoff.failures == 3
    backoff.reset()
    assert backoff.next(Pace(1.0, 8.0)) == 0.5


def test_what_the_other_side_asks_for_is_kept() -> None:
    backoff = Backoff(lambda: 0.0)
    assert backoff.next(SOON, least=2.5) == 2.5
    assert backoff.next(LATER) >= 2.0


def test_a_thousand_failures_are_still_a_wait() -> None:
    backoff = Backoff(lambda: 1.0)
    assert max(backoff.next() for _ in range(2000)) == SOON.longest
