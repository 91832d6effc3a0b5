"""Whose turn it is: runs that wait in the queue, and the places that there are for them. Pure.

Urgent runs come first. Of equally urgent ones, the organization comes first that has the fewest running; inside of
one the oldest. No organization runs more at once than it may, and no more runs of a workflow with one concurrency key
than that allows; who waits for such a place holds up nobody else.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Final, NamedTuple

Slots = tuple[int | None, int | None]
"""A place among an organization's runs, and one among those with a concurrency key; None where there is no limit."""
NO_SLOTS: Final[Slots] = (None, None)


class Waiting(NamedTuple):
    """A run in the queue whose time has come."""

    id: str
    priority: int
    concurrency_key: str | None = None
    concurrency_limit: int | None = None


class Held(NamedTuple):
    """The places of a run that has begun."""

    slot: int | None
    concurrency_key: str | None
    concurrency_slot: int | None


class Line(NamedTuple):
    """The queue of one organization: `running` of its runs have begun, `limit` may (None: any number). `waiting` are
    the urgent ones first, then the oldest."""

    organization_id: str
    running: int
    limit: int | None
    waiting: Sequence[Waiting]
    held: Sequence[Held] = ()


class Admitted(NamedTuple):
    id: str
    slots: Slots


class _Turns:
    """One organization's line as its runs get their places, one after the other."""

    def __init__(self, line: Line) -> None:
        self.running = line.running
        self._limit = line.limit
        self._slots = {held.slot for held in line.held if held.slot is not None}
        self._taken: dict[str, set[int]] = {}
        for held in line.held:
            if held.concurrency_key is not None and held.concurrency_slot is not None:
                self._taken.setdefault(held.concurrency_key, set()).add(held.concurrency_slot)
        self._waiting = iter(line.waiting)
        self.first: Waiting | None = None
        self.move_on()

    def move_on(self) -> None:
        """To the next run that has a place to get."""
        is_full = self._limit is not None and max(self.running, len(self._slots)) >= self._limit
        self.first = None if is_full else next((run for run in self._waiting if self._has_place(run)), None)

    def admit(self) -> Admitted:
        assert self.first is not None
        run = self.first
        slot = None if self._limit is None else _free(self._slots)
        concurrency_slot = None
        if run.concurrency_key is not None:
            concurrency_slot = _free(self._taken.setdefault(run.concurrency_key, set()))
        self.running += 1
        self.move_on()
        return Admitted(run.id, (slot, concurrency_slot))

    def _has_place(self, run: Waiting) -> bool:
        if run.concurrency_key is None or run.concurrency_limit is None:
            return True
        return len(self._taken.get(run.concurrency_key, ())) < run.concurrency_limit


def admit(lines: Iterable[Line], room: int) -> list[Admitted]:
    """Who may begin now, in this order, at most `room` of them."""
    order, admitted = count(), list[Admitted]()
    turns = [(_rank(line), next(order), line) for line in (_Turns(each) for each in lines) if line.first is not None]
    heapq.heapify(turns)
    while turns and len(admitted) < room:
        _, _, line = heapq.heappop(turns)
        admitted.append(line.admit())
        if line.first is not None:
            heapq.heappush(turns, (_rank(line), next(order), line))
    return admitted


def _rank(line: _Turns) -> tuple[int, int, str]:
    assert line.first is not None
    return -line.first.priority, line.running, line.first.id


def _free(taken: set[int]) -> int:
    """The first place that nobody has; it is taken now."""
    place = next(number for number in count() if number not in taken)
    taken.add(place)
    return place
