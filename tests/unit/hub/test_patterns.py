from __future__ import annotations

import pytest

from executor.domain.errors import Invalid
from executor.domain.events import CATALOGUE
from hub.patterns import wanted_types


def test_none_and_all_are_no_filter() -> None:
    for patterns in ((), ("*",), ("*.*",), ("*", "workflow.created"), tuple(CATALOGUE)):
        assert wanted_types(patterns) == ()


def test_patterns_become_the_types_they_match() -> None:
    assert wanted_types(("execution.completed",)) == ("execution.completed",)
    assert wanted_types(("timer.*",)) == ("timer.fired", "timer.scheduled")
    failed = {type for type in CATALOGUE if type.endswith(".failed")}
    assert set(wanted_types(("*.failed", "log.written"))) == failed | {"log.written"}


def test_every_pattern_that_matches_nothing_is_named() -> None:
    with pytest.raises(Invalid) as raised:
        wanted_types(("execution.*", "execution.done", "", "execution"), "--types")
    assert [problem.field for problem in raised.value.problems] == ["--types"] * 3
    assert "'execution.done'" in raised.value.problems[0].message
