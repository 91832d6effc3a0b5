"""What clients may do to an execution over REST, and what they are told."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.hubs import WAITING, Client, Hub, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

LATER = "2999-01-01T00:00:00Z"
APPROVED: dict[str, Any] = {
    "components": [
        {"id": "start", "type": "start"},
        {"id": "wait", "type": "wait", "config": {"signal": "approved"}},
        {"id": "end", "type": "end", "config": {"output": {"by": "${wait.output.by}"}}},
    ],
    "connections": [{"source": "start", "target": "wait"}, {"source": "wait", "target": "end"}],
}
DIVIDING: dict[str, Any] = {
    "components": [
        {"id": "start", "type": "start"},
        {"id": "double", "type": "transform", "config": {"expression": "input.n * 2"}},
        {"id": "divide", "type": "transform", "config": {"expression": "100 / input.by"}},
        {"id": "end", "type": "end", "config": {"output": {"n": "${double.output}", "is": "${divide.output}"}}},
    ],
    "connections": [
        {"source": "start", "target": "double"},
        {"source": "double", "target": "divide"},
        {"source": "divide", "target": "end"},
    ],
    "parameters": [{"name": "n", "type": "integer"}, {"name": "by", "type": "integer", "required": True}],
}


async def waiting(client: Client, definition: dict[str, Any], **body: Any) -> str:
    """An execution whose `wait` has begun to wait."""
    id = await client.execution((await client.workflow(definition))["id"], **body)

    async def is_there() -> bool:
        return "timer.scheduled" in await types(client, id)

    await until(is_there)
    return id


async def types(client: Client, id: str) -> list[str]:
    return [event["type"] for event in (await client.get(f"/executions/{id}/history")).data]


async def test_pause_and_resume(admin: Client) -> None:
    id = await waiting(admin, APPROVED)
    me = (await admin.get("/me")).data["id"]
    answer = await admin.post(f"/executions/{id}/pause", {"reason": "lunch"})
    assert (answer.status, answer.data["status"], answer.json["message"]) == (200, "paused", "Execution paused")
    assert answer.data["paused_at"] is not None
    assert (await admin.post(f"/executions/{id}/signal", {"key": "approved", "data": {"by": "Ada"}})).status == 200
    again = await admin.post(f"/executions/{id}/pause")
    assert (again.status, again.codes, again.fields) == (409, {"RESOURCE_CONFLICT"}, ["status"])
    assert again.errors[0]["details"] == {"current_status": "paused"}
    assert [row["id"] for row in (await admin.get("/executions", status="paused")).data] == [id]
    answer = await admin.post(f"/executions/{id}/resume", {"reason": "back"})
    assert (answer.status, answer.data["status"], answer.data["paused_at"]) == (200, "running", None)
    ended = await admin.ended(id)
    assert (ended["status"], ended["results"]) == ("completed", {"by": "Ada"})
    refused = await admin.post(f"/executions/{id}/resume")
    assert (refused.status, refused.errors[0]["details"]) == (409, {"current_status": "completed"})
    paused, resumed = await admin.events(execution_id=id, types="execution.paused,execution.resumed")
    assert (paused["data"]["paused_by"], paused["data"]["reason"], paused["data"]["status"]) == (
        me,
        "lunch",
        "paused",
    )
    assert (resumed["data"]["resumed_by"], resumed["data"]["reason"]) == (me, "back")
    lines = {entry["message"]: entry["metadata"] for entry in (await admin.get(f"/executions/{id}/logs")).data}
    assert lines["Execution paused"] == {"reason": "lunch"}
    assert lines["Signal received"] == {"key": "approved"}


async def test_priority_changes_while_pending(admin: Client) -> None:
    id = await admin.execution((await admin.workflow())["id"], scheduled_at=LATER)
    answer = await admin.post(f"/executions/{id}/priority", {"priority": "high"})
    assert (answer.status, answer.data["priority"]) == (200, 8)
    assert (await admin.post(f"/executions/{id}/priority", {"priority": 8})).status == 200
    assert (await admin.get(f"/executions/{id}")).data["priority"] == 8
    assert (await types(admin, id)).count("execution.reprioritized") == 1
    for body in ({}, {"priority": 0}, {"priority": "asap"}):
        refused = await admin.post(f"/executions/{id}/priority", body)
        assert (refused.status, refused.fields) == (422, ["priority"])
    running = await waiting(admin, WAITING)
    refused = await admin.post(f"/executions/{running}/priority", {"priority": 2})
    assert (refused.status, refused.errors[0]["details"]) == (409, {"current_status": "running"})


async def test_created_without_starting_and_started_later(admin: Client) -> None:
    workflow = await admin.workflow()
    created = (await admin.post(f"/workflows/{workflow['id']}/execute", {"auto_start": False})).data
    assert (created["status"], created["scheduled_at"], created["queue_position"]) == ("pending", None, None)
    answer = await admin.post(f"/executions/{created['id']}/start")
    assert (answer.status, answer.data["status"]) == (200, "queued")
    assert (await admin.ended(created["id"]))["status"] == "completed"
    refused = await admin.post(f"/executions/{created['id']}/start")
    assert (refused.status, refused.errors[0]["details"]) == (409, {"current_status": "completed"})
    both = await admin.post(f"/workflows/{workflow['id']}/execute", {"auto_start": False, "scheduled_at": LATER})
    assert (both.status, both.fields) == (422, ["auto_start"])


async def test_a_scheduled_execution_may_be_started_before_its_time(admin: Client) -> None:
    id = await admin.execution((await admin.workflow())["id"], scheduled_at=LATER)
    assert (await admin.post(f"/executions/{id}/start")).data["status"] == "queued"
    assert (await admin.ended(id))["status"] == "completed"


async def test_signals_are_taken_by_key_or_name_and_by_no_other_word(admin: Client) -> None:
    id = await waiting(admin, APPROVED)
    for body in ({}, {"key": "a", "name": "a"}, {"data": 1}):
        refused = await admin.post(f"/executions/{id}/signal", body)
        assert (refused.status, refused.fields) == (422, ["key"]), body
    for key in ("", "task:1", "a b", "x" * 257):
        assert (await admin.post(f"/executions/{id}/signal", {"key": key})).fields == ["key"], key
    deep: Any = 1
    for _ in range(150):
        deep = [deep]
    assert (await admin.post(f"/executions/{id}/signal", {"key": "a", "data": deep})).fields == ["data"]
    assert "execution.signalled" not in await types(admin, id)
    assert (await admin.post(f"/executions/{id}/signal", {"name": "approved", "data": {"by": "Bo"}})).status == 200
    assert (await admin.ended(id))["results"] == {"by": "Bo"}
    refused = await admin.post(f"/executions/{id}/signal", {"key": "approved"})
    assert (refused.status, refused.errors[0]["details"]) == (409, {"current_status": "completed"})


@pytest.mark.parametrize("status", ["running", "paused", "pending"])
async def test_terminate_says_who_when_and_why_and_cannot_be_retried(admin: Client, status: str) -> None:
    if status == "pending":
        id = await admin.execution((await admin.workflow())["id"], auto_start=False)
    else:
        id = await waiting(admin, WAITING)
    if status == "paused":
        await admin.post(f"/executions/{id}/pause")
    answer = await admin.post(f"/executions/{id}/terminate", {"reason": "out of hand"})
    me = (await admin.get("/me")).data["id"]
    assert (answer.status, answer.data["status"]) == (200, "terminated")
    assert (answer.data["cancelled_by"], answer.data["cancel_reason"]) == (me, "out of hand")
    assert answer.data["cancelled_at"] == answer.data["completed_at"] is not None
    for act in ("terminate", "cancel", "pause", "resume", "retry", "start", "signal", "priority"):
        body = {"signal": {"key": "x"}, "priority": {"priority": 1}}.get(act)
        refused = await admin.post(f"/executions/{id}/{act}", body)
        assert (refused.status, refused.errors[0]["details"]) == (409, {"current_status": "terminated"}), act
        assert "terminated" in refused.errors[0]["message"]


async def test_what_caused_an_execution_is_shown(admin: Client) -> None:
    id = await admin.execution((await admin.workflow())["id"])
    me = (await admin.get("/me")).data["id"]
    assert (await admin.ended(id))["triggered_by"] == f"api_key:{me}"


async def test_a_retry_with_changed_parameters_goes_on_from_where_it_stopped(admin: Client) -> None:
    workflow = await admin.workflow(DIVIDING)
    id = await admin.execution(workflow["id"], parameters={"n": 4, "by": 0})
    assert (await admin.ended(id))["status"] == "failed"
    wrong = await admin.post(f"/executions/{id}/retry", {"parameters": {"by": "five"}})
    assert (wrong.status, wrong.fields) == (422, ["parameters.by"])
    answer = await admin.post(f"/executions/{id}/retry", {"parameters": {"by": 5}, "reason": "mended"})
    assert (answer.status, answer.data["status"], answer.data["parameters"]) == (202, "queued", {"n": 4, "by": 5})
    assert (answer.data["error"], answer.data["completed_at"]) == (None, None)
    ended = await admin.ended(id)
    assert (ended["status"], ended["results"], ended["workflow_version"]) == ("completed", {"n": 8, "is": 20}, 1)
    components = {
        each["component_id"]: each["attempt"] for each in (await admin.get(f"/executions/{id}/components")).data
    }
    assert components == {"start": 1, "double": 1, "divide": 2, "end": 1}
    (retried,) = await admin.events(execution_id=id, types="execution.retried")
    assert (retried["data"]["kept"], retried["data"]["reason"]) == (["start", "double"], "mended")
    refused = await admin.post(f"/executions/{id}/retry")
    assert (refused.status, refused.errors[0]["details"]) == (409, {"current_status": "completed"})


async def test_a_retry_from_a_component_runs_what_is_behind_it_again(admin: Client) -> None:
    workflow = await admin.workflow(DIVIDING)
    id = await admin.execution(workflow["id"], parameters={"n": 4, "by": 0})
    await admin.ended(id)
    for component in ("nope", "end"):
        refused = await admin.post(f"/executions/{id}/retry", {"from_component": component})
        assert (refused.status, refused.fields) == (422, ["from_component"])
    retry = {"from_component": "double", "parameters": {"n": 6, "by": 1}}
    assert (await admin.post(f"/executions/{id}/retry", retry)).status == 202
    assert (await admin.ended(id))["results"] == {"n": 12, "is": 100}


async def test_a_retry_on_the_newest_version_keeps_what_is_the_same_there(admin: Client) -> None:
    workflow = await admin.workflow(DIVIDING)
    id = await admin.execution(workflow["id"], parameters={"n": 4, "by": 0})
    await admin.ended(id)
    newer = DIVIDING | {"components": [dict(each) for each in DIVIDING["components"]]}
    newer["components"][2]["config"] = {"expression": "100 / (input.by + 1)"}
    newer["components"].append({"id": "extra", "type": "log", "config": {"message": "extra"}})
    newer["connections"] = [*DIVIDING["connections"], {"source": "end", "target": "extra"}]
    assert (await admin.put(f"/workflows/{workflow['id']}", {"definition": newer})).data["version"] == 2
    assert (await admin.post(f"/executions/{id}/retry", {"version": "kept"})).data["workflow_version"] == 1
    assert (await admin.ended(id))["status"] == "failed", "the version that it has divides by zero"
    answer = await admin.post(f"/executions/{id}/retry", {"version": "newest"})
    assert (answer.data["workflow_version"], answer.data["progress"]["total_components"]) == (2, 5)
    assert (await admin.ended(id))["results"] == {"n": 8, "is": 100}
    components = (await admin.get(f"/executions/{id}/components")).data
    assert {each["component_id"]: each["attempt"] for each in components} == {
        "start": 1,
        "double": 1,
        "divide": 3,
        "end": 1,
        "extra": 1,
    }
    assert (await admin.post(f"/executions/{id}/retry", {"version": 2})).fields == ["version"]


async def test_components_as_of_before_a_retry_on_another_version_are_those_of_then(admin: Client) -> None:
    workflow = await admin.workflow(DIVIDING)
    id = await admin.execution(workflow["id"], parameters={"n": 4, "by": 0})
    await admin.ended(id)
    then = (await admin.events(execution_id=id))[-1]["position"]
    small = {"components": [{"id": "start", "type": "start"}, {"id": "last", "type": "end"}]}
    small["connections"] = [{"source": "start", "target": "last"}]
    await admin.put(f"/workflows/{workflow['id']}", {"definition": small})
    await admin.post(f"/executions/{id}/retry", {"version": "newest"})
    assert (await admin.ended(id))["status"] == "completed"
    listed = [each["component_id"] for each in (await admin.get(f"/executions/{id}/components", at=then)).data]
    assert listed == ["start", "double", "divide", "end"]
    assert (await admin.get(f"/executions/{id}", at=then)).data["status"] == "failed"


async def test_secrets_stay_sealed_over_a_retry(admin: Client) -> None:
    definition = DIVIDING | {"parameters": [*DIVIDING["parameters"], {"name": "token", "secret": True}]}
    workflow = await admin.workflow(definition)
    id = await admin.execution(workflow["id"], parameters={"by": 0, "n": 1, "token": "hunter2"})
    await admin.ended(id)
    retry = {"parameters": {"token": "hunter3", "by": 0}}
    assert (await admin.post(f"/executions/{id}/retry", retry)).data["parameters"]["token"] == "[REDACTED]"
    await admin.ended(id)
    retry = {"parameters": {"token": "[REDACTED]", "by": 1}}
    assert (await admin.post(f"/executions/{id}/retry", retry)).data["parameters"]["token"] == "[REDACTED]"
    assert (await admin.ended(id))["status"] == "completed"
    history = (await admin.get(f"/executions/{id}/history")).body
    assert b"hunter" not in history
    assert b"sealed:" not in history


async def test_executions_of_a_workflow_that_may_not_run_are_not_retried(admin: Client) -> None:
    workflow = await admin.workflow(DIVIDING)
    id = await admin.execution(workflow["id"], parameters={"n": 4, "by": 0})
    await admin.ended(id)
    await admin.post(f"/workflows/{workflow['id']}/archive")
    refused = await admin.post(f"/executions/{id}/retry", {"parameters": {"by": 1}})
    assert (refused.status, refused.errors[0]["details"]) == (409, {"current_status": "archived"})


async def test_a_workflow_with_a_paused_execution_is_deleted_only_by_force(admin: Client) -> None:
    id = await waiting(admin, WAITING)
    workflow = (await admin.get(f"/executions/{id}")).data["workflow_id"]
    await admin.post(f"/executions/{id}/pause")
    assert (await admin.delete(f"/workflows/{workflow}")).status == 409
    assert (await admin.delete(f"/workflows/{workflow}", force="true")).status == 200
    assert (await admin.get(f"/executions/{id}")).data["status"] == "cancelled"


async def test_the_row_of_a_retried_execution_is_what_its_events_make(admin: Client, hub: Hub) -> None:
    workflow = await admin.workflow(DIVIDING)
    id = await admin.execution(workflow["id"], parameters={"n": 4, "by": 0})
    await admin.ended(id)
    await admin.post(f"/executions/{id}/retry", {"parameters": {"by": 1}})
    now = await admin.ended(id)
    then = (await admin.get(f"/executions/{id}", at=hub.head)).data
    assert then == now
