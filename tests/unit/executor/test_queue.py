"""Whose turn it is, over arbitrary queues."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.domain.execution.queue import Admitted, Held, Line, Waiting, admit


def line(
    name: str, *waiting: Waiting, running: int = 0, limit: int | None = None, held: tuple[Held, ...] = ()
) -> Line:
    return Line(name, running, limit, waiting, held)


def ids(admitted: list[Admitted]) -> list[str]:
    return [each.id for each in admitted]


def test_urgent_ones_come_first_whoever_has_them() -> None:
    lines = [line("a", Waiting("1", 9), Waiting("3", 2)), line("b", Waiting("2", 5), running=7)]
    assert ids(admit(lines, 10)) == ["1", "2", "3"]


def test_organizations_take_turns_and_who_has_few_running_comes_first() -> None:
    many = [Waiting(f"a{number}", 5) for number in range(4)]
    few = [Waiting(f"b{number}", 5) for number in range(4)]
    lines = [line("a", *many, running=2), line("b", *few)]
    assert ids(admit(lines, 6)) == ["b0", "b1", "a0", "b2", "a1", "b3"]


def test_no_organization_goes_past_its_limit_and_each_gets_places_that_are_free() -> None:
    waiting = [Waiting(str(number), 5) for number in range(5)]
    held = (Held(0, None, None), Held(2, None, None))
    assert admit([line("a", *waiting, running=2, limit=4, held=held)], 10) == [
        Admitted("0", (1, None)),
        Admitted("1", (3, None)),
    ]
    assert admit([line("a", *waiting, running=9, limit=4)], 10) == []


def test_who_waits_for_a_key_holds_up_nobody_else() -> None:
    waiting = [Waiting("1", 5, "k", 1), Waiting("2", 5, "k", 1), Waiting("3", 5), Waiting("4", 5, "l", 2)]
    admitted = admit([line("a", *waiting, held=(Held(None, "l", 0),))], 10)
    assert admitted == [Admitted("1", (None, 0)), Admitted("3", (None, None)), Admitted("4", (None, 1))]


@st.composite
def queues(draw: st.DrawFn) -> list[Line]:
    lines = []
    for name in range(draw(st.integers(0, 4))):
        waiting = [
            Waiting(f"{name}-{number:02}", draw(st.integers(1, 3)), key, 2 if key else None)
            for number in range(draw(st.integers(0, 8)))
            if (key := draw(st.sampled_from([None, f"{name}k", f"{name}l"]))) or True
        ]
        limit = draw(st.sampled_from([None, 1, 3]))
        held = [Held(0 if limit else None, draw(st.sampled_from([None, f"{name}k"])), 0)] * draw(st.integers(0, 1))
        running = len(held) + draw(st.integers(0, 2))
        lines.append(Line(str(name), running, limit, sorted(waiting, key=lambda run: (-run.priority, run.id)), held))
    return lines


@given(queues(), st.integers(0, 20))
def test_the_rules_hold_in_any_queue(lines: list[Line], room: int) -> None:
    admitted = admit(lines, room)
    assert len(admitted) <= room
    assert len(set(ids(admitted))) == len(admitted)
    for each in lines:
        mine = [run for run in admitted if run.id.startswith(f"{each.organization_id}-")]
        waiting = {run.id: run for run in each.waiting}
        if each.limit is not None:
            assert each.running + len(mine) <= max(each.limit, each.running)
            slots = [run.slots[0] for run in mine] + [held.slot for held in each.held]
            assert len(set(slots)) == len(slots)
        keys = Counter(waiting[run.id].concurrency_key for run in mine)
        keys.update(held.concurrency_key for held in each.held)
        assert all(count <= 2 for key, count in keys.items() if key is not None)
        left = [run for run in each.waiting if run.id not in ids(mine)]
        is_full = each.limit is not None and each.running + len(mine) >= each.limit
        if len(admitted) < room and not is_full:
            assert all(run.concurrency_key is not None and keys[run.concurrency_key] == 2 for run in left)


@pytest.mark.parametrize("room", [0, 1])
def test_there_is_no_more_than_there_is_room_for(room: int) -> None:
    assert len(admit([line("a", Waiting("1", 1), Waiting("2", 1))], room)) == room
