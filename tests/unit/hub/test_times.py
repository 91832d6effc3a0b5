from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.domain.errors import Invalid
from hub.times import parse_time, time_of


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000Z"),
        ("2026-01-31T12:00:00.9999Z", "2026-01-31T12:00:00.999Z"),
        ("2026-01-31T12:00:00+02:00", "2026-01-31T10:00:00.000Z"),
        ("2026-01-31T12:00:00 02:00", "2026-01-31T10:00:00.000Z"),
        ("2026-01-31T12:00:00", "2026-01-31T12:00:00.000Z"),
        ("2026-01-31", "2026-01-31T00:00:00.000Z"),
        (" 2026-01-31 ", "2026-01-31T00:00:00.000Z"),
        ("0001-01-01", "0001-01-01T00:00:00.000Z"),
    ],
)
def test_times_as_people_write_them(text: str, instant: str) -> None:
    assert parse_time(text) == instant


@pytest.mark.parametrize(
    "text", ["", "soon", "12", "2026-13-01", "2026-01-31T25:00:00Z", "0001-01-01T00:00:00+14:00"]
)
def test_what_is_no_time_is_said(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a time|is out of range"):
        parse_time(text)


def test_a_time_that_has_no_place_in_utc_is_refused_by_its_field() -> None:
    east = timezone(timedelta(hours=14))
    for value in (datetime(1, 1, 1, tzinfo=east), datetime(9999, 12, 31, 23, tzinfo=timezone(-timedelta(hours=14)))):
        with pytest.raises(Invalid) as raised:
            time_of(value, "expires_at")
        assert raised.value.problems[0].field == "expires_at"
    assert time_of(None, "x") is None


@given(st.datetimes(timezones=st.just(UTC)), st.datetimes(timezones=st.just(UTC)))
def test_texts_compare_as_times_do(one: datetime, other: datetime) -> None:
    first, second = time_of(one, "x"), time_of(other, "x")
    assert first is not None
    assert second is not None
    assert len(first) == len(second) == 24
    if abs(one - other) >= timedelta(milliseconds=1):
        assert (first < second) is (one < other)
