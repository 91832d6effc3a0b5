from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

import hub.entries
import hub.feed
from executor.ports import EventQuery, Recorded
from hub.channels import ANY, Key, Wish
from hub.entries import entry_of
from hub.feed import PAGE_BYTES
from hub.messages import Channel, message
from storage.sqlite.log import SqliteLog
from tests.unit.hub.socket.casting import (
    EXECUTION,
    ORGANIZATION,
    OTHER_EXECUTION,
    WORKFLOW,
    Reader,
    World,
    completed,
    failed,
    fired,
    key,
    line,
    opened,
    revoked,
    started,
    until,
)

EVENTS = key(Channel.EVENTS, ANY)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened(tmp_path) as world:
        yield world


def positions(messages: list[bytes]) -> list[int]:
    return [json.loads(text)["position"] for text in messages]


async def test_all_subscribers_get_the_very_same_bytes(world: World) -> None:
    readers = [Reader(world.feed) for _ in range(4)]
    for reader, wanted in zip(readers, [key(), key(), key(id=ANY), key(id=ANY)], strict=True):
        reader.subscribe(wanted, 0)
    async with world.following():
        await world.author.write(started(), fired(), completed({"rows": 3}))
        for reader in readers:
            await reader.take()
    assert readers[0].got == await world.said(key())
    assert len(readers[0].got) == 2
    for reader in readers[1:]:
        assert all(ours is theirs for ours, theirs in zip(reader.got, readers[0].got, strict=True))


async def test_nothing_is_encoded_where_nobody_listens(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[tuple[int, Channel]] = []

    def counted(recorded: Recorded, channel: Channel) -> bytes | None:
        encoded.append((recorded.position, channel))
        return message(recorded, channel)

    monkeypatch.setattr(hub.entries, "message", counted)
    readers = [Reader(world.feed) for _ in range(3)]
    for reader in readers:
        reader.subscribe(key(id=OTHER_EXECUTION), 0)
    async with world.following():
        await world.author.write(started(), line())
        (other,) = await world.author.write(started(), execution_id=OTHER_EXECUTION)
        await world.dispatched()
    assert encoded == [(other.position, Channel.EXECUTION)]


async def test_a_workflow_s_channel_has_it_and_all_its_executions(world: World) -> None:
    reader = Reader(world.feed)
    reader.subscribe(key(Channel.WORKFLOW, WORKFLOW), 0)
    async with world.following():
        await world.author.write(started())
        await world.author.write(started(), execution_id=OTHER_EXECUTION)
        await world.author.write(started(), execution_id="01HQEXEC3ZZZZZZZZZZZZZZZZZ", workflow_id="01HQ0THER")
        await world.dispatched()
        await reader.take()
    assert positions(reader.got) == [1, 2]


@pytest.mark.parametrize("is_live", [True, False])
async def test_an_organization_never_gets_another_s(world: World, is_live: bool) -> None:
    wanted = [EVENTS, key(), key(id=ANY), key(Channel.WORKFLOW, WORKFLOW), key(Channel.WORKFLOW, ANY)]
    readers = [Reader(world.feed) for _ in wanted]

    def subscribe() -> None:
        for reader, channel in zip(readers, wanted, strict=True):
            reader.subscribe(channel, 0)

    async with world.following():
        if is_live:
            subscribe()
        await world.author.write(started(), organization_id="01HQSTRANGERZZZZZZZZZZZZZZ", stream="execution:x")
        await world.author.write(line("ours"))
        await world.dispatched()
        if not is_live:
            subscribe()
        for reader in readers:
            await reader.take()
            assert positions(reader.got) == [2]


@pytest.mark.parametrize("is_live", [True, False])
async def test_a_subscription_gets_only_the_types_it_wants(world: World, is_live: bool) -> None:
    reader, types = Reader(world.feed), frozenset({"component.failed", "timer.fired"})
    async with world.following():
        if is_live:
            reader.subscribe(EVENTS, 0, types)
            reader.subscribe(key(), 0, types)
        await world.author.write(started(), failed(), fired(), line())
        await world.dispatched()
        if not is_live:
            reader.subscribe(EVENTS, 0, types)
            reader.subscribe(key(), 0, types)
        while len(reader.got) < 3:
            await reader.take()
    by_channel = {
        name: [text for text in reader.got if json.loads(text)["channel"] == name]
        for name in ("events", f"execution:{EXECUTION}")
    }
    assert by_channel["events"] == await world.said(EVENTS, types=types)
    assert by_channel[f"execution:{EXECUTION}"] == await world.said(key(), types=types)


async def test_who_subscribes_at_a_head_that_the_feed_has_not_reached_gets_only_what_is_later(world: World) -> None:
    await world.author.write_lines(5)
    assert world.feed.position == 0
    reader = Reader(world.feed)
    subscription = reader.subscribe(key(), 5)
    assert subscription.position == 5
    async with world.following():
        await world.author.write(line("later"))
        await world.dispatched()
    await reader.take()
    assert positions(reader.got) == [6]


CHANNELS = [EVENTS, key(), key(id=ANY), key(Channel.WORKFLOW, WORKFLOW), key(Channel.WORKFLOW, ANY)]


@pytest.mark.parametrize("channel", CHANNELS, ids=lambda channel: channel.name)
async def test_since_any_position_all_that_was_missed_comes_and_then_the_live_ones(
    world: World, channel: Key
) -> None:
    """While others write, and with more than the ring remembers."""
    random_ = random.Random(7)
    for _ in range(30):
        await world.author.write(*random_.choices([started(), line(), fired(), failed()], k=50))
    world.start_anew()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(world.following())
        readers = {since: Reader(world.feed) for since in range(0, 1500, 73)}
        writing = asyncio.create_task(world.author.write_lines(1500, execution_id=OTHER_EXECUTION))
        for since, reader in readers.items():
            reader.subscribe(channel, since)
            await stack.enter_async_context(reader.reading())
            await asyncio.sleep(0)
        await writing
        await world.dispatched()
        await world.author.write(line("the end"))
        everything = await world.said(channel)
        for since, reader in readers.items():
            expected = [text for text, at in zip(everything, positions(everything), strict=True) if at > since]
            await until(lambda reader=reader, expected=expected: len(reader.got) >= len(expected))  # type: ignore[misc]
            assert reader.got == expected


async def test_one_who_reads_slower_than_others_write_arrives_all_the_same(world: World) -> None:
    """Each page of the log takes its time, in which more is written than the page has."""
    await world.author.write_lines(50)
    read, reading, go = world.log.read, asyncio.Event(), asyncio.Event()

    async def slow(query: EventQuery) -> list[Recorded]:
        found = await read(query)
        if not query.descending:  # Else it is the feed's own reading, when it begins.
            reading.set()
            await go.wait()
        return found

    world.start_anew()
    reader = Reader(world.feed)
    world.log.read = slow  # type: ignore[method-assign]
    subscription = reader.subscribe(key(), 0)
    async with world.following(), reader.reading():
        while not subscription.is_live:
            reading.clear()
            go.clear()
            await until(lambda: reading.is_set() or subscription.is_live)
            await world.author.write_lines(20)
            await world.dispatched()
            go.set()
        world.log.read = read  # type: ignore[method-assign]
        expected = await world.said(key())
        await until(lambda: len(reader.got) >= len(expected))
    assert reader.got == expected


async def test_what_was_archived_is_not_told_from_memory(world: World) -> None:
    """The feed still remembers the event; the log has only its envelope."""
    remembering, reading = Reader(world.feed), Reader(world.feed)
    async with world.following():
        await world.author.write(started(), line("secret"))
        await until(lambda: world.feed.position == world.log.head)
        await blanked(world)
        remembering.subscribe(EVENTS, 0)
        await remembering.take()
        world.feed.subscribe(EVENTS, reading.outbox, after=0, is_lost=True)
        await reading.take()
        assert [json.loads(text)["data"]["data"] for text in reading.got] == [None, None]
        assert positions(reading.got) == positions(remembering.got)
        await world.author.write(line("later"))
        await reading.take()
        assert json.loads(reading.got[-1])["data"]["data"]["message"] == "later"


async def blanked(world: World) -> None:
    assert isinstance(world.log, SqliteLog)
    await world.log.writer.run(lambda db: db.execute("UPDATE events SET data = x''"))


async def test_a_full_sink_is_set_aside_costs_its_bound_and_then_reads_on_in_order(world: World) -> None:
    slow, quick = Reader(world.feed, max_messages=250, max_bytes=40_000), Reader(world.feed)
    subscription = slow.subscribe(key(), 0)
    quick.subscribe(key(), 0)
    async with world.following(), quick.reading():
        for _ in range(20):
            await world.author.write_lines(100)
            assert slow.outbox.unsent_bytes <= 40_000
        await world.dispatched()
        expected = await world.said(key())
        await until(lambda: len(quick.got) == len(expected))
        assert quick.got == expected
        assert not subscription.is_live
        assert subscription.position < 300
        while not subscription.is_live:
            await slow.take()
            assert slow.outbox.unsent_bytes < 40_000 + 2 * PAGE_BYTES
        async with slow.reading():
            await world.author.write(line("live again"))
            expected = await world.said(key())
            await until(lambda: len(slow.got) == len(expected))
            assert slow.got == expected


async def test_a_message_larger_than_the_bound_arrives(world: World) -> None:
    reader = Reader(world.feed, max_bytes=1000)
    reader.subscribe(EVENTS, 0)
    async with world.following():
        await world.author.write(line("x" * 5000), line("y" * 5000), line("z"))
        while len(reader.got) < 3:
            await reader.take()
    assert reader.got == await world.said(EVENTS)


async def test_pages_grow_with_small_events_and_shrink_with_large_ones(world: World) -> None:
    for _ in range(20):
        await world.author.write(*(completed("x" * 100_000) for _ in range(5)))
    await world.author.write_lines(1000, execution_id=OTHER_EXECUTION)
    world.start_anew()
    asked: list[int] = []
    read = world.log.read

    async def noted(query: EventQuery) -> list[Recorded]:
        asked.append(query.limit)
        return await read(query)

    world.log.read = noted  # type: ignore[method-assign]
    reader = Reader(world.feed)
    subscription = reader.subscribe(EVENTS, 0)
    while not subscription.is_live:
        await world.feed.catch_up(subscription)
        await reader.take()
    assert asked[0] == 16
    assert min(asked) <= 3
    assert asked[-1] >= 128
    assert len(reader.got) == 1100


async def test_after_unsubscribing_nothing_comes_not_even_a_page_that_was_being_read(world: World) -> None:
    await world.author.write_lines(10)
    world.start_anew()
    reader = Reader(world.feed)
    subscription = reader.subscribe(key(), 0)
    catching_up = asyncio.create_task(world.feed.catch_up(subscription))
    await asyncio.sleep(0)
    world.feed.unsubscribe(subscription)
    world.feed.unsubscribe(subscription)
    await catching_up
    await world.feed.catch_up(subscription)
    live = reader.subscribe(key(), 10)
    world.feed.unsubscribe(live)
    async with world.following():
        await world.author.write(line())
        await world.dispatched()
    assert reader.outbox.unsent_bytes == 0
    assert world.feed.live_count == 0


async def test_a_feed_that_was_stopped_goes_on_where_it_was(world: World) -> None:
    reader = Reader(world.feed)
    reader.subscribe(key(), 0)
    async with reader.reading():
        for _ in range(5):
            async with world.following():
                writing = asyncio.create_task(world.author.write_lines(500))
                seen = world.feed.position
                await until(lambda seen=seen: world.feed.position > seen)  # type: ignore[misc]
            await writing
        async with world.following():
            await world.dispatched()
        expected = await world.said(key())
        await until(lambda: len(reader.got) >= len(expected))
    assert reader.got == expected


async def test_the_feed_ends_when_the_log_closes(tmp_path: Path) -> None:
    async with opened(tmp_path) as world:
        running = asyncio.create_task(world.feed.run())
        await world.author.write(line())
        await world.dispatched()
    await asyncio.wait_for(running, 10)


async def test_data_that_cannot_be_read_stops_nobody(world: World) -> None:
    reader = Reader(world.feed)
    reader.subscribe(key(), 0)
    (first, second) = await world.author.write(started(), line())
    broken: Any = type(first)(**{name: getattr(first, name) for name in first.__struct_fields__} | {"data": b"{}"})
    list(world.feed._dispatch([entry_of(broken), entry_of(second)]))
    await reader.take()
    assert positions(reader.got) == [2]
    assert world.feed.position == 2


async def test_the_latest_from_the_log_is_the_latest_of_what_is_wanted(world: World) -> None:
    """What is not wanted does not take the place of what is, over however many pages."""
    await world.author.write(line("wanted"))
    await world.author.write(*(line("other") for _ in range(40)))
    world.start_anew()
    reader = Reader(world.feed)
    wish = Wish(condition="data.message == 'wanted'", is_latest=True)
    subscription = world.feed.subscribe(key(), reader.outbox, after=0, wish=wish)
    await reader.take()
    assert subscription.is_live
    assert positions(reader.got) == [1]


async def test_a_watcher_that_breaks_harms_nobody(world: World) -> None:
    def broken(recorded: Recorded) -> None:
        raise RuntimeError("broken")

    seen: list[int] = []
    world.feed.watch("log.written", broken)
    world.feed.watch("log.written", lambda recorded: seen.append(recorded.position))
    reader = Reader(world.feed)
    reader.subscribe(key(), 0)
    async with world.following():
        await world.author.write(line("1"))
        await world.author.write(line("2"))
        await world.dispatched()
        await reader.take()
    assert positions(reader.got) == seen == [1, 2]


async def test_a_message_that_cannot_be_made_is_left_out_and_harms_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(recorded: Recorded, channel: Channel) -> bytes | None:
        if recorded.position == 2 and channel is Channel.WORKFLOW:
            raise KeyError("broken")
        return message(recorded, channel)

    monkeypatch.setattr(hub.entries, "message", made)
    reader = Reader(world.feed)
    for wanted in (key(Channel.WORKFLOW, WORKFLOW), key(), EVENTS):
        reader.subscribe(wanted, 0)
    async with world.following():
        for n in range(3):
            await world.author.write(line(str(n)))
        await world.dispatched()
        await reader.take()
    assert sorted(positions(reader.got)) == [1, 1, 1, 2, 2, 3, 3, 3]


async def test_an_event_whose_channels_cannot_be_told_does_not_hold_up_the_feed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys_of = hub.entries.keys_of

    def broken(recorded: Recorded) -> Iterator[Key]:
        if recorded.position == 1:
            raise KeyError("broken")
        return keys_of(recorded)

    monkeypatch.setattr(hub.entries, "keys_of", broken)
    reader = Reader(world.feed)
    reader.subscribe(key(), 0)
    async with world.following():
        await world.author.write(line("1"))
        await world.author.write(line("2"))
        await world.dispatched()
        await reader.take()
    assert positions(reader.got) == [2]


async def test_who_watches_a_type_sees_it_of_every_organization(world: World) -> None:
    seen: list[str] = []
    world.feed.watch("apikey.revoked", lambda recorded: seen.append(recorded.stream))
    async with world.following():
        for organization in (ORGANIZATION, "01HQSTRANGERZZZZZZZZZZZZZZ"):
            await world.author.write(
                revoked(),
                stream=f"apikey:{organization}",
                organization_id=organization,
                execution_id=None,
                workflow_id=None,
            )
        await world.author.write(line())
        await world.dispatched()
    assert seen == [f"apikey:{ORGANIZATION}", "apikey:01HQSTRANGERZZZZZZZZZZZZZZ"]


def test_a_channel_is_named_as_clients_see_it() -> None:
    assert [channel.name for channel in CHANNELS] == [
        "events",
        f"execution:{EXECUTION}",
        "execution:*",
        f"workflow:{WORKFLOW}",
        "workflow:*",
    ]


async def test_many_conditions_are_judged_in_many_turns_of_the_loop(world: World) -> None:
    """So that nobody holds the loop with them, whatever each may cost."""
    reader, turns = Reader(world.feed), 0
    conditions = [f"data.message == 'hello {n}'" for n in range(8)]
    for condition in conditions:
        world.feed.subscribe(key(), reader.outbox, after=0, wish=Wish(condition=condition))

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    await world.author.write_lines(100)
    counting = asyncio.create_task(count())
    async with world.following(), reader.reading():
        await until(lambda: len(reader.got) == len(conditions))
    counting.cancel()
    assert turns > 100 * len(conditions) / 10


async def test_a_feed_that_begins_remembers_the_newest_so_that_nobody_who_comes_back_reads_the_log(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(6):
        await world.author.write_lines(100)
        await world.author.write(completed("x" * 100_000))
    world.start_anew()
    async with world.following():
        await until(lambda: not world.feed._ring.is_empty)
        monkeypatch.setattr(world.log, "read", None)
        readers = {since: Reader(world.feed) for since in (0, 1, 300, 605, 606)}
        for since, reader in readers.items():
            subscription = reader.subscribe(EVENTS, since)
            while not subscription.is_live:
                await reader.take()
    monkeypatch.undo()
    for since, reader in readers.items():
        assert reader.got == await world.said(EVENTS, since)


async def test_what_a_feed_remembers_at_its_beginning_is_bounded_in_bytes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub.feed, "RING_BYTES", 300_000)
    for _ in range(20):
        await world.author.write(completed("x" * 100_000))
    world.start_anew()
    asked: list[int] = []
    read = world.log.read

    async def noted(query: EventQuery) -> list[Recorded]:
        found = await read(query)
        asked.append(len(found))
        return found

    monkeypatch.setattr(world.log, "read", noted)
    async with world.following():
        await until(lambda: not world.feed._ring.is_empty)
    assert asked == [16]
    assert world.feed._ring.start == 4
