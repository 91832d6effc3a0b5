from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

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
