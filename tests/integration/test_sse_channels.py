from __future__ import annotations

from typing import Any

import pytest

from hub.socket.limits import Limits
from tests.integration.hubs import Client, Hub
from tests.integration.listening import listening
from tests.integration.streaming import Sent, refused, streaming
from tests.integration.test_socket_channels import LOGGING

pytestmark = pytest.mark.asyncio(loop_scope="session")
NOT_THERE = "01HQN0TTHEREZZZZZZZZZZZZZZ"


async def ran(client: Client, workflow: dict[str, Any], what: str = "on") -> str:
    execution = await client.execution(workflow["id"], parameters={"what": what})
    await client.ended(execution)
    return execution


async def on_sockets(client: Client, *channels: dict[str, Any], after: int = 0) -> list[dict[str, Any]]:
    """What sockets hear of these channels up to now: merged by position, one message for an event, of the first."""
    first: dict[int, dict[str, Any]] = {}
    head = (await client.events())[-1]["position"]
    async with listening(client) as socket:
        for channel in channels:
            await socket.say("subscribe", since=after, **channel)
            await socket.answers("subscribed", count=1)
            through = 0
            while through < head:
                await socket.say("ping")
                while (message := await socket.hear())["type"] != "pong":
                    first.setdefault(message["position"], message)
                through = message["data"]["position"]
            await socket.say("unsubscribe", **channel)
            await socket.answers("unsubscribed", count=1)
    return [first[position] for position in sorted(first)]


def as_sent(messages: list[dict[str, Any]]) -> list[Sent]:
    return [Sent(str(message["position"]), message["type"], message) for message in messages]


async def test_a_stream_of_channels_has_their_messages_and_resumes_all_of_them_from_every_position(
    admin: Client,
) -> None:
    workflow, other = await admin.workflow(LOGGING), await admin.workflow(LOGGING)
    execution = await ran(admin, workflow)
    await ran(admin, other)
    await admin.webhook("https://example.com/x")
    channels = [f"execution:{execution}", f"workflow:{other['id']}", "webhook:*", "system"]
    expected = as_sent(
        await on_sockets(
            admin,
            {"channel": "execution", "execution_id": execution},
            {"channel": "workflow", "workflow_id": other["id"]},
            {"channel": "webhook", "webhook_id": "*"},
            {"channel": "system"},
        )
    )
    kinds = {"execution_update", "component_completed", "workflow_update", "log", "event", "system_notification"}
    assert {each.event for each in expected} == kinds
    async with streaming(admin, channel=channels, since=0) as source:
        assert await source.take(len(expected)) == expected
        await ran(admin, other)
        lived = await source.take(1)
    assert int(lived[0].id) > int(expected[-1].id)
    for index, each in enumerate(expected):
        async with streaming(admin, channel=channels, last_event_id=each.id) as source:
            rest = expected[index + 1 :]
            assert await source.take(len(rest) + 1) == [*rest, *lived]


async def test_what_is_on_several_channels_of_a_stream_comes_once_as_on_the_first(admin: Client) -> None:
    workflow = await admin.workflow(LOGGING)
    execution = await ran(admin, workflow)
    one, all_ = f"execution:{execution}", f"workflow:{workflow['id']}"
    expected = await on_sockets(admin, {"channel": "execution", "execution_id": execution})
    async with streaming(admin, channel=[one, all_, "events"], since=0, types="execution.*,log.*") as source:
        sent = await source.take(3)
    assert [each.data["channel"] for each in sent] == [one] * 3
    assert all(each.data in expected for each in sent)
    async with streaming(admin, channel=[all_, one], since=0, types="execution.*") as source:
        assert [each.data["channel"] for each in await source.take(2)] == [all_] * 2
    async with streaming(admin, channel=f"{one},events", since=0) as source:
        sent = await source.take(5)
    assert {each.data["channel"] for each in sent} == {one, "events"}
    assert len({each.id for each in sent}) == 5


async def test_a_stream_of_one_channel_with_a_filter_is_live_and_resumes(admin: Client) -> None:
    workflow = await admin.workflow(LOGGING)
    await ran(admin, workflow, "left out")
    condition = "event.type == 'log.written' && data.message == 'it is wanted'"
    query = {"channel": f"workflow:{workflow['id']}", "filter": condition}
    async with streaming(admin, since=0, **query) as source:
        for _ in range(2):
            await ran(admin, workflow, "wanted")
            await ran(admin, workflow, "left out")
        first, second = await source.take(2)
    assert [each.data["data"]["message"] for each in (first, second)] == ["it is wanted"] * 2
    async with streaming(admin, last_event_id=first.id, **query) as source:
        assert await source.take(1) == [second]
    async with streaming(admin, since=0, filter=condition, mode="latest") as source:
        (whole,) = await source.take(1)
    assert (whole.event, whole.data["data"]["message"]) == ("log.written", "it is wanted")


async def test_tasks_of_somebody_are_streamed_by_name(admin: Client) -> None:
    asking = {
        "components": [
            {"id": "start", "type": "start"},
            {"id": "ask", "type": "human_task", "config": {"title": "Sign", "assignee": "Ada Lovelace"}},
        ],
        "connections": [{"source": "start", "target": "ask"}],
    }
    async with streaming(admin, channel="task:assignee:Ada Lovelace") as source:
        await source.begun()
        execution = await admin.execution((await admin.workflow(asking))["id"])
        (sent,) = await source.take(1)
    assert (sent.event, sent.data["data"]["title"]) == ("task_update", "Sign")
    await admin.post(f"/executions/{execution}/cancel")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"channel": "comet"}, "channel[0]"),
        ({"channel": ["events", "execution"]}, "channel[1]"),
        ({"channel": "events:1"}, "channel[0]"),
        ({"channel": "task:assignee:"}, "channel[0]"),
        ({"channel": f"replay:{NOT_THERE}"}, "channel[0]"),
        ({"channel": ["events"] * 101}, "channel"),
        ({"channel": "system", "execution_id": NOT_THERE}, "execution_id"),
        ({"channel": "system", "types": "log.*"}, "types"),
        ({"channel": "system", "types": "comet.*"}, "types"),
        ({"channel": "system", "filter": "1 +"}, "filter"),
        ({"channel": "system", "mode": "newest"}, "mode"),
        ({"channel": "system", "since": 10**15}, "since"),
        ({"filter": "data.x.matches('a')"}, "filter"),
    ],
)
async def test_what_is_wrong_is_named(admin: Client, query: dict[str, Any], field: str) -> None:
    answer = await refused(admin, **query)
    assert (answer.status, answer.fields) == (422, [field])


async def test_each_channel_needs_its_permission_and_nothing_else(hub: Hub, admin: Client) -> None:
    limited = await hub.client(permissions=("execution.read", "webhook.read"))
    for query, permission in (
        ({}, "event.read"),
        ({"channel": ["execution:*", "system"]}, "system.read"),
        ({"channel": ["execution:*", f"workflow:{NOT_THERE}"]}, "workflow.read"),
    ):
        answer = await refused(limited, **query)
        assert (answer.status, answer.errors[0]["details"]) == (403, {"permission": permission})
    async with streaming(limited, channel=["execution:*", "webhook:*"]) as source:
        await source.begun()
    assert (await refused(hub.nobody, channel="system")).status == 401


async def test_a_channel_of_something_of_others_is_not_there(hub: Hub, admin: Client) -> None:
    stranger = await hub.client()
    workflow = await admin.workflow()
    execution = await ran(admin, workflow)
    hook = await admin.webhook("https://example.com/x")
    for name in (
        f"workflow:{workflow['id']}",
        f"execution:{execution}",
        f"webhook:{hook['id']}",
        "execution:nonsense",
        f"task:{NOT_THERE}",
    ):
        answer = await refused(stranger, channel=["execution:*", name])
        assert (answer.status, answer.codes) == (404, {"RESOURCE_NOT_FOUND"})
    async with streaming(stranger, channel=["workflow:*", "execution:*", "webhook:*"], since=0) as source:
        await ran(admin, workflow)
        mine = await stranger.workflow()
        (sent,) = await source.take(1)
    assert sent.data["data"]["workflow_id"] == mine["id"]


async def test_the_channels_and_the_filter_of_a_stream_count_and_a_refusal_holds_nothing(
    admin: Client, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Limits(connections=1, organization_subscriptions=2, organization_filters=0)
    monkeypatch.setattr(hub.services.streams.quotas, "limits", limits)
    for query, said in (
        ({"channel": ["events", "system", "webhook:*"]}, "2 subscriptions"),
        ({"channel": "events", "filter": "data.x == 1"}, "0 different filters"),
        ({"filter": "data.x == 1"}, "0 different filters"),
    ):
        answer = await refused(admin, **query)
        assert (answer.status, answer.codes) == (429, {"RATE_LIMIT_EXCEEDED"})
        assert said in answer.errors[0]["message"]
        assert answer.headers["Retry-After"] == "10"
    async with streaming(admin, channel=["events", "system"], since=0) as source:
        assert (await source.take(1))[0].data["channel"] == "events"
