from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from executor.domain.errors import Unavailable
from executor.ports import EventQuery, Recorded
from hub.entries import Batch
from hub.socket.outbox import Outbox
from tests.unit.hub.socket.casting import OTHER_EXECUTION, Reader, World, key, opened, until


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened(tmp_path) as world:
        yield world


def batch(*messages: bytes) -> Batch:
    return Batch(messages)


async def test_what_is_put_in_comes_out_in_order(world: World) -> None:
    outbox = Outbox(world.feed)
    outbox.send(b"1")
    assert outbox.offer(batch(b"2", b"3"))
    outbox.put(batch(b"4"))
    assert await outbox.take() == [b"1", b"2", b"3", b"4"]


async def test_what_was_taken_counts_as_unsent_until_the_next_take(world: World) -> None:
    outbox = Outbox(world.feed, max_bytes=10)
    assert outbox.offer(batch(b"123456789"))
    await outbox.take()
    assert outbox.unsent_bytes == 9
    assert not outbox.offer(batch(b"12"))
    outbox.send(b"x")
    assert outbox.is_full
    assert await outbox.take() == [b"x"]
    assert outbox.unsent_bytes == 1
    assert outbox.offer(batch(b"12"))


async def test_it_takes_no_more_messages_than_its_bound(world: World) -> None:
    outbox = Outbox(world.feed, max_messages=3)
    assert outbox.offer(batch(b"1", b"2"))
    assert not outbox.offer(batch(b"3", b"4"))
    assert outbox.offer(batch(b"3"))
    assert outbox.is_full


async def test_an_empty_one_takes_a_batch_of_any_size(world: World) -> None:
    outbox = Outbox(world.feed, max_bytes=1)
    assert outbox.offer(batch(b"123"))
    assert not outbox.offer(batch(b"4"))


async def test_taking_waits_for_something(world: World) -> None:
    outbox = Outbox(world.feed)
    taking = asyncio.create_task(outbox.take())
    await asyncio.sleep(0)
    assert not taking.done()
    outbox.send(b"1")
    assert await taking == [b"1"]


async def test_room_comes_when_what_was_taken_is_sent(world: World) -> None:
    outbox = Outbox(world.feed, max_messages=1)
    await outbox.room()
    outbox.send(b"1")
    waiting = asyncio.create_task(outbox.room())
    assert await outbox.take() == [b"1"]
    await asyncio.sleep(0)
    assert not waiting.done()
    taking = asyncio.create_task(outbox.take())
    await waiting
    outbox.send(b"2")
    await taking


async def test_finished_it_gives_the_rest_and_then_nothing_and_takes_nothing(world: World) -> None:
    outbox = Outbox(world.feed, max_messages=1)
    outbox.send(b"1")
    waiting = asyncio.create_task(outbox.room())
    await asyncio.sleep(0)
    outbox.finish()
    await waiting
    outbox.send(b"2")
    assert await outbox.take() == [b"1"]
    assert await outbox.take() == []
    assert await outbox.take() == []


async def test_finishing_wakes_who_takes(world: World) -> None:
    outbox = Outbox(world.feed)
    taking = asyncio.create_task(outbox.take())
    await asyncio.sleep(0)
    outbox.finish()
    assert await taking == []


async def test_those_behind_are_read_on_each_in_its_turn(world: World) -> None:
    for start in range(5):
        await world.author.write_lines(100, f"a{start}")
        await world.author.write_lines(100, f"b{start}", execution_id=OTHER_EXECUTION)
    world.start_anew()
    reader = Reader(world.feed)
    first, second = reader.subscribe(key(), 0), reader.subscribe(key(id=OTHER_EXECUTION), 0)
    while not (first.is_live and second.is_live):
        await reader.take()
        assert first.is_live or second.is_live or abs(first.position - second.position) < 700
    its_first, its_second = await world.said(key()), await world.said(key(id=OTHER_EXECUTION))
    assert [text for text in reader.got if text in set(its_first)] == its_first
    assert [text for text in reader.got if text in set(its_second)] == its_second
    assert len(reader.got) == 1000


async def test_a_log_that_is_away_is_waited_for_and_what_else_there_is_goes_out(world: World) -> None:
    await world.author.write_lines(1)
    world.start_anew()
    asked, read = 0, world.log.read

    async def away(query: EventQuery) -> list[Recorded]:
        nonlocal asked
        asked += 1
        raise Unavailable("away")

    world.log.read = away  # type: ignore[method-assign]
    reader = Reader(world.feed)
    subscription = reader.subscribe(key(), 0)
    async with reader.reading():
        await until(lambda: asked >= 1)
        reader.outbox.send(b"pong")
        await until(lambda: reader.got == [b"pong"])
        await until(lambda: asked >= 3)
        world.log.read = read  # type: ignore[method-assign]
        await until(lambda: subscription.is_live)
    assert reader.got == [b"pong", *await world.said(key())]


async def test_nobody_waits_for_a_log_that_is_away_once_all_is_over(world: World) -> None:
    await world.author.write_lines(1)
    world.start_anew()

    async def away(query: EventQuery) -> list[Recorded]:
        outbox.finish()
        raise Unavailable("away")

    world.log.read = away  # type: ignore[method-assign]
    outbox = Outbox(world.feed)
    world.feed.subscribe(key(), outbox, after=0)
    assert await outbox.take() == []
