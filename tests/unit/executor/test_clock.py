"""Ids are ULIDs that sort in the order they were made; times are instants."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from ulid import ULID

from executor.clock import SystemClock
from executor.domain.values import is_ulid, moment


def test_ids_are_ulids_of_their_time_as_a_library_reads_them() -> None:
    before = time.time()
    id = SystemClock().new_id()
    assert is_ulid(id)
    assert before - 0.001 <= ULID.from_str(id).timestamp <= time.time()


def test_ids_sort_in_the_order_they_were_made() -> None:
    clock = SystemClock()
    ids = [clock.new_id() for _ in range(10_000)]
    assert ids == sorted(set(ids))


def test_ids_are_unique_among_threads() -> None:
    clock = SystemClock()
    with ThreadPoolExecutor(4) as threads:
        ids = list(threads.map(lambda _: clock.new_id(), range(4_000)))
    assert len(set(ids)) == len(ids)


def test_ids_go_on_where_the_system_clock_steps_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SystemClock()
    first, now = clock.new_id(), time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now - 3_600_000_000_000)
    assert clock.new_id() > first


def test_now_is_an_instant_of_the_system_s_time() -> None:
    before = time.time()
    at = SystemClock().now()
    assert before - 0.001 <= moment(at).timestamp() <= time.time()
