"""Replays through the doors of a whole hub: to a webhook, to a channel, cancelled, refused."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from websockets.asyncio.client import connect

from tests.integration.hubs import Client, Hub, until
from tests.integration.receiving import Arrived, Receiver, receiving
from tests.integration.streaming import streaming

pytestmark = pytest.mark.asyncio(loop_scope="session")

NOBODY = "01HQ0000000000000000000000"
JOB = {
    *("id", "status", "target", "channel", "from", "to", "types", "workflow_id", "execution_id", "progress"),
    *("error", "created_by", "created_at", "completed_at", "kind", "what"),
}


@pytest_asyncio.fixture(loop_scope="session")
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


@pytest_asyncio.fixture(loop_scope="session")
async def past(admin: Client) -> list[dict[str, Any]]:
    """What an organization has behind it: a workflow and two executions."""
    workflow = await admin.workflow()
    for _ in range(2):
        await admin.ended(await admin.execution(workflow["id"]))
    return await admin.events()


def to(webhook: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"target": {"type": "webhook", "webhook_id": webhook["id"]}} | more


async def replayed(client: Client, **body: Any) -> dict[str, Any]:
    """A replay, once it has ended."""
    started = await client.post("/events/replay", {"target": "channel"} | body)
    assert started.status == 202, started.body
    return await ended(client, started.data["id"])


async def ended(client: Client, id: str) -> dict[str, Any]:
    async def look() -> Any:
        found = (await client.get(f"/events/replay/{id}")).data
        return found if found["completed_at"] else None

    job: dict[str, Any] = await until(look)
    return job


def positions(arrived: list[Arrived]) -> list[int]:
    return [each.json["position"] for each in arrived]


async def test_a_webhook_gets_a_span_again_in_order_and_marked(
    admin: Client, past: list[dict[str, Any]], receiver: Receiver
) -> None:
    webhook = await admin.webhook(f"{receiver.url}/again", "execution.*")
    span = {"from": past[0]["position"], "to": past[-1]["position"], "types": ["execution.*", "component.*"]}
    job = await replayed(admin, **to(webhook, **span))
    assert set(job) == JOB
    wanted = [event for event in past if event["type"].startswith(("execution.", "component."))]
    assert positions(receiver.arrived) == [event["position"] for event in wanted]
    assert job | {"status": "completed", "error": None, "channel": None} == job
    assert (job["from"], job["to"], job["types"]) == (span["from"], span["to"], span["types"])
    assert job["progress"] == {
        "processed": len(wanted),
        "total": len(wanted),
        "position": span["to"],
        "percentage": 100,
    }
    for event, got in zip(wanted, receiver.arrived, strict=True):
        assert got.headers["X-Webhook-Replay"] == got.json["replay"] == job["id"]
        assert (got.json["event_id"], got.event) == (event["id"], event["type"])
        assert got.id == got.headers["X-Webhook-Delivery"] != event["id"], "a receiver that had it takes it again"
    delivered = (await admin.get(f"/webhooks/{webhook['id']}/deliveries")).data
    assert {each["replay_id"] for each in delivered} == {job["id"]}


async def test_without_types_a_webhook_gets_what_it_asked_for_and_its_filters_hold(
    admin: Client, past: list[dict[str, Any]], receiver: Receiver
) -> None:
    execution = past[-1]["execution_id"]
    webhook = await admin.webhook(
        receiver.url, "execution.*", filters={"condition": "event == 'execution.completed'"}
    )
    job = await replayed(admin, **to(webhook, execution_id=execution, to=past[-1]["position"]))
    assert (job["types"], job["progress"]["total"]) == (["execution.*"], 1)
    (got,) = receiver.arrived
    assert (got.event, got.json["data"]["execution"]["id"]) == ("execution.completed", execution)


async def test_a_replay_reaches_its_webhook_alone_and_leaves_nothing_in_the_log(
    admin: Client, past: list[dict[str, Any]], receiver: Receiver
) -> None:
    await admin.webhook(receiver.url, "*")
    async with receiving() as gone, streaming(admin) as live:
        gone.always = 410
        webhook = await admin.webhook(gone.url, "execution.*")
        (created,) = await live.take(1)
        assert created.event == "webhook.created"
        job = await replayed(admin, **to(webhook, to=past[-1]["position"]))
        await admin.workflow()
        (next_,) = await live.take(1)
        assert next_.event == "workflow.created", "the live feed hears nothing of a replay or of what came of it"
    await until(lambda: _is("workflow.created" in receiver.events()))
    assert receiver.events() == ["webhook.created", "workflow.created"]
    assert [event["type"] for event in await admin.events(after=past[-1]["position"])][1:] == receiver.events()
    assert (job["status"], len(gone.arrived)) == ("completed", job["progress"]["total"])
    states = {each["status"] for each in (await admin.get(f"/webhooks/{webhook['id']}/deliveries")).data}
    assert states == {"exhausted"}
    assert (await admin.get(f"/webhooks/{webhook['id']}")).data["active"] is True


async def _is(it: bool) -> bool:
    return it


async def test_a_channel_has_the_events_for_whoever_comes_and_from_where_they_say(
    hub: Hub, admin: Client, past: list[dict[str, Any]]
) -> None:
    job = await replayed(admin, **{"from": past[1]["position"], "to": past[-1]["position"]})
    assert job["channel"] == f"replay:{job['id']}"
    assert job["progress"]["processed"] == len(past) - 1
    whole = await _heard(admin, job)
    assert [message["data"] for message in whole[:-1]] == past[1:]
    for message in whole:
        assert (message["channel"], message["replay"]) == (job["channel"], job["id"])
    assert whole[-1]["type"] == "replay_completed"
    assert whole[-1]["data"] == {"replay_id": job["id"], "status": "completed", "through": job["to"]}
    rest = await _heard(admin, job, since=past[-2]["position"])
    assert [message.get("position") for message in rest] == [past[-1]["position"], None]
    stranger = await hub.client()
    assert (await _heard(stranger, job))[0]["data"]["code"] == "RESOURCE_NOT_FOUND"


async def _heard(client: Client, job: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    """The messages of a replay's channel, through the last one."""
    url = client.url.replace("http", "ws") + f"/api/v1/ws?token={client.key}"
    async with connect(url, proxy=None) as socket, asyncio.timeout(30):
        wish = {"channel": "replay", "replay_id": job["id"]} | more
        await socket.send(json.dumps({"type": "subscribe", "data": wish}))
        got: list[dict[str, Any]] = []
        while not got or got[-1]["type"] not in ("replay_completed", "error"):
            message = json.loads(await socket.recv())
            if message["type"] not in ("welcome", "subscribed"):
                got.append(message)
        return got


async def test_a_channel_over_plain_http(hub: Hub, admin: Client, past: list[dict[str, Any]]) -> None:
    job = await replayed(admin, types=["workflow.*"], to=past[-1]["position"])
    async with streaming(admin, replay_id=job["id"]) as stream:
        *events, end = await stream.take(2)
    wanted = [event | {"replay": job["id"]} for event in past if event["type"].startswith("workflow.")]
    assert [event.data for event in events] == wanted
    assert (end.event, end.data["status"]) == ("replay_completed", "completed")
    for client, query, status in (
        (admin, {"replay_id": NOBODY}, 404),
        (await hub.client(), {"replay_id": job["id"]}, 404),
        (admin, {"replay_id": job["id"], "execution_id": NOBODY}, 422),
    ):
        assert (await client.get("/events/stream", **query)).status == status


async def test_times_are_as_good_as_positions_and_both_ends_are_inclusive(
    admin: Client, past: list[dict[str, Any]]
) -> None:
    first, last = past[2], past[-2]
    job = await replayed(admin, **{"from": first["time"], "to": last["time"]})
    wanted = [event for event in past if first["time"] <= event["time"] <= last["time"]]
    assert job["progress"]["total"] == len(wanted)
    nothing = await replayed(admin, **{"from": "2001-01-01", "to": "2001-01-02"})
    assert (nothing["status"], nothing["progress"]["total"]) == ("completed", 0)


async def test_a_cancelled_replay_sends_no_more(
    admin: Client, past: list[dict[str, Any]], receiver: Receiver
) -> None:
    is_cancelled = asyncio.Event()

    async def hold(arrived: Arrived) -> web.Response:
        await is_cancelled.wait()
        return web.Response(status=500)

    receiver.replies.append(hold)
    webhook = await admin.webhook(receiver.url, "*")
    with contextlib.ExitStack() as stack:
        stack.callback(is_cancelled.set)
        started = (await admin.post("/events/replay", to(webhook, to=past[-1]["position"]))).data
        await until(lambda: _is(bool(receiver.arrived)))
        shown = (await admin.get(f"/events/replay/{started['id']}")).data
        assert (shown["status"], shown["progress"]["processed"], shown["progress"]["total"]) == ("running", 0, None)
        answer = await admin.post(f"/events/replay/{started['id']}/cancel")
        assert (answer.status, answer.data["status"]) == (200, "cancelled")
        assert answer.data["progress"]["processed"] == 0
    again = await admin.post(f"/events/replay/{started['id']}/cancel")
    assert (again.status, again.fields) == (409, ["status"])
    assert "cancelled already" in again.json["message"]
    later = await replayed(admin, **to(webhook, types=["workflow.created"], to=past[-1]["position"]))
    assert later["status"] == "completed"
    of = [got.json["replay"] for got in receiver.arrived]
    assert of == [started["id"], later["id"]]
    listed = await admin.get("/events/replay")
    assert [job["id"] for job in listed.data] == [later["id"], started["id"]]
    assert listed.metadata["total_count"] == 2
    assert [job["id"] for job in (await admin.get("/events/replay", status="cancelled")).data] == [started["id"]]
    page = await admin.get("/events/replay", limit=1)
    rest = await admin.get("/events/replay", cursor=page.metadata["next_cursor"])
    assert [job["id"] for job in rest.data] == [started["id"]]


async def test_a_webhook_that_is_switched_off_ends_its_replay_and_gets_no_other(
    admin: Client, past: list[dict[str, Any]], receiver: Receiver
) -> None:
    receiver.always = 500
    webhook = await admin.webhook(receiver.url, "*")
    started = (await admin.post("/events/replay", to(webhook, to=past[-1]["position"]))).data
    await until(lambda: _is(bool(receiver.arrived)))
    await admin.put(f"/webhooks/{webhook['id']}", {"active": False})
    job = await ended(admin, started["id"])
    assert (job["status"], job["error"]) == ("failed", "the webhook was switched off")
    refused = await admin.post("/events/replay", to(webhook))
    assert (refused.status, refused.fields) == (409, ["target.webhook_id"])


@pytest.mark.parametrize(
    ("body", "status", "fields"),
    [
        ({}, 422, ["target"]),
        ({"target": "everywhere"}, 422, ["target"]),
        ({"target": {}}, 422, ["target"]),
        ({"target": {"type": "webhook"}}, 422, ["target.webhook_id"]),
        ({"target": {"type": "channel", "webhook_id": NOBODY}}, 422, ["target.webhook_id"]),
        ({"target": {"type": "webhook", "webhook_id": NOBODY}}, 404, ["target.webhook_id"]),
        ({"target": "channel", "execution_id": NOBODY}, 404, ["execution_id"]),
        ({"target": "channel", "workflow_id": "no id"}, 404, ["workflow_id"]),
        ({"target": "channel", "types": ["nothing.*"], "from": "soon", "to": "x"}, 422, ["from", "to", "types"]),
        ({"target": "channel", "from": -1}, 422, ["from"]),
        ({"target": "channel", "from": 2**60}, 422, ["from"]),
        ({"target": "channel", "to": 2**60}, 422, ["to"]),
        ({"target": "channel", "from": 3, "to": 2}, 422, ["to"]),
        ({"target": "channel", "since": 3}, 422, ["since"]),
    ],
)
async def test_what_makes_no_sense_is_refused_with_its_field(
    admin: Client, past: list[dict[str, Any]], body: dict[str, Any], status: int, fields: list[str]
) -> None:
    answer = await admin.post("/events/replay", body)
    assert (answer.status, answer.fields) == (status, fields), answer.body
    assert (await admin.get("/events/replay")).data == []


async def test_replays_are_their_organization_s_and_need_their_permission(
    hub: Hub, admin: Client, receiver: Receiver
) -> None:
    webhook = await admin.webhook(receiver.url)
    job = await replayed(admin)
    stranger = await hub.client()
    assert (await stranger.get("/events/replay")).data == []
    for answer in (
        await stranger.get(f"/events/replay/{job['id']}"),
        await stranger.post(f"/events/replay/{job['id']}/cancel"),
        await stranger.post("/events/replay", to(webhook)),
        await admin.get("/events/replay/nonsense"),
    ):
        assert answer.status == 404
    writer = await hub.client(role="read_write")
    for answer in (
        await writer.post("/events/replay", {"target": "channel"}),
        await writer.post(f"/events/replay/{job['id']}/cancel"),
    ):
        assert answer.status == 403
        assert "event.replay" in answer.json["message"]
    assert (await writer.get("/events/replay")).status == 200
    blind = await hub.client(permissions=("event.replay",))
    assert (await blind.get("/events/replay")).status == 403
    assert (await blind.post("/events/replay", {"target": "channel"})).status == 202


async def test_only_so_many_at_a_time(admin: Client, past: list[dict[str, Any]], receiver: Receiver) -> None:
    receiver.always = 500
    webhook = await admin.webhook(receiver.url)
    body = to(webhook, to=past[-1]["position"])
    answers = await asyncio.gather(*(admin.post("/events/replay", body) for _ in range(30)))
    assert sorted(answer.status for answer in answers) == [202] * 20 + [409] * 10
    await admin.delete(f"/webhooks/{webhook['id']}")
    for answer in (each for each in answers if each.status == 202):
        assert (await ended(admin, answer.data["id"]))["error"] == "the webhook was deleted"
