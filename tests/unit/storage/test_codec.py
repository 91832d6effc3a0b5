from __future__ import annotations

import hashlib
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from executor.domain.events import CATALOGUE, Event
from executor.domain.events.execution import LogWritten, TimerFired
from executor.domain.values import Instant
from executor.ports import Metadata, Recorded
from storage.codec import (
    CODEC,
    GENESIS,
    Codec,
    Link,
    chain,
    decode_metadata,
    digest,
    encode_metadata,
    envelope,
    verify,
)
from storage.errors import Broken, UnknownEvent

AT = Instant("2026-01-31T12:00:00.000Z")


class Moved(Event, frozen=True, kw_only=True):
    """Its first shape was {"x", "y"} as texts, its second as numbers, its third is this."""

    type: ClassVar[str] = "thing.moved"
    at: tuple[int, int]


def to_numbers(data: dict[str, Any]) -> dict[str, Any]:
    return {"x": int(data["x"]), "y": int(data["y"])}


def to_pair(data: dict[str, Any]) -> dict[str, Any]:
    return {"at": [data["x"], data["y"]]}


UPCASTING = Codec({**CATALOGUE, "thing.moved": Moved}, {"thing.moved": (to_numbers, to_pair)})


def test_an_event_comes_back_and_its_type_is_not_in_its_data() -> None:
    event = LogWritten(level="info", message="a\0b", component_id="c", metadata={"deep": [1, {"x": None}]})
    data = CODEC.encode(event)
    place = b'"component_id":"c","iteration":""'
    assert data == b'{"level":"info","message":"a\\u0000b",' + place + b',"metadata":{"deep":[1,{"x":null}]}}'
    assert CODEC.decode("log.written", 1, data) == event


@given(
    st.text(), st.dictionaries(st.text(), st.none() | st.booleans() | st.text() | st.integers(-(2**63), 2**63 - 1))
)
def test_any_text_and_any_json_come_back(message: str, metadata: dict[str, Any]) -> None:
    event = LogWritten(level="info", message=message, metadata=metadata)
    assert CODEC.decode("log.written", 1, CODEC.encode(event)) == event


def test_what_the_catalogue_does_not_have_is_an_error() -> None:
    with pytest.raises(UnknownEvent, match=r"no event 'thing\.moved'"):
        CODEC.decode("thing.moved", 1, b"{}")
    with pytest.raises(UnknownEvent, match=r"'thing\.moved'"):
        CODEC.encode(Moved(at=(1, 2)))


@pytest.mark.parametrize("data", [b"", b"[]", b'{"level":"info"}', b'{"level":1,"message":"x"}', b'{"level":"info"'])
def test_data_of_another_shape_is_an_error_that_names_the_type(data: bytes) -> None:
    with pytest.raises(UnknownEvent, match=r"log\.written"):
        CODEC.decode("log.written", 1, data)


def test_upcasters_bring_every_older_schema_to_the_newest() -> None:
    assert UPCASTING.schema("thing.moved") == 3
    assert UPCASTING.schema("log.written") == 1
    moved = Moved(at=(1, 2))
    assert UPCASTING.decode("thing.moved", 1, b'{"x":"1","y":"2"}') == moved
    assert UPCASTING.decode("thing.moved", 2, b'{"x":1,"y":2}') == moved
    assert UPCASTING.decode("thing.moved", 3, UPCASTING.encode(moved)) == moved


def test_a_schema_of_the_future_and_a_bad_upcast_are_errors() -> None:
    with pytest.raises(UnknownEvent, match="newer version"):
        UPCASTING.decode("thing.moved", 4, b"{}")
    with pytest.raises(UnknownEvent, match="cannot be read"):
        UPCASTING.decode("thing.moved", 2, b'{"x":1,"y":"south"}')


def test_metadata_has_one_form_without_nulls() -> None:
    metadata = Metadata(actor="user:U", request_id="r")
    assert encode_metadata(metadata) == b'{"actor":"user:U","request_id":"r"}'
    assert decode_metadata(encode_metadata(metadata)) == metadata
    assert encode_metadata(Metadata()) == b'{"actor":"system"}'


def recorded(count: int) -> list[Recorded]:
    """A right chain."""
    link, events = GENESIS, []
    for position in range(1, count + 1):
        bare = Recorded(
            position=position,
            id=f"E{position}",
            type="timer.fired",
            time=Instant(f"2026-01-31T12:00:{position:02}.000Z"),
            organization_id="O",
            stream="execution:X",
            version=position,
            workflow_id=None,
            execution_id="X",
            data=CODEC.encode(TimerFired(component_id="c", fires_at=AT)),
            metadata=Metadata(request_id="r"),
            hash=b"",
        )
        link = Link(position, bare.time, chain(link.hash, envelope(bare).encode(), digest(bare.data)))
        events.append(replace(bare, hash=link.hash))
    return events


def test_the_chain_is_what_the_format_says() -> None:
    """Never change this: it is the format of every log there is."""
    (event,) = recorded(1)
    bytes_ = (
        b'[1,"E1","timer.fired",1,"2026-01-31T12:00:01.000Z","O",null,"X","execution:X",1,'
        b'{"actor":"system","request_id":"r"}]'
    )
    assert envelope(event).encode() == bytes_
    assert event.hash == hashlib.sha256(bytes(32) + bytes_ + hashlib.sha256(event.data).digest()).digest()


def test_a_right_chain_verifies_whole_and_in_pieces() -> None:
    events = recorded(9)
    end = Link(9, events[-1].time, events[-1].hash)
    assert verify(events) == end
    assert verify(events[4:], verify(events[:4])) == end
    assert verify([]) == GENESIS


CHANGES: dict[str, Any] = {
    "id": "E0",
    "type": "timer.set",
    "schema": 2,
    "organization_id": "P",
    "stream": "execution:Y",
    "version": 9,
    "workflow_id": "W",
    "execution_id": None,
    "data": b"{}",
    "metadata": Metadata(actor="somebody else", request_id="r"),
    "hash": bytes(32),
    "time": Instant("2026-01-31T12:00:04.001Z"),
}


@pytest.mark.parametrize("field", CHANGES)
def test_a_change_of_anything_is_found_where_it_is(field: str) -> None:
    events = recorded(9)
    events[3] = replace(events[3], **{field: CHANGES[field]})
    with pytest.raises(Broken) as caught:
        verify(events)
    assert caught.value.position == 4


def test_gaps_repeats_and_swaps_are_found_where_they_are() -> None:
    events = recorded(9)
    for first, wrong in (
        (4, [*events[:3], *events[4:]]),
        (4, [*events[:3], events[2]]),
        (4, [*events[:3], events[4], events[3]]),
        (1, events[1:]),
    ):
        with pytest.raises(Broken, match="missing") as caught:
            verify(wrong)
        assert caught.value.position == first


def test_time_running_backwards_is_found_even_with_right_hashes() -> None:
    first, second = recorded(2)
    late = Link(1, "2026-01-31T13:00:00.000Z", first.hash)
    with pytest.raises(Broken, match="before") as caught:
        verify([second], late)
    assert caught.value.position == 2
