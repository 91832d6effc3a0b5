"""What a webhook did not get, sent after all: what failed, what came while it was off."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.hubs import Client, Hub, until
from tests.integration.receiving import receiving

pytestmark = pytest.mark.asyncio(loop_scope="session")

ONCE = {"max_attempts": 1}


async def statuses(admin: Client, webhook: dict[str, Any], *wanted: str) -> None:
    async def look() -> bool:
        found = (await admin.get(f"/webhooks/{webhook['id']}/deliveries")).data
        return sorted(each["status"] for each in found) == sorted(wanted)

    await until(look)


async def recovered(admin: Client, webhook: dict[str, Any], **body: Any) -> dict[str, Any]:
    started = await admin.post(f"/webhooks/{webhook['id']}/recover", body)
    assert started.status == 202, started.body
    assert (started.data["kind"], started.data["what"]) == ("recovery", body.get("what", "failed"))

    async def look() -> Any:
        found = (await admin.get(f"/events/replay/{started.data['id']}")).data
        return found if found["completed_at"] else None

    job: dict[str, Any] = await until(look)
    return job


async def test_what_was_given_up_since_then_is_sent_again(admin: Client) -> None:
    async with receiving() as receiver:
        receiver.always = 500
        webhook = await admin.webhook(receiver.url, "workflow.created", retry_policy=ONCE)
        for _ in range(3):
            await admin.workflow()
        await statuses(admin, webhook, *["exhausted"] * 3)
        receiver.always = 200
        newest, middle, oldest = (await admin.get(f"/webhooks/{webhook['id']}/deliveries")).data
        job = await recovered(admin, webhook, since=middle["position"], until=middle["position"])
        assert (job["status"], job["progress"]["processed"]) == ("completed", 1)
        await statuses(admin, webhook, "exhausted", "exhausted", "succeeded")
        again = (await admin.get(f"/deliveries/{middle['id']}")).data
        assert (again["status"], again["attempt_count"]) == ("succeeded", 2)
        assert "replay_id" not in again
        job = await recovered(admin, webhook, since=webhook["created_at"])
        assert job["progress"]["processed"] == 2
        await statuses(admin, webhook, *["succeeded"] * 3)
        sent = [each.id for each in receiver.arrived]
        assert sorted(sent) == sorted(2 * [newest["event_id"], middle["event_id"], oldest["event_id"]])
        assert (await recovered(admin, webhook, since=0))["progress"]["processed"] == 0
        listed = (await admin.get("/events/replay")).data
        assert [each["kind"] for each in listed] == ["recovery"] * 3


async def test_what_never_arrived_is_sent_also_what_came_while_it_was_off(admin: Client) -> None:
    before = await admin.workflow()
    async with receiving() as receiver:
        webhook = await admin.webhook(receiver.url, "workflow.created", retry_policy=ONCE)
        path = f"/webhooks/{webhook['id']}"
        receiver.replies = [200, 500]
        for _ in range(2):
            await admin.workflow()
        await statuses(admin, webhook, "succeeded", "exhausted")
        await admin.post(f"{path}/disable")
        for _ in range(2):
            missed = await admin.workflow()
        await admin.post(f"{path}/enable")
        job = await recovered(admin, webhook, since=1, what="undelivered")
        assert (job["status"], job["progress"]["processed"]) == ("completed", 3)
        await statuses(admin, webhook, *["succeeded"] * 4)
        names = [each.json["data"]["workflow"]["name"] for each in receiver.arrived]
        assert len(names) == 5
        assert before["name"] not in names, "nothing from before it was created"
        assert missed["name"] in names
        assert not any("X-Webhook-Replay" in each.headers for each in receiver.arrived)
        assert (await recovered(admin, webhook, since=1, what="undelivered"))["progress"]["processed"] == 0


async def test_a_recovery_that_cannot_be_is_refused(hub: Hub, admin: Client) -> None:
    async with receiving() as receiver:
        webhook = await admin.webhook(receiver.url, "workflow.created")
        path = f"/webhooks/{webhook['id']}/recover"
        head = (await admin.events())[-1]["position"]
        for body, field in (
            ({}, "since"),
            ({"since": "yesterday"}, "since"),
            ({"since": None}, "since"),
            ({"since": 10**9}, "since"),
            ({"since": 1, "what": "everything"}, "what"),
            ({"since": head, "until": 1}, "until"),
        ):
            refused = await admin.post(path, body)
            assert (refused.status, refused.fields) == (422, [field]), body
        assert (await (await hub.client()).post(path, {"since": 1})).status == 404
        assert (await (await hub.client(permissions=("event.replay",))).post(path, {"since": 1})).status == 403
        await admin.post(f"/webhooks/{webhook['id']}/disable")
        off = await admin.post(path, {"since": 1})
        assert (off.status, off.fields) == (409, ["active"])
        assert (await admin.get("/events/replay")).data == []
