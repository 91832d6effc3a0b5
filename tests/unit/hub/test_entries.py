from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import hub.entries
from executor.ports import EventQuery
from hub.channels import ANY, Key, Wish
from hub.entries import Batch, Entry, Form, Ring, batch_of, entry_of, latest
from hub.messages import Channel
from hub.socket.frames import text_frame
from tests.unit.hub.socket.casting import OTHER_EXECUTION, World, fired, key, line, opened, revoked, started

EVENTS = key(Channel.EVENTS, ANY)
NO_RUN: dict[str, Any] = {"stream": "apikey:a", "execution_id": None, "workflow_id": None}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened(tmp_path) as world:
        yield world


async def entries(world: World) -> list[Entry]:
    return [entry_of(recorded) for recorded in await world.log.read(EventQuery(after=0, limit=1000))]


def positions(found: list[Entry] | tuple[Entry, ...] | None) -> list[int]:
    assert found is not None
    return [entry.recorded.position for entry in found]


def test_a_batch_is_joined_once_and_knows_its_bytes() -> None:
    batch = Batch([b"a", b"bc"])
    assert (batch.size, batch.joined) == (3, b"abc")
    assert batch.joined is batch.joined
    assert Batch([]).joined == b""


async def test_a_message_is_made_once_for_each_form_and_a_frame_is_the_message_framed(world: World) -> None:
    await world.author.write(started())
    (entry,) = await entries(world)
    text, frame = entry.message(Channel.EXECUTION), entry.message(Channel.EXECUTION, Form.FRAME)
    assert text is not None
    assert frame == text_frame(text)
    assert entry.message(Channel.EXECUTION) is text
    assert entry.message(Channel.EXECUTION, Form.FRAME) is frame


async def test_of_what_has_no_message_none_is_made_again_and_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.author.write(fired())
    (entry,) = await entries(world)
    assert entry.message(Channel.EXECUTION) is None
    monkeypatch.setattr(hub.entries, "message", None)
    assert entry.message(Channel.EXECUTION) is None


async def test_only_the_latest_of_each_type_of_an_execution_and_all_of_what_is_of_none(world: World) -> None:
    await world.author.write(started(), line("1"), line("2"))
    await world.author.write(line("3"), execution_id=OTHER_EXECUTION)
    for id in ("a", "b"):
        await world.author.write(revoked(), **NO_RUN | {"stream": f"apikey:{id}"})
    await world.author.write(line("4"))
    assert positions(latest(await entries(world))) == [1, 4, 5, 6, 7]


async def test_the_latest_is_the_latest_of_what_is_wanted(world: World) -> None:
    await world.author.write(line("odd"), line("even"))
    found = await entries(world)
    wish = Wish(condition="data.message == 'odd'", is_latest=True)
    assert batch_of(found, Channel.EXECUTION, wish, Form.MESSAGE, 0).messages == [found[0].message(Channel.EXECUTION)]


async def test_a_ring_has_the_newest_events_of_each_channel_and_says_where_it_begins(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub.entries, "RING", 5)
    await world.author.write(*(line(str(n)) for n in range(4)))
    await world.author.write(*(line(str(n)) for n in range(4)), execution_id=OTHER_EXECUTION)
    ring, found = Ring(0), await entries(world)
    ring.extend(found[:4])
    assert positions(tuple(ring.after(key(), 0, 10, 10**6) or ())) == [1, 2, 3, 4]
    ring.extend(found[4:])
    assert ring.start == 3
    assert ring.after(key(), 2, 10, 10**6) is None
    assert positions(tuple(ring.after(key(), 3, 10, 10**6) or ())) == [4]
    assert positions(tuple(ring.after(key(id=OTHER_EXECUTION), 6, 10, 10**6) or ())) == [7, 8]
    assert positions(tuple(ring.after(EVENTS, 3, 2, 10**6) or ())) == [4, 5]
    assert positions(tuple(ring.after(EVENTS, 3, 10, 1) or ())) == [4]
    assert ring.after(Key("another", Channel.EVENTS, ANY), 3, 10, 10**6) == []


async def test_a_ring_forgets_what_is_too_much_and_every_channel_with_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.author.write(line("x" * 500))
    await world.author.write(line("y" * 500), execution_id=OTHER_EXECUTION)
    monkeypatch.setattr(hub.entries, "RING_BYTES", 700)
    ring = Ring(0)
    ring.extend(await entries(world))
    assert ring.start == 1
    assert ring.last(key()) is None
    last = ring.last(key(id=OTHER_EXECUTION))
    assert last is not None
    assert last.recorded.position == 2
    assert {entry_key.id for entry_key in ring._by_key} == {ANY, OTHER_EXECUTION, last.recorded.workflow_id}
    monkeypatch.setattr(hub.entries, "RING_BYTES", 0)
    ring.extend([])
    assert ring.is_empty
    assert not ring._by_key


async def test_who_wants_the_same_of_a_ring_gets_the_same_bytes_until_there_is_more(world: World) -> None:
    await world.author.write(line("1"), line("2"))
    ring, found = Ring(0), await entries(world)
    ring.extend(found[:1])
    first = ring.batch(key(), Wish(), Form.FRAME, 0, found[:1])
    assert ring.batch(key(), Wish(), Form.FRAME, 0, found[:1]) is first
    assert ring.batch(key(), Wish(is_latest=True), Form.FRAME, 0, found[:1]) is not first
    assert ring.batch(key(), Wish(), Form.MESSAGE, 0, found[:1]).joined != first.joined
    ring.extend(found[1:])
    assert ring.batch(key(), Wish(), Form.FRAME, 0, found).joined.startswith(first.joined)
    assert len(ring.batch(key(), Wish(), Form.FRAME, 1, found).messages) == 1
