from __future__ import annotations

import pytest

from executor.domain.values import Instant
from hub.meter import Histogram, Meter, RequestMeter


@pytest.mark.parametrize(
    ("seconds", "counts"), [(0.0, [1, 0, 0]), (0.1, [1, 0, 0]), (0.11, [0, 1, 0]), (1.0, [0, 1, 0]), (1.1, [0, 0, 1])]
)
def test_a_bound_is_the_last_value_of_its_bucket(seconds: float, counts: list[int]) -> None:
    histogram = Histogram((0.1, 1.0))
    histogram.observe(seconds)
    assert (histogram.counts, histogram.sum) == (counts, seconds)


def test_what_is_observed_several_times_counts_as_often() -> None:
    histogram = Histogram((0.1, 1.0))
    histogram.observe(0.5, times=3)
    assert (histogram.counts, histogram.sum) == ([0, 3, 0], 1.5)


def test_an_event_is_as_late_as_its_time_says_and_never_early() -> None:
    meter = Meter()
    meter.dispatched([Instant("2026-01-31T12:00:00.000Z"), Instant("2026-01-31T12:00:00.250Z")], 1769860800.25)
    meter.dispatched([Instant("2026-01-31T12:00:01.000Z")], 1769860800.25)
    assert (meter.events, meter.latency.sum) == (3, 0.25)


def test_requests_count_by_method_route_and_status_and_any_other_method_is_one() -> None:
    requests = RequestMeter()
    for method, status in (("GET", 200), ("GET", 404), ("GET", 200), ("BREW", 405), ("WHEN", 405)):
        requests.answered(method, "/pots/{id}", status, 0.5)
    path = "/pots/{id}"
    assert requests.answers == {("GET", path, "200"): 2, ("GET", path, "404"): 1, ("other", path, "405"): 2}
    assert {key: histogram.sum for key, histogram in requests.seconds.items()} == {
        ("GET", path): 1.5,
        ("other", path): 1.0,
    }
