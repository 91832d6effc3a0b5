"""Appends: versions, several streams at once, ids that come again, positions and times, and bad neighbours."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from executor.domain.events.execution import LogWritten
from executor.domain.values import Instant
from executor.ports import NEW, Conflict, EventQuery, Metadata, Recorded, Store
from storage.codec import GENESIS, verify
from storage.errors import Broken, RepeatedInPart, UnknownStream, Unstorable
from tests.contract.conftest import Opener, opened
from tests.contract.notes import CODEC, ORG, Author, Note, NoteCursed, NoteWritten, SetClock


async def everything(store: Store) -> list[Recorded]:
    return await store.log.read(EventQuery(limit=100_000))


async def test_an_empty_log_has_an_epoch_and_no_head(store: Store) -> None:
    assert len(store.log.epoch) == 26
    assert store.log.head == 0
    assert await everything(store) == []
    assert await store.log.at(1) is None
    assert await store.log.load("note:a") == (Note(), NEW)


async def test_what_was_appended_can_be_read_with_all_that_was_said(store: Store, author: Author) -> None:
    metadata = Metadata(actor="api_key:K", request_id="r", correlation_id="c", causation_id="b")
    part = author.part("a", "one", "two", workflow_id="W", execution_id="X")
    (done,) = await store.log.append((part,), metadata)
    first, second = done.recorded
    assert (first.position, second.position, store.log.head) == (1, 2, 2)
    assert (first.version, second.version, done.version) == (1, 2, 2)
    assert [first.id, second.id] == [event.id for event in part.events]
    assert (first.type, first.schema, first.time) == ("note.written", 1, author.clock.at)
    assert (first.stream, first.organization_id, first.workflow_id, first.execution_id) == ("note:a", ORG, "W", "X")
    assert (first.data, first.metadata) == (b'{"text":"one"}', metadata)
    assert done.state.texts == ("one", "two")
    assert not done.repeated
    assert await everything(store) == [first, second]
    assert await store.log.stream("note:a") == [first, second]
    assert await store.log.stream("note:a", 1) == [second]
    assert await store.log.at(2) == second


async def test_load_folds_what_append_folded(store: Store, author: Author) -> None:
    done = await author.write("a", "one", "two")
    assert await store.log.load("note:a") == (done.state, 2)
    later = await author.write("a", "three")
    assert await store.log.load("note:a", (done.state, 2)) == (later.state, 3)
    assert await store.log.load("note:a", (later.state, 3)) == (later.state, 3)


async def test_load_folds_long_streams(store: Store, author: Author) -> None:
    texts = [f"{number}" for number in range(700)]
    await author.write("a", *texts)
    state, version = await store.log.load("note:a")
    assert (list(state.texts), version) == (texts, 700)


async def test_events_of_the_real_catalogue_are_kept(store: Store, author: Author) -> None:
    event = LogWritten(level="info", message="done", metadata={"a": [1, 2.5, None, True]})
    (recorded,) = (await author.write("a", event)).recorded
    assert CODEC.decode(recorded.type, recorded.schema, recorded.data) == event


async def test_an_append_at_another_version_conflicts_and_writes_nothing(store: Store, author: Author) -> None:
    await author.write("a", "one")
    for expected in (NEW, 2):
        with pytest.raises(Conflict) as caught:
            await store.log.append((author.part("a", "two", expected=expected),))
        assert (caught.value.stream, caught.value.expected, caught.value.actual) == ("note:a", expected, 1)
    assert store.log.head == 1


async def test_of_those_who_race_for_a_version_one_wins(store: Store, author: Author) -> None:
    tries = [
        store.log.append((author.part("a", f"{number}"), author.part(f"own{number}", "x"))) for number in range(20)
    ]
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(result, Conflict) for result in results) == 19
    assert [event.position for event in await everything(store)] == [1, 2]


async def test_a_loser_leaves_its_batch_alone(store: Store, author: Author) -> None:
    await author.write("taken", "x")
    tries = [
        store.log.append((author.part("taken" if number % 3 == 0 else f"{number}", "x"),)) for number in range(60)
    ]
    results = await asyncio.gather(*tries, return_exceptions=True)
    for number, result in enumerate(results):
        assert isinstance(result, Conflict if number % 3 == 0 else tuple)
    assert [event.position for event in await everything(store)] == list(range(1, 42))


async def test_several_streams_are_appended_together_or_not_at_all(store: Store, author: Author) -> None:
    await author.write("b", "x")
    with pytest.raises(Conflict):
        await store.log.append((author.part("a", "one"), author.part("b", "two"), author.part("c", "three")))
    assert store.log.head == 1
    a, b = await store.log.append((author.part("a", "one"), author.part("c", "three", "four")))
    assert [event.position for event in (*a.recorded, *b.recorded)] == [2, 3, 4]
    assert (a.version, b.version) == (1, 2)


async def test_a_guard_holds_a_version_without_writing(store: Store, author: Author) -> None:
    await author.write("a", "one")
    with pytest.raises(Conflict):
        await store.log.append((author.part("b", "x"), author.part("a", expected=2)))
    with pytest.raises(Conflict):
        await store.log.append((author.part("a", expected=NEW),))
    done, guard = await store.log.append((author.part("b", "x"), author.part("a", expected=1)))
    assert (done.version, guard.version, guard.recorded) == (1, 1, ())
    (alone,) = await store.log.append((author.part("a", expected=1),))
    assert (alone.version, alone.recorded, store.log.head) == (1, (), 2)


async def test_of_a_guard_and_a_write_in_one_batch_the_later_sees_the_earlier(store: Store, author: Author) -> None:
    write = store.log.append((author.part("a", "x"),))
    guarded = store.log.append((author.part("b", "x"), author.part("a", expected=NEW)))
    first, second = await asyncio.gather(write, guarded, return_exceptions=True)
    assert isinstance(first, tuple)
    assert isinstance(second, Conflict)


async def test_the_same_ids_again_return_the_first_result(store: Store, author: Author) -> None:
    part = author.part("a", "one", "two", ids=["E1", "E2"])
    (first,) = await store.log.append((part,))
    await author.write("a", "three")
    (again,) = await store.log.append((part,))
    assert again.repeated
    assert (again.recorded, again.version, again.state) == (first.recorded, 2, first.state)
    assert store.log.head == 3


async def test_a_repeat_needs_no_version_and_may_say_something_else(store: Store, author: Author) -> None:
    (first,) = await store.log.append((author.part("a", "one", ids=["E1"]),))
    await author.write("a", "two")
    (again,) = await store.log.append((author.part("a", "other", expected=2, ids=["E1"]),))
    assert again.repeated
    assert again.recorded == first.recorded
    assert again.state.texts == ("one",)


async def test_ids_repeated_in_one_batch_are_written_once(store: Store, author: Author) -> None:
    part, guard = author.part("a", "one", ids=["E1"]), author.part("g", expected=NEW)
    results = await asyncio.gather(*(store.log.append((part, guard)) for _ in range(10)))
    assert sorted(result[0].repeated for result in results) == [False] + [True] * 9
    assert {result[0].recorded for result in map(tuple, results)} == {results[0][0].recorded}
    assert all(result[0].state.texts == ("one",) for result in results)
    assert store.log.head == 1


async def test_ids_that_are_only_partly_there_are_an_error(store: Store, author: Author) -> None:
    await author.write("a", "one", ids=["E1"])
    for part in (author.part("a", "one", "two", ids=["E1", "E2"]), author.part("b", "one", ids=["E1"])):
        with pytest.raises(RepeatedInPart, match="E1"):
            await store.log.append((part,))
    assert store.log.head == 1


async def test_repeats_survive_a_restart(opener: Opener, tmp_path: Path, clock: SetClock) -> None:
    async with opened(opener, tmp_path, clock) as store:
        author = Author(store.log, clock)
        part, epoch = author.part("a", "one", ids=["E1"]), store.log.epoch
        (first,) = await store.log.append((part,))
    async with opened(opener, tmp_path, clock) as store:
        (again,) = await store.log.append((part,))
        assert (again.repeated, again.recorded, again.state) == (True, first.recorded, first.state)
        assert (store.log.epoch, store.log.head) == (epoch, 1)


async def test_positions_are_dense_whatever_fails_between(store: Store, author: Author) -> None:
    async def write(number: int) -> None:
        for turn in range(5):
            event = NoteCursed(how="evolve") if (number + turn) % 4 == 0 else "fine"
            expected = 99 if (number + turn) % 7 == 0 else NEW
            part = author.part(f"{number}-{turn}", event, "more", expected=expected)
            await asyncio.gather(store.log.append((part,)), return_exceptions=True)

    await asyncio.gather(*(write(number) for number in range(30)))
    recorded = await everything(store)
    assert [event.position for event in recorded] == list(range(1, len(recorded) + 1))
    assert len(recorded) > 150
    assert verify(recorded).position == store.log.head


async def test_time_never_runs_backwards(store: Store, author: Author, clock: SetClock) -> None:
    (first,) = (await author.write("a", "one")).recorded
    clock.move(-3600)
    (second,) = (await author.write("a", "two")).recorded
    assert second.time == first.time
    assert (await store.log.load("note:a"))[0].updated_at == first.time
    later = clock.move(7200)
    (third,) = (await author.write("a", "three")).recorded
    assert third.time == later


async def test_time_does_not_run_backwards_after_a_restart(opener: Opener, tmp_path: Path, clock: SetClock) -> None:
    async with opened(opener, tmp_path, clock) as store:
        await Author(store.log, clock).write("a", "one")
    early = SetClock(Instant("2001-01-01T00:00:00.000Z"))
    async with opened(opener, tmp_path, early) as store:
        (second,) = (await store.log.append((Author(store.log, clock).part("b", "two"),)))[0].recorded
        assert second.time == clock.at
        assert verify(await everything(store)).position == 2


@pytest.mark.parametrize("how", ["evolve", "rows"])
async def test_an_aggregate_that_raises_fails_only_its_append(store: Store, author: Author, how: str) -> None:
    parts = [author.part(f"{number}", NoteCursed(how=how) if number == 3 else "fine") for number in range(10)]
    results = await asyncio.gather(*(store.log.append((part,)) for part in parts), return_exceptions=True)
    assert [isinstance(result, ZeroDivisionError) for result in results] == [number == 3 for number in range(10)]
    assert store.log.head == 9


async def test_a_row_that_cannot_be_stored_fails_only_its_append(store: Store, author: Author) -> None:
    parts = [author.part(f"{number}", NoteCursed(how="value") if number == 3 else "fine") for number in range(10)]
    results = await asyncio.gather(*(store.log.append((part,)) for part in parts), return_exceptions=True)
    assert [isinstance(result, Unstorable) for result in results] == [number == 3 for number in range(10)]
    assert verify(await everything(store)).position == store.log.head == 9
    assert (await author.write("3", "now fine")).version == 1


async def test_a_cancelled_caller_harms_nobody_and_may_be_appended_all_the_same(store: Store, author: Author) -> None:
    tasks = [asyncio.ensure_future(store.log.append((author.part(f"{number}", "x"),))) for number in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, tuple) for result in results[1::2])
    assert all(isinstance(result, asyncio.CancelledError) for result in results[::2])
    await author.write("last", "x")
    streams = {event.stream for event in await everything(store)}
    assert streams == {f"note:{number}" for number in range(20)} | {"note:last"}


async def test_text_is_kept_byte_for_byte(store: Store, author: Author) -> None:
    odd = '\0 \x01 \u2028 \ufffe \U0001f600 e\u0301 \u202e \\u0000 "quoted" \'); DROP TABLE events; --'
    done = await author.write(f"odd {odd}", odd, actor=odd, workflow_id=odd)
    (read,) = await store.log.stream(f"note:odd {odd}")
    assert read == done.recorded[0]
    assert read.data == CODEC.encode(NoteWritten(text=odd))
    assert (read.workflow_id, read.metadata.actor) == (odd, odd)
    assert (await store.log.load(f"note:odd {odd}"))[0].texts == (odd,)
    assert verify(await everything(store)).position == 1


async def test_a_mebibyte_is_kept(store: Store, author: Author) -> None:
    texts = [character * 1024 * 1024 for character in "abcdefgh"]
    await asyncio.gather(*(author.write(text[0], text) for text in texts))
    recorded = await everything(store)
    assert sorted(len(event.data) for event in recorded) == [1024 * 1024 + 11] * 8
    assert verify(recorded).position == 8


async def test_the_chain_proves_what_was_written_and_names_what_was_changed(store: Store, author: Author) -> None:
    for number in range(5):
        await author.write(f"{number % 2}", f"{number}")
    recorded = await everything(store)
    assert verify(recorded).hash == recorded[-1].hash
    assert verify(recorded[3:], after=verify(recorded[:3])) == verify(recorded, GENESIS)
    changed = [*recorded[:2], replace(recorded[2], data=b'{"text":"other"}'), *recorded[3:]]
    with pytest.raises(Broken, match="position 3"):
        verify(changed)


@pytest.mark.parametrize("stream", ["unknown:a", "note", "note:", ":a", ""])
async def test_a_stream_without_an_aggregate_is_refused(store: Store, author: Author, stream: str) -> None:
    with pytest.raises(UnknownStream):
        await store.log.load(stream)


async def test_what_makes_no_sense_is_refused_before_the_batch(store: Store, author: Author) -> None:
    with pytest.raises(ValueError, match="stream"):
        await store.log.append((author.part("a", "x"), author.part("a", "y")))
    with pytest.raises(ValueError, match="id"):
        await store.log.append((author.part("a", "x", ids=["E"]), author.part("b", "y", ids=["E"])))
    assert store.log.head == 0
    assert (await store.log.append(())) == ()
