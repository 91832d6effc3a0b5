from __future__ import annotations

from typing import Any

import pytest

from tests.integration.hubs import Client, Hub, unique
from tests.integration.listening import listening
from tests.integration.receiving import receiving

pytestmark = pytest.mark.asyncio(loop_scope="session")

LOGGING: dict[str, Any] = {
    "components": [
        {"id": "start", "type": "start"},
        {"id": "say", "type": "log", "config": {"level": "warning", "message": "it is {{what}}"}},
    ],
    "connections": [{"source": "start", "target": "say"}],
    "parameters": [{"name": "what", "type": "string", "required": True}],
}


def of(events: list[dict[str, Any]], *kinds: str) -> list[dict[str, Any]]:
    return [event for event in events if event["type"].startswith(kinds)]


async def test_the_channel_of_a_webhook_has_its_events_whole_and_no_secret(admin: Client) -> None:
    async with listening(admin) as socket:
        first = await admin.webhook("https://example.com/a", secret="whsec_" + "c2VjcmV0" * 4)
        assert (await socket.subscribe("webhook", webhook_id=first["id"], since=0))[
            "channel"
        ] == f"webhook:{first['id']}"
        await admin.webhook("https://example.com/b")
        await admin.put(f"/webhooks/{first['id']}", {"active": False})
        expected = [event for event in await admin.events() if event["stream"] == f"webhook:{first['id']}"]
        heard = await socket.take(len(expected))
        assert [message["data"] for message in heard] == expected
        assert [message["channel"] for message in heard] == [f"webhook:{first['id']}"] * len(expected)
        assert {message["type"] for message in heard} == {"event"}
        assert "whsec_" not in str(heard)
        assert "sealed:" not in str(heard)
        assert await socket.through() == []


async def test_every_webhook_s_channel_says_which_one(admin: Client) -> None:
    async with listening(admin) as socket:
        await socket.subscribe("webhook", webhook_id="*")
        ids = [(await admin.webhook(f"https://example.com/{n}"))["id"] for n in range(3)]
        assert [message["channel"] for message in await socket.take(3)] == [f"webhook:{id}" for id in ids]


async def test_a_webhook_that_fails_for_good_is_told_on_its_channel_and_on_the_system_s(admin: Client) -> None:
    async with receiving() as receiver, listening(admin) as socket:
        receiver.always = 410
        hook = await admin.webhook(receiver.url, "workflow.created")
        await socket.subscribe("system", types=["webhook.*"])
        await admin.workflow()
        (told,) = await socket.take(1)
        assert (told["type"], told["channel"]) == ("system_notification", "system")
        assert told["data"]["event"] == "webhook.disabled"
        assert (told["data"]["level"], told["data"]["webhook_id"]) == ("error", hook["id"])
        assert "enable it once it answers" in told["data"]["message"]
        await admin.post(f"/webhooks/{hook['id']}/enable")
        (again,) = await socket.take(1)
        assert (again["data"]["event"], again["data"]["level"]) == ("webhook.enabled", "info")


async def test_the_system_s_channel_resumes_as_any_other(hub: Hub) -> None:
    organization = unique("organization")
    owner = await hub.client(organization)
    keys = [await hub.client(organization, role="read_only") for _ in range(3)]
    async with listening(keys[0]) as socket:
        await socket.subscribe("system", since=0, types=["apikey.*"])
        heard = await socket.take(4)
        assert [message["data"]["event"] for message in heard] == ["apikey.created"] * 4
        assert [message["position"] for message in heard] == [
            event["position"] for event in of(await owner.events(), "apikey.")
        ]
        await socket.subscribe("system", since=heard[1]["position"])
        assert await socket.take(2) == heard[2:]
        async with listening(owner) as other:
            await other.subscribe("system", since=0)
            assert await other.take(4) == heard


async def test_lines_of_components_are_heard_by_their_types(admin: Client) -> None:
    workflow = await admin.workflow(LOGGING)
    async with listening(admin) as socket:
        await socket.subscribe("workflow", workflow_id=workflow["id"], types=["log.*"])
        await socket.subscribe("execution", execution_id="*", types=["log.*"])
        execution = await admin.execution(workflow["id"], parameters={"what": "late"})
        await admin.ended(execution)
        lines = sorted(await socket.take(2), key=lambda message: message["channel"])
        assert [line["channel"] for line in lines] == [f"execution:{execution}", f"workflow:{workflow['id']}"]
        for line in lines:
            assert line["type"] == "log"
            assert (line["data"]["level"], line["data"]["message"]) == ("warning", "it is late")
            assert (line["data"]["component_id"], line["data"]["execution_id"]) == ("say", execution)
        assert await socket.through() == []


async def test_a_filter_holds_for_the_past_and_for_what_comes(admin: Client) -> None:
    workflow = await admin.workflow(LOGGING)
    quiet = "event.type == 'log.written' && data.message.endsWith('wanted')"
    for what in ("wanted", "left out"):
        await admin.ended(await admin.execution(workflow["id"], parameters={"what": what}))
    async with listening(admin) as socket:
        await socket.subscribe("workflow", workflow_id=workflow["id"], filter=quiet, since=0)
        (past,) = await socket.take(1)
        for what in ("left out too", "also wanted"):
            await admin.ended(await admin.execution(workflow["id"], parameters={"what": what}))
        (coming,) = await socket.take(1)
        assert [message["data"]["message"] for message in (past, coming)] == ["it is wanted", "it is also wanted"]
        assert await socket.through() == []
        answer = await socket.subscribe("events", filter="data.message ==")
        assert (answer["code"], answer["field"]) == ("VALIDATION_ERROR", "filter")


async def test_the_latest_is_never_left_out(admin: Client) -> None:
    workflow = await admin.workflow()
    async with listening(admin) as socket:
        await socket.subscribe("execution", execution_id="*", mode="latest")
        for execution in [await admin.execution(workflow["id"]) for _ in range(3)]:
            await admin.ended(execution)
        ended: set[str] = set()
        while len(ended) < 3:
            message = await socket.hear()
            if message["type"] == "execution_update" and message["data"]["status"] == "completed":
                ended.add(message["data"]["execution_id"])


async def test_several_channels_are_subscribed_to_and_left_in_one_message(admin: Client) -> None:
    workflow = await admin.workflow()
    await admin.workflow()
    async with listening(admin) as socket:
        wanted = [
            {"channel": "workflow", "workflow_id": workflow["id"]},
            {"channel": "workflow", "workflow_id": "01HQN0TTHEREZZZZZZZZZZZZZZ"},
            {"channel": "events", "types": ["workflow.*"]},
            {"channel": "nothing"},
        ]
        await socket.say("subscribe", since=0, channels=wanted)
        answers = await socket.answers("subscribed", "error", count=4)
        assert [(each["type"], each["data"]["reply_to"]) for each in answers] == [
            ("subscribed", "m"),
            ("error", "m"),
            ("subscribed", "m"),
            ("error", "m"),
        ]
        assert [each["data"].get("field") for each in answers] == [
            None,
            "channels[1].workflow_id",
            None,
            "channels[3].channel",
        ]
        await socket.say("unsubscribe", channels=[wanted[0], {"channel": "events"}])
        left = await socket.answers("unsubscribed", count=2)
        assert [each["data"]["channel"] for each in left] == [f"workflow:{workflow['id']}", "events"]
        await admin.workflow()
        assert await socket.through() == []


async def test_channels_of_things_of_others_are_not_there_and_permissions_are_asked_for(hub: Hub) -> None:
    ours, theirs = await hub.client(), await hub.client()
    hook = await theirs.webhook("https://example.com/x")
    deleted = await ours.webhook("https://example.com/y")
    await ours.delete(f"/webhooks/{deleted['id']}")
    async with listening(ours) as socket:
        await socket.subscribe("webhook", webhook_id="*")
        for id in (hook["id"], deleted["id"]):
            answer = await socket.subscribe("webhook", webhook_id=id)
            assert (answer["code"], answer["field"]) == ("RESOURCE_NOT_FOUND", "webhook_id")
        await theirs.webhook("https://example.com/z")
        assert await socket.through() == []
    async with listening(await hub.client(permissions=("execution.read",))) as limited:
        assert "'webhook.read'" in (await limited.subscribe("webhook", webhook_id="*"))["message"]
        assert "'system.read'" in (await limited.subscribe("system"))["message"]
