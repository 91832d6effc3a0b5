from __future__ import annotations

from typing import Any

import pytest

from hub.queries import encode_cursor
from tests.integration.hubs import Client, Hub

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def positions(client: Client, **query: Any) -> list[int]:
    answer = await client.get("/events", **query)
    assert answer.status == 200, answer.body
    return [event["position"] for event in answer.data]


@pytest.fixture
def shape() -> set[str]:
    return {
        *("position", "id", "type", "time", "organization_id", "stream", "version", "workflow_id", "execution_id"),
        *("data", "metadata", "hash"),
    }


async def test_events_come_in_order_with_all_that_the_contract_names(admin: Client, shape: set[str]) -> None:
    workflow = await admin.workflow()
    id = await admin.execution(workflow["id"])
    await admin.ended(id)
    answer = await admin.get("/events")
    events = answer.data
    assert [event["type"] for event in events] == [
        *("apikey.created", "workflow.created", "execution.created", "execution.started"),
        *("component.started", "component.completed", "execution.completed"),
    ]
    assert all(set(event) == shape for event in events)
    assert [event["position"] for event in events] == sorted({event["position"] for event in events})
    assert answer.metadata["total_count"] is None
    created = events[1]
    assert created["stream"] == f"workflow:{workflow['id']}"
    assert (created["workflow_id"], created["execution_id"], created["version"]) == (workflow["id"], None, 1)
    assert created["organization_id"] == admin.organization_id
    assert created["metadata"]["actor"] == f"api_key:{workflow['created_by']}"
    assert len(created["hash"]) == 64
    done = events[-1]
    assert (done["workflow_id"], done["execution_id"]) == (workflow["id"], id)
    assert done["metadata"]["actor"] == "system"
    assert done["data"]["status"] == "completed"
    assert done["data"]["workflow_name"] == workflow["name"]
    assert done["data"]["progress"]["percentage"] == 100
    component = events[-2]["data"]
    assert (component["component_id"], component["component_type"], component["attempt"]) == ("start", "start", 1)


async def test_an_event_carries_the_id_of_the_request_that_caused_it(admin: Client) -> None:
    await admin.send("POST", "/webhooks/x/enable", headers={"X-Request-ID": "ignored"})
    answer = await admin.send(
        "POST",
        "/workflows",
        {"name": "traced", "definition": {"components": [{"id": "a", "type": "start"}]}},
        headers={"X-Request-ID": "trace-me.7"},
    )
    (event,) = await admin.events(workflow_id=answer.data["id"])
    assert event["metadata"]["request_id"] == "trace-me.7"


async def test_filters(admin: Client) -> None:
    one, two = await admin.workflow(), await admin.workflow()
    first = await admin.execution(one["id"])
    await admin.ended(first)
    second = await admin.execution(two["id"])
    await admin.ended(second)
    events = await admin.events()

    def where(holds: Any) -> list[int]:
        return [event["position"] for event in events if holds(event)]

    middle = events[len(events) // 2]
    at, time = middle["position"], middle["time"]
    assert await positions(admin, after=at) == where(lambda e: e["position"] > at)
    assert await positions(admin, before=at) == where(lambda e: e["position"] < at)
    assert await positions(admin, after=events[0]["position"], before=at, order="desc") == [
        *reversed(where(lambda e: events[0]["position"] < e["position"] < at))
    ]
    assert await positions(admin, types="workflow.created") == where(lambda e: e["type"] == "workflow.created")
    assert await positions(admin, types="workflow.created,component.*") == where(
        lambda e: e["type"] == "workflow.created" or e["type"].startswith("component.")
    )
    assert await positions(admin, types=["*.created", "*.completed"]) == where(
        lambda e: e["type"].split(".")[1] in ("created", "completed")
    )
    for everything in ("*", "*.*", ""):
        assert await positions(admin, types=everything) == where(lambda e: True)
    assert await positions(admin, workflow_id=one["id"]) == where(lambda e: e["workflow_id"] == one["id"])
    assert await positions(admin, execution_id=second) == where(lambda e: e["execution_id"] == second)
    assert await positions(admin, execution_id=second, types="*.completed") == where(
        lambda e: e["execution_id"] == second and e["type"].endswith(".completed")
    )
    assert await positions(admin, start_time=time) == where(lambda e: e["time"] >= time)
    assert await positions(admin, end_time=time) == where(lambda e: e["time"] < time)
    assert await positions(admin, order="desc") == [*reversed(where(lambda e: True))]
    assert await positions(admin, workflow_id=one["id"], execution_id=second) == []
    assert await positions(admin, before=0) == []


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_cursors_walk_the_whole_log_once(admin: Client, order: str) -> None:
    for _ in range(3):
        await admin.workflow()
    everything, walked, cursor = await positions(admin, order=order), list[int](), ""
    while True:
        answer = await admin.get("/events", limit=1, order=order, **({"cursor": cursor} if cursor else {}))
        walked += [event["position"] for event in answer.data]
        cursor = answer.metadata["next_cursor"]
        assert answer.metadata["has_more"] == (cursor is not None)
        if cursor is None:
            break
    assert walked == everything
    assert await positions(admin, order=order, offset=1, limit=2) == everything[1:3]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"types": "execution.done"}, "types"),
        ({"types": "workflow.*,nonsense"}, "types"),
        ({"after": -1}, "after"),
        ({"after": 2**63}, "after"),
        ({"before": "x"}, "before"),
        ({"start_time": "yesterday"}, "start_time"),
        ({"end_time": "0001-01-01T00:00:00+14:00"}, "end_time"),
        ({"order": "up"}, "order"),
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"offset": -1}, "offset"),
        ({"cursor": "nonsense"}, "cursor"),
        ({"cursor": encode_cursor([2**63])}, "cursor"),
        ({"cursor": encode_cursor(["x"])}, "cursor"),
        ({"since": 0}, "since"),
    ],
)
async def test_what_is_wrong_with_a_query_is_named(admin: Client, query: dict[str, Any], field: str) -> None:
    answer = await admin.get("/events", **query)
    assert (answer.status, answer.codes, answer.fields) == (422, {"VALIDATION_ERROR"}, [field])


async def test_one_event_by_its_position(admin: Client, hub: Hub) -> None:
    (event,) = await admin.events()
    answer = await admin.get(f"/events/{event['position']}")
    assert (answer.status, answer.data) == (200, event)
    for nothing in ("0", "-1", "x", "1.0", " 1", "١", "9" * 18, "9" * 40, str(hub.head + 1000)):
        refused = await admin.get(f"/events/{nothing}")
        assert (refused.status, refused.codes) == (404, {"RESOURCE_NOT_FOUND"})


async def test_one_organization_never_sees_the_events_of_another(admin: Client, hub: Hub) -> None:
    workflow = await admin.workflow()
    event = (await admin.events(workflow_id=workflow["id"]))[0]
    stranger = await hub.client()
    assert await positions(stranger, workflow_id=workflow["id"]) == []
    assert await positions(stranger, workflow_id=workflow["id"], types="workflow.created") == []
    assert (await stranger.get(f"/events/{event['position']}")).status == 404
    assert all(e["organization_id"] == stranger.organization_id for e in await stranger.events())
