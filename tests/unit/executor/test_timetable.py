"""When schedules run: clocks that change, intervals, what is missed, and what holds of all timetables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.domain.schedule import Next, State, Turn
from executor.domain.values import Instant, instant, moment, plus
from executor.timetable import (
    ON_TIME_SECONDS,
    coming,
    cron_problem,
    is_timezone,
    next_time,
    preview,
    run_at,
    times,
    turn,
)

DAY = 86_400


def at(text: str) -> Instant:
    """`2026-03-29 01:00` in UTC."""
    return instant(datetime.fromisoformat(text).replace(tzinfo=UTC))


def cron(expression: str, timezone: str = "UTC", **fields: Any) -> State:
    return State(id="s", cron=expression, timezone=timezone, **fields)


def every(seconds: int, anchor: str = "2026-01-01 00:00", **fields: Any) -> State:
    return State(id="s", interval_seconds=seconds, anchor=at(anchor), **fields)


def first(of: State, after: str, count: int) -> list[str]:
    """Its next times, in UTC, to the minute."""
    return [f"{moment(found):%Y-%m-%d %H:%M}" for found in islice(times(of, at(after)), count)]


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("30 2 * * *", ["2026-02-01 02:30", "2026-02-02 02:30"]),
        ("*/20 * * * *", ["2026-01-31 12:20", "2026-01-31 12:40"]),
        ("0 9 * * MON-FRI", ["2026-02-02 09:00", "2026-02-03 09:00"]),
        ("0 0 29 2 *", ["2028-02-29 00:00", "2032-02-29 00:00"]),
        ("0 0 L * *", ["2026-02-28 00:00", "2026-03-31 00:00"]),
        ("0 12 * * 7", ["2026-02-01 12:00", "2026-02-08 12:00"]),
        ("@hourly", ["2026-01-31 13:00", "2026-01-31 14:00"]),
        ("@daily", ["2026-02-01 00:00", "2026-02-02 00:00"]),
        ("@MIDNIGHT", ["2026-02-01 00:00", "2026-02-02 00:00"]),
        ("@weekly", ["2026-02-01 00:00", "2026-02-08 00:00"]),
        ("@monthly", ["2026-02-01 00:00", "2026-03-01 00:00"]),
        ("@yearly", ["2027-01-01 00:00", "2028-01-01 00:00"]),
        ("@annually", ["2027-01-01 00:00", "2028-01-01 00:00"]),
    ],
)
def test_expressions_and_their_times(expression: str, found: list[str]) -> None:
    assert cron_problem(expression, at("2026-01-31 12:00")) is None
    assert first(cron(expression), "2026-01-31 12:00", 2) == found


@pytest.mark.parametrize(
    ("timezone", "expression", "after", "found"),
    [
        # Berlin leaps from 2:00 to 3:00 (1:00 UTC), New York from 2:00 to 3:00 (7:00 UTC).
        ("Europe/Berlin", "30 2 * * *", "2026-03-28 12:00", ["2026-03-29 01:00", "2026-03-30 00:30"]),
        ("Europe/Berlin", "0,30 2 * * *", "2026-03-28 12:00", ["2026-03-29 01:00", "2026-03-30 00:00"]),
        ("Europe/Berlin", "0 2,3 * * *", "2026-03-28 12:00", ["2026-03-29 01:00", "2026-03-30 00:00"]),
        ("Europe/Berlin", "15 * * * *", "2026-03-29 00:00", ["2026-03-29 00:15", "2026-03-29 01:15"]),
        ("Europe/Berlin", "*/30 2 * * *", "2026-03-28 12:00", ["2026-03-30 00:00", "2026-03-30 00:30"]),
        ("America/New_York", "30 2 * * *", "2026-03-07 12:00", ["2026-03-08 07:00", "2026-03-09 06:30"]),
        ("America/New_York", "15 * * * *", "2026-03-08 06:00", ["2026-03-08 06:15", "2026-03-08 07:15"]),
        # Berlin has 2:00 to 3:00 twice (0:00 and 1:00 UTC), New York 1:00 to 2:00 (5:00 and 6:00 UTC).
        ("Europe/Berlin", "30 2 * * *", "2026-10-24 12:00", ["2026-10-25 00:30", "2026-10-26 01:30"]),
        ("Europe/Berlin", "30 2 * * *", "2026-10-25 00:30", ["2026-10-26 01:30"]),
        ("Europe/Berlin", "30 2 * * *", "2026-10-25 01:10", ["2026-10-26 01:30"]),
        ("Europe/Berlin", "30 * * * *", "2026-10-25 00:00", ["2026-10-25 00:30", "2026-10-25 01:30"]),
        ("Europe/Berlin", "*/30 2 * * *", "2026-10-25 00:00", ["2026-10-25 00:30", "2026-10-25 01:00"]),
        ("America/New_York", "30 1 * * *", "2026-10-31 12:00", ["2026-11-01 05:30", "2026-11-02 06:30"]),
        ("America/New_York", "30 1 * * *", "2026-11-01 06:00", ["2026-11-02 06:30"]),
        ("America/New_York", "15 * * * *", "2026-11-01 05:00", ["2026-11-01 05:15", "2026-11-01 06:15"]),
        # Noon is noon on either side of a change.
        ("Europe/Berlin", "0 12 * * *", "2026-03-28 00:00", ["2026-03-28 11:00", "2026-03-29 10:00"]),
    ],
)
def test_clocks_that_change(timezone: str, expression: str, after: str, found: list[str]) -> None:
    assert first(cron(expression, timezone), after, len(found)) == found


def test_what_starts_and_ends() -> None:
    bounded = cron("0 * * * *", start_at=at("2026-01-31 13:00"), end_at=at("2026-01-31 15:00"))
    assert first(bounded, "2026-01-01 00:00", 9) == ["2026-01-31 13:00", "2026-01-31 14:00"], "the end is exclusive"
    assert coming(bounded, at("2026-01-31 14:00")) == Next(None, None)


def test_intervals_are_counted_from_their_anchor() -> None:
    assert first(every(900), "2026-01-01 00:00", 2) == ["2026-01-01 00:15", "2026-01-01 00:30"]
    assert first(every(900), "2026-01-01 00:20", 1) == ["2026-01-01 00:30"]
    started = every(900, "2026-01-02 00:00", start_at=at("2026-01-02 00:00"))
    assert first(started, "2026-01-01 00:00", 2) == ["2026-01-02 00:00", "2026-01-02 00:15"], "the start is one"
    assert len(list(times(every(3600), Instant("9999-12-31T23:30:00.000Z")))) == 1, "time itself has an end"


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("", "5 fields"),
        ("* * * *", "5 fields"),
        ("* * * * * *", "5 fields"),
        ("60 * * * *", "minute"),
        ("* 24 * * *", "hour"),
        ("* * 32 * *", "day-of-month"),
        ("* * * 13 *", "month"),
        ("* * * * 8", "day-of-week"),
        ("* * * * MON#6", "day-of-week"),
        ("5-1 * * * *", "minute"),
        ("*/0 * * * *", "minute"),
        ("a * * * *", "minute"),
        ("² * * * *", "minute"),
        ("* * * * ²L", "day-of-week"),
        ("* * * * MON#1/2", "day-of-week"),
        ("* * 1L * *", "day-of-month"),
        ("0 0 30 2 *", "its day-of-month is wrong"),
        ("* * */20 * 1L", "no date"),
        ("@reboot", "@daily"),
        ("@", "@daily"),
        ("9" * 250 + " * * * *", "minute"),
    ],
)
def test_what_is_no_expression(expression: str, said: str) -> None:
    assert said in (cron_problem(expression, at("2026-01-31 12:00")) or "")


def test_zones() -> None:
    assert is_timezone("Europe/Berlin")
    assert is_timezone("UTC")
    assert not is_timezone("Europe/Nowhere")
    assert not is_timezone("../etc/passwd")
    assert not is_timezone("localtime"), "another one on each machine"
    assert not is_timezone("")


def test_jitter_is_within_its_bound_and_always_the_same() -> None:
    spread = cron("* * * * *", jitter_seconds=30)
    found = list(islice(times(spread, at("2026-01-31 12:00")), 200))
    late = [(moment(run_at(spread, each)) - moment(each)).total_seconds() for each in found]
    assert all(0 <= seconds < 30 for seconds in late)
    assert len(set(late)) > 100
    assert preview(spread, at("2026-01-31 12:00"), 200) == [run_at(spread, each) for each in found]
    other = State(id="t", cron="* * * * *", jitter_seconds=30)
    assert run_at(other, found[0]) != run_at(spread, found[0])


def turned(of: State, next_at: str, now: str, catch_up: str, window: float = DAY) -> tuple[str | None, ...]:
    """What runs, what was missed, and what is next, by the clock."""
    found = turn(of, at(next_at), at(now), catch_up, window)
    return tuple(
        each and f"{moment(each):%H:%M}" for each in (found.runs, found.missed, found.until, found.next.time)
    )


HOURLY = cron("0 * * * *")


@pytest.mark.parametrize("catch_up", ["none", "latest", "all"])
def test_what_is_on_time_runs(catch_up: str) -> None:
    assert turned(HOURLY, "2026-01-31 12:00", "2026-01-31 12:00", catch_up, 1)[0] == "12:00"
    assert turned(HOURLY, "2026-01-31 12:00", "2026-01-31 12:00:09", catch_up, 1)[::3] == ("12:00", "13:00")
    second = turn(every(1), at("2026-01-31 12:00:01"), at("2026-01-31 12:00:05"), catch_up, DAY)
    assert second.runs == at("2026-01-31 12:00:01"), "a little late is not missed, however often it comes"


@pytest.mark.parametrize(
    ("catch_up", "window", "found"),
    [
        ("none", DAY, (None, "09:00", "13:00", "13:00")),
        ("latest", DAY, ("12:00", "09:00", "12:00", "13:00")),
        ("latest", 600, (None, "09:00", "13:00", "13:00")),
        ("all", DAY, ("09:00", None, "09:00", "10:00")),
        ("all", 2 * 3600, (None, "09:00", "11:00", "11:00")),
        ("all", 600, (None, "09:00", "13:00", "13:00")),
    ],
)
def test_what_was_missed(catch_up: str, window: float, found: tuple[str | None, ...]) -> None:
    assert turned(HOURLY, "2026-01-31 09:00", "2026-01-31 12:20", catch_up, window) == found


def test_a_single_time_that_was_missed() -> None:
    assert turned(HOURLY, "2026-01-31 12:00", "2026-01-31 12:20", "none") == (None, "12:00", "13:00", "13:00")
    assert turned(HOURLY, "2026-01-31 12:00", "2026-01-31 12:20", "latest") == ("12:00", None, "12:00", "13:00")


def test_years_of_every_minute_and_every_second_are_passed_at_once() -> None:
    for of, last in ((cron("* * * * *"), "2026-01-31 12:00"), (every(1), "2026-01-31 12:00:30")):
        found = turn(of, at("2006-01-31 12:00"), at("2026-01-31 12:00:30"), "latest", DAY)
        assert (found.runs, found.missed) == (at(last), at("2006-01-31 12:00"))
    rare = turn(cron("0 0 29 2 *"), at("2004-02-29 00:00"), at("2026-01-31 12:00"), "latest", 1e9)
    assert rare.runs == at("2024-02-29 00:00")


def test_the_last_time_of_all_has_none_after_it() -> None:
    ended = cron("0 * * * *", end_at=at("2026-01-31 13:00"))
    last = at("2026-01-31 12:00")
    assert turn(ended, last, last, "all", DAY) == Turn(runs=last, missed=None, until=last, next=Next(None, None))


FIELDS = {
    "minute": st.sampled_from(["*", "*/7", "0", "30", "5,35", "59", "10-20/5"]),
    "hour": st.sampled_from(["*", "*/3", "0", "1", "2", "2,3", "23", "1-3"]),
    "day": st.sampled_from(["*", "*", "*/2", "1", "15,29", "L"]),
    "month": st.sampled_from(["*", "*", "3", "10,11", "*/2"]),
    "weekday": st.sampled_from(["*", "*", "0", "MON-FRI", "7"]),
}
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Kathmandu"]
MOMENTS = st.datetimes(datetime(2015, 1, 1), datetime(2030, 1, 1)).map(
    lambda naive: instant(naive.replace(tzinfo=UTC))
)
CHANGES = st.sampled_from(
    ["2026-03-29 01:00", "2026-10-25 01:00", "2026-03-08 07:00", "2026-11-01 06:00", "2017-10-15 03:00"]
).flatmap(lambda change: st.integers(-200, 200).map(lambda minutes: plus(at(change), minutes * 60 + 0.5)))


@st.composite
def timetables(draw: st.DrawFn) -> State:
    jitter = draw(st.sampled_from([0, 0, 5, 600]))
    if draw(st.booleans()):
        return every(draw(st.integers(1, 100_000)), "2014-12-31 23:59:59.250", jitter_seconds=jitter)
    expression = " ".join(draw(FIELDS[name]) for name in FIELDS)
    return cron(expression, draw(st.sampled_from(ZONES)), jitter_seconds=jitter)


@settings(deadline=None, max_examples=150)
@given(of=timetables(), after=MOMENTS | CHANGES, skip=st.integers(0, 5))
def test_times_go_forward_and_are_the_same_wherever_one_begins(of: State, after: Instant, skip: int) -> None:
    found = list(islice(times(of, after), 12))
    assert all(one < two for one, two in pairwise([after, *found]))
    for one, two in pairwise([after, *found]):
        between = plus(one, (moment(two) - moment(one)).total_seconds() / 2)
        assert next_time(of, between) == two, "none comes between"
        assert next_time(of, plus(two, -0.001)) == two


@settings(deadline=None, max_examples=150)
@given(
    of=timetables(),
    after=MOMENTS | CHANGES,
    catch_up=st.sampled_from(["none", "latest", "all"]),
    window=st.integers(1, 10_000_000),
    looks=st.lists(st.integers(0, 500_000), min_size=1, max_size=12),
)
def test_whenever_one_looks_each_time_runs_once_or_was_missed(
    of: State, after: Instant, catch_up: str, window: int, looks: list[int]
) -> None:
    """Also none is missed with `all` but for what is older than the window, and what runs does so in order."""
    next, now = coming(of, after), after
    ran: list[Instant] = []
    for seconds in looks:
        now = plus(now, seconds)
        for _ in range(40):
            if next.run_at is None or next.time is None or next.run_at > now:
                break
            found = turn(of, next.time, now, catch_up, window)
            assert found.runs is not None or found.missed is not None
            if found.missed is not None:
                assert found.missed == next.time
                if catch_up == "all" and found.until is not None:
                    in_time = next_time(of, plus(now, -max(window, ON_TIME_SECONDS) - 0.001))
                    assert in_time is not None
                    assert found.until <= in_time
            if found.runs is not None:
                assert run_at(of, found.runs) <= now
                late = ON_TIME_SECONDS if catch_up == "none" else max(window, ON_TIME_SECONDS)
                assert run_at(of, found.runs) >= plus(now, -late)
                assert found.runs == next.time or found.missed is not None
                ran.append(found.runs)
            assert found.next.time is None or found.next.time > next.time
            assert found.next.time == next_time(of, found.runs or plus(found.until or now, -0.001))
            next = found.next
    assert ran == sorted(set(ran))


def test_a_day_is_a_day_for_intervals_also_where_clocks_change() -> None:
    found = list(islice(times(every(DAY, timezone="Europe/Berlin"), at("2026-03-28 00:00")), 3))
    assert {moment(two) - moment(one) for one, two in pairwise(found)} == {timedelta(days=1)}
