"""Following the log: from any position, no gap and no repeat, whatever is being appended meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from executor.domain.values import plus
from executor.ports import Recorded, Store
from tests.contract.conftest import Opener, opened
from tests.contract.notes import START, Author, SetClock


async def follow(store: Store, after: int, until: int) -> list[Recorded]:
    """What a tail gives, up to a position."""
    seen: list[Recorded] = []
    async for batch in store.log.tail(after):
        assert batch
        seen += batch
        if seen[-1].position >= until:
            break
    return seen


async def storm(author: Author, streams: int, turns: int) -> None:
    async def write(stream: int) -> None:
        for turn in range(turns):
            await author.write(f"{stream}", f"{turn}")

    await asyncio.gather(*(write(stream) for stream in range(streams)))


@pytest.mark.parametrize("after", [0, 1, 57, 99, 100])
async def test_a_tail_from_the_past_joins_the_present(store: Store, author: Author, after: int) -> None:
    await storm(author, 10, 10)
    tail = asyncio.ensure_future(follow(store, after, 200))
    await storm(author, 10, 10)
    assert [event.position for event in await tail] == list(range(after + 1, 201))


async def test_many_tails_during_a_storm_see_everything_once(store: Store, author: Author) -> None:
    tails = [asyncio.ensure_future(follow(store, after * 10, 1000)) for after in range(20)]
    await storm(author, 50, 20)
    for after, tail in enumerate(tails):
        assert [event.position for event in await tail] == list(range(after * 10 + 1, 1001))


async def test_a_tail_of_before_this_process_reads_the_disk(opener: Opener, tmp_path: Path, clock: SetClock) -> None:
    async with opened(opener, tmp_path, clock) as store:
        await Author(store.log, clock).write("a", *(f"{number}" for number in range(1500)))
    async with opened(opener, tmp_path, clock) as store:
        author = Author(store.log, clock)
        (last,) = (await author.write("b", "x")).recorded
        seen = await follow(store, 3, last.position)
        assert [event.position for event in seen] == list(range(4, 1502))
        assert seen[-1] == last


async def test_a_slow_reader_falls_behind_the_ring_and_misses_nothing(store: Store, author: Author) -> None:
    seen: list[Recorded] = []
    tail = store.log.tail(0)
    await author.write("a", "first")
    async for batch in tail:
        seen += batch
        if len(seen) == 1:
            await author.write("a", *(f"{number}" for number in range(6000)))
        if len(seen) > 6000:
            break
    assert [event.position for event in seen] == list(range(1, 6002))


async def test_large_events_come_in_batches_that_fit_in_memory(
    opener: Opener, tmp_path: Path, clock: SetClock
) -> None:
    async with opened(opener, tmp_path, clock) as store:
        author = Author(store.log, clock)
        await asyncio.gather(*(author.write(f"{number}", "x" * 1024 * 1024) for number in range(24)))
    async with opened(opener, tmp_path, clock) as store:
        batches: list[Sequence[Recorded]] = []
        async for batch in store.log.tail(0):
            batches.append(batch)
            if batch[-1].position == 24:
                break
        assert sum(map(len, batches)) == 24
        assert max(map(len, batches)) <= 8


async def test_a_tail_from_the_future_waits_for_it(store: Store, author: Author) -> None:
    tail = asyncio.ensure_future(follow(store, 5, 7))
    for number in range(7):
        await author.write("a", f"{number}")
    assert [event.position for event in await tail] == [6, 7]


async def test_each_append_is_told_of_with_the_head(store: Store, author: Author) -> None:
    told: list[int] = []
    store.log.on_append(told.append)
    await author.write("a", "x", "y")
    await author.write("a", "z")
    store.log.notice(7)
    assert told == [2, 3]


async def test_a_hint_moves_the_head_and_one_that_lies_is_found_out(store: Store, author: Author) -> None:
    await author.write("a", "x")
    store.log.notice(3)
    assert store.log.head == 3
    store.log.notice(2)
    assert store.log.head == 3
    tail = asyncio.ensure_future(follow(store, 1, 2))
    async with asyncio.timeout(10):
        while store.log.head != 1:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0)  # The tail waits again; one that spins would never let go of the loop.
        await author.write("a", "y")
        assert [event.position for event in await tail] == [2]


async def test_a_tail_ends_when_the_log_closes(opener: Opener, tmp_path: Path, clock: SetClock) -> None:
    async with opened(opener, tmp_path, clock) as store:
        await Author(store.log, clock).write("a", "x")
        tails = [asyncio.ensure_future(follow(store, after, 10)) for after in range(3)]
        await Author(store.log, clock).write("a", "y")
    assert [len(await tail) for tail in tails] == [2, 1, 0]


async def test_a_time_is_a_position(store: Store, author: Author, clock: SetClock) -> None:
    assert await store.log.position_at(clock.now()) == 0
    times = []
    for number in range(5):
        times.append(clock.move(1))
        await author.write("a", f"{number}", f"{number}")
    assert await store.log.position_at(START) == 0
    assert [await store.log.position_at(time) for time in times] == [2, 4, 6, 8, 10]
    assert await store.log.position_at(plus(times[1], 0.999)) == 4
    assert await store.log.position_at(plus(times[-1], 100)) == 10


async def test_a_stream_as_of_a_position(store: Store, author: Author) -> None:
    for number in range(3):
        await author.write("a", f"{number}")
        await author.write("b", f"{number}")
    folds = [await store.log.load("note:a", through=position) for position in range(7)]
    expected = [((), 0), (("0",), 1), (("0",), 1), (("0", "1"), 2), (("0", "1"), 2)]
    assert [(fold.texts, version) for fold, version in folds[:5]] == expected
    assert await store.log.refresh() == store.log.head == 6
