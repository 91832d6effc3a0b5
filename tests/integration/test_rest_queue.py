"""The queue over REST, and the plans that make it necessary."""

from __future__ import annotations

from typing import Any

import pytest

from executor.domain.errors import Invalid
from executor.domain.plans import Plan
from hub.organizations import set_plan
from tests.integration.hubs import Client, Hub, unique, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

HELD: dict[str, Any] = {
    "components": [
        {"id": "start", "type": "start"},
        {"id": "wait", "type": "wait", "config": {"signal": "go"}},
    ],
    "connections": [{"source": "start", "target": "wait"}],
}
BY_CUSTOMER = HELD | {"concurrency": {"key": "${workflow.input.customer}"}}


async def waits(client: Client, id: str) -> None:
    async def is_there() -> bool:
        return (await client.get(f"/executions/{id}")).data["status"] == "running"

    await until(is_there)


async def queue(client: Client, **query: Any) -> Any:
    return await client.get("/queue", **query)


async def test_the_queue_says_what_waits_for_what_and_where_it_stands(hub: Hub, admin: Client) -> None:
    workflow = await admin.workflow(BY_CUSTOMER)
    first = await admin.execution(workflow["id"], parameters={"customer": "acme"})
    await waits(admin, first)
    second, third = [await admin.execution(workflow["id"], parameters={"customer": "acme"}) for _ in range(2)]
    urgent = await admin.execution(workflow["id"], parameters={"customer": "acme"}, priority="high")
    view = (await queue(admin)).data
    found = {each["execution_id"]: each for each in view["executions"]}
    mine = [each for each in view["executions"] if each["workflow_id"] == workflow["id"]]
    assert [each["execution_id"] for each in mine] == [urgent, second, third]
    assert {each["waiting_for"] for each in mine} == {"concurrency_key"}
    assert found[urgent]["waiting_since"] <= (await queue(admin)).metadata["timestamp"]
    assert view["runs_at_once"] is None
    assert view["running"] >= 1
    one = (await queue(admin, execution_id=third)).data["executions"]
    assert [each["position"] for each in one] == [found[third]["position"]]
    for id in (first, urgent, second, third):
        await admin.post(f"/executions/{id}/cancel")


async def test_who_does_not_wait_is_not_found_there(admin: Client) -> None:
    id = await admin.execution((await admin.workflow(HELD))["id"])
    await waits(admin, id)
    assert (await queue(admin, execution_id=id)).status == 404
    assert (await queue(admin, execution_id="nobody")).status == 404
    await admin.post(f"/executions/{id}/cancel")


async def test_estimates_come_from_what_was_before(admin: Client) -> None:
    definition = {"components": [{"id": "start", "type": "start"}]}
    workflow = await admin.workflow(definition)
    first = await admin.post(f"/workflows/{workflow['id']}/execute", {})
    assert first.data["estimated_duration"] is None
    await admin.ended(first.data["id"])
    second = await admin.post(f"/workflows/{workflow['id']}/execute", {})
    assert second.data["estimated_duration"] >= 0


async def test_a_plan_of_ones_own_needs_its_number_and_no_other_takes_one(hub: Hub) -> None:
    organizations, name = hub.services.store.ledgers.organizations, unique("plan")
    await hub.client(organization=name)
    for plan, own, says in (
        ("custom", None, "--runs-at-once"),
        ("free", 7, "and with no other"),
        ("gold", None, "free, pro"),
    ):
        with pytest.raises(Invalid, match=says):
            await set_plan(organizations, name, plan, own)


async def test_a_plan_bounds_what_runs_at_once(hub: Hub) -> None:
    client = await hub.client(organization=unique("small"))
    await hub.services.store.ledgers.organizations.set_plan(client.organization_id, Plan.CUSTOM, 1)
    workflow = await client.workflow(HELD)
    first = await client.execution(workflow["id"])
    await waits(client, first)
    second = await client.execution(workflow["id"])
    view = (await queue(client)).data
    assert (view["running"], view["runs_at_once"], view["queued"]) == (1, 1, 1)
    (waiting,) = view["executions"]
    assert (waiting["execution_id"], waiting["waiting_for"], waiting["position"]) == (second, "organization_limit", 1)
    await client.post(f"/executions/{first}/signal", {"key": "go"})
    await waits(client, second)
    assert (await queue(client)).data["executions"] == []
    await client.post(f"/executions/{second}/cancel")
