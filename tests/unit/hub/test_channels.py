from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from executor.domain.events import Event, execution, task, webhook
from executor.ports import Recorded
from hub.channels import ALL, ANY, Key, Union, Wish, keys_of
from hub.messages import SINGLE, WEBHOOK_TYPES, Channel, message, message_types
from tests.unit.hub.test_messages import CASES, EXECUTION, ORGANIZATION, WORKFLOW, recorded

EXHAUSTED = webhook.DeliveryExhausted(
    delivery_id="D",
    webhook_id="H",
    event_id="E",
    event_type="x.y",
    event_position=1,
    attempt_count=12,
    last_error="timeout",
)


def names(of: Recorded) -> list[str]:
    return sorted(key.name for key in keys_of(of))


def as_recorded() -> Iterator[Recorded]:
    for event, _ in CASES:
        yield recorded(
            event if event.type != EXHAUSTED.type else EXHAUSTED, stream=f"{event.type.partition('.')[0]}:H"
        )
    yield recorded(EXHAUSTED, stream="delivery:D", data=b"")


@pytest.mark.parametrize("of", list(as_recorded()), ids=lambda of: of.type)
def test_an_event_is_on_the_channels_that_cover_it_and_on_no_other(of: Recorded) -> None:
    ids = {Channel.EXECUTION: "01EXECUTION", Channel.WORKFLOW: "01WORKFLOW", Channel.WEBHOOK: "H"}
    there = set(keys_of(of))
    assert len(there) == len(list(keys_of(of)))
    for channel in set(Channel) - {Channel.REPLAY, Channel.TASK}:
        for id in (ANY,) if channel in SINGLE else (ANY, ids[channel], "another"):
            key = Key(of.organization_id, channel, id)
            assert key.covers(of) is (key in there), key
            assert not key._replace(organization_id="another").covers(of)
    assert all(key.covers(of) for key in there)


@pytest.mark.parametrize("of", list(as_recorded()), ids=lambda of: of.type)
def test_a_channel_reads_all_the_types_that_have_a_message_on_it(of: Recorded) -> None:
    for key in keys_of(of):
        types = message_types(key.channel)
        assert message(of, key.channel) is None or types is None or of.type in types


@pytest.mark.parametrize(
    ("event", "stream", "expected"),
    [
        (webhook.WebhookEnabled(), "webhook:H", ["events", "system", "webhook:*", "webhook:H"]),
        (webhook.WebhookDeleted(), "webhook:H", ["events", "webhook:*", "webhook:H"]),
        (EXHAUSTED, "delivery:D", ["events", "system", "webhook:*", "webhook:H"]),
    ],
    ids=lambda value: getattr(value, "type", ""),
)
def test_a_webhook_has_its_own_events_and_the_deliveries_that_were_given_up(
    event: Event, stream: str, expected: list[str]
) -> None:
    of = recorded(event, stream=stream)
    assert names(of) == expected
    assert event.type in WEBHOOK_TYPES
    text = message(of, Channel.WEBHOOK)
    assert text is not None
    whole = json.loads(text)
    assert (whole["type"], whole["channel"], whole["data"]["type"]) == ("event", "webhook:H", event.type)


def test_an_event_of_a_delivery_that_was_archived_is_on_no_webhook() -> None:
    of = recorded(EXHAUSTED, stream="delivery:D", data=b"")
    assert "webhook:H" not in names(of)
    assert message(of, Channel.WEBHOOK) is None


def test_a_task_is_on_the_channels_of_who_has_and_who_had_it() -> None:
    facts: dict[str, Any] = {
        "workflow_id": "W",
        "workflow_name": "w",
        "execution_id": "X",
        "component_id": "b",
        "kind": "human",
        "title": "t",
        "status": "assigned",
        "priority": 5,
    }
    of = recorded(task.TaskReassigned(**facts, assignee="ada", former_assignee="bob"), stream="task:T")
    wanted = {"task:T", "task:*", "task:assignee:ada", "task:assignee:bob"}
    assert {key.name for key in keys_of(of) if key.channel is Channel.TASK} == wanted


def test_a_union_has_what_its_channels_have_in_their_order() -> None:
    run, all_runs = (Key(ORGANIZATION, Channel.EXECUTION, id) for id in (EXECUTION, ANY))
    workflow, system = Key(ORGANIZATION, Channel.WORKFLOW, WORKFLOW), Key(ORGANIZATION, Channel.SYSTEM, ANY)
    union = Union([workflow, run, all_runs, workflow])
    assert union.keys == (workflow, run, all_runs)
    of = recorded(execution.LogWritten(level="info", message="hello"))
    assert union.channels_of(of) == [Channel.WORKFLOW, Channel.EXECUTION]
    assert Union([system, all_runs]).channels_of(of) == [Channel.EXECUTION]
    assert Union([system]).channels_of(of) == []
    for each in (union, Union([system])):
        for event in as_recorded():
            assert each.carrier.covers(event) or not each.channels_of(event)
    assert Union([run]).carrier == run
    assert Wish(union=union) != ALL
    assert Wish() == ALL


def test_where_data_cannot_be_read_the_event_is_on_the_channels_that_do_not_follow_from_it() -> None:
    assert names(recorded(EXHAUSTED, stream="delivery:D", data=b"{}")) == ["events", "system"]
    escalated = recorded(webhook.WebhookEnabled(), type="task.escalated", stream="task:T", data=b'{"assignee":7}')
    assert names(escalated) == ["events", "system"]
