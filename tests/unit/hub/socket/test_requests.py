from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.domain.errors import Code
from hub.channels import ALL, Wish
from hub.messages import Channel
from hub.socket.requests import (
    MAX_MESSAGE_BYTES,
    Authenticate,
    Malformed,
    Ping,
    Refused,
    Request,
    Several,
    Subscribe,
    TooBig,
    Unsubscribe,
    parse,
)

ID = "01HQNZ2G5XKJ8P7M9N6V3R4T5W"
EXECUTION = {"channel": "execution", "execution_id": ID}


def said(type: str, data: Any = None, **more: Any) -> Request:
    return parse(json.dumps({"type": type, "id": "m1", "data": data} | more))


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        ('{"type":"ping"}', Ping(None)),
        ('{"type":"ping","id":null,"data":null,"timestamp":7}', Ping(None)),
        ('{"type":"ping","id":"m1","data":{}}', Ping("m1")),
        ('{"type":"auth","data":{"token":"sk"}}', Authenticate(None, "sk")),
        (
            json.dumps({"type": "subscribe", "id": "m1", "data": EXECUTION}),
            Subscribe("m1", Channel.EXECUTION, ID, None, None, ALL),
        ),
        (
            json.dumps(
                {"type": "subscribe", "data": {"channel": "workflow", "workflow_id": "*", "since": 0, "epoch": "e"}}
            ),
            Subscribe(None, Channel.WORKFLOW, "*", 0, "e", ALL),
        ),
        (
            '{"type":"subscribe","data":{"channel":"events","since":null,"epoch":null,"types":[]}}',
            Subscribe(None, Channel.EVENTS, "*", None, None, ALL),
        ),
        (
            '{"type":"subscribe","data":{"channel":"events","types":["timer.*","execution.failed"]}}',
            Subscribe(
                None,
                Channel.EVENTS,
                "*",
                None,
                None,
                Wish(frozenset({"timer.scheduled", "timer.fired", "execution.failed"})),
            ),
        ),
        (
            json.dumps({"type": "unsubscribe", "id": "m1", "data": EXECUTION}),
            Unsubscribe("m1", Channel.EXECUTION, ID),
        ),
        (
            '{"type":"subscribe","data":{"channel":"task","assignee":"Ada Lovelace"}}',
            Subscribe(None, Channel.TASK, "assignee:Ada Lovelace", None, None, ALL),
        ),
        (
            '{"type":"subscribe","data":{"channel":"task","task_id":"*"}}',
            Subscribe(None, Channel.TASK, "*", None, None, ALL),
        ),
        ('{"type":"unsubscribe","data":{"channel":"events"}}', Unsubscribe(None, Channel.EVENTS, "*")),
        (
            '{"type":"subscribe","data":{"channel":"webhook","webhook_id":"*"}}',
            Subscribe(None, Channel.WEBHOOK, "*", None, None, ALL),
        ),
        (
            '{"type":"subscribe","data":{"channel":"system","filter":"data.level > 1","mode":"latest"}}',
            Subscribe(None, Channel.SYSTEM, "*", None, None, Wish(None, "data.level > 1", is_latest=True)),
        ),
        (
            '{"type":"subscribe","data":{"channel":"events","filter":null,"mode":"all"}}',
            Subscribe(None, Channel.EVENTS, "*", None, None, ALL),
        ),
    ],
)
def test_a_request_is_understood(frame: str, expected: Request) -> None:
    assert parse(frame) == expected


@pytest.mark.parametrize(
    "frame",
    [
        *("", "{", "nonsense", "[1]", '"ping"', "null", "17", "{}", '{"type":null}', '{"type":7}', '{"id":"x"}'),
        *(b"", b'{"type":"ping"}', b"\xff\xfe"),
        *("NaN", '{"type":"ping","data":{"x":NaN}}', '{"type":"\\ud800"}', '{"type":"ping"} x', "[" * 60_000),
    ],
    ids=repr,
)
def test_what_is_no_message_is_malformed(frame: str | bytes) -> None:
    assert isinstance(parse(frame), Malformed)


def test_a_message_may_have_64_kib_of_utf_8_and_no_more() -> None:
    def frame(size: int, letter: str) -> str:
        empty = json.dumps({"type": "ping", "id": ""}, ensure_ascii=False)
        return json.dumps(
            {"type": "ping", "id": letter * ((size - len(empty)) // len(letter.encode()))}, ensure_ascii=False
        )

    assert isinstance(parse(frame(MAX_MESSAGE_BYTES, "x")), Ping)
    assert parse(frame(MAX_MESSAGE_BYTES + 1, "x")) == TooBig(MAX_MESSAGE_BYTES + 1)
    assert isinstance(parse(frame(MAX_MESSAGE_BYTES, "é")), Ping)
    assert isinstance(parse(frame(MAX_MESSAGE_BYTES + 2, "é")), TooBig)


REFUSED: list[tuple[Request, Code, str | None]] = [
    (said("subscribe", None), Code.VALIDATION_ERROR, "channel"),
    (said("subscribe", {"channel": 7}), Code.VALIDATION_ERROR, "channel"),
    (said("subscribe", {"channel": "comet"}), Code.VALIDATION_ERROR, "channel"),
    (said("subscribe", {"channel": "webhook"}), Code.VALIDATION_ERROR, "webhook_id"),
    (said("subscribe", {"channel": "webhook", "webhook_id": "x"}), Code.RESOURCE_NOT_FOUND, "webhook_id"),
    (said("subscribe", {"channel": "system", "system_id": ID}), Code.VALIDATION_ERROR, "system_id"),
    (said("subscribe", {"channel": "replay", "replay_id": "*"}), Code.RESOURCE_NOT_FOUND, "replay_id"),
    (said("subscribe", EXECUTION | {"filter": 7}), Code.VALIDATION_ERROR, "filter"),
    (said("subscribe", EXECUTION | {"mode": "newest"}), Code.VALIDATION_ERROR, "mode"),
    (said("subscribe", EXECUTION | {"mode": True}), Code.VALIDATION_ERROR, "mode"),
    (said("subscribe", {"channels": []}), Code.VALIDATION_ERROR, "channels"),
    (said("subscribe", {"channels": EXECUTION}), Code.VALIDATION_ERROR, "channels"),
    (said("subscribe", {"channels": [EXECUTION] * 101}), Code.VALIDATION_ERROR, "channels"),
    (said("subscribe", {"channels": [EXECUTION], "channel": "events"}), Code.VALIDATION_ERROR, "channel"),
    (said("subscribe", {"channels": [EXECUTION], "since": -1}), Code.VALIDATION_ERROR, "since"),
    (
        said("subscribe", {"channels": [{"channel": "events", "filter": f"data.x == {n}"} for n in range(21)]}),
        Code.RATE_LIMIT_EXCEEDED,
        "channels",
    ),
    (said("unsubscribe", {"channels": []}), Code.VALIDATION_ERROR, "channels"),
    (said("unsubscribe", {"channels": [EXECUTION], "since": 1}), Code.VALIDATION_ERROR, "since"),
    (said("subscribe", {"channel": "task"}), Code.VALIDATION_ERROR, "task_id"),
    (said("subscribe", {"channel": "task", "task_id": ID, "assignee": "a"}), Code.VALIDATION_ERROR, "task_id"),
    (said("subscribe", {"channel": "task", "task_id": "x"}), Code.RESOURCE_NOT_FOUND, "task_id"),
    (said("subscribe", {"channel": "task", "assignee": ""}), Code.VALIDATION_ERROR, "assignee"),
    (said("subscribe", {"channel": "execution"}), Code.VALIDATION_ERROR, "execution_id"),
    (said("subscribe", {"channel": "execution", "execution_id": 7}), Code.VALIDATION_ERROR, "execution_id"),
    (said("subscribe", {"channel": "execution", "execution_id": "x"}), Code.RESOURCE_NOT_FOUND, "execution_id"),
    (said("subscribe", {"channel": "workflow", "workflow_id": ID.lower()}), Code.RESOURCE_NOT_FOUND, "workflow_id"),
    (said("subscribe", {"channel": "execution", "workflow_id": ID}), Code.VALIDATION_ERROR, "workflow_id"),
    (said("subscribe", EXECUTION | {"workflow_id": ID}), Code.VALIDATION_ERROR, "workflow_id"),
    (said("subscribe", EXECUTION | {"sincee": 1}), Code.VALIDATION_ERROR, "sincee"),
    (said("subscribe", EXECUTION | {"since": -1}), Code.VALIDATION_ERROR, "since"),
    (said("subscribe", EXECUTION | {"since": "1"}), Code.VALIDATION_ERROR, "since"),
    (said("subscribe", EXECUTION | {"since": 1.5}), Code.VALIDATION_ERROR, "since"),
    (said("subscribe", EXECUTION | {"since": True}), Code.VALIDATION_ERROR, "since"),
    (said("subscribe", EXECUTION | {"epoch": 1}), Code.VALIDATION_ERROR, "epoch"),
    (said("subscribe", EXECUTION | {"types": "execution.*"}), Code.VALIDATION_ERROR, "types"),
    (said("subscribe", EXECUTION | {"types": ["*"] * 101}), Code.VALIDATION_ERROR, "types"),
    (said("subscribe", EXECUTION | {"types": ["*", 7]}), Code.VALIDATION_ERROR, "types[1]"),
    (said("subscribe", EXECUTION | {"types": ["*", "comet.*"]}), Code.VALIDATION_ERROR, "types[1]"),
    (said("subscribe", EXECUTION | {"types": ["webhook.*"]}), Code.VALIDATION_ERROR, "types[0]"),
    (said("subscribe", EXECUTION | {"types": [""]}), Code.VALIDATION_ERROR, "types[0]"),
    (said("unsubscribe", EXECUTION | {"since": 1}), Code.VALIDATION_ERROR, "since"),
    (said("unsubscribe", {"channel": "events", "types": []}), Code.VALIDATION_ERROR, "types"),
    (said("auth", {}), Code.VALIDATION_ERROR, "token"),
    (said("auth", {"token": ""}), Code.VALIDATION_ERROR, "token"),
    (said("auth", {"token": 7}), Code.VALIDATION_ERROR, "token"),
    (said("auth", {"token": "x", "user": "y"}), Code.VALIDATION_ERROR, "user"),
    (said("ping", {"x": 1}), Code.VALIDATION_ERROR, "x"),
    (said("ping", []), Code.VALIDATION_ERROR, "data"),
    (said("publish", {}), Code.VALIDATION_ERROR, "type"),
    (said("subscribe", EXECUTION, channel="execution"), Code.VALIDATION_ERROR, "channel"),
    (said("ping", id=7), Code.VALIDATION_ERROR, "id"),
]


@pytest.mark.parametrize(("request_", "code", "field"), REFUSED)
def test_what_is_wrong_is_refused_with_its_field(request_: Request, code: Code, field: str | None) -> None:
    assert isinstance(request_, Refused)
    assert (request_.problem.code, request_.problem.field) == (code, field)
    assert request_.problem.message


def test_a_refusal_names_the_message_and_what_there_is() -> None:
    refused = said("subscribe", {"channel": "comet"})
    assert isinstance(refused, Refused)
    assert refused.reply_to == "m1"
    assert refused.problem.message == (
        "channel 'comet' is unknown; there are execution, workflow, task, events, webhook, system, replay"
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"channel": f"execution:{ID}"},
         'the key of a channel stands beside it: "channel": "execution", "execution_id": …'),
        ({"channel": "execution"}, "say which execution: 'execution_id', or '*' for any"),
        ({"channel": "replay"}, "say which replay: 'replay_id'"),
    ],
    ids=repr,
)  # fmt: skip
def test_a_channel_without_its_key_is_told_how_to_say_it(data: dict[str, Any], message: str) -> None:
    refused = said("subscribe", data)
    assert isinstance(refused, Refused)
    assert refused.problem.message == message


def test_several_channels_are_several_requests_each_with_its_path() -> None:
    several = said(
        "subscribe",
        {
            "since": 3,
            "types": ["execution.*"],
            "channels": [
                EXECUTION,
                {"channel": "events", "since": 9, "types": ["log.*"]},
                {"channel": "execution"},
                7,
            ],
        },
    )
    assert isinstance(several, Several)
    assert several.reply_to == "m1"
    first, second, third, fourth = several.requests
    assert isinstance(first, Subscribe)
    assert (first.id, first.since, first.reply_to, first.at) == (ID, 3, "m1", "channels[0]")
    assert first.wish.types is not None
    assert "execution.failed" in first.wish.types
    assert isinstance(second, Subscribe)
    assert (second.since, second.wish, second.at) == (9, Wish(frozenset({"log.written"})), "channels[1]")
    assert isinstance(third, Refused)
    assert third.problem.field == "channels[2].execution_id"
    assert isinstance(fourth, Refused)
    assert (fourth.reply_to, fourth.problem.field) == ("m1", "channels[3]")


def test_what_is_common_to_several_is_refused_where_it_does_not_go_with_one() -> None:
    several = said(
        "subscribe", {"types": ["webhook.*"], "channels": [EXECUTION, {"channel": "webhook", "webhook_id": "*"}]}
    )
    assert isinstance(several, Several)
    refused, subscribe = several.requests
    assert isinstance(refused, Refused)
    assert refused.problem.field == "channels[0].types[0]"
    assert isinstance(subscribe, Subscribe)


def test_several_channels_may_be_left_at_once() -> None:
    several = said("unsubscribe", {"channels": [EXECUTION, {"channel": "system"}, {"channel": "x"}]})
    assert isinstance(several, Several)
    first, second, third = several.requests
    assert first == Unsubscribe("m1", Channel.EXECUTION, ID)
    assert second == Unsubscribe("m1", Channel.SYSTEM, "*")
    assert isinstance(third, Refused)
    assert third.problem.field == "channels[2].channel"


def test_no_refusal_shows_a_token() -> None:
    for data in ({"token": ["sk_secret"]}, {"token": "sk_secret", "more": "sk_secret"}):
        assert "sk_secret" not in repr(said("auth", data))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
nearly_right = st.fixed_dictionaries(
    {"type": st.sampled_from(["auth", "subscribe", "unsubscribe", "ping"])},
    optional={
        "id": st.none() | st.text() | json_values,
        "timestamp": json_values,
        "data": st.fixed_dictionaries(
            {},
            optional={
                "channels": st.lists(st.just(EXECUTION) | json_values, max_size=3) | json_values,
                "channel": st.sampled_from([str(channel) for channel in Channel]) | json_values,
                "filter": st.sampled_from(["true", "data.x == 1", "("]) | json_values,
                "mode": st.sampled_from(["all", "latest"]) | json_values,
                "execution_id": st.just(ID) | st.just("*") | json_values,
                "workflow_id": st.just(ID) | json_values,
                "replay_id": st.just(ID) | st.just("*") | json_values,
                "since": st.integers() | json_values,
                "epoch": st.text() | json_values,
                "types": st.lists(st.sampled_from(["*", "execution.*", "x"]) | st.text()) | json_values,
                "token": st.text() | json_values,
            },
        )
        | json_values,
    },
)


@given(st.text() | st.binary() | json_values.map(json.dumps) | nearly_right.map(json.dumps))
def test_no_frame_makes_it_raise(frame: str | bytes) -> None:
    assert isinstance(parse(frame), Request)
