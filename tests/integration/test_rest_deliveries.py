"""What was sent to webhooks: lists, what is sent again, what is cancelled before, and how they do."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.hubs import Client, Hub, until
from tests.integration.receiving import Arrived, receiving

pytestmark = pytest.mark.asyncio(loop_scope="session")

URL = "http://127.0.0.1:2/hook"
ONCE = {"max_attempts": 1}
NOTHING = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


async def ended(admin: Client, webhook: dict[str, Any], status: str, attempts: int = 1) -> dict[str, Any]:
    """The webhook's only delivery, once it has come to this."""

    async def look() -> dict[str, Any] | None:
        (found,) = (await admin.get(f"/webhooks/{webhook['id']}/deliveries")).data or [{"status": None}]
        return found if found["status"] == status and found["attempt_count"] == attempts else None

    found: dict[str, Any] = await until(look)
    return found


async def test_a_test_event_and_its_delivery(admin: Client) -> None:
    async with receiving() as receiver:
        webhook = await admin.webhook(receiver.url, "workflow.created")
        path = f"/webhooks/{webhook['id']}"
        answer = await admin.post(f"{path}/test")
        assert answer.status == 202
        assert set(answer.data) == {"delivery_id"}

        async def succeeded() -> Any:
            delivery = (await admin.get(f"/deliveries/{answer.data['delivery_id']}")).data
            return delivery if delivery["status"] == "succeeded" else None

        delivery = await until(succeeded)
        assert set(delivery) == {
            *("id", "webhook_id", "event_id", "event", "position", "status", "attempt_count", "next_attempt_at"),
            *("created_at", "completed_at", "attempts"),
        }
        assert (delivery["event"], delivery["position"]) == ("webhook.test", None)
        assert delivery["attempt_count"] == 1
        (attempt,) = delivery["attempts"]
        assert set(attempt) == {
            *("attempt", "started_at", "duration_ms", "status_code", "error", "response_body"),
            *("error_class", "receiver_fault", "request_headers", "timings"),
        }
        assert (attempt["error_class"], attempt["receiver_fault"]) == (None, False)
        assert attempt["request_headers"]["webhook-id"] == delivery["event_id"]
        assert attempt["timings"]["wait"] > 0
        assert (attempt["attempt"], attempt["status_code"], attempt["error"]) == (1, 200, None)
        assert receiver.events() == ["webhook.test"]
        listed = await admin.get(f"{path}/deliveries")
        assert listed.data == [delivery]
        assert listed.metadata["total_count"] is None


async def test_deliveries_are_listed_newest_first_and_filtered(admin: Client) -> None:
    async with receiving() as receiver:
        webhook = await admin.webhook(receiver.url, "workflow.*")
        path = f"/webhooks/{webhook['id']}/deliveries"
        for _ in range(3):
            workflow = await admin.workflow()
        await admin.post(f"/workflows/{workflow['id']}/activate")

        async def arrived() -> Any:
            listed = (await admin.get(path)).data
            return listed if [each["status"] for each in listed] == ["succeeded"] * 4 else None

        listed = await until(arrived)
        assert [each["position"] for each in listed] == sorted((e["position"] for e in listed), reverse=True)
        assert [each["event"] for each in listed] == ["workflow.activated", *["workflow.created"] * 3]
        assert (await admin.get(path, status="exhausted")).data == []
        assert (await admin.get(path, event="workflow.activated")).data == listed[:1]
        assert (await admin.get(path, start_time=listed[0]["created_at"], limit=1)).data == listed[:1]
        assert (await admin.get(path, end_time=listed[-1]["created_at"])).data == []
        assert (await admin.get(path, status="late")).fields == ["status"]
        assert (await admin.get(path, event="nothing.happened")).fields == ["event"]
        assert (await admin.get(path, event="workflow.activated,execution.*")).data == listed[:1]
        assert (await admin.get(path, event=["*.activated", "*.created"])).data == listed
        assert (await admin.get(path, status="succeeded,exhausted", event_id=listed[1]["event_id"])).data == listed[
            1:2
        ]
        assert (await admin.get("/deliveries")).data == listed
        assert (await admin.get("/deliveries", webhook_id=webhook["id"], event="*", limit=1)).data == listed[:1]
        assert (await admin.get("/deliveries", webhook_id="another")).data == []
        walked, cursor = [], None
        while True:
            page = await admin.get(path, limit=1, **({"cursor": cursor} if cursor else {}))
            walked += page.data
            cursor = page.metadata["next_cursor"]
            if not page.metadata["has_more"]:
                break
        assert walked == listed
        assert (await admin.get(path, limit=2, offset=1)).data == listed[1:3]


async def test_a_webhook_receives_nothing_of_another_organization(admin: Client, hub: Hub) -> None:
    async with receiving() as receiver:
        await admin.webhook(receiver.url, "workflow.created")
        stranger = await hub.client()
        await stranger.workflow(name="strange")
        await admin.workflow(name="ours")

        async def arrived() -> bool:
            return bool(receiver.arrived)

        await until(arrived)
        assert [each.json["data"]["workflow"]["name"] for each in receiver.arrived] == ["ours"]


async def test_what_was_given_up_is_sent_again_with_all_its_attempts_and_the_same_id(admin: Client) -> None:
    async with receiving() as receiver:
        receiver.replies = [422, 422]
        webhook = await admin.webhook(receiver.url, "workflow.created", retry_policy=ONCE)
        await admin.workflow()
        failed = await ended(admin, webhook, "exhausted")
        (attempt,) = failed["attempts"]
        assert (attempt["status_code"], attempt["error_class"], attempt["receiver_fault"]) == (422, "rejected", True)
        again = await admin.post(f"/deliveries/{failed['id']}/resend")
        assert again.status == 202
        assert (again.data["id"], again.data["status"], again.data["completed_at"]) == (failed["id"], "pending", None)
        assert again.data["attempts"] == failed["attempts"]
        await ended(admin, webhook, "exhausted", 2)
        assert (await admin.post(f"/deliveries/{failed['id']}/resend")).status == 202
        done = await ended(admin, webhook, "succeeded", 3)
        assert [each["status_code"] for each in done["attempts"]] == [422, 422, 200]
        assert {each.id for each in receiver.arrived} == {failed["event_id"]}
        assert (await admin.post(f"/deliveries/{failed['id']}/resend")).status == 202
        await ended(admin, webhook, "succeeded", 4)
        events = await admin.events(types="delivery.exhausted")
        assert [event["data"]["delivery_id"] for event in events] == [failed["id"]] * 2


async def test_what_cannot_be_sent_again_is_a_409_that_says_why(hub: Hub, admin: Client) -> None:
    async with receiving() as receiver:
        webhook = await admin.webhook(receiver.url, "workflow.created")
        during: list[Any] = []

        async def meanwhile(arrived: Arrived) -> Any:
            during.append(await admin.post(f"/deliveries/{arrived.headers['X-Webhook-Delivery']}/resend"))
            return receiver.plain(200)

        receiver.replies = [meanwhile]
        await admin.workflow()
        delivery = await ended(admin, webhook, "succeeded")
        path = f"/deliveries/{delivery['id']}/resend"
        assert [(each.status, each.fields) for each in during] == [(409, ["status"])]
        await admin.post(f"/webhooks/{webhook['id']}/disable")
        off = await admin.post(path)
        assert (off.status, off.fields) == (409, ["active"])
        await admin.delete(f"/webhooks/{webhook['id']}")
        assert (await admin.post(path)).status == 404
        assert (await admin.post(f"/deliveries/{NOTHING}/resend")).status == 404
        assert (await (await hub.client()).post(path)).status == 404
        assert (await (await hub.client(permissions=("webhook.read",))).post(path)).status == 403


async def waiting(admin: Client, count: int) -> dict[str, Any]:
    """A webhook for which deliveries wait an hour for their second attempt."""
    policy = {"initial_delay_seconds": 3600, "max_delay_seconds": 3600}
    webhook = await admin.webhook(URL, "workflow.*", retry_policy=policy)
    for _ in range(count):
        workflow = await admin.workflow()
    await admin.post(f"/workflows/{workflow['id']}/activate")

    async def have_failed() -> bool:
        listed = (await admin.get(f"/webhooks/{webhook['id']}/deliveries", status="retrying")).data
        return len(listed) == count + 1

    await until(have_failed)
    return webhook


async def test_what_waits_is_cancelled_by_event_status_and_time(admin: Client) -> None:
    webhook = await waiting(admin, 3)
    path = f"/webhooks/{webhook['id']}/cancel"
    newest, *_, oldest = (await admin.get(f"/webhooks/{webhook['id']}/deliveries")).data
    assert (await admin.post(path, {"status": "pending"})).data == {"cancelled": 0}
    assert (await admin.post(path, {"events": ["execution.*"]})).data == {"cancelled": 0}
    assert (await admin.post(path, {"end_time": oldest["created_at"]})).data == {"cancelled": 0}
    assert (await admin.post(path, {"events": ["*.activated"], "status": ["retrying"]})).data == {"cancelled": 1}
    assert (await admin.get(f"/deliveries/{newest['id']}")).data["status"] == "cancelled"
    assert (await admin.post(path, {"start_time": oldest["created_at"]})).data == {"cancelled": 3}
    assert (await admin.post(path)).data == {"cancelled": 0}
    assert (await admin.post(f"/deliveries/{newest['id']}/resend")).status == 202


async def test_a_cancellation_that_is_wrong_says_where(hub: Hub, admin: Client) -> None:
    path = f"/webhooks/{(await admin.webhook(URL))['id']}/cancel"
    for body, field in (
        ({"status": "succeeded"}, "status"),
        ({"events": ["nothing.happened"]}, "events"),
        ({"end_time": "yesterday"}, "end_time"),
    ):
        refused = await admin.post(path, body)
        assert (refused.status, refused.fields) == (422, [field])
    assert (await (await hub.client()).post(path)).status == 404


async def test_stats_say_how_a_webhook_does(hub: Hub, admin: Client) -> None:
    fresh = (await admin.get(f"/webhooks/{(await admin.webhook(URL, 'agent.deleted'))['id']}/stats")).data
    assert (fresh["period"], fresh["attempts"], fresh["success_rate"]) == ("24h", 0, None)
    assert fresh["latency_ms"] == {"p50": None, "p95": None, "p99": None}
    assert fresh["waiting"] == {"count": 0, "is_capped": False, "oldest_at": None}
    async with receiving() as receiver:
        receiver.replies = [200, 200, 500]
        webhook = await admin.webhook(
            receiver.url, "workflow.*", retry_policy={"initial_delay_seconds": 3600}, ordered=True
        )
        path = f"/webhooks/{webhook['id']}/stats"
        for _ in range(2):
            await admin.workflow()

        async def made(attempts: int) -> Any:
            stats = (await admin.get(path, period="1h")).data
            return stats if stats["attempts"] == attempts else None

        well = await until(lambda: made(2))
        assert (well["succeeded"], well["success_rate"], well["outcomes"]) == (2, 1.0, {"succeeded": 2})
        assert (well["failing_since"], well["disables_at"], well["last_failure_at"]) == (None, None, None)
        await admin.workflow()
        ill = await until(lambda: made(3))
        assert (ill["failed"], ill["success_rate"]) == (1, 0.6667)
        assert ill["outcomes"] == {"succeeded": 2, "unavailable": 1}
        assert ill["waiting"]["count"] == 1
        assert ill["waiting"]["oldest_at"] > webhook["created_at"]
        assert ill["failing_since"] == ill["last_failure_at"] > ill["last_success_at"]
        assert ill["disables_at"] > ill["failing_since"]
        assert 0 < ill["latency_ms"]["p50"] <= ill["latency_ms"]["p95"] <= ill["latency_ms"]["p99"]
        assert (await admin.get(path, period="7d")).data["attempts"] == 3
        assert (await admin.get(path, period="1y")).fields == ["period"]
        assert (await (await hub.client()).get(path)).status == 404
