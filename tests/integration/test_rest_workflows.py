from __future__ import annotations

from typing import Any

import pytest

from tests.integration.hubs import SMALLEST, WAITING, Client, Hub, unique

pytestmark = pytest.mark.asyncio(loop_scope="session")

SHOWN = {
    *("id", "name", "description", "status", "category", "tags", "version", "priority", "component_count"),
    *("created_by", "created_at", "updated_at"),
}
STATS = {"execution_count", "success_rate", "last_execution_at"}
LONGER: dict[str, Any] = {
    "components": [{"id": "start", "type": "start"}, {"id": "end", "type": "end", "config": {"output": {"a": 1}}}],
    "connections": [{"source": "start", "target": "end"}],
}


async def test_create_answers_201_with_the_whole_workflow(admin: Client) -> None:
    body = {
        "name": unique("etl"),
        "description": "customer data",
        "definition": LONGER,
        "category": "data_processing",
        "tags": ["etl", "customers"],
        "priority": "high",
    }
    answer = await admin.post("/workflows", body)
    assert answer.status == 201
    assert set(answer.data) == SHOWN | {"definition", "permissions"}
    assert answer.data["status"] == "draft"
    assert answer.data["version"] == 1
    assert answer.data["priority"] == 8
    assert answer.data["component_count"] == 2
    assert answer.data["tags"] == ["etl", "customers"]
    assert answer.data["created_at"] == answer.data["updated_at"]
    assert answer.data["created_by"] == (await admin.get("/me")).data["id"]
    assert (await admin.get(f"/workflows/{answer.data['id']}")).data == answer.data


async def test_a_definition_comes_back_as_it_was_given(admin: Client) -> None:
    definition = {
        "components": [
            {"id": "start", "type": "start", "name": "Begin", "position": {"x": 1.5, "y": -2}},
            {
                "id": "call",
                "type": "http_request",
                "config": {"url": "https://example.com/{{id}}", "method": "POST", "body": {"n": [1, None, True]}},
                "retry": {
                    "max_attempts": 2,
                    "initial_delay_seconds": 1,
                    "max_delay_seconds": 10,
                    "backoff_multiplier": 2,
                },
                "timeout_seconds": 9,
            },
        ],
        "connections": [
            {"source": "start", "target": "call", "type": "conditional", "condition": "input.id > 0"},
        ],
        "parameters": [
            {"name": "id", "type": "integer", "required": True, "description": "which"},
            {"name": "quick", "type": "boolean", "default_value": False},
        ],
        "fail_fast": False,
        "max_execution_time": 60,
    }
    created = await admin.workflow(definition)
    shown = (await admin.get(f"/workflows/{created['id']}")).data["definition"]
    assert shown["connections"] == definition["connections"]
    assert shown["fail_fast"] is False
    assert shown["max_execution_time"] == 60
    assert [p["name"] for p in shown["parameters"]] == ["id", "quick"]
    assert shown["parameters"][1]["default_value"] is False
    for before, after in zip(definition["components"], shown["components"], strict=True):  # type: ignore[call-overload]
        assert before.items() <= after.items()
    again = await admin.put(f"/workflows/{created['id']}", {"definition": shown})
    assert again.data["version"] == 1, "what was shown, sent back, is no change"


async def test_get_leaves_the_definition_out_and_brings_stats_when_asked(admin: Client) -> None:
    workflow = await admin.workflow()
    await admin.ended(await admin.execution(workflow["id"]))
    path = f"/workflows/{workflow['id']}"
    assert set((await admin.get(path)).data) == SHOWN | {"definition", "permissions"}
    assert set((await admin.get(path, include_definition="false")).data) == SHOWN | {"permissions"}
    shown = (await admin.get(path, include_stats="true", include_definition="false")).data
    assert set(shown) == SHOWN | STATS | {"permissions"}
    assert (shown["execution_count"], shown["success_rate"]) == (1, 1.0)
    assert shown["last_execution_at"] is not None


async def test_permissions_say_what_the_caller_may(hub: Hub, admin: Client) -> None:
    workflow = await admin.workflow()
    assert workflow["permissions"] == {"can_edit": True, "can_execute": True, "can_delete": True, "can_share": False}
    organization = (await admin.get("/me")).data["organization"]["name"]
    reader = await hub.client(organization, role="read_only")
    shown = (await reader.get(f"/workflows/{workflow['id']}")).data["permissions"]
    assert not any(shown.values())


async def test_success_rate_counts_ended_executions_only(admin: Client) -> None:
    failing = {
        "components": [
            {"id": "start", "type": "start"},
            {"id": "odd", "type": "transform", "config": {"expression": "1 / int(input.by)"}},
        ],
        "connections": [{"source": "start", "target": "odd"}],
    }
    workflow = await admin.workflow(failing)
    for by in (0, 1, 1):
        await admin.ended(await admin.execution(workflow["id"], parameters={"by": by}))
    await admin.execution(workflow["id"], parameters={"by": 1}, scheduled_at="2999-01-01T00:00:00Z")
    shown = (await admin.get(f"/workflows/{workflow['id']}", include_stats="true")).data
    assert (shown["execution_count"], shown["success_rate"]) == (4, 0.6667)
    listed = (await admin.get("/workflows")).data[0]
    assert (listed["execution_count"], listed["success_rate"]) == (4, 0.6667)


async def test_put_merges_fields_and_keeps_the_rest(admin: Client) -> None:
    before = await admin.workflow(description="old", category="a", tags=["x"], priority=3)
    path = f"/workflows/{before['id']}"
    after = (await admin.put(path, {"description": "new", "tags": []})).data
    assert (after["description"], after["tags"]) == ("new", [])
    assert (after["name"], after["category"], after["priority"]) == (before["name"], "a", 3)
    cleared = (await admin.put(path, {"description": None, "category": None})).data
    assert (cleared["description"], cleared["category"]) == (None, None)
    assert (await admin.get(path)).data == cleared


async def test_version_rises_only_with_a_changed_definition(admin: Client) -> None:
    workflow = await admin.workflow()
    path = f"/workflows/{workflow['id']}"
    assert (await admin.put(path, {"description": "said otherwise"})).data["version"] == 1
    assert (await admin.put(path, {"definition": SMALLEST})).data["version"] == 1
    assert (await admin.put(path, {"definition": LONGER})).data["version"] == 2
    assert (await admin.put(path, {"definition": LONGER})).data["version"] == 2
    assert (await admin.put(path, {"definition": SMALLEST})).data["version"] == 3


async def test_put_that_changes_nothing_leaves_no_event(admin: Client) -> None:
    workflow = await admin.workflow(tags=["x"])
    path = f"/workflows/{workflow['id']}"
    for body in ({}, {"tags": ["x"]}, {"name": workflow["name"], "definition": SMALLEST, "priority": "normal"}):
        assert (await admin.put(path, body)).data == workflow
    assert [event["type"] for event in await admin.events(workflow_id=workflow["id"])] == ["workflow.created"]


async def test_versions_are_listed_newest_first_with_their_definitions(admin: Client) -> None:
    workflow = await admin.workflow()
    path = f"/workflows/{workflow['id']}"
    await admin.put(path, {"definition": LONGER})
    await admin.put(path, {"description": "no version of its own"})
    listed = (await admin.get(f"{path}/versions")).data
    assert [(v["version"], v["component_count"], v["is_current"]) for v in listed] == [(2, 2, True), (1, 1, False)]
    assert listed[1]["definition"]["components"] == [{"id": "start", "type": "start", "config": {}}]
    assert listed[1]["created_by"] == workflow["created_by"]


async def test_names_are_unique_until_deleted(admin: Client, hub: Hub) -> None:
    first, second = await admin.workflow(), await admin.workflow()
    for answer in (
        await admin.post("/workflows", {"name": first["name"], "definition": SMALLEST}),
        await admin.put(f"/workflows/{second['id']}", {"name": first["name"]}),
    ):
        assert answer.status == 409
        assert answer.codes == {"RESOURCE_CONFLICT"}
        assert answer.fields == ["name"]
        assert first["name"] in answer.errors[0]["message"]
    other = await hub.client()
    assert (await other.post("/workflows", {"name": first["name"], "definition": SMALLEST})).status == 201
    await admin.delete(f"/workflows/{first['id']}")
    again = await admin.workflow(name=first["name"])
    assert again["id"] != first["id"]


async def test_a_name_given_up_is_free(admin: Client) -> None:
    workflow, name = await admin.workflow(), unique("name")
    await admin.put(f"/workflows/{workflow['id']}", {"name": name})
    assert (await admin.workflow(name=workflow["name"]))["name"] == workflow["name"]
    assert (await admin.put(f"/workflows/{workflow['id']}", {"name": name})).status == 200, (
        "its own name is no conflict"
    )


async def test_delete_is_a_200_with_null_and_a_404_the_second_time(admin: Client) -> None:
    workflow = await admin.workflow()
    path = f"/workflows/{workflow['id']}"
    answer = await admin.delete(path)
    assert (answer.status, answer.data) == (200, None)
    assert (await admin.delete(path)).status == 404
    assert (await admin.get(path)).status == 404
    assert (await admin.put(path, {"tags": []})).status == 404
    assert (await admin.get("/workflows")).data == []
    kept = [event["type"] for event in await admin.events(workflow_id=workflow["id"])]
    assert kept == ["workflow.created", "workflow.deleted"]


async def test_delete_with_live_executions_needs_force_which_cancels_them(admin: Client) -> None:
    workflow = await admin.workflow(WAITING)
    path = f"/workflows/{workflow['id']}"
    running = [await admin.execution(workflow["id"]) for _ in range(3)]
    refused = await admin.delete(path)
    assert refused.status == 409
    assert refused.errors[0]["details"] == {"live_executions": 3}
    assert (await admin.delete(path, force="true")).status == 200
    for id in running:
        execution = (await admin.get(f"/executions/{id}")).data
        assert (execution["status"], execution["cancel_reason"]) == ("cancelled", "the workflow was deleted")


MOVES = {
    "draft": {"activate": "active", "archive": "archived"},
    "active": {"deactivate": "inactive", "archive": "archived"},
    "inactive": {"activate": "active", "archive": "archived"},
    "archived": {"activate": "active"},
}
WAY_TO = {"draft": (), "active": ("activate",), "inactive": ("activate", "deactivate"), "archived": ("archive",)}


@pytest.mark.parametrize("status", MOVES)
async def test_lifecycle_allows_these_moves_and_names_the_status_for_the_others(admin: Client, status: str) -> None:
    for move in ("activate", "deactivate", "archive"):
        workflow = await admin.workflow()
        path = f"/workflows/{workflow['id']}"
        for step in WAY_TO[status]:
            assert (await admin.post(f"{path}/{step}")).status == 200
        answer = await admin.post(f"{path}/{move}")
        after = MOVES[status].get(move)
        if after is None:
            assert answer.status == 409
            assert status in answer.errors[0]["message"]
            assert answer.errors[0]["details"] == {"current_status": status}
            assert (await admin.get(path)).data["status"] == status
        else:
            assert (answer.status, answer.data["status"]) == (200, after)
            assert (await admin.get(path)).data == answer.data


async def test_an_archived_workflow_does_not_change(admin: Client) -> None:
    workflow = await admin.workflow()
    await admin.post(f"/workflows/{workflow['id']}/archive")
    answer = await admin.put(f"/workflows/{workflow['id']}", {"description": "x"})
    assert answer.status == 409
    assert answer.errors[0]["details"] == {"current_status": "archived"}


async def test_list_filters(admin: Client, hub: Hub) -> None:
    organization = (await admin.get("/me")).data["organization"]["name"]
    colleague = await hub.client(organization)
    red = await admin.workflow(name="Red", category="a", tags=["x", "y"], description="Über alles")
    blue = await admin.workflow(name="Blue", category="b", tags=["x"])
    green = await colleague.workflow(name="Green_100%", category="a")
    await admin.post(f"/workflows/{blue['id']}/activate")

    async def found(**query: Any) -> list[str]:
        answer = await admin.get("/workflows", **query)
        assert answer.metadata["total_count"] == len(answer.data)
        return [each["id"] for each in answer.data]

    assert await found() == [green["id"], blue["id"], red["id"]]
    assert await found(category="a") == [green["id"], red["id"]]
    assert await found(status="active") == [blue["id"]]
    assert await found(status="archived") == []
    assert await found(search="re") == [green["id"], red["id"]]
    assert await found(search="über") == [red["id"]]
    assert await found(search="_100%") == [green["id"]]
    assert await found(tags="x") == [blue["id"], red["id"]]
    assert await found(tags="x,y") == [red["id"]]
    assert await found(tags=["x", "y"]) == [red["id"]]
    assert await found(created_by=green["created_by"]) == [green["id"]]
    assert await found(category="a", search="red", tags="x") == [red["id"]]


async def test_list_sorts(admin: Client) -> None:
    b, a, c = [await admin.workflow(name=name) for name in ("b", "a", "c")]
    await admin.put(f"/workflows/{b['id']}", {"description": "touched"})

    async def found(**query: Any) -> list[str]:
        return [each["name"] for each in (await admin.get("/workflows", **query)).data]

    assert await found() == ["c", "a", "b"]
    assert await found(order="asc") == ["b", "a", "c"]
    assert await found(sort="name") == ["a", "b", "c"]
    assert await found(sort="name", order="desc") == ["c", "b", "a"]
    assert await found(sort="updated_at") == ["b", "c", "a"]
    assert await found(sort="updated_at", order="asc") == ["a", "c", "b"]
    assert (await admin.get("/workflows")).data[0]["id"] == c["id"]
    assert a["name"] == "a"


async def test_listed_workflows_have_stats_and_no_definition(admin: Client) -> None:
    await admin.workflow()
    assert set((await admin.get("/workflows")).data[0]) == SHOWN | STATS


async def test_validate_judges_the_stored_definition_or_one_in_the_body(admin: Client) -> None:
    workflow = await admin.workflow()
    path = f"/workflows/{workflow['id']}/validate"
    stored = (await admin.post(path)).data
    assert stored["is_valid"] is True
    assert (stored["errors"], stored["warnings"]) == ([], [])
    assert set(stored["info"][0]) == {"code", "severity", "component_id", "field", "message", "details"}
    cyclic = {
        "components": [{"id": id, "type": "start" if id == "a" else "log", "config": {}} for id in "abc"],
        "connections": [{"source": s, "target": t} for s, t in ("ab", "bc", "cb")],
    }
    answer = await admin.post(path, {"definition": cyclic})
    assert answer.status == 200
    assert answer.data["is_valid"] is False
    assert {e["details"]["rule"] for e in answer.data["errors"]} == {"CYCLE", "CONFIG"}
    shapeless = (await admin.post(path, {"definition": {"components": [{}]}})).data
    assert shapeless["is_valid"] is False
    assert {e["code"] for e in shapeless["errors"]} == {"VALIDATION_ERROR"}
    careless = {
        "components": [
            {"id": "start", "type": "start"},
            {"id": "call", "type": "http_request", "config": {"url": "https://example.com"}},
            {"id": "lost", "type": "log", "config": {"message": ""}},
        ],
        "connections": [{"source": "start", "target": "call"}],
    }
    warned = (await admin.post(path, {"definition": careless})).data
    assert warned["is_valid"] is True
    assert {(w["code"], w["component_id"]) for w in warned["warnings"]} == {
        ("NO_ERROR_HANDLING", "call"),
        ("NO_TIMEOUT", "call"),
        ("UNREACHABLE", "lost"),
    }
    assert all(w["severity"] == "warning" for w in warned["warnings"])
    assert (await admin.get(f"/workflows/{workflow['id']}")).data["definition"] == workflow["definition"]


async def test_every_wrong_thing_of_a_definition_is_said_at_once_with_its_path(admin: Client) -> None:
    definition = {
        "components": [
            {"id": "start", "type": "start"},
            {"id": "start", "type": "log", "config": {"message": "{{missing}}"}},
            {"id": "call", "type": "http_request", "config": {"url": 5, "nonsense": 1}},
            {"id": "odd", "type": "teleport"},
            {"id": "if", "type": "condition", "config": {"expression": "1 +"}},
            {"id": "late", "type": "log", "config": {"message": "${nobody.output} ${if.output}"}},
        ],
        "connections": [
            {"source": "start", "target": "nowhere"},
            {"source": "call", "target": "call"},
            {"source": "start", "target": "if", "type": "conditional"},
        ],
    }
    answer = await admin.post("/workflows", {"name": unique("w"), "definition": definition})
    assert answer.status == 422
    assert answer.codes == {"WORKFLOW_INVALID"}
    assert set(answer.fields) >= {
        "definition.components[1].id",
        "definition.components[1].config.message",
        "definition.components[2].config.url",
        "definition.components[2].config.nonsense",
        "definition.components[3].type",
        "definition.components[4].config.expression",
        "definition.components[5].config.message",
        "definition.connections[0].target",
        "definition.connections[1]",
        "definition.connections[2].condition",
    }
    assert (await admin.put(f"/workflows/{(await admin.workflow())['id']}", {"definition": definition})).status == 422


async def test_every_wrong_field_of_a_body_is_said_at_once(admin: Client) -> None:
    body = {"name": " ", "definition": [], "priority": 11, "tags": ["", 5], "colour": "red", "category": "x" * 256}
    answer = await admin.post("/workflows", body)
    assert answer.status == 422
    assert answer.codes == {"VALIDATION_ERROR"}
    assert answer.fields == ["category", "colour", "definition", "name", "priority", "tags[0]", "tags[1]"]


@pytest.mark.parametrize("parameter", ["b", "b.c", ""])
async def test_a_reference_to_nothing_is_named(admin: Client, parameter: str) -> None:
    definition = {
        "components": [{"id": "a", "type": "start", "config": {"trigger_type": f"${{{parameter}.output}}"}}]
    }
    answer = await admin.post("/workflows", {"name": unique("w"), "definition": definition})
    assert (answer.status, answer.codes) == (422, {"WORKFLOW_INVALID"})
    assert answer.fields == ["definition.components[0].config.trigger_type"]
