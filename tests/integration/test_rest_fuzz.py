"""Bodies that nobody thought of: whatever comes, every POST and PUT answers in the envelope and never with a 500."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.hubs import Client, Hub, unique, until
from tests.integration.test_rest_forms import BLOCKS, STEPS

pytestmark = pytest.mark.asyncio(loop_scope="session")

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=20) | st.sampled_from(
    [
        *("", "start", "end", "log", "wait", "http_request", "condition", "transform", "success", "error", "*"),
        *("${start.output}", "${workflow.input.x}", "{{x}}", "${", "}}", "$${a}", "${a.output[0]}", "[REDACTED]"),
        *("output.result", "1 + 1", "true", "input.x > 0", "((((", "execution.*", "whsec_", "sealed:v1:abc"),
        *("2026-01-01T00:00:00Z", "http://127.0.0.1:2", "\0", "0", "-1", "NaN"),
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=12
)
DEFINITION = {
    "components": [
        {"id": "start", "type": "start", "config": {"trigger_type": "manual"}},
        {
            "id": "call",
            "type": "http_request",
            "config": {"url": "http://127.0.0.1:2/{{x}}", "headers": {"a": "b"}, "body": {"c": "${start.output}"}},
            "retry": {"max_attempts": 1},
            "timeout_seconds": 1,
        },
        {"id": "if", "type": "condition", "config": {"expression": "input.x > 0"}},
        {"id": "make", "type": "transform", "config": {"output": {"y": "${if.output.result}"}}},
        {"id": "wait", "type": "wait", "config": {"seconds": 0}},
        {"id": "log", "type": "log", "config": {"level": "info", "message": "{{x}}"}},
        {"id": "end", "type": "end", "config": {"output": {"z": "${make.output.y}"}}},
    ],
    "connections": [
        {"source": "start", "target": "call"},
        {"source": "call", "target": "if", "type": "error"},
        {"source": "if", "target": "make", "type": "conditional", "condition": "output.result"},
        {"source": "make", "target": "wait"},
        {"source": "wait", "target": "log"},
        {"source": "log", "target": "end"},
    ],
    "parameters": [{"name": "x", "type": "any", "default_value": 1}],
    "fail_fast": True,
    "max_execution_time": 5,
}
WEBHOOK = {
    "url": "http://127.0.0.1:2/",
    "events": ["execution.*"],
    "filters": {"workflow_ids": ["a"], "priority_levels": [1, "high"], "condition": "data.x == 1"},
    "authentication": {"type": "basic", "username": "u", "password": "p"},
    "headers": {"X-A": "1"},
    "retry_policy": {"max_attempts": 2, "initial_delay_seconds": 0},
    "active": False,
}
AGENT = {
    "name": "n",
    "url": "http://127.0.0.1:2/",
    "agent_type": "ai",
    "protocol": "http",
    "capabilities": ["a"],
    "auth_type": "apikey",
    "auth_config": {"key": "k", "header": "X-Key"},
    "timeout_ms": 1000,
    "retry_config": {"max_retries": 1},
    "availability": "busy",
    "status": "inactive",
}
TEMPLATE = {
    "name": "n",
    "workflow_definition": BLOCKS | {"max_execution_time": "{{most}}"},
    "parameters": [
        {"name": "most", "parameter_type": "integer", "default_value": 5, "validation_rules": {"min": 1, "max": 9}},
        {"name": "text", "options": ["a"], "validation_rules": {"pattern": "a+", "max_length": 3}},
    ],
    "complexity_level": "expert",
}
SCHEDULE = {
    "name": "n",
    "cron": "*/5 2-4 L * MON#1",
    "timezone": "Europe/Berlin",
    "parameters": {"x": [1]},
    "start_at": "2030-01-01T00:00:00Z",
    "end_at": "2999-01-01T00:00:00Z",
    "jitter_seconds": 5,
    "catch_up": True,
    "overlap_policy": "queue",
    "paused": True,
}
EXECUTE = {"parameters": {"x": 1}, "priority": 5, "scheduled_at": "2999-01-01T00:00:00Z", "tags": ["a"]}
KEY = {"name": "n", "role": "read_only", "permissions": ["workflow.read"], "expires_at": "2999-01-01T00:00:00Z"}


ASKING = {
    "components": [
        {"id": "start", "type": "start"},
        {
            "id": "ask",
            "type": "human_task",
            "config": {
                "title": "t",
                "assignee": "a",
                "candidates": ["a"],
                "form": {"type": "object", "properties": {"a": {"pattern": "a+"}}, "required": ["never"]},
                "due_in_seconds": 1,
                "escalation": [{"after_seconds": 1, "notify": ["a"]}, {"reassign_to": "b"}],
            },
        },
        {"id": "do", "type": "external_task", "config": {"task_type": "t", "input": 1, "lease_seconds": 1}},
    ],
    "connections": [{"source": "start", "target": "ask"}, {"source": "start", "target": "do"}],
}
COMPLETE = {"output": {"a": "a"}, "notes": "n", "assignee": "a"}


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of everything in a JSON value, itself included."""
    found = [at]
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        found += places(each, (*at, key))
    return found


@st.composite
def damaged(draw: st.DrawFn, example: Any) -> Any:
    """The example with up to three of its parts replaced, renamed, doubled, or left out."""
    holder = {"": copy.deepcopy(example)}
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places(holder[""], ("",))))
        at: Any = holder
        try:
            for step in path[:-1]:
                at = at[step]
            match draw(st.sampled_from(("replace", "replace", "rename", "drop", "double"))):
                case "replace":
                    at[path[-1]] = draw(JSON)
                case "rename" if isinstance(at, dict) and at is not holder:
                    at[draw(TEXTS)] = at.pop(path[-1])
                case "drop" if at is not holder:
                    del at[path[-1]]
                case "double" if isinstance(at, list):
                    at.append(at[path[-1]])
        except (KeyError, IndexError, TypeError):
            continue
    return holder[""]


class Target:
    """What the bodies are sent to; everything that starts here is cancelled at the end."""

    def __init__(self, client: Client, workflow: str, webhook: str, agent: str, task: str) -> None:
        self.client, self.workflow, self.webhook, self.agent, self.task = client, workflow, webhook, agent, task

    async def send(self, method: str, path: str, body: Any) -> None:
        answer = await self.client.send(method, path, raw=msgspec.json.encode(body))
        assert answer.status < 500, (body, answer.body)
        assert answer.json["success"] is (answer.status < 400)
        if answer.status >= 400:
            assert answer.errors
            assert all(error["code"] and error["message"] for error in answer.errors)
        elif path == "/workflows":
            run = await self.client.post(f"/workflows/{answer.data['id']}/execute", {"parameters": {"x": 1}})
            assert run.status in (202, 422), run.body
            await self.client.delete(f"/workflows/{answer.data['id']}", force="true")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def target(hub: Hub) -> AsyncIterator[Target]:
    client = await hub.client()
    workflow = (await client.workflow(DEFINITION))["id"]
    webhook = (await client.webhook("http://127.0.0.1:2/", active=False))["id"]
    agent = (await client.post("/agents", AGENT)).data["id"]
    asking = (await client.workflow(ASKING))["id"]
    asked = await client.execution(asking)

    async def task() -> Any:
        return (await client.get("/tasks", execution_id=asked, kind="human")).data

    yield Target(client, workflow, webhook, agent, (await until(task))[0]["id"])
    for each in (workflow, asking):
        assert (await client.delete(f"/workflows/{each}", force="true")).status == 200


quick = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@quick
@given(body=damaged({"name": "n", "definition": DEFINITION, "tags": ["a"], "priority": "high", "category": "c"}))
async def test_create_workflow(target: Target, body: Any) -> None:
    if isinstance(body, dict) and body.get("name") == "n":
        body["name"] = unique("n")
    await target.send("POST", "/workflows", body)


@quick
@given(body=damaged({"name": "n", "definition": BLOCKS}))
async def test_create_workflow_of_blocks(target: Target, body: Any) -> None:
    if isinstance(body, dict) and body.get("name") == "n":
        body["name"] = unique("n")
    await target.send("POST", "/workflows", body)


@quick
@given(body=damaged({"definition": DEFINITION}) | damaged({"definition": STEPS}))
async def test_validate(target: Target, body: Any) -> None:
    await target.send("POST", f"/workflows/{target.workflow}/validate", body)


@quick
@given(body=damaged({"name": "n", "definition": DEFINITION, "tags": ["a"], "description": None}))
async def test_change_workflow(target: Target, body: Any) -> None:
    await target.send("PUT", f"/workflows/{target.workflow}", body)


@quick
@given(body=damaged({"definition": ASKING}))
async def test_validate_what_opens_tasks(target: Target, body: Any) -> None:
    await target.send("POST", f"/workflows/{target.workflow}/validate", body)


@quick
@given(body=damaged(COMPLETE))
async def test_complete_a_task(target: Target, body: Any) -> None:
    await target.send("POST", f"/tasks/{target.task}/complete", body)


@quick
@given(body=damaged({"types": ["a"], "worker_id": "w", "lease_seconds": 1, "max": 1}))
async def test_claim_tasks(target: Target, body: Any) -> None:
    await target.send("POST", "/tasks/claim", body)


@quick
@given(body=damaged(EXECUTE))
async def test_execute(target: Target, body: Any) -> None:
    await target.send("POST", f"/workflows/{target.workflow}/execute", body)


@quick
@given(body=damaged(TEMPLATE))
async def test_create_template(target: Target, body: Any) -> None:
    await target.send("POST", "/templates", body)


@quick
@given(body=damaged(SCHEDULE))
async def test_create_schedule(target: Target, body: Any) -> None:
    if isinstance(body, dict):
        body |= {"workflow_id": target.workflow} | ({"name": unique("n")} if body.get("name") == "n" else {})
    await target.send("POST", "/schedules", body)


@quick
@given(body=damaged(WEBHOOK))
async def test_create_webhook(target: Target, body: Any) -> None:
    await target.send("POST", "/webhooks", body)


@quick
@given(body=damaged(WEBHOOK))
async def test_change_webhook(target: Target, body: Any) -> None:
    await target.send("PUT", f"/webhooks/{target.webhook}", body)


@quick
@given(body=damaged(AGENT))
async def test_register_agent(target: Target, body: Any) -> None:
    if isinstance(body, dict) and body.get("name") == "n":
        body["name"] = unique("n")
    await target.send("POST", "/agents", body)


@quick
@given(body=damaged(AGENT))
async def test_change_agent(target: Target, body: Any) -> None:
    await target.send("PUT", f"/agents/{target.agent}", body)


@quick
@given(body=damaged(KEY))
async def test_create_key(target: Target, body: Any) -> None:
    await target.send("POST", "/auth/api-keys", body)


@quick
@given(body=JSON)
async def test_any_json_anywhere(target: Target, body: Any) -> None:
    for path in (
        "/workflows",
        f"/workflows/{target.workflow}/execute",
        "/webhooks",
        "/agents",
        "/auth/api-keys",
        "/tasks/claim",
    ):
        await target.send("POST", path, body)
