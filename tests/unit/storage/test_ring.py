from __future__ import annotations

from executor.domain.values import Instant
from executor.ports import Metadata, Recorded
from storage.ring import Ring


def events(first: int, last: int, size: int = 10) -> list[Recorded]:
    return [
        Recorded(
            position=position,
            id=f"{position}",
            type="t",
            time=Instant(""),
            organization_id="",
            stream="s:1",
            version=position,
            workflow_id=None,
            execution_id=None,
            data=b"x" * size,
            metadata=Metadata(),
            hash=b"",
        )
        for position in range(first, last + 1)
    ]


def positions(ring: Ring, after: int, limit: int = 100) -> list[int] | None:
    found = ring.after(after, limit)
    return None if found is None else [event.position for event in found]


def test_an_empty_ring_knows_nothing() -> None:
    assert positions(Ring(), 0) is None


def test_it_answers_for_what_it_covers_and_only_that() -> None:
    ring = Ring()
    ring.extend(events(5, 7))
    ring.extend(events(8, 9))
    assert positions(ring, 3) is None
    assert positions(ring, 4) == [5, 6, 7, 8, 9]
    assert positions(ring, 4, 2) == [5, 6]
    assert positions(ring, 7) == [8, 9]
    assert positions(ring, 9) == []
    assert positions(ring, 99) == []


def test_it_forgets_the_oldest_by_number_and_by_size() -> None:
    ring = Ring(events=4)
    ring.extend(events(1, 3))
    ring.extend(events(4, 6))
    assert positions(ring, 1) is None
    assert positions(ring, 2) == [3, 4, 5, 6]
    ring = Ring(size=100)
    ring.extend(events(1, 3, 40))
    assert positions(ring, 0) is None
    assert positions(ring, 1) == [2, 3]
    ring.extend(events(4, 4, 1000))
    assert positions(ring, 4) is None


def test_positions_that_do_not_follow_start_it_anew() -> None:
    ring = Ring()
    ring.extend(events(1, 3))
    ring.extend(events(5, 6))
    assert positions(ring, 3) is None
    assert positions(ring, 4) == [5, 6]
    ring.extend([])
    assert positions(ring, 4) == [5, 6]
