"""Reading the log: every filter alone and together, both directions, and times."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from executor.domain.values import Instant
from executor.ports import EventQuery, Recorded, Store, Stored
from tests.contract.notes import ORG, Author, NoteNamed, RunChanged

TIMES = [Instant(f"2026-01-31T12:00:0{second}.000Z") for second in range(10)]


@pytest.fixture
async def log(author: Author) -> list[Recorded]:
    """Forty events over ten seconds, of several types, organizations, workflows and executions."""
    written: list[Recorded] = []
    for number in range(40):
        event = (NoteNamed(name=None), "text", RunChanged(row={}))[number % 3]
        stream = f"run:{number % 4}" if number % 3 == 2 else f"{number % 4}"
        done = await author.write(
            stream,
            event,
            organization_id=ORG if number % 2 else "another",
            workflow_id=f"W{number % 5}" if number % 4 else None,
            execution_id=f"X{number % 7}" if number % 3 == 2 else None,
        )
        written += done.recorded
        author.clock.move(0.25)
    return written


Chosen = Callable[[Recorded], bool]
CASES: dict[str, tuple[EventQuery, Chosen]] = {
    "all": (EventQuery(), lambda event: True),
    "after": (EventQuery(after=30), lambda event: event.position > 30),
    "before": (EventQuery(before=5), lambda event: event.position < 5),
    "between": (EventQuery(after=3, before=9), lambda event: 3 < event.position < 9),
    "nothing between": (EventQuery(after=3, before=4), lambda event: False),
    "organization": (EventQuery(organization_id=ORG), lambda event: event.organization_id == ORG),
    "workflow": (EventQuery(workflow_id="W2"), lambda event: event.workflow_id == "W2"),
    "execution": (EventQuery(execution_id="X3"), lambda event: event.execution_id == "X3"),
    "unknown": (EventQuery(execution_id="nobody"), lambda event: False),
    "type": (EventQuery(types=("note.named",)), lambda event: event.type == "note.named"),
    "prefix": (EventQuery(types=("note.*",)), lambda event: event.type.startswith("note.")),
    "suffix": (EventQuery(types=("*.changed",)), lambda event: event.type == "run.changed"),
    "any": (EventQuery(types=("*", "note.named")), lambda event: True),
    "types": (EventQuery(types=("*.named", "run.*")), lambda event: event.type != "note.written"),
    "no such type": (EventQuery(types=("not.*", "*.d", "note", "note.name")), lambda event: False),
    "start": (EventQuery(start_time=TIMES[4]), lambda event: event.time >= TIMES[4]),
    "end": (EventQuery(end_time=TIMES[4]), lambda event: event.time < TIMES[4]),
    "span": (EventQuery(start_time=TIMES[2], end_time=TIMES[3]), lambda event: TIMES[2] <= event.time < TIMES[3]),
    "before all": (EventQuery(end_time=TIMES[0]), lambda event: False),
    "after all": (EventQuery(start_time=Instant("2027-01-01T00:00:00.000Z")), lambda event: False),
    "all but the end": (EventQuery(end_time=Instant("2027-01-01T00:00:00.000Z")), lambda event: True),
    "together": (
        EventQuery(
            after=4,
            before=39,
            types=("run.*", "note.written"),
            organization_id=ORG,
            workflow_id="W3",
            start_time=TIMES[1],
            end_time=TIMES[9],
        ),
        lambda event: (
            4 < event.position < 39
            and event.type != "note.named"
            and event.organization_id == ORG
            and event.workflow_id == "W3"
            and TIMES[1] <= event.time < TIMES[9]
        ),
    ),
    "types of an organization": (
        EventQuery(types=("note.*",), organization_id="another", after=7),
        lambda event: event.type != "run.changed" and event.organization_id == "another" and event.position > 7,
    ),
    "types of a workflow": (
        EventQuery(workflow_id="W2", types=("note.*",), after=7),
        lambda event: event.workflow_id == "W2" and event.type != "run.changed" and event.position > 7,
    ),
    "no such type of a workflow": (EventQuery(workflow_id="W2", types=("not.*",)), lambda event: False),
    "an execution of a workflow": (
        EventQuery(workflow_id="W2", execution_id="X3", organization_id=ORG, types=("run.changed",)),
        lambda event: event.workflow_id == "W2" and event.execution_id == "X3" and event.organization_id == ORG,
    ),
}


@pytest.mark.parametrize("name", CASES)
async def test_a_query_finds_all_that_match_in_order(store: Store, log: list[Recorded], name: str) -> None:
    query, matches = CASES[name]
    expected = [event for event in log if matches(event)]
    assert await store.log.read(query) == expected


@pytest.mark.parametrize("name", CASES)
async def test_a_query_backwards_and_with_a_limit(store: Store, log: list[Recorded], name: str) -> None:
    query, matches = CASES[name]
    expected = [event for event in log if matches(event)]
    assert await store.log.read(replace(query, limit=3)) == expected[:3]
    assert await store.log.read(replace(query, descending=True)) == expected[::-1]
    assert await store.log.read(replace(query, descending=True, limit=3)) == expected[::-1][:3]
    assert await store.log.read(replace(query, offset=2, limit=3)) == expected[2:5]
    assert await store.log.read(replace(query, descending=True, offset=2)) == expected[::-1][2:]


async def test_the_cases_are_not_empty_by_mistake(log: list[Recorded]) -> None:
    empty = {name for name, (_, matches) in CASES.items() if not any(map(matches, log))}
    assert empty == {
        "nothing between",
        "unknown",
        "no such type",
        "no such type of a workflow",
        "before all",
        "after all",
    }


async def test_an_empty_log_answers_every_query(store: Store) -> None:
    for query, _ in CASES.values():
        assert await store.log.read(query) == []


async def test_a_scan_gives_events_as_they_are_stored(store: Store, author: Author) -> None:
    await author.write("a", *(f"{number} \0" for number in range(1200)), actor="user:x")
    scanned: list[Stored] = []
    while page := await store.log.scan(scanned[-1].position if scanned else 0):
        scanned += page
    recorded = await store.log.read(EventQuery(limit=2000))
    assert [event.position for event in scanned] == list(range(1, 1201))
    for stored, event in zip(scanned, recorded, strict=True):
        assert (stored.id, stored.data, stored.hash, stored.time) == (event.id, event.data, event.hash, event.time)
        assert stored.digest == hashlib.sha256(stored.data).digest()
        assert stored.metadata == b'{"actor":"user:x"}'
    assert await store.log.scan(1200) == []
