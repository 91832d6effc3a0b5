"""`?at=` answers what the route answered then, and a diff says what changed in between."""

from __future__ import annotations

from typing import Any

import pytest

from executor.domain.execution.rows import ExecutionRow
from executor.domain.values import seconds_between
from tests.integration.hubs import SMALLEST, WAITING, Answer, Client, Hub, unique, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

WITH_SECRET: dict[str, Any] = WAITING | {
    "parameters": [{"name": "token", "type": "string", "secret": True}, {"name": "n", "type": "integer"}]
}
Snapshot = tuple[dict[str, Any], list[dict[str, Any]]]


async def snapshot(client: Client, id: str, **query: Any) -> Snapshot:
    """An execution and its components; without the duration of one that runs, which is as of the very moment."""
    execution = (await client.get(f"/executions/{id}", **query)).data
    if execution["completed_at"] is None:
        del execution["duration_seconds"]
    return execution, (await client.get(f"/executions/{id}/components", **query)).data


async def test_every_answer_of_a_run_can_be_had_again(hub: Hub, admin: Client) -> None:
    """Records what the routes answer while the run goes on: of each version of its row at which they were caught."""
    workflow = await admin.workflow(WITH_SECRET)
    id = await admin.execution(workflow["id"], parameters={"token": "hush", "n": 1}, tags=["a"])
    recorded: dict[int, Snapshot] = {}

    async def version() -> int:
        row = await hub.services.store.reads.get(ExecutionRow, id)
        assert row is not None
        return row.version

    async def record() -> bool:
        before = await version()
        seen = await snapshot(admin, id)
        if await version() == before:
            recorded[before] = seen
        return before in recorded

    async def record_waiting() -> bool:
        return await record() and recorded[max(recorded)][0]["progress"]["current_component"] == "wait"

    await until(record_waiting)
    assert (await admin.post(f"/executions/{id}/cancel", {"reason": "enough"})).status == 200
    assert await record()
    statuses = [recorded[each][0]["status"] for each in sorted(recorded)]
    assert statuses[-2:] == ["running", "cancelled"]
    history = (await admin.get(f"/executions/{id}/history", limit=1000)).data
    for number, seen in recorded.items():
        (position,) = (event["position"] for event in history if event["version"] == number)
        assert await snapshot(admin, id, at=position) == seen
    assert "hush" not in str(recorded)


async def test_between_two_events_the_earlier_one_holds(admin: Client) -> None:
    workflow = await admin.workflow()
    first, second = [await admin.execution(workflow["id"]) for _ in range(2)]
    await admin.ended(first)
    await admin.ended(second)
    end = (await admin.get(f"/executions/{first}/history")).data[-1]["position"]
    for at in range(end, (await admin.events(execution_id=second))[-1]["position"] + 1):
        assert (await admin.get(f"/executions/{first}", at=at)).data["status"] == "completed"


async def test_a_time_is_the_position_that_the_log_had_come_to(admin: Client) -> None:
    workflow = await admin.workflow(WAITING)
    id = await admin.execution(workflow["id"])
    created = (await admin.events(execution_id=id))[0]
    answer = await admin.get(f"/executions/{id}", at=created["time"])
    assert answer.status == 200
    assert answer.data["created_at"] == created["time"]
    assert (await admin.get(f"/executions/{id}", at="2020-01-01")).status == 404
    with_offset = created["time"].replace("Z", "+00:00")
    assert (await admin.get(f"/executions/{id}", at=with_offset)).status == 200
    ended = (await admin.post(f"/executions/{id}/cancel")).data
    assert (await admin.get(f"/executions/{id}", at=ended["updated_at"])).data == ended


async def test_of_a_run_that_ran_then_the_duration_is_as_of_then(admin: Client) -> None:
    workflow = await admin.workflow(WAITING)
    id = await admin.execution(workflow["id"])

    async def started() -> bool:
        return bool((await admin.get(f"/executions/{id}")).data["started_at"])

    await until(started)
    await admin.post(f"/executions/{id}/cancel")
    history = (await admin.get(f"/executions/{id}/history")).data
    (start,) = (event for event in history if event["type"] == "execution.started")
    then = (await admin.get(f"/executions/{id}", at=start["position"])).data
    lasted = seconds_between(then["started_at"], start["time"])
    assert (then["status"], then["duration_seconds"]) == ("running", lasted)


@pytest.mark.parametrize("path", ["/executions/{e}", "/executions/{e}/components", "/workflows/{w}"])
async def test_what_cannot_be_a_moment_is_refused(hub: Hub, admin: Client, path: str) -> None:
    workflow = await admin.workflow()
    id = await admin.execution(workflow["id"])
    await admin.ended(id)
    path = path.format(e=id, w=workflow["id"])
    first = (await admin.events(workflow_id=workflow["id"]))[0]["position"]
    before = await admin.get(path, at=first - 1)
    assert (before.status, before.codes) == (404, {"RESOURCE_NOT_FOUND"})
    assert (await admin.get(path, at=0)).status == 404
    for beyond in (hub.head + 1_000_000, "9" * 30):
        answer = await admin.get(path, at=beyond)
        assert (answer.status, answer.fields) == (422, ["at"])
        assert str(answer.errors[0]["details"]["head"]) in answer.errors[0]["message"]
    for wrong in ("yesterday", "-1", "", "1.5", "2026-13-01", "2999-01-01T00:00:00Z", "x" * 65):
        answer = await admin.get(path, at=wrong)
        assert (answer.status, answer.fields) == (422, ["at"]), wrong
    assert (await admin.send("GET", path + "?at=1&at=2")).fields == ["at"]


async def test_nobody_else_sees_what_was(hub: Hub, admin: Client) -> None:
    workflow = await admin.workflow()
    id = await admin.execution(workflow["id"])
    await admin.ended(id)
    other, head = await hub.client(), hub.head
    for path in (f"/executions/{id}", f"/executions/{id}/components", f"/workflows/{workflow['id']}"):
        assert (await other.get(path, at=head)).status == 404
    for path in (f"/executions/{id}/diff", f"/workflows/{workflow['id']}/diff"):
        assert (await other.get(path, **{"from": head})).status == 404
    assert (await admin.get("/executions/nonsense", at=1)).status == 404
    lesser = await hub.client(permissions=("workflow.read",))
    assert (await lesser.get(f"/executions/{id}", at=head)).status == 403


async def changed_twice(admin: Client) -> tuple[str, list[Answer]]:
    """A workflow and what its route answered at each of its events."""
    workflow = await admin.workflow(WAITING)
    path, seen = f"/workflows/{workflow['id']}", []
    seen.append(await admin.get(path))
    definition = {"components": [{"id": "start", "type": "start"}, {"id": "log", "type": "log"}]}
    definition["components"][1]["config"] = {"message": "hello"}
    await admin.put(path, {"definition": definition, "tags": ["new"]})
    seen.append(await admin.get(path))
    await admin.post(f"{path}/activate")
    seen.append(await admin.get(path))
    return workflow["id"], seen


async def test_a_workflow_can_be_had_as_it_was(admin: Client) -> None:
    id, seen = await changed_twice(admin)
    positions = [event["position"] for event in await admin.events(workflow_id=id)]
    assert (await admin.delete(f"/workflows/{id}")).status == 200
    (*_, deleted) = (event["position"] for event in await admin.events(workflow_id=id))
    for position, answer in zip(positions, seen, strict=True):
        assert (await admin.get(f"/workflows/{id}", at=position)).data == answer.data
        without = (await admin.get(f"/workflows/{id}", at=position, include_definition="false")).data
        assert without == {name: value for name, value in answer.data.items() if name != "definition"}
    assert (await admin.get(f"/workflows/{id}", at=deleted)).status == 404
    assert (await admin.get(f"/workflows/{id}")).status == 404


async def test_stats_are_those_of_now_and_not_to_be_had_of_then(hub: Hub, admin: Client) -> None:
    workflow = await admin.workflow()
    answer = await admin.get(f"/workflows/{workflow['id']}", at=hub.head, include_stats="true")
    assert (answer.status, answer.fields) == (422, ["include_stats"])


async def test_a_diff_of_a_workflow(admin: Client) -> None:
    id, seen = await changed_twice(admin)
    first, second, third = await admin.events(workflow_id=id)
    span = {"from": first["position"], "to": second["position"]}
    answer = await admin.get(f"/workflows/{id}/diff", **span)
    assert answer.data["from"] == {"position": first["position"], "time": first["time"]}
    assert answer.data["to"] == {"position": second["position"], "time": second["time"]}
    changes = {change["path"]: change for change in answer.data["changes"]}
    assert changes["version"] == {"path": "version", "op": "changed", "before": 1, "after": 2}
    assert changes["definition.components[1]"]["op"] in ("added", "removed")
    assert changes["tags[0]"] == {"path": "tags[0]", "op": "added", "after": "new"}
    assert set(changes) >= {"definition.connections[0]"}
    until_now = (await admin.get(f"/workflows/{id}/diff", **{"from": second["time"]})).data
    assert until_now["to"]["position"] >= third["position"]
    assert {"path": "status", "op": "changed", "before": "draft", "after": "active"} in until_now["changes"]
    same = await admin.get(f"/workflows/{id}/diff", **{"from": third["position"], "to": third["position"]})
    assert same.data["changes"] == []
    assert seen[-1].data["status"] == "active"


async def test_a_diff_of_an_execution_shows_its_components_and_no_secret(admin: Client) -> None:
    workflow = await admin.workflow(WITH_SECRET)
    id = await admin.execution(workflow["id"], parameters={"token": "hush"})
    await admin.post(f"/executions/{id}/cancel")
    created = (await admin.events(execution_id=id))[0]["position"]
    answer = await admin.get(f"/executions/{id}/diff", **{"from": created})
    changes = {change["path"]: change for change in answer.data["changes"]}
    assert changes["status"] == {"path": "status", "op": "changed", "before": "queued", "after": "cancelled"}
    assert b"hush" not in answer.body
    assert b"sealed" not in answer.body


async def test_a_diff_says_what_is_wrong_with_its_span(hub: Hub, admin: Client) -> None:
    workflow = await admin.workflow()
    path, head = f"/workflows/{workflow['id']}/diff", hub.head
    for span, fields in (
        ({}, ["from"]),
        ({"from": "soon", "to": head + 10**9}, ["from", "to"]),
        ({"from": head, "to": 1}, ["from"]),
        ({"from": head, "until": 3}, ["until"]),
        ({"from_": head}, ["from_"]),
    ):
        answer = await admin.get(path, **span)
        assert (answer.status, answer.fields) == (422, fields), span
    assert (await admin.get(path, **{"from": 0})).status == 404


async def test_names_and_smallest_workflows_travel_too(admin: Client) -> None:
    """A rename is a change of a field, and no other workflow's."""
    workflow = await admin.workflow(SMALLEST)
    name = unique("renamed")
    await admin.put(f"/workflows/{workflow['id']}", {"name": name})
    created = (await admin.events(workflow_id=workflow["id"]))[0]["position"]
    assert (await admin.get(f"/workflows/{workflow['id']}", at=created)).data["name"] == workflow["name"]
    found = (await admin.get(f"/workflows/{workflow['id']}/diff", **{"from": created})).data["changes"]
    assert {change["path"] for change in found} == {"name", "updated_at"}
