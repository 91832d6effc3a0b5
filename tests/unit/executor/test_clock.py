from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from executor.clock import SystemClock
from executor.domain.values import is_ulid, moment


def test_now_is_an_instant() -> None:
    clock = SystemClock()
    assert moment(clock.now()) <= moment(clock.now())


def test_each_fresh_id_sorts_after_the_one_before() -> None:
    clock = SystemClock()
    ids = [clock.new_id() for _ in range(5000)]
    assert all(is_ulid(id) for id in ids)
    assert all(one < other for one, other in pairwise(ids))


def test_threads_share_a_clock_and_no_id_comes_twice() -> None:
    clock = SystemClock()
    with ThreadPoolExecutor(8) as threads:
        parts = list(threads.map(lambda _: [clock.new_id() for _ in range(1000)], range(8)))
    assert len({id for part in parts for id in part}) == 8000
    assert all(part == sorted(part) for part in parts)


def test_now_is_the_systems_time_to_the_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SystemClock()
    times = {
        1_769_860_799_999_999_999: "2026-01-31T11:59:59.999Z",
        1_769_860_800_000_000_000: "2026-01-31T12:00:00.000Z",
        1_769_860_800_007_000_000: "2026-01-31T12:00:00.007Z",
        1_769_857_200_010_000_000: "2026-01-31T11:00:00.010Z",
    }
    for at, text in times.items():
        monkeypatch.setattr(time, "time_ns", lambda at=at: at)
        assert clock.now() == text
