"""Components that ask agents: real A2A agents of both versions, and agents that speak plain HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from aiohttp import web

from tests.integration.a2a_agents import serving
from tests.integration.hubs import Client, Hub, unique, until
from tests.integration.receiving import Arrived, receiving

pytestmark = pytest.mark.asyncio(loop_scope="session")

QUICK = {"max_retries": 2, "initial_delay_ms": 100, "max_delay_ms": 1000, "backoff_multiplier": 1}
VERSIONS = {"1.0": {}, "0.3": {"speaks": "0.3"}, "0.3 behind a card of 1.0": {"speaks": "0.3", "claims": "1.0"}}


async def registered(client: Client, url: str | None, **fields: Any) -> dict[str, Any]:
    body = {"name": unique("agent"), "url": url, "retry_config": QUICK} | fields
    answer = await client.post("/agents", body)
    assert answer.status == 201, answer.body
    data: dict[str, Any] = answer.data
    return data


async def execution(
    client: Client, config: dict[str, Any], input: Any = None, whom: str | None = None, **spec: Any
) -> str:
    """A run of one component that asks; `whom` is a parameter."""
    definition = {
        "components": [
            {"id": "start", "type": "start"},
            {"id": "ask", "type": "agent", "config": config | ({} if input is None else {"input": input})} | spec,
        ],
        "connections": [{"source": "start", "target": "ask"}],
        "parameters": [{"name": "secret", "type": "string", "secret": True}],
    }
    workflow = await client.workflow(definition)
    return await client.execution(workflow["id"], parameters={"secret": "s3cret-of-the-run", "whom": whom})


async def asked(client: Client, agent: dict[str, Any], input: Any = None, **spec: Any) -> Any:
    """The answer of an agent, as the run's result."""
    run = await client.ended(await execution(client, {"agent_name": agent["name"]}, input, **spec))
    assert run["status"] == "completed", run["error"]
    return run["results"]["ask"]


async def failed(client: Client, config: dict[str, Any], input: Any = None, **spec: Any) -> dict[str, Any]:
    run = await client.ended(await execution(client, config, input, **spec))
    assert run["status"] == "failed"
    error: dict[str, Any] = run["error"]
    return error


def replying(value: Any, status: int = 200) -> Callable[[Arrived], Awaitable[web.StreamResponse]]:
    async def reply(arrived: Arrived) -> web.StreamResponse:
        return web.Response(status=status, body=msgspec.json.encode(value), content_type="application/json")

    return reply


async def gone(arrived: Arrived) -> web.StreamResponse:
    return web.Response(status=404)


# A2A


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_a2a_agent_is_found_by_its_card_and_asked(admin: Client, version: str) -> None:
    async with serving(**VERSIONS[version]) as told:
        agent = await registered(admin, told.url)
        assert await asked(admin, agent, "say") == "said at once"
        assert await asked(admin, agent, {"do": "double", "number": 21}) == {"result": 42}
        assert await asked(admin, agent, "report") == {"text": "first\nsecond", "data": [{"rows": 3}], "files": []}
        assert await asked(admin, agent, "anything") == "done", "without an artifact, what it said last"
        assert told.requests[0] == ("GET", "/.well-known/agent-card.json")
        assert told.told.asked[1].data == [{"do": "double", "number": 21}]


async def test_the_card_of_an_a2a_agent_may_be_at_its_host(admin: Client) -> None:
    async with serving() as told:
        agent = await registered(admin, f"{told.url}/rpc", protocol="a2a")
        assert await asked(admin, agent, "say") == "said at once"
        paths = ["/rpc/.well-known/agent-card.json", "/.well-known/agent-card.json", "/rpc"]
        assert [path for _, path in told.requests] == paths
        await admin.put(f"/agents/{agent['id']}", {"protocol": "auto"})
        await admin.ended(await execution(admin, {"agent_name": agent["name"]}, "say", retry={"max_attempts": 1}))
        assert [path for _, path in told.requests[3:]] == [paths[0], "/rpc"], "its host's card may be another's"


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_long_answer_is_polled_for(admin: Client, version: str) -> None:
    async with serving(**VERSIONS[version]) as told:
        agent = await registered(admin, told.url, protocol="a2a")
        run = await execution(admin, {"agent_id": agent["id"]}, "wait")

        async def polls() -> bool:
            return told.rpc_requests >= 4

        await until(polls)
        assert (await admin.get(f"/executions/{run}")).data["status"] == "running"
        assert (await admin.get(f"/agents/{agent['id']}")).data["current_workload"] == {"active_tasks": 1}
        told.told.released.set()
        assert (await admin.ended(run))["results"] == {"ask": "worth the wait"}
        assert (await admin.get("/agents")).data[0]["current_workload"] == {"active_tasks": 0}


async def test_a_few_polls_may_be_lost_and_no_message_is_sent_again(admin: Client) -> None:
    async with serving() as told:
        agent = await registered(admin, told.url)
        told.lost_polls = 3
        assert await asked(admin, agent, "report") == {"text": "first\nsecond", "data": [{"rows": 3}], "files": []}
        assert (told.lost_polls, len(told.told.asked)) == (0, 1)


async def test_an_agent_that_forgot_its_task_is_asked_anew(admin: Client) -> None:
    async with serving() as told:
        agent = await registered(admin, told.url)
        run = await execution(admin, {"agent_name": agent["name"]}, "wait")

        async def waits() -> bool:
            return told.rpc_requests >= 2

        await until(waits)
        told.forget()
        told.told.released.set()
        assert (await admin.ended(run))["results"] == {"ask": "worth the wait"}
        assert len(told.told.asked) == 2
        assert len({each.message_id for each in told.told.asked}) == 1


async def test_a_task_that_fails_or_asks_back_fails_the_component_once(admin: Client) -> None:
    async with serving() as told:
        agent = await registered(admin, told.url)
        config = {"agent_name": agent["name"]}
        for order, said in (
            ("fail", "which is failed: out of ideas"),
            ("ask", "which is input_required: which one?"),
        ):
            error = await failed(admin, config, order)
            assert (error["code"], error["component_id"]) == ("COMPONENT_ERROR", "ask")
            assert error["message"] == f"the agent '{agent['name']}' did not complete its task, {said}"
        assert len(told.told.asked) == 2, "neither was tried again"


async def test_every_try_is_the_same_message(admin: Client) -> None:
    async with serving() as told:
        agent = await registered(admin, told.url)
        told.told.failures = 2
        run = await execution(admin, {"agent_name": agent["name"]}, "anything")
        assert (await admin.ended(run))["results"] == {"ask": "done"}
        assert len(told.told.asked) == 3
        assert len({each.message_id for each in told.told.asked}) == 1
        assert {each.headers["idempotency-key"] for each in told.told.asked} == {f"{run}/ask/-/0"}
        assert await asked(admin, agent, "anything") == "done"
        assert told.told.asked[3].message_id != told.told.asked[0].message_id
        logs = (await admin.get(f"/executions/{run}/logs", level="warning")).data
        assert sum("broken inside" in line["message"] and "asked again in" in line["message"] for line in logs) == 2


async def test_a_credential_goes_to_the_agent_and_nowhere_else(hub: Hub, admin: Client) -> None:
    secret = unique("t0ken")
    async with serving() as told, receiving() as elsewhere:
        agent = await registered(admin, told.url, auth_type="bearer", auth_config={"token": secret})
        answer = await asked(admin, agent, "echo headers")
        assert told.told.asked[0].headers["authorization"] == f"Bearer {secret}"
        assert answer["authorization"] == "Bearer [REDACTED]", "what the agent gives back is searched for it"
        told.card.supported_interfaces[0].url = elsewhere.url
        error = await failed(admin, {"agent_name": agent["name"]}, "say")
        assert "another host or port" in error["message"]
        assert elsewhere.arrived == []
    for recorded in await hub.services.store.log.scan(0):
        assert secret.encode() not in recorded.data


async def test_an_agent_without_a_card_or_with_one_that_we_do_not_speak_says_so(admin: Client) -> None:
    async with receiving() as receiver:
        receiver.always = 404
        agent = await registered(admin, receiver.url, protocol="a2a")
        error = await failed(admin, {"agent_name": agent["name"]}, "x")
        assert "has no agent card at /.well-known/agent-card.json" in error["message"]
    async with serving(claims="2.0") as told:
        agent = await registered(admin, told.url)
        error = await failed(admin, {"agent_name": agent["name"]}, "x")
        assert "offers no A2A over JSON-RPC in version 1.0 or 0.3" in error["message"]


# plain HTTP


async def test_a_plain_agent_gets_json_and_answers_json(admin: Client) -> None:
    async with receiving() as receiver:
        receiver.replies = [gone, replying({"rows": 3})]
        agent = await registered(admin, f"{receiver.url}/run", auth_type="apikey", auth_config={"key": "k3y"})
        run = await execution(admin, {"agent_name": agent["name"]}, {"of": "${workflow.input.secret}"})
        assert (await admin.ended(run))["results"] == {"ask": {"rows": 3}}
        card, call = receiver.arrived
        assert (card.path, call.path) == ("/run/.well-known/agent-card.json", "/run")
        assert call.json == {"of": "s3cret-of-the-run"}
        assert call.headers["X-API-Key"] == "k3y"
        assert call.headers["Idempotency-Key"] == f"{run}/ask/-/0"
        assert (call.headers["X-Runcast-Attempt"], call.headers["Content-Type"]) == ("1", "application/json")
        await admin.put(f"/agents/{agent['id']}", {"protocol": "http", "name": unique("renamed")})
        agent = (await admin.get(f"/agents/{agent['id']}")).data
        assert await asked(admin, agent) == "noted", "text stays text"
        assert [each.path for each in receiver.arrived[2:]] == ["/run"], "nobody asked for a card"
        assert receiver.arrived[2].json == {}


async def test_what_is_temporary_is_tried_again_as_the_agent_says(admin: Client) -> None:
    async with receiving() as receiver:
        agent = await registered(admin, receiver.url, protocol="http")
        receiver.replies = [503, 429]
        assert await asked(admin, agent) == "noted"
        receiver.always = 500
        error = await failed(admin, {"agent_name": agent["name"]})
        assert error["message"] == f"the agent '{agent['name']}' answered 500 (asked 3 times)"
        assert error["details"] == {"status": 500, "body": "noted"}
        receiver.always, before = 400, len(receiver.arrived)
        error = await failed(admin, {"agent_name": agent["name"]})
        assert error["message"] == f"the agent '{agent['name']}' answered 400"
        assert len(receiver.arrived) == before + 1
        assert before == 6


async def test_the_components_own_retry_stands_for_the_agents(admin: Client) -> None:
    async with receiving() as receiver:
        agent = await registered(admin, receiver.url, protocol="http")
        receiver.replies = [503]
        retry = {"max_attempts": 2, "initial_delay_seconds": 0}
        assert await asked(admin, agent, retry=retry) == "noted"
        assert [each.headers["X-Runcast-Attempt"] for each in receiver.arrived] == ["1", "2"]


async def test_the_components_own_time_limit_stands_for_the_agents(admin: Client) -> None:
    async with receiving() as receiver:
        released = asyncio.Event()

        async def late(arrived: Arrived) -> web.StreamResponse:
            await released.wait()
            return web.Response()

        receiver.replies = [late]
        agent = await registered(admin, receiver.url, protocol="http", retry_config={"max_retries": 0})
        error = await failed(admin, {"agent_name": agent["name"]}, timeout_seconds=0.05)
        assert error["code"] == "TIMEOUT_ERROR"
        receiver.replies = [late]
        await admin.put(f"/agents/{agent['id']}", {"timeout_ms": 1000})
        error = await failed(admin, {"agent_name": agent["name"]})
        assert error["code"] == "TIMEOUT_ERROR"
        assert "within 1 s" in error["message"]
        released.set()


# whom


async def test_only_active_agents_of_the_organization_are_asked(hub: Hub, admin: Client) -> None:
    async with receiving() as receiver:
        stranger = await registered(await hub.client(), receiver.url)
        person = await registered(admin, None, agent_type="human")
        idle = await registered(admin, receiver.url, status="inactive")
        deleted = await registered(admin, receiver.url)
        await admin.delete(f"/agents/{deleted['id']}")
        for config, said in (
            ({"agent_name": "nobody"}, "there is no agent named 'nobody'"),
            ({"agent_name": stranger["name"]}, f"there is no agent named '{stranger['name']}'"),
            ({"agent_id": stranger["id"]}, f"there is no agent of the id '{stranger['id']}'"),
            ({"agent_name": deleted["name"]}, f"there is no agent named '{deleted['name']}'"),
            ({"agent_id": idle["id"]}, f"the agent '{idle['name']}' is inactive; only active ones are asked"),
            ({"agent_name": person["name"]}, f"the agent '{person['name']}' has no URL to be asked at"),
        ):
            ((field, whom),) = config.items()
            assert (await failed(admin, {field: "${workflow.input.whom}"}, whom=whom))["message"] == said
        assert receiver.arrived == []


async def test_a_workflow_names_only_agents_that_may_be_asked(hub: Hub, admin: Client) -> None:
    agent = await registered(admin, "http://127.0.0.1:2")
    definition = {
        "components": [
            {"id": "start", "type": "start"},
            {"id": "ask", "type": "agent", "config": {"agent_name": agent["name"]}},
        ],
        "connections": [{"source": "start", "target": "ask"}],
    }
    path = f"/workflows/{(await admin.workflow(definition))['id']}"
    assert (await admin.post(f"{path}/validate")).data["is_valid"]
    await admin.put(f"/agents/{agent['id']}", {"status": "inactive"})
    stranger = await hub.client()
    for answer in (
        await admin.put(path, {"definition": definition}),
        await admin.post("/workflows", {"name": unique("w"), "definition": definition}),
        await stranger.post("/workflows", {"name": unique("w"), "definition": definition}),
    ):
        assert (answer.status, answer.codes) == (422, {"WORKFLOW_INVALID"})
        assert answer.fields == ["definition.components[1].config.agent_name"]
    report = (await admin.post(f"{path}/validate")).data
    assert [each["field"] for each in report["errors"]] == ["definition.components[1].config.agent_name"]
    steps = {"start_step": "a", "steps": {"a": {"id": "a", "agent_name": agent["name"], "input_mapping": {}}}}
    assert (await admin.put(path, {"definition": steps})).fields == ["definition.steps.a.agent_name"]
    await admin.put(f"/agents/{agent['id']}", {"status": "active"})
    assert (await admin.put(path, {"definition": steps})).status == 200


async def test_an_address_that_may_not_be_reached_is_refused_at_the_call_too(hub: Hub, admin: Client) -> None:
    async with serving() as told:
        agent = await registered(admin, told.url)
        told.card.supported_interfaces[0].url = "http://10.0.0.1/rpc"
        error = await failed(admin, {"agent_name": agent["name"]}, "say")
        assert "may not be reached" in error["message"]


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({}, "agent_name"),
        ({"agent_name": "a", "agent_id": "b"}, "agent_name"),
        ({"agent_name": ""}, "agent_name"),
        ({"agent_id": 1}, "agent_id"),
        ({"agent_name": "a", "model": "m"}, "model"),
    ],
)
async def test_a_config_names_one_agent(admin: Client, config: dict[str, Any], field: str) -> None:
    await registered(admin, "http://127.0.0.1:2", name="a")
    definition = {
        "components": [{"id": "start", "type": "start"}, {"id": "ask", "type": "agent", "config": config}],
        "connections": [{"source": "start", "target": "ask"}],
    }
    answer = await admin.post("/workflows", {"name": unique("w"), "definition": definition})
    assert (answer.status, answer.codes) == (422, {"WORKFLOW_INVALID"})
    assert set(answer.fields) == {f"definition.components[1].config.{field}"}
