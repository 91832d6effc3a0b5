"""What holds of every list: its bounds, its offset, its cursor, and what it says of itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from hub.app import OPERATIONS
from hub.queries import encode_cursor
from tests.integration.hubs import SMALLEST, Client, unique, until
from tests.integration.receiving import receiving

pytestmark = pytest.mark.asyncio(loop_scope="session")

COUNT = 5


async def workflows(client: Client) -> str:
    for _ in range(COUNT):
        await client.workflow()
    return "/workflows"


async def versions(client: Client) -> str:
    path = f"/workflows/{(await client.workflow())['id']}"
    for seconds in range(1, COUNT):
        definition = {"components": [{"id": "start", "type": "start"}], "max_execution_time": seconds}
        await client.put(path, {"definition": definition})
    return f"{path}/versions"


async def executions(client: Client) -> str:
    await _executions(client)
    return "/executions"


async def of_workflow(client: Client) -> str:
    return f"/workflows/{await _executions(client)}/executions"


async def _executions(client: Client) -> str:
    id = str((await client.workflow())["id"])
    for _ in range(COUNT):
        await client.ended(await client.execution(id))
    return id


async def _wide(client: Client) -> str:
    """An execution of five components, without a condition in it."""
    ids = ["start", "a", "b", "c", "d"]
    definition = {
        "components": [
            {
                "id": id,
                "type": "start" if id == "start" else "log",
                "config": {} if id == "start" else {"message": id},
            }
            for id in ids
        ],
        "connections": [{"source": "start", "target": id} for id in ids[1:]],
    }
    execution = await client.execution((await client.workflow(definition))["id"])
    await client.ended(execution)
    return f"/executions/{execution}"


async def components(client: Client) -> str:
    return f"{await _wide(client)}/components"


async def logs(client: Client) -> str:
    return f"{await _wide(client)}/logs"


async def history(client: Client) -> str:
    return f"{await _wide(client)}/history"


async def webhooks(client: Client) -> str:
    for _ in range(COUNT):
        await client.webhook("http://127.0.0.1:2/")
    return "/webhooks"


async def deliveries(client: Client) -> str:
    async with receiving() as receiver:
        path = f"/webhooks/{(await client.webhook(receiver.url, 'workflow.created'))['id']}/deliveries"
        for _ in range(COUNT):
            await client.workflow()

        async def have_settled() -> bool:
            return [each["status"] for each in (await client.get(path)).data] == ["succeeded"] * COUNT

        await until(have_settled)
    return path


async def all_deliveries(client: Client) -> str:
    await deliveries(client)
    return "/deliveries"


async def agents(client: Client) -> str:
    for number in range(COUNT):
        await client.post("/agents", {"name": f"agent {number}", "url": "http://127.0.0.1:2/"})
    return "/agents"


async def keys(client: Client) -> str:
    for _ in range(COUNT - 1):
        await client.post("/auth/api-keys", {"name": "n", "role": "read_only"})
    return "/auth/api-keys"


async def templates(client: Client) -> str:
    for _ in range(COUNT):
        body = {"name": unique("template"), "workflow_definition": SMALLEST}
        assert (await client.post("/templates", body)).status == 201
    return "/templates"


async def schedules(client: Client) -> str:
    workflow = (await client.workflow())["id"]
    for number in range(COUNT):
        body = {"name": f"schedule {number}", "workflow_id": workflow, "cron": "@daily", "paused": True}
        assert (await client.post("/schedules", body)).status == 201
    return "/schedules"


async def of_schedule(client: Client) -> str:
    body = {"name": "n", "workflow_id": (await client.workflow())["id"], "cron": "@daily", "paused": True}
    path = f"/schedules/{(await client.post('/schedules', body)).data['id']}"
    for _ in range(COUNT):
        await client.ended((await client.post(f"{path}/trigger")).data["id"])
    return f"{path}/executions"


async def tasks(client: Client) -> str:
    approve = [{"id": f"t{number}", "type": "human_task", "config": {"title": "n"}} for number in range(COUNT)]
    links = [{"source": "start", "target": each["id"]} for each in approve]
    definition = {"components": [{"id": "start", "type": "start"}, *approve], "connections": links}
    await client.execution((await client.workflow(definition))["id"])

    async def are_there() -> bool:
        return len((await client.get("/tasks")).data) == COUNT

    await until(are_there)
    return "/tasks"


async def of_task(client: Client) -> str:
    id = (await client.get(await tasks(client))).data[0]["id"]
    for number in range(COUNT - 1):
        assert (await client.post(f"/tasks/{id}/reassign", {"assignee": f"person {number}"})).status == 200
    return f"/tasks/{id}/logs"


async def types(client: Client) -> str:
    return "/components"


async def events(client: Client) -> str:
    for _ in range(COUNT):
        await client.workflow()
    return "/events"


async def replays(client: Client) -> str:
    for _ in range(COUNT):
        assert (await client.post("/events/replay", {"target": "channel"})).status == 202

    async def have_ended() -> bool:
        return [each["status"] for each in (await client.get("/events/replay")).data] == ["completed"] * COUNT

    await until(have_ended)
    return "/events/replay"


LISTS: dict[str, Callable[[Client], Awaitable[str]]] = {
    "/workflows": workflows,
    "/workflows/{id}/versions": versions,
    "/executions": executions,
    "/workflows/{id}/executions": of_workflow,
    "/executions/{id}/components": components,
    "/executions/{id}/logs": logs,
    "/executions/{id}/history": history,
    "/webhooks": webhooks,
    "/webhooks/{id}/deliveries": deliveries,
    "/deliveries": all_deliveries,
    "/agents": agents,
    "/auth/api-keys": keys,
    "/components": types,
    "/templates": templates,
    "/tasks": tasks,
    "/tasks/{id}/logs": of_task,
    "/schedules": schedules,
    "/schedules/{id}/executions": of_schedule,
    "/events": events,
    "/events/replay": replays,
}
UNCOUNTED = {"/events", "/executions/{id}/history", "/webhooks/{id}/deliveries", "/deliveries"}
CURSORS_OF_NUMBERS = {
    *("/events", "/executions/{id}/history", "/executions/{id}/components", "/executions/{id}/logs"),
    *("/workflows/{id}/versions", "/components", "/templates", "/tasks/{id}/logs"),
}


async def test_every_list_there_is_is_among_these() -> None:
    paged = {op.path for op in OPERATIONS if "limit" in op.query.__struct_fields__}
    assert set(LISTS) == paged - {"/queue"}, "the queue is more than its list"


async def page(client: Client, path: str, **query: Any) -> tuple[list[Any], dict[str, Any]]:
    """Its things, without what changes by looking, and what it says of itself."""
    answer = await client.get(path, **query)
    assert answer.status == 200, answer.body
    shown = [{name: value for name, value in each.items() if name != "last_used_at"} for each in answer.data]
    return shown, answer.metadata


@pytest.mark.parametrize("of", LISTS)
async def test_pages_make_the_whole(admin: Client, of: str) -> None:
    path = await LISTS[of](admin)
    everything, metadata = await page(admin, path)
    assert len(everything) >= COUNT
    total = None if of in UNCOUNTED else len(everything)
    assert (metadata["limit"], metadata["offset"], metadata["total_count"]) == (50, 0, total)
    assert (metadata["has_more"], metadata["next_cursor"]) == (False, None)
    found, metadata = await page(admin, path, limit=2, offset=1)
    assert found == everything[1:3]
    assert (metadata["limit"], metadata["offset"], metadata["total_count"]) == (2, 1, total)
    assert metadata["has_more"] is True
    assert (await page(admin, path, limit=1000))[0] == everything
    assert (await page(admin, path, offset=len(everything)))[0] == []
    walked, cursor = [], ""
    while True:
        found, metadata = await page(admin, path, limit=2, **({"cursor": cursor} if cursor else {}))
        walked += found
        cursor = metadata["next_cursor"]
        if not metadata["has_more"]:
            break
    assert cursor is None
    assert walked == everything


@pytest.mark.parametrize("of", LISTS)
async def test_what_is_out_of_range_is_a_422(admin: Client, of: str) -> None:
    path = await LISTS[of](admin)
    for query, field in (
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"limit": -5}, "limit"),
        ({"limit": "ten"}, "limit"),
        ({"limit": ""}, "limit"),
        ({"limit": ["1", "2"]}, "limit"),
        ({"offset": -1}, "offset"),
        ({"offset": 10**30}, "offset"),
        ({"offset": 1.5}, "offset"),
        ({"cursor": ""}, "cursor"),
        ({"cursor": "ä"}, "cursor"),
        ({"cursor": "a" * 1025}, "cursor"),
        ({"cursor": encode_cursor([])}, "cursor"),
        ({"cursor": encode_cursor([2**63])}, "cursor"),
        ({"cursor": encode_cursor([-1])}, "cursor"),
        ({"cursor": encode_cursor(["a", 2**70])}, "cursor"),
        ({"cursor": encode_cursor(["x" if of in CURSORS_OF_NUMBERS else 1] * 2)}, "cursor"),
        ({"unknown": "x"}, "unknown"),
    ):
        answer = await admin.get(path, **query)
        assert (answer.status, answer.codes) == (422, {"VALIDATION_ERROR"}), (query, answer.body)
        assert answer.fields == [field]
    both = await admin.get(path, limit=0, offset=-1, nonsense=1)
    assert both.fields == ["limit", "nonsense", "offset"], "all at once"
    cursor = (await admin.get(path, limit=1)).metadata["next_cursor"]
    excluded = await admin.get(path, cursor=cursor, offset=0)
    assert (excluded.status, excluded.fields) == (422, ["cursor"])
