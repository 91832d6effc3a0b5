from __future__ import annotations

import asyncio

import pytest

from hub.client.live.inbox import MOST_BYTES, MOST_MESSAGES, Ended, Inbox
from hub.client.live.message import Message, Wish
from hub.client.live.protocol import Course


def inbox(position: int | None = 0) -> Inbox:
    return Inbox(Course(Wish(kind="events", keys={}), position, "log-1"))


def message(position: int) -> Message:
    return Message(type="event", position=position)


def filled(count: int = MOST_MESSAGES) -> Inbox:
    box = inbox()
    for position in range(1, count + 1):
        box.put(message(position), 10)
    return box


async def test_it_is_full_by_number_or_by_bytes() -> None:
    assert not filled(MOST_MESSAGES - 1).is_full
    assert filled().is_full
    long = inbox()
    long.put(message(1), MOST_BYTES)
    assert long.is_full


async def test_the_position_is_that_of_what_was_taken_not_of_what_was_read() -> None:
    box = filled(3)
    assert (box.position, box.course.position) == (0, 3)
    assert (await box.take()).position == 1
    assert box.position == 1
    await box.take()
    await box.take()
    box.course.position = 70
    assert box.position == 70, "all through there was sent, and taken"


async def test_a_reader_who_takes_one_now_and_then_makes_no_room_and_half_of_it_does() -> None:
    box = filled()
    assert not await box.room(0.001)
    waiting = asyncio.create_task(box.room(20))
    await asyncio.sleep(0)
    for _ in range(MOST_MESSAGES // 2 - 1):
        await box.take()
        await asyncio.sleep(0)
        assert not waiting.done()
    await box.take()
    assert await waiting


async def test_one_that_has_room_does_not_wait() -> None:
    assert await filled(MOST_MESSAGES - 1).room(20)


async def test_what_waits_is_taken_before_the_end_is_told() -> None:
    box = filled(2)
    box.end(ValueError("first"))
    box.end(Ended())
    assert [(await box.take()).position for _ in range(2)] == [1, 2]
    with pytest.raises(ValueError, match="first"):
        await box.take()


async def test_nobody_waits_for_the_room_of_one_that_is_over() -> None:
    box = filled()
    waiting = asyncio.create_task(box.room(20))
    await asyncio.sleep(0)
    box.end(Ended())
    assert not await waiting


async def test_it_says_once_that_it_is_drained() -> None:
    box, drained = filled(2), list[int]()

    def tell() -> None:
        box.drained = None
        drained.append(1)

    box.drained = tell
    await box.take()
    assert not drained
    await box.take()
    assert drained == [1]


async def test_the_end_of_a_replay_is_the_end() -> None:
    box = inbox()
    box.put(Message(type="replay_completed"), 10)
    assert (await box.take()).type == "replay_completed"
    with pytest.raises(Ended):
        await box.take()


async def test_a_gap_moves_the_epoch_with_it() -> None:
    box = inbox(5)
    box.course.epoch, box.course.position = "log-2", 9
    box.put(Message(type="gap", position=9, data={"epoch": "log-2"}), 10)
    box.put(message(10), 10)
    assert (box.position, box.epoch) == (5, "log-1")
    await box.take()
    assert (box.position, box.epoch) == (9, "log-2")
