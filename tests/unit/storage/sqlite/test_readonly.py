"""Reading a log beside the process that writes it, and without one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from executor.domain.errors import Unavailable
from executor.ports import EventQuery
from storage.open import open_readonly
from storage.sqlite.store import SqliteStore
from tests.contract.notes import AGGREGATES, CODEC, Author, SetClock
from tests.unit.storage.sqlite.conftest import open_at


async def test_a_reader_beside_the_writer_sees_what_is_acknowledged(
    store: SqliteStore, author: Author, tmp_path: Path
) -> None:
    await author.write("a", "one")
    reader = await open_readonly(tmp_path / "log.db", AGGREGATES, codec=CODEC)
    assert (reader.log.epoch, reader.log.head) == (store.log.epoch, 1)
    done = await author.write("a", "two")
    assert await reader.log.at(2) == done.recorded[0]
    assert await reader.log.load("note:a") == (done.state, 2)
    assert len(await reader.log.read(EventQuery(types=("note.*",)))) == 2
    assert await reader.log.verify() == await store.log.verify()
    await reader.close()


async def test_a_reader_follows_the_writer(store: SqliteStore, author: Author, tmp_path: Path) -> None:
    reader = await open_readonly(tmp_path / "log.db")

    async def follow() -> list[int]:
        seen: list[int] = []
        async for batch in reader.log.tail(0):
            seen += [event.position for event in batch]
            if len(seen) >= 3:
                break
        return seen

    following = asyncio.ensure_future(follow())
    await author.write("a", "one")
    await author.write("a", "two", "three")
    assert await following == [1, 2, 3]
    await reader.close()


async def test_a_log_that_nobody_writes_can_be_read_and_stays_as_it_is(tmp_path: Path, clock: SetClock) -> None:
    store = await open_at(tmp_path, clock)
    await Author(store.log, clock).write("a", *(f"{number}" for number in range(1000)))
    await store.close()
    before = (tmp_path / "log.db").read_bytes()
    reader = await open_readonly(tmp_path / "log.db")
    assert (await reader.log.verify()).position == reader.log.head == 1000
    await reader.close()
    assert (tmp_path / "log.db").read_bytes() == before
    with pytest.raises(Unavailable):
        await reader.log.at(1)


async def test_the_writer_checkpoints_beside_a_reader(store: SqliteStore, author: Author, tmp_path: Path) -> None:
    reader = await open_readonly(tmp_path / "log.db")
    for number in range(60):
        await asyncio.gather(*(author.write(f"{number} {other}", "x" * 100_000) for other in range(4)))
    assert (await reader.log.verify()).position == 240
    assert (tmp_path / "log.db").stat().st_size > 16_000_000
    await reader.close()
