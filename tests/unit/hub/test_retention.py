from __future__ import annotations

import pytest

from executor.domain.values import Instant
from executor.ports import Ended
from hub.retention import _batches, _Written, before, seconds_of

NOW = Instant("2026-01-31T12:00:00.000Z")


@pytest.mark.parametrize(
    ("age", "seconds"), [("90d", 7_776_000), ("12h", 43_200), ("1.5m", 90), (" 3s ", 3), ("2w", 1_209_600), ("0d", 0)]
)
def test_an_age_has_a_unit(age: str, seconds: float) -> None:
    assert seconds_of(age) == seconds


@pytest.mark.parametrize("age", ["", "90", "d", "90 days", "-1d", "nand", "infd", "1e9d", "1y"])
def test_anything_else_is_refused(age: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        seconds_of(age)


def test_a_very_long_age_is_long_ago_and_never_in_the_future() -> None:
    assert before(NOW, 86_400) == "2026-01-30T12:00:00.000Z"
    assert before(NOW, 1e18) < "1930"


def written(events: int) -> _Written:
    return _Written(Ended("e", "o", "w", "completed", NOW, NOW, events), events, 1, events)


def test_transactions_are_small_and_hold_everything_once() -> None:
    small = [written(3) for _ in range(120)]
    assert [len(batch) for batch in _batches(small)] == [50, 50, 20]
    large = [written(900), written(900), written(5000), written(1)]
    assert [len(batch) for batch in _batches(large)] == [2, 1, 1]
    assert [each for batch in _batches(large) for each in batch] == large
    assert _batches([]) == []
