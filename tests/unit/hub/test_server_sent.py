from __future__ import annotations

import json

from executor.domain.values import Instant
from executor.ports import Metadata, Recorded
from hub.messages import event_json
from hub.server_sent import closing, opening, server_sent, server_sent_message


def recorded(data: bytes) -> Recorded:
    return Recorded(
        position=17,
        id="E",
        type="execution.completed",
        time=Instant("2026-01-31T12:00:00.000Z"),
        organization_id="O",
        stream="execution:X",
        version=3,
        workflow_id="W",
        execution_id="X",
        data=data,
        metadata=Metadata(),
        hash=b"\1" * 32,
    )


def test_an_event_is_its_position_its_type_and_the_whole_of_it() -> None:
    event = recorded(b'{"a":"\\n\\u2028"}')
    assert server_sent(event) == b"id: 17\nevent: execution.completed\ndata: " + event_json(event) + b"\n\n"


def test_line_breaks_between_tokens_stay_within_the_event() -> None:
    text = server_sent(recorded(b'{"a":\r\n1,\r"b":\n\n2}')).decode()
    *lines, end, rest = text.split("\n")
    assert (end, rest) == ("", "")
    data = [line.removeprefix("data: ") for line in lines[2:]]
    assert all(line.startswith("data: ") for line in lines[2:])
    assert json.loads("\n".join(data))["data"] == {"a": 1, "b": 2}


def test_a_message_is_its_position_its_type_and_its_text() -> None:
    text = b'{"type":"log","id":"E","data":{"a":\n1}}'
    expected = b'id: 17\nevent: log\ndata: {"type":"log","id":"E","data":{"a":\ndata: 1}}\n\n'
    assert server_sent_message(17, text) == expected


def test_a_stream_opens_with_where_it_begins_and_closes_with_why() -> None:
    assert opening(5) == b"retry: 2000\nid: 5\n\n"
    assert closing("gone", 2500) == b": gone\nretry: 2500\n\n"
