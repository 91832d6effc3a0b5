"""Agents over REST: registered, changed, listed, deleted, and asked whether they are well."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from aiohttp import web

from executor.domain.agent import AgentRow
from tests.integration.hubs import Client, Hub, unique, until
from tests.integration.receiving import Arrived, receiving

pytestmark = pytest.mark.asyncio(loop_scope="session")

URL = "http://127.0.0.1:2"
"""Where nobody listens: no test waits for a name server."""
SHOWN = {
    *("id", "name", "description", "url", "agent_type", "protocol", "capabilities", "auth_type", "auth_config"),
    *("timeout_ms", "retry_config", "availability", "status", "current_workload"),
    *("created_by", "created_at", "updated_at"),
}
OURS = {"id", "current_workload", "created_by", "created_at", "updated_at"}


async def registered(client: Client, **fields: Any) -> dict[str, Any]:
    answer = await client.post("/agents", {"name": unique("agent"), "url": URL} | fields)
    assert answer.status == 201, answer.body
    data: dict[str, Any] = answer.data
    return data


async def test_an_agent_gets_its_defaults_and_is_shown_whole_everywhere(admin: Client) -> None:
    me = (await admin.get("/me")).data["id"]
    agent = await registered(admin, name="data-processor")
    assert set(agent) == SHOWN
    assert {name: agent[name] for name in SHOWN - OURS} == {
        "name": "data-processor",
        "description": None,
        "url": URL,
        "agent_type": "service",
        "protocol": "auto",
        "capabilities": [],
        "auth_type": "none",
        "auth_config": {},
        "timeout_ms": 30_000,
        "retry_config": {
            "max_retries": 3,
            "initial_delay_ms": 1000,
            "max_delay_ms": 30_000,
            "backoff_multiplier": 2.0,
        },
        "availability": "available",
        "status": "active",
    }
    assert (agent["created_by"], agent["current_workload"]) == (me, {"active_tasks": 0})
    path = f"/agents/{agent['id']}"
    for answer in (await admin.get(path), await admin.put(path, {}), await admin.put(path, {"name": agent["name"]})):
        assert (answer.status, answer.data) == (200, agent)
    assert (await admin.get("/agents")).data == [agent]


async def test_what_is_given_comes_back_and_a_put_merges(admin: Client) -> None:
    body = {
        "name": unique("analyst"),
        "description": "Reads reports.",
        "agent_type": "human",
        "protocol": "http",
        "capabilities": ["analysis", "writing"],
        "timeout_ms": 1000,
        "retry_config": {"max_retries": 0, "initial_delay_ms": 100, "max_delay_ms": 1000, "backoff_multiplier": 1},
        "availability": "offline",
        "status": "inactive",
    }
    created = (await admin.post("/agents", body)).data
    assert {name: created[name] for name in body} == body
    assert created["url"] is None, "people need none"
    path = f"/agents/{created['id']}"
    change = {"url": URL, "agent_type": "ai", "retry_config": {"max_retries": 5}, "status": "active"}
    changed = (await admin.put(path, change)).data
    assert changed["retry_config"] == {
        "max_retries": 5,
        "initial_delay_ms": 1000,
        "max_delay_ms": 30_000,
        "backoff_multiplier": 2.0,
    }, "replaced whole"
    assert {name: changed[name] for name in SHOWN - {*change, "updated_at"}} == {
        name: created[name] for name in SHOWN - {*change, "updated_at"}
    }
    reset = {"description": None, "capabilities": None, "timeout_ms": None, "availability": None, "protocol": None}
    after = (await admin.put(path, reset)).data
    assert [after[name] for name in reset] == [None, [], 30_000, "available", "auto"]


async def test_a_credential_is_sealed_never_shown_and_kept_by_redacted(hub: Hub, admin: Client) -> None:
    secret = unique("s3cret")
    agent = await registered(admin, auth_type="bearer", auth_config={"token": secret})
    path = f"/agents/{agent['id']}"
    assert agent["auth_config"] == {"token": "[REDACTED]"}
    again = await admin.put(path, {name: agent[name] for name in SHOWN - OURS})
    assert (again.status, again.data) == (200, agent), "what was shown, sent back, is no change"
    assert (await admin.put(path, {"auth_type": "bearer"})).data == agent
    key = {"auth_type": "apikey", "auth_config": {"key": secret, "header": "X-Key"}}
    assert (await admin.put(path, key)).data["auth_config"] == {"key": "[REDACTED]", "header": "X-Key"}
    moved = await admin.put(path, {"auth_config": {"key": "[REDACTED]"}})
    assert moved.data["auth_config"] == {"key": "[REDACTED]"}
    assert (await admin.put(path, {"auth_type": "none"})).data["auth_config"] == {}
    events = await admin.events(types="agent.*")
    assert [event["type"] for event in events] == ["agent.registered"] + ["agent.updated"] * 3
    assert events[0]["data"]["auth_config"] == {"token": "[REDACTED]"}
    assert [event["data"]["changed"] for event in events[1:]] == [
        ["auth_type", "auth_config"],
        ["auth_config"],
        ["auth_type", "auth_config"],
    ]
    for recorded in await hub.services.store.log.stream(f"agent:{agent['id']}"):
        assert secret.encode() not in recorded.data


async def test_names_are_unique_among_agents_that_are_not_deleted(hub: Hub, admin: Client) -> None:
    first, second = await registered(admin, name="translator"), await registered(admin)
    for answer in (
        await admin.post("/agents", {"name": "translator", "url": URL}),
        await admin.put(f"/agents/{second['id']}", {"name": "translator"}),
    ):
        assert (answer.status, answer.codes, answer.fields) == (409, {"RESOURCE_CONFLICT"}, ["name"])
        assert "translator" in answer.errors[0]["message"]
    assert (await registered(await hub.client(), name="translator"))["id"] != first["id"], "in an organization"
    gone = await admin.delete(f"/agents/{first['id']}")
    assert (gone.status, gone.data) == (200, None)
    assert (await admin.put(f"/agents/{second['id']}", {"name": "translator"})).status == 200
    assert (await admin.post("/agents", {"name": "translator", "url": URL})).status == 409


async def test_a_deleted_agent_is_gone_but_from_the_log_and_the_list_of_deleted_ones(admin: Client) -> None:
    agent = await registered(admin)
    path = f"/agents/{agent['id']}"
    assert (await admin.delete(path)).status == 200
    for answer in (
        await admin.get(path),
        await admin.get(f"{path}/health"),
        await admin.put(path, {"status": "active"}),
        await admin.delete(path),
    ):
        assert (answer.status, answer.codes) == (404, {"RESOURCE_NOT_FOUND"})
    assert (await admin.get("/agents")).data == []
    assert [each["id"] for each in (await admin.get("/agents", status="deleted")).data] == [agent["id"]]
    assert [event["type"] for event in await admin.events(types="agent.*")] == ["agent.registered", "agent.deleted"]


async def test_lists_are_filtered(admin: Client) -> None:
    ai = await registered(admin, agent_type="ai", capabilities=["write", "read"], description="Summarizes reports")
    human = await registered(admin, agent_type="human", capabilities=["read"], availability="busy")
    idle = await registered(admin, status="inactive")
    for query, found in (
        ({}, [idle, human, ai]),
        ({"status": "active"}, [human, ai]),
        ({"status": "inactive"}, [idle]),
        ({"status": "deleted"}, []),
        ({"agent_type": "ai"}, [ai]),
        ({"availability": "busy"}, [human]),
        ({"capabilities": "read"}, [human, ai]),
        ({"capabilities": "read,write"}, [ai]),
        ({"capabilities": ["read", "write"]}, [ai]),
        ({"name": human["name"]}, [human]),
        ({"search": "SUMMAR"}, [ai]),
    ):
        answer = await admin.get("/agents", **query)
        assert [each["id"] for each in answer.data] == [each["id"] for each in found], query
        assert answer.metadata["total_count"] == len(found)
    for query in ({"status": "gone"}, {"agent_type": "robot"}, {"availability": "maybe"}):
        answer = await admin.get("/agents", **query)
        assert (answer.status, answer.fields) == (422, list(query))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": " "}, "name"),
        ({"name": "x" * 256}, "name"),
        ({"url": None}, "url"),
        ({"url": "ftp://example.com"}, "url"),
        ({"url": "http://10.0.0.1/"}, "url"),
        ({"url": "http://user:pw@127.0.0.1/"}, "url"),
        ({"agent_type": "robot"}, "agent_type"),
        ({"protocol": "grpc"}, "protocol"),
        ({"capabilities": [""]}, "capabilities[0]"),
        ({"auth_type": "basic"}, "auth_type"),
        ({"auth_type": "bearer"}, "auth_config.token"),
        ({"auth_type": "apikey", "auth_config": {"token": "t"}}, "auth_config.token"),
        ({"auth_type": "bearer", "auth_config": {"token": "t", "header": "X-A"}}, "auth_config.header"),
        ({"auth_config": {"token": "t"}}, "auth_config.token"),
        ({"auth_type": "bearer", "auth_config": {"token": "a\nb"}}, "auth_config.token"),
        ({"auth_type": "bearer", "auth_config": {"token": "[REDACTED]"}}, "auth_config.token"),
        ({"auth_type": "apikey", "auth_config": {"key": "k", "header": "a b"}}, "auth_config.header"),
        ({"auth_type": "apikey", "auth_config": {"key": "k", "header": "Host"}}, "auth_config.header"),
        ({"auth_type": "bearer", "auth_config": {"password": "p"}}, "auth_config.password"),
        ({"timeout_ms": 999}, "timeout_ms"),
        ({"timeout_ms": 300_001}, "timeout_ms"),
        ({"retry_config": {"max_retries": 11}}, "retry_config.max_retries"),
        ({"retry_config": {"initial_delay_ms": 99}}, "retry_config.initial_delay_ms"),
        ({"retry_config": {"max_delay_ms": 999}}, "retry_config.max_delay_ms"),
        ({"retry_config": {"backoff_multiplier": 0.5}}, "retry_config.backoff_multiplier"),
        ({"retry_config": {"retries": 1}}, "retry_config.retries"),
        ({"availability": "asleep"}, "availability"),
        ({"status": "deleted"}, "status"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_what_is_wrong_is_named_and_changes_nothing(admin: Client, body: dict[str, Any], field: str) -> None:
    agent = await registered(admin)
    for answer in (
        await admin.post("/agents", {"name": "n", "url": URL} | body),
        await admin.put(f"/agents/{agent['id']}", body),
    ):
        assert (answer.status, answer.codes) == (422, {"VALIDATION_ERROR"}), answer.body
        assert field in answer.fields
    assert (await admin.get("/agents")).data == [agent]


async def test_everything_that_is_wrong_is_said_at_once(admin: Client) -> None:
    body = {"url": "http://10.0.0.1/", "auth_type": "bearer", "timeout_ms": "long", "colour": "red"}
    answer = await admin.post("/agents", body)
    assert (answer.status, answer.fields) == (422, ["auth_config.token", "colour", "name", "timeout_ms", "url"])


async def test_health_is_what_the_agents_own_health_answers(admin: Client) -> None:
    async with receiving() as receiver:
        agent = await registered(
            admin, url=f"{receiver.url}/agents/a/?x=1", auth_type="bearer", auth_config={"token": "t0ken"}
        )
        path = f"/agents/{agent['id']}/health"
        well = (await admin.get(path)).data
        assert (well["healthy"], well["status_code"], well["error"]) == (True, 200, None)
        assert 0 < well["response_time_ms"] < 30_000
        receiver.always = 503
        ill = (await admin.get(path)).data
        assert (ill["healthy"], ill["status_code"]) == (False, 503)
        assert "503" in ill["error"]
        assert [each.path for each in receiver.arrived] == ["/agents/a/health"] * 2
        assert {each.headers["Authorization"] for each in receiver.arrived} == {"Bearer t0ken"}
    away = (await admin.get(path)).data
    assert away == {"healthy": False, "status_code": None, "response_time_ms": None, "error": away["error"]}
    assert "refused" in away["error"]


async def test_health_follows_no_redirect_and_needs_a_url(admin: Client) -> None:
    person = await registered(admin, url=None, agent_type="human")
    answer = await admin.get(f"/agents/{person['id']}/health")
    assert (answer.status, answer.data["healthy"], answer.data["status_code"]) == (200, False, None)
    async with receiving() as receiver:

        async def redirect(arrived: Arrived) -> web.StreamResponse:
            return web.Response(status=302, headers={"Location": receiver.url})

        receiver.replies = [redirect]
        agent = await registered(admin, url=receiver.url)
        moved = (await admin.get(f"/agents/{agent['id']}/health")).data
        assert (moved["healthy"], moved["status_code"]) == (False, 302)
        assert len(receiver.arrived) == 1


async def test_webhooks_hear_of_agents_without_their_credentials(admin: Client) -> None:
    async with receiving() as receiver:
        await admin.webhook(receiver.url, "agent.*")
        agent = await registered(admin, auth_type="apikey", auth_config={"key": "k3y-of-the-agent"})
        await admin.delete(f"/agents/{agent['id']}")

        async def arrived() -> bool:
            return len(receiver.arrived) == 2

        await until(arrived)
        bodies = {each.event: each for each in receiver.arrived}
        said = bodies["agent.registered"].json["data"]["agent"]
        assert (said["id"], said["name"]) == (agent["id"], agent["name"])
        assert said["auth_config"] == {"key": "[REDACTED]"}
        assert bodies["agent.deleted"].json["data"]["agent"] == {"id": agent["id"], "name": agent["name"]}
        assert not any(b"k3y" in each.body for each in receiver.arrived)


async def test_the_row_keeps_the_credential_sealed(hub: Hub, admin: Client) -> None:
    agent = await registered(admin, auth_type="apikey", auth_config={"key": "k3y-of-the-agent"})
    row = await hub.services.store.reads.get(AgentRow, agent["id"])
    assert row is not None
    assert msgspec.json.decode(row.document)["auth_config"]["key"].startswith("sealed:v1:")
    assert b"k3y" not in row.document
