"""Disks that are full, databases that are locked, files that were tampered with."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from executor.domain.errors import Unavailable
from executor.ports import Store
from storage.errors import Broken
from storage.sqlite.store import SqliteStore
from tests.contract.notes import Author, NoteNamed, SetClock
from tests.unit.storage.sqlite.conftest import by_hand, open_at


async def limit_pages(store: SqliteStore, more: int) -> None:
    """Lets the file grow by so many pages and no further, as a full disk would."""

    def limit(database: sqlite3.Connection) -> None:
        (count,) = database.execute("PRAGMA page_count").fetchone()
        database.execute(f"PRAGMA max_page_count = {count + more}")

    await store.log.writer.run(limit)


async def test_a_full_disk_fails_whole_batches_and_nothing_is_written(store: SqliteStore, author: Author) -> None:
    await author.write("a", "before")
    await limit_pages(store, 20)
    works = [author.write(f"{number}", NoteNamed(name=f"{number}"), "x" * 50_000) for number in range(30)]
    results = await asyncio.gather(*works, store.ledgers.engines.beat("E", 1), return_exceptions=True)
    failed = [result for result in results if isinstance(result, Exception)]
    assert failed
    assert {(type(error), str(error)) for error in failed} == {(Unavailable, "the disk is full")}
    assert store.log.head == 1 + 2 * (len(results) - len(failed) - (not isinstance(results[-1], Exception)))
    await store.ping()
    await limit_pages(store, 1_000_000)
    for number in range(30):
        await author.write(f"again {number}", NoteNamed(name=f"again {number}"), "x" * 50_000)
    link = await store.log.verify()
    assert link.position == store.log.head


async def test_what_failed_on_a_full_disk_can_be_said_again(store: SqliteStore, author: Author) -> None:
    part = author.part("a", NoteNamed(name="n"), "x" * 500_000)
    await limit_pages(store, 5)
    for _ in range(3):
        with pytest.raises(Unavailable):
            await store.log.append((part,))
    await limit_pages(store, 1000)
    (done,) = await store.log.append((part,))
    assert (done.repeated, done.version, done.recorded[0].position) == (False, 2, 1)


async def test_another_program_that_holds_the_database_is_not_waited_for_for_ever(
    store: SqliteStore, author: Author, tmp_path: Path
) -> None:
    await store.log.writer.run(lambda database: database.execute("PRAGMA busy_timeout = 20").fetchall())
    with by_hand(tmp_path) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="locked by another program"):
            await author.write("a", "x")
        other.execute("ROLLBACK")
    assert (await author.write("a", "x")).recorded[0].position == 1


async def test_an_edit_of_the_past_is_found(store: SqliteStore, author: Author, tmp_path: Path) -> None:
    await author.write("a", *(f"{number}" for number in range(700)))
    await store.log.verify()
    with by_hand(tmp_path) as other:
        other.execute("UPDATE events SET data = ? WHERE position = 600", (b'{"text":"another"}',))
    with pytest.raises(Broken) as caught:
        await store.log.verify()
    assert caught.value.position == 600


@pytest.mark.parametrize("position", [1, 3, 5])
async def test_a_deleted_event_is_found_and_its_position_never_given_again(
    tmp_path: Path, clock: SetClock, position: int
) -> None:
    store = await open_at(tmp_path, clock)
    for number in range(5):
        await Author(store.log, clock).write(f"{number}", "x")
    await store.close()
    with by_hand(tmp_path) as other:
        other.execute("DELETE FROM events WHERE position = ?", (position,))
    store = await open_at(tmp_path, clock)
    for _ in range(2):
        with pytest.raises(Broken) as caught:
            await store.log.verify()
        assert caught.value.position == position
        (recorded,) = (await Author(store.log, clock).write("new", "y")).recorded
        assert recorded.position > 5
    await store.close()


async def test_a_tail_steps_over_a_deleted_event(tmp_path: Path, clock: SetClock) -> None:
    store = await open_at(tmp_path, clock)
    for number in range(5):
        await Author(store.log, clock).write(f"{number}", "x")
    await store.close()
    with by_hand(tmp_path) as other:
        other.execute("DELETE FROM events WHERE position IN (2, 5)")
    store = await open_at(tmp_path, clock)
    await Author(store.log, clock).write("new", "y")
    seen: list[int] = []
    async for batch in store.log.tail(0):
        seen += [event.position for event in batch]
        if seen[-1] == 6:
            break
    assert seen == [1, 3, 4, 6]
    await store.close()


async def test_a_store_is_what_the_ports_say(store: SqliteStore) -> None:
    typed: Store = store
    assert typed.log is store.log
