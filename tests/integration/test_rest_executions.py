from __future__ import annotations

from typing import Any

import pytest

from tests.integration.hubs import SMALLEST, WAITING, Client, Hub, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

LATER = "2999-01-01T00:00:00Z"
TALKING: dict[str, Any] = {
    "components": [
        {"id": "start", "type": "start"},
        {"id": "yes", "type": "log", "config": {"message": "n is {{n}}", "level": "warning"}},
        {"id": "no", "type": "log", "config": {"message": "never"}},
        {"id": "end", "type": "end", "config": {"output": {"n": "{{n}}"}}},
    ],
    "connections": [
        {"source": "start", "target": "yes", "type": "conditional", "condition": "input.n > 0"},
        {"source": "start", "target": "no", "type": "conditional", "condition": "input.n <= 0"},
        {"source": "yes", "target": "end"},
        {"source": "no", "target": "end"},
    ],
    "parameters": [{"name": "n", "type": "integer", "required": True}],
}
MODEL = {
    *("id", "workflow_id", "workflow_name", "workflow_version", "status", "priority", "progress", "parameters"),
    *("results", "error_message", "error", "resource_usage", "tags", "project_id", "created_by", "created_at"),
    *("triggered_by", "parent_execution_id", "paused_at"),
    *("scheduled_at", "started_at", "completed_at", "updated_at", "duration_seconds"),
    *("cancelled_at", "cancelled_by", "cancel_reason"),
}


async def test_execute_answers_202_and_the_execution_ends(admin: Client) -> None:
    workflow = await admin.workflow(TALKING, priority=6)
    body = {"parameters": {"n": 3, "extra": ["kept"]}, "tags": ["manual"], "project_id": "p1"}
    answer = await admin.post(f"/workflows/{workflow['id']}/execute", body)
    assert answer.status == 202
    started = answer.data
    assert set(started) == {
        *("id", "execution_id", "workflow_id", "status", "priority", "scheduled_at", "created_at"),
        *("estimated_duration", "queue_position"),
    }
    assert started["id"] == started["execution_id"]
    assert (started["status"], started["priority"], started["workflow_id"]) == ("queued", 6, workflow["id"])
    assert started["estimated_duration"] is None
    execution = await admin.ended(started["id"])
    assert set(execution) == MODEL
    assert execution["status"] == "completed"
    assert execution["results"] == {"n": 3}
    assert execution["parameters"] == {"n": 3, "extra": ["kept"]}
    assert execution["progress"] == {
        "current_component": None,
        "completed_components": 4,
        "total_components": 4,
        "percentage": 100,
    }
    assert (execution["workflow_name"], execution["workflow_version"]) == (workflow["name"], 1)
    assert (execution["tags"], execution["project_id"]) == (["manual"], "p1")
    assert execution["created_at"] <= execution["started_at"] <= execution["completed_at"]
    assert execution["duration_seconds"] >= 0
    assert (execution["error_message"], execution["resource_usage"]) == (None, None)


@pytest.mark.parametrize(
    ("given", "priority"),
    [(1, 1), (10, 10), ("low", 3), ("medium", 5), ("normal", 5), ("high", 8), ("critical", 10), ("urgent", 10)],
)
async def test_priorities_are_numbers_or_words(admin: Client, given: Any, priority: int) -> None:
    workflow = await admin.workflow(priority=4)
    answer = await admin.post(f"/workflows/{workflow['id']}/execute", {"priority": given})
    assert answer.data["priority"] == priority
    assert (await admin.get(f"/executions/{answer.data['id']}")).data["priority"] == priority
    listed = await admin.get("/executions", priority=given)
    assert [each["id"] for each in listed.data] == [answer.data["id"]]


@pytest.mark.parametrize("given", [0, 11, -1, 5.5, "5", "High", "", True, [], {}])
async def test_other_priorities_are_refused(admin: Client, given: Any) -> None:
    workflow = await admin.workflow()
    answer = await admin.post(f"/workflows/{workflow['id']}/execute", {"priority": given})
    assert (answer.status, answer.fields) == (422, ["priority"])


async def test_declared_parameters_are_checked_all_at_once(admin: Client) -> None:
    kinds = ("string", "integer", "number", "boolean", "object", "array", "any")
    parameters = [{"name": kind, "type": kind} for kind in kinds]
    parameters += [{"name": "must", "required": True}, {"name": "has_default", "required": True, "default_value": 1}]
    definition = SMALLEST | {"parameters": parameters}
    workflow = await admin.workflow(definition)
    path = f"/workflows/{workflow['id']}/execute"
    wrong = {"string": 1, "integer": 1.5, "number": "1", "boolean": 0, "object": [], "array": {}, "any": None}
    answer = await admin.post(path, {"parameters": wrong})
    assert answer.status == 422
    assert answer.codes == {"VALIDATION_ERROR"}
    assert answer.fields == sorted(f"parameters.{name}" for name in (*kinds[:-1], "must"))
    right = {"string": "", "integer": 2, "number": 2, "boolean": False, "object": {}, "array": [], "must": 0}
    assert (await admin.post(path, {"parameters": right | {"undeclared": "fine"}})).status == 202


async def test_scheduled_executions_are_pending_until_their_time(admin: Client) -> None:
    workflow = await admin.workflow()
    path = f"/workflows/{workflow['id']}/execute"
    later = await admin.post(path, {"scheduled_at": LATER})
    assert (later.status, later.data["status"], later.data["queue_position"]) == (202, "pending", None)
    assert later.data["scheduled_at"] == "2999-01-01T00:00:00.000Z"
    past = await admin.post(path, {"scheduled_at": "2020-01-01T02:00:00+02:00"})
    assert (past.data["status"], past.data["scheduled_at"]) == ("queued", "2020-01-01T00:00:00.000Z")
    assert (await admin.ended(past.data["id"]))["status"] == "completed"
    assert (await admin.get(f"/executions/{later.data['id']}")).data["status"] == "pending"
    for wrong in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-01-01T00:00:00", "soon", 5):
        answer = await admin.post(path, {"scheduled_at": wrong})
        assert (answer.status, answer.fields) == (422, ["scheduled_at"])


async def test_queue_position_counts_from_one(admin: Client) -> None:
    workflow = await admin.workflow(WAITING)
    answer = await admin.post(f"/workflows/{workflow['id']}/execute")
    assert answer.data["queue_position"] >= 1


@pytest.mark.parametrize("status", ["inactive", "archived"])
async def test_inactive_and_archived_workflows_do_not_run(admin: Client, status: str) -> None:
    workflow = await admin.workflow()
    path = f"/workflows/{workflow['id']}"
    await admin.post(f"{path}/activate")
    assert (await admin.post(f"{path}/execute")).status == 202, "an active one runs"
    await admin.post(f"{path}/{'deactivate' if status == 'inactive' else 'archive'}")
    answer = await admin.post(f"{path}/execute")
    assert (answer.status, answer.codes) == (409, {"RESOURCE_CONFLICT"})
    assert answer.errors[0]["details"] == {"current_status": status}


async def test_a_running_execution_keeps_the_version_it_started_with(admin: Client) -> None:
    workflow = await admin.workflow(WAITING)
    id = await admin.execution(workflow["id"])
    await admin.put(f"/workflows/{workflow['id']}", {"definition": SMALLEST})
    assert (await admin.get(f"/executions/{id}")).data["workflow_version"] == 1
    assert len((await admin.get(f"/executions/{id}/components")).data) == 2
    newer = await admin.ended(await admin.execution(workflow["id"]))
    assert newer["workflow_version"] == 2


async def test_cancel_ends_an_execution_at_once(admin: Client) -> None:
    workflow = await admin.workflow(WAITING)
    id = await admin.execution(workflow["id"])
    answer = await admin.post(f"/executions/{id}/cancel", {"reason": "no longer needed"})
    assert answer.status == 200
    execution = answer.data
    assert set(execution) == MODEL
    assert (execution["status"], execution["cancel_reason"]) == ("cancelled", "no longer needed")
    assert execution["cancelled_by"] == execution["created_by"]
    assert execution["cancelled_at"] == execution["completed_at"]
    assert (await admin.get(f"/executions/{id}")).data == execution
    again = await admin.post(f"/executions/{id}/cancel")
    assert (again.status, again.errors[0]["details"]) == (409, {"current_status": "cancelled"})
    assert "cancelled" in again.errors[0]["message"]


async def test_cancel_needs_no_body_and_refuses_an_ended_execution(admin: Client) -> None:
    id = await admin.execution((await admin.workflow())["id"])
    await admin.ended(id)
    answer = await admin.post(f"/executions/{id}/cancel")
    assert (answer.status, answer.errors[0]["details"]) == (409, {"current_status": "completed"})
    later = await admin.execution((await admin.workflow())["id"], scheduled_at=LATER)
    assert (await admin.post(f"/executions/{later}/cancel")).data["status"] == "cancelled"


async def test_a_running_execution_shows_its_seconds_until_now_wherever_it_is_shown(admin: Client) -> None:
    workflow = await admin.workflow(WAITING)
    id = await admin.execution(workflow["id"])
    paths = (f"/executions/{id}", "/executions", f"/workflows/{workflow['id']}/executions")

    async def seconds(path: str) -> float | None:
        data = (await admin.get(path)).data
        found: float | None = (data[0] if isinstance(data, list) else data)["duration_seconds"]
        return found

    async def have_grown() -> bool:
        return all([(await seconds(path) or 0) > 0.05 for path in paths])

    assert await until(have_grown)


async def test_components_are_those_that_started_in_order_then_the_pending(admin: Client) -> None:
    id = await admin.execution((await admin.workflow(TALKING))["id"], parameters={"n": 1})
    await admin.ended(id)
    listed = (await admin.get(f"/executions/{id}/components")).data
    assert set(listed[0]) == {
        *("component_id", "component_type", "iteration", "status", "attempt", "input_data", "output_data"),
        *("error_message", "started_at", "completed_at", "duration_seconds"),
    }
    by_id = {each["component_id"]: each for each in listed}
    assert listed[0]["component_id"] == "start"
    assert {id: each["status"] for id, each in by_id.items()} == {
        "start": "completed",
        "yes": "completed",
        "no": "skipped",
        "end": "completed",
    }
    assert by_id["start"]["output_data"] == {"n": 1}
    assert by_id["yes"]["input_data"] == {"message": "n is 1", "level": "warning"}
    waiting = await admin.execution((await admin.workflow(WAITING))["id"], scheduled_at=LATER)
    pending = (await admin.get(f"/executions/{waiting}/components")).data
    assert [(each["component_id"], each["status"], each["attempt"]) for each in pending] == [
        ("start", "pending", 0),
        ("wait", "pending", 0),
    ]


async def test_components_come_in_pages_across_those_that_started_and_the_pending(admin: Client) -> None:
    definition = {
        "components": [
            {"id": "start", "type": "start"},
            {"id": "wait", "type": "wait", "config": {"signal": "go"}},
            *({"id": f"later-{number}", "type": "log", "config": {"message": "x"}} for number in range(3)),
        ],
        "connections": [
            {"source": source, "target": target}
            for source, target in (("start", "wait"), *(("wait", f"later-{number}") for number in range(3)))
        ],
    }
    path = f"/executions/{await admin.execution((await admin.workflow(definition))['id'])}/components"

    async def waits() -> bool:
        return [each["status"] for each in (await admin.get(path)).data][:2] == ["completed", "running"]

    await until(waits)
    everything = (await admin.get(path)).data
    assert [each["component_id"] for each in everything] == ["start", "wait", "later-0", "later-1", "later-2"]
    pages = [await admin.get(path, limit=3, offset=offset) for offset in (0, 3)]
    assert [page.data for page in pages] == [everything[:3], everything[3:]]
    assert [page.metadata["total_count"] for page in pages] == [5, 5]
    assert (await admin.get(path, cursor=pages[0].metadata["next_cursor"], limit=3)).data == everything[3:]


async def test_history_has_every_event_of_the_execution_in_order(admin: Client) -> None:
    id = await admin.execution((await admin.workflow())["id"])
    await admin.ended(id)
    answer = await admin.get(f"/executions/{id}/history")
    assert [event["type"] for event in answer.data] == [
        *("execution.created", "execution.started", "component.started", "component.completed"),
        "execution.completed",
    ]
    assert [event["version"] for event in answer.data] == [1, 2, 3, 4, 5]
    assert all(event["execution_id"] == id for event in answer.data)
    assert answer.data == await admin.events(execution_id=id)


async def test_logs_filter_by_level_component_and_order(admin: Client) -> None:
    id = await admin.execution((await admin.workflow(TALKING))["id"], parameters={"n": 1})
    await admin.ended(id)
    path = f"/executions/{id}/logs"
    everything = (await admin.get(path)).data
    assert set(everything[0]) == {"timestamp", "level", "component_id", "message", "metadata"}
    assert [(e["component_id"], e["message"]) for e in (await admin.get(path, level="warning")).data] == [
        ("yes", "n is 1")
    ]
    assert {e["component_id"] for e in (await admin.get(path, component_id="end")).data} == {"end"}
    assert (await admin.get(path, order="desc")).data == everything[::-1]
    assert (await admin.get(path, component_id="nobody")).data == []
    assert (await admin.get(path, level="fatal")).fields == ["level"]


async def test_logs_tell_of_tasks_and_of_single_iterations(admin: Client) -> None:
    config = {"title": "Approve", "candidates": ["ada"]}
    say = {"id": "say", "type": "log", "config": {"message": "item ${item}", "level": "debug"}}
    definition = {
        "components": [
            {"id": "start", "type": "start"},
            {"id": "all", "type": "loop", "config": {"items": ["x", "y"], "body": {"components": [say]}}},
            {"id": "ask", "type": "human_task", "config": config},
        ],
        "connections": [{"source": "start", "target": "all"}, {"source": "all", "target": "ask"}],
    }
    id = await admin.execution((await admin.workflow(definition))["id"])

    async def task() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await admin.get("/tasks", execution_id=id)).data
        return found

    asked = (await until(task))[0]["id"]
    for step, body in (("claim", {"assignee": "ada"}), ("start", {}), ("complete", {"output": 1})):
        assert (await admin.post(f"/tasks/{asked}/{step}", body)).status == 200
    await admin.ended(id)
    path = f"/executions/{id}/logs"
    of_task = [line for line in (await admin.get(path)).data if line["metadata"].get("task_id") == asked]
    assert [line["message"] for line in of_task] == [
        *("Task created", "Task assigned to ada", "Task started by ada", "Task completed"),
    ]
    assert {(line["component_id"], line["level"]) for line in of_task} == {("ask", "info")}
    second = await admin.get(path, component_id="say", iteration="1")
    assert [line["message"] for line in second.data] == ["Component started", "item y", "Component completed"]
    assert {line["metadata"]["iteration"] for line in second.data} == {"1"}
    written = await admin.get(path, level="debug", component_id="say")
    assert [line["message"] for line in written.data] == ["item x", "item y"]
    pages = [await admin.get(path, limit=3, offset=offset, order="desc") for offset in (0, 3)]
    everything = (await admin.get(path, limit=1000)).data
    assert [line for page in pages for line in page.data] == everything[::-1][:6]
    assert pages[0].metadata["total_count"] == len(everything)


async def test_a_failure_says_which_component_and_why(admin: Client) -> None:
    definition = {
        "components": [
            {"id": "start", "type": "start"},
            {"id": "odd", "type": "transform", "config": {"expression": "1 / 0"}},
        ],
        "connections": [{"source": "start", "target": "odd"}],
    }
    execution = await admin.ended(await admin.execution((await admin.workflow(definition))["id"]))
    assert execution["status"] == "failed"
    assert "divide by zero" in execution["error_message"]
    assert execution["error"]["component_id"] == "odd"
    assert execution["error"]["code"] == "COMPONENT_ERROR"
    assert execution["results"] is None


async def test_list_filters(admin: Client, hub: Hub) -> None:
    colleague = await hub.client((await admin.get("/me")).data["organization"]["name"])
    one, two = await admin.workflow(), await admin.workflow(WAITING)
    first = await admin.execution(one["id"], tags=["x", "y"], priority=9)
    await admin.ended(first)
    second = await colleague.execution(two["id"], tags=["x"], project_id="p")
    third = await admin.execution(one["id"], scheduled_at=LATER)

    async def started() -> bool:
        return bool((await admin.get(f"/executions/{second}")).data["status"] == "running")

    await until(started)

    async def found(**query: Any) -> list[str]:
        answer = await admin.get("/executions", **query)
        assert answer.metadata["total_count"] == len(answer.data)
        return [each["id"] for each in answer.data]

    times = {id: (await admin.get(f"/executions/{id}")).data for id in (first, second, third)}
    assert await found() == [third, second, first]
    assert await found(workflow_id=one["id"]) == [third, first]
    assert await found(status="completed") == [first]
    assert await found(status="pending") == [third]
    assert await found(status="running") == [second]
    assert await found(user_id=times[second]["created_by"]) == [second]
    assert await found(priority=9) == [first]
    assert await found(priority=1) == []
    assert await found(tags="x") == [second, first]
    assert await found(tags="x,y") == [first]
    assert await found(project_id="p") == [second]
    assert await found(workflow_id="nonsense") == []
    start = times[second]["created_at"]
    assert first not in await found(start_date=start) or times[first]["created_at"] == start
    assert second in await found(start_date=start), "a start is inclusive"
    assert second not in await found(end_date=start), "an end is exclusive"
    assert await found(end_date="2999-01-01") == [third, second, first]
    assert await found(start_date="2999-01-01T00:00:00+01:00") == []
    of_one = await admin.get(f"/workflows/{one['id']}/executions")
    assert [each["id"] for each in of_one.data] == [third, first]


async def test_large_numbers_and_strange_texts_survive(admin: Client) -> None:
    parameters = {"big": 10**30, "small": -(2**63), "tiny": 5e-324, "text": "\0 \u2028 😀", "": {"": [None]}}
    id = await admin.execution((await admin.workflow())["id"], parameters=parameters, tags=["\0"], project_id="\0")
    execution = await admin.ended(id)
    assert execution["parameters"] == parameters
    assert execution["results"] == {"start": parameters}
    assert execution["tags"] == ["\0"]


async def test_when_it_started_is_one_time_in_all_that_says_it(admin: Client) -> None:
    id = await admin.execution((await admin.workflow())["id"])
    started_at = (await admin.ended(id))["started_at"]
    (component,) = (await admin.get(f"/executions/{id}/components")).data
    for event in (await admin.events(execution_id=id))[1:]:
        data = event["data"]
        if event["type"].startswith("execution."):
            assert data["started_at"] == started_at, event["type"]
        else:
            assert data["execution_started_at"] == started_at, event["type"]
            assert data["started_at"] == component["started_at"], event["type"]
