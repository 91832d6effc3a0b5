"""Carrying a log and its tables from store to store: what came is what was there, whatever the stores."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from executor.domain.execution.rows import ExecutionRow
from executor.domain.workflow import WorkflowRow
from executor.ports import COPIED, HELD, IMPORTING, NameTaken, Organization, Row, RowQuery, Store, Stored
from storage.codec import GENESIS
from storage.copying import CARRIED, follow
from tests.contract.conftest import Opener, open_sqlite, opened
from tests.contract.notes import START, Author, NoteNamed, SetClock

TEXT = 'a\x00b \ue000 \ue001 \U0001f600 "'
ACME = Organization(id="01ACME", name=TEXT, sealed_key="sealed:v1:x", created_at=START)


@pytest.fixture
async def source(tmp_path: Path, clock: SetClock) -> AsyncIterator[Store]:
    """A store with a past: a name is given up and taken again, and streams go on after others."""
    async with opened(open_sqlite, tmp_path / "source", clock) as store:
        author = Author(store.log, clock)
        for number in range(5):
            await author.write(f"n{number}", f"{TEXT} {number}", NoteNamed(name=f"{TEXT} {number}"))
        await author.write("n0", NoteNamed(name=None))
        await author.write("n1", NoteNamed(name=f"{TEXT} 0"), "later")
        await author.run("r", status="running", project_id=TEXT)
        await store.ledgers.organizations.add(ACME)
        await store.ledgers.key_use.touch({TEXT: START, "b": START})
        yield store


async def scanned(store: Store) -> list[Stored]:
    events: list[Stored] = []
    while page := await store.log.scan(len(events)):
        events += page
    return events


async def found(store: Store) -> list[Row]:
    kinds: tuple[type[Row], ...] = (WorkflowRow, ExecutionRow)
    return [row for kind in kinds for row in await store.reads.find(kind, RowQuery(limit=1000))]


async def all_of(store: Store, name: str, key: tuple[str, ...], page: int = 2) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    columns = await store.copying.columns(name)
    after = None
    while chunk := await store.copying.rows(name, key, after, page):
        rows += chunk
        after = tuple(chunk[-1][columns.index(column)] for column in key)
    return rows


@pytest.mark.parametrize("size", [1, 3, 100])
async def test_what_is_brought_is_there_with_its_hashes_rows_and_names(
    store: Store, source: Store, clock: SetClock, size: int
) -> None:
    events = await scanned(source)
    for start in range(0, len(events), size):
        await store.copying.bring(events[start : start + size], organizations=(ACME,))
    assert await scanned(store) == events
    assert await found(store) == await found(source)
    assert await all_of(store, "names", ("name",)) == await all_of(source, "names", ("name",))
    assert await store.copying.organizations() == [ACME]
    assert store.log.head == len(events)
    author = Author(store.log, clock)
    with pytest.raises(NameTaken):
        await author.write("n9", NoteNamed(name=f"{TEXT} 0"))
    await author.write("n0", "it goes on", NoteNamed(name=f"{TEXT} 1"))
    link = GENESIS
    for event in await scanned(store):
        link = follow(event, link)
    assert link.position == len(events) + 2


async def test_what_does_not_follow_is_not_written(store: Store, source: Store) -> None:
    events = await scanned(source)
    for wrong in (events[1:], [events[0], events[2]], [events[0]._replace(version=2)]):
        with pytest.raises(ValueError):
            await store.copying.bring(wrong, organizations=(ACME,), marks={HELD: "x"})
    await store.copying.bring(events[:3])
    with pytest.raises(ValueError):
        await store.copying.bring(events[2:4])
    with pytest.raises(ValueError):
        await store.copying.bring([events[3]._replace(version=7)])
    assert await scanned(store) == events[:3]
    assert (await store.copying.organizations(), await store.copying.marks()) == ([], {})
    await store.copying.bring(events[3:])
    assert await found(store) == await found(source)


async def test_archived_events_lead_to_no_rows(store: Store, source: Store) -> None:
    events = [event._replace(data=b"") if event.stream == "note:n1" else event for event in await scanned(source)]
    await store.copying.bring(events)
    assert await scanned(store) == events
    assert {row.id for row in await found(store)} == {row.id for row in await found(source)} - {"n1"}  # type: ignore[attr-defined]


async def test_marks_checkpoints_and_epochs(opener: Opener, store: Store, tmp_path: Path, clock: SetClock) -> None:
    await store.copying.bring((), checkpoints={"fanout": 7}, marks={IMPORTING: "a", HELD: TEXT})
    assert await store.copying.marks() == {IMPORTING: "a", HELD: TEXT}
    assert await store.ledgers.deliveries.checkpoint("fanout") == 7
    await store.copying.mark({IMPORTING: None, COPIED: "c"})
    assert await store.copying.marks() == {HELD: TEXT, COPIED: "c"}
    await store.copying.mark({COPIED: None})
    before, epoch = store.log.epoch, await store.copying.new_epoch()
    assert epoch != before
    await store.close()
    async with opened(opener, tmp_path, clock) as again:
        assert again.log.epoch == epoch


async def test_tables_are_carried_row_by_row(store: Store, source: Store) -> None:
    for name, key in CARRIED:
        assert await store.copying.columns(name) == await source.copying.columns(name)
        rows = await all_of(source, name, key)
        assert len(rows) == await source.copying.count(name)
        await store.copying.put(name, await source.copying.columns(name), rows)
        assert await all_of(store, name, key) == rows
        assert await store.copying.count(name) == len(rows)
    assert await found(store) == await found(source)
    for name, _ in CARRIED:
        await store.copying.clear(name)
        assert await store.copying.count(name) == 0
    with pytest.raises(ValueError):
        await store.copying.count("meta")
