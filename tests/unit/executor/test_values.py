from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.domain.values import (
    DEEPEST,
    LIVE_STATUSES,
    ExecutionStatus,
    Instant,
    Json,
    RetryPolicy,
    derived_id,
    instant,
    is_deep,
    is_ulid,
    moment,
    placed_id,
    plus,
    seconds_between,
    ulid_time,
)

NOON = Instant("2026-01-31T12:00:00.000Z")
MOMENTS = st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 12, 31), timezones=st.just(UTC))


def test_an_instant_is_utc_cut_to_milliseconds() -> None:
    assert (
        instant(datetime(2026, 1, 31, 13, 0, 0, 999_999, timezone(timedelta(hours=1)))) == "2026-01-31T12:00:00.999Z"
    )


@given(MOMENTS, MOMENTS)
def test_the_order_of_instants_as_texts_is_their_order_in_time(one: datetime, other: datetime) -> None:
    cut = [each.replace(microsecond=each.microsecond // 1000 * 1000) for each in (one, other)]
    assert (instant(one) < instant(other)) == (cut[0] < cut[1])
    assert len(instant(one)) == 24
    assert moment(instant(one)) == cut[0]


def test_time_stops_at_the_year_9999() -> None:
    assert plus(NOON, 1e18) == "9999-12-31T23:59:59.999Z"


def test_seconds_between_have_milliseconds_and_never_go_backwards() -> None:
    assert seconds_between(NOON, plus(NOON, 1.2345)) == 1.234
    assert seconds_between(plus(NOON, 1), NOON) == 0.0


@pytest.mark.parametrize("text", ["01JZ0000000000000000000000", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"])
def test_a_ulid_is_26_characters_of_crockfords_alphabet(text: str) -> None:
    assert is_ulid(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "01jz0000000000000000000000",
        "81JZ0000000000000000000000",
        "01JZ000000000000000000000U",
        "0" * 25,
        "0" * 27,
        "01JZ0000000000000000000000\n",
    ],
)
def test_anything_else_is_none(text: str) -> None:
    assert not is_ulid(text)


def test_a_derived_id_is_fixed_by_what_it_is_derived_from_and_keeps_the_time() -> None:
    base = "01JZABCDEF0000000000000000"
    one = derived_id(base, "a", "b")
    assert is_ulid(one)
    assert one == derived_id(base, "a", "b")
    assert one[:10] == base[:10]
    assert len({one, derived_id(base, "ab"), derived_id(base, "a", "c"), derived_id(base, "b", "a")}) == 4


def test_a_ulid_of_a_time_begins_with_it() -> None:
    assert ulid_time(Instant("2016-07-30T23:54:10.259Z")) == "01ARZ3NDEK", "of the example in the specification"
    assert ulid_time(Instant("1970-01-01T00:00:00.000Z")) == "0" * 10
    assert ulid_time(Instant("2026-01-31T12:00:00.001Z")) > ulid_time(Instant("2026-01-31T12:00:00.000Z"))


def test_a_placed_id_sorts_by_time_and_position_whatever_else_it_is_made_of() -> None:
    times = [Instant("2026-01-31T12:00:00.000Z"), Instant("2026-01-31T12:00:00.001Z")]
    placed = [placed_id(at, position, "E", f"W{position}") for at in times for position in (1, 2, 31, 32, 99_999)]
    assert all(is_ulid(id) for id in placed)
    assert placed == sorted(placed)
    assert placed[0] == placed_id(times[0], 1, "E", "W1")
    assert placed[0][14:] != placed_id(times[0], 1, "E", "W2")[14:]


@given(st.integers(1, 200), st.floats(-1, 1), st.floats(0, 86_400), st.floats(1, 100))
def test_no_delay_passes_its_limit_by_more_than_the_jitter(
    failures: int, jitter: float, initial: float, growth: float
) -> None:
    policy = RetryPolicy(initial_delay_seconds=initial, backoff_multiplier=growth, max_delay_seconds=3600)
    assert 0 <= policy.delay(failures, jitter) <= 3600 * 1.2


def test_delays_grow_by_the_multiplier_up_to_the_limit() -> None:
    policy = RetryPolicy(initial_delay_seconds=5, backoff_multiplier=3, max_delay_seconds=100)
    assert [policy.delay(failures) for failures in range(1, 6)] == [5, 15, 45, 100, 100]
    assert RetryPolicy(backoff_multiplier=100).delay(10_000) == 36_000


def test_live_statuses_are_those_that_have_not_ended() -> None:
    assert set(LIVE_STATUSES) == {"pending", "queued", "running", "paused"}
    assert not any(ExecutionStatus(status).is_ended for status in LIVE_STATUSES)


def test_depth_is_counted_in_lists_and_mappings() -> None:
    in_lists: Json = 0
    in_mappings: Json = 0
    for _ in range(DEEPEST):
        in_lists, in_mappings = [1, in_lists], {"x": in_mappings, "y": []}
    assert not is_deep(in_lists)
    assert not is_deep(in_mappings)
    assert is_deep([in_lists])
    assert is_deep({"z": in_mappings})


def test_a_value_of_a_hundred_thousand_levels_is_deep_and_a_wide_one_is_not() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert is_deep(deep)
    assert not is_deep(list(range(100_000)))
    assert not is_deep("text")
    while deep:
        deep = deep.pop()  # type: ignore[assignment]
