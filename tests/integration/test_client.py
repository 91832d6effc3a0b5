"""The Python client's requests, against a hub."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from hub.client import AuthenticationFailed, Conflict, InvalidRequest, NotFound, WorkflowClient
from tests.integration.hubs import SMALLEST, WAITING, Client, Hub, unique
from tests.integration.receiving import receiving

pytestmark = pytest.mark.asyncio(loop_scope="session")

WORK = {
    "components": [
        {"id": "start", "type": "start"},
        {"id": "render", "type": "external_task", "config": {"task_type": "render", "input": {"page": "{{page}}"}}},
    ],
    "connections": [{"source": "start", "target": "render"}],
    "parameters": [{"name": "page", "type": "string"}],
}


@pytest_asyncio.fixture(loop_scope="session")
async def runcast(admin: Client) -> AsyncIterator[WorkflowClient]:
    assert admin.key is not None
    async with WorkflowClient(admin.url, admin.key) as client:
        yield client


async def test_the_life_of_a_workflow(runcast: WorkflowClient) -> None:
    created = await runcast.workflows.create({"name": unique("w"), "definition": SMALLEST, "tags": ["a", "b"]})
    assert (created.status, created.version, created.tags) == ("draft", 1, ("a", "b"))
    assert created.definition is not None
    changed = await runcast.workflows.update(created.id, {"description": "mended"})
    assert (changed.description, changed.name) == ("mended", created.name)
    assert (await runcast.workflows.activate(created.id)).status == "active"
    assert (await runcast.workflows.validate(created.id)).is_valid
    found = await runcast.workflows.validate(created.id, {"components": []})
    assert not found.is_valid
    assert found.errors[0].message
    assert [each.id for each in await runcast.workflows.list(tags=["a", "b"])] == [created.id]
    shown = await runcast.workflows.get(created.id, include_stats=True, include_definition=False)
    assert (shown.execution_count, shown.definition) == (0, None)
    assert (await runcast.workflows.deactivate(created.id)).status == "inactive"
    assert (await runcast.workflows.archive(created.id)).status == "archived"
    await runcast.workflows.delete(created.id)
    with pytest.raises(NotFound):
        await runcast.workflows.get(created.id)


async def test_the_life_of_an_execution(runcast: WorkflowClient) -> None:
    workflow = await runcast.workflows.create({"name": unique("w"), "definition": WAITING})
    started = await runcast.workflows.execute(workflow.id, parameters={"n": 1}, priority="high", tags=["t"])
    assert (started.workflow_id, started.priority, started.id) == (workflow.id, 8, started.execution_id)
    assert (await runcast.executions.pause(started.id, reason="lunch")).status == "paused"
    assert (await runcast.executions.resume(started.id)).status in ("queued", "running")
    assert (await runcast.executions.signal(started.id, "go", {"n": 2})).id == started.id
    assert (await runcast.executions.cancel(started.id, reason="enough")).cancel_reason == "enough"
    with pytest.raises(Conflict, match="cancelled"):
        await runcast.executions.terminate(started.id)
    shown = await runcast.executions.get(started.id)
    assert (shown.has_ended, shown.parameters, shown.progress.total_components) == (True, {"n": 1}, 2)
    types = [event.type async for event in runcast.executions.history(started.id, limit=2)]
    assert (types[0], types[-1]) == ("execution.created", "execution.cancelled")
    assert [each.component_id async for each in runcast.executions.components(started.id, limit=1)] == [
        "start",
        "wait",
    ]
    assert (await runcast.executions.logs(started.id))[0].message
    assert [each.id for each in await runcast.workflows.executions(workflow.id)] == [started.id]
    assert (await runcast.executions.retry(started.id)).status == "queued"
    assert (await runcast.executions.terminate(started.id)).status == "terminated"
    later = await runcast.workflows.execute(workflow.id, auto_start=False)
    assert (await runcast.executions.priority(later.id, 9)).priority == 9
    assert (await runcast.executions.start(later.id)).status == "queued"
    ids = {each.id async for each in runcast.executions.list(workflow_id=workflow.id, limit=1)}
    assert ids == {started.id, later.id}
    await runcast.executions.cancel(later.id)


async def test_one_key_is_one_execution(runcast: WorkflowClient) -> None:
    workflow = await runcast.workflows.create({"name": unique("w"), "definition": SMALLEST})
    first = await runcast.workflows.execute(workflow.id, idempotency_key="order-7")
    again = await runcast.workflows.execute(workflow.id, idempotency_key="order-7")
    assert first == again
    assert len(await runcast.workflows.executions(workflow.id)) == 1


async def test_a_worker_claims_keeps_and_completes(runcast: WorkflowClient) -> None:
    workflow = await runcast.workflows.create({"name": unique("w"), "definition": WORK})
    claiming = asyncio.create_task(runcast.tasks.claim_many(["render"], "worker-1", wait_seconds=30))
    execution = await runcast.workflows.execute(workflow.id, parameters={"page": "home"})
    (task,) = await claiming
    assert (task.execution_id, task.input, task.status) == (execution.id, {"page": "home"}, "running")
    assert "home" not in repr(task)
    assert (await runcast.tasks.heartbeat(task.id, "worker-1", lease_seconds=120)).lease_seconds == 120
    with pytest.raises(Conflict):
        await runcast.tasks.complete(task.id, {}, worker_id="worker-2")
    assert (await runcast.tasks.release(task.id, worker_id="worker-1", reason="busy")).status == "pending"
    assert (await runcast.tasks.start(task.id, worker_id="worker-2")).status == "running"
    assert (await runcast.tasks.complete(task.id, {"size": 3}, worker_id="worker-2")).output == {"size": 3}
    assert [each.status for each in await runcast.tasks.list(execution_id=execution.id)] == ["completed"]
    assert (await runcast.tasks.get(task.id)).output == {"size": 3}
    assert (await runcast.tasks.logs(task.id))[0].message
    assert await runcast.tasks.claim_many(["render"], "worker-1") == ()


async def test_the_life_of_a_webhook(runcast: WorkflowClient) -> None:
    async with receiving() as receiver:
        hook = await runcast.webhooks.create({"url": receiver.url, "events": ["execution.*"]})
        assert hook.secret is not None
        assert hook.secret not in repr(hook)
        assert (await runcast.webhooks.get(hook.id)).secret is None
        delivery_id = await runcast.webhooks.test(hook.id)
        assert (await runcast.webhooks.delivery(delivery_id)).event == "webhook.test"
        assert [each.id for each in await runcast.webhooks.deliveries(hook.id)] == [delivery_id]
        rotated = await runcast.webhooks.rotate_secret(hook.id, overlap_seconds=60)
        assert rotated.secret not in (None, hook.secret)
        assert "whsec" not in repr(rotated)
        assert (await runcast.webhooks.stats(hook.id, period="1h"))["period"] == "1h"
        job = await runcast.webhooks.recover(hook.id, since=1)
        assert (await runcast.events.get_replay(job)).id == job
        assert not (await runcast.webhooks.disable(hook.id)).active
        with pytest.raises(Conflict):
            await runcast.webhooks.resend(delivery_id)
        assert await runcast.webhooks.cancel(hook.id, status="pending") == 0
        assert not (await runcast.webhooks.update(hook.id, {"active": False})).active
        assert (await runcast.webhooks.enable(hook.id)).active
        assert [each.id for each in await runcast.webhooks.list()] == [hook.id]
        await runcast.webhooks.delete(hook.id)
        with pytest.raises(NotFound):
            await runcast.webhooks.get(hook.id)


async def test_events_are_read_to_their_end_both_ways_and_replayed(runcast: WorkflowClient) -> None:
    for _ in range(3):
        await runcast.workflows.create({"name": unique("w"), "definition": SMALLEST})
    upwards = [event.position async for event in runcast.events.list(types=["workflow.*"], limit=2)]
    downwards = [event.position async for event in runcast.events.list(types=["workflow.*"], limit=2, order="desc")]
    assert len(upwards) == 3
    assert upwards == sorted(upwards) == downwards[::-1]
    assert [event.position async for event in runcast.events.list(after=upwards[0], types="workflow.*")] == upwards[
        1:
    ]
    assert (await runcast.events.get(upwards[0])).type == "workflow.created"
    replay = await runcast.events.replay(first=upwards[0], last=upwards[-1], types=["workflow.*"])
    assert (replay.channel, replay.first, replay.last) == (f"replay:{replay.id}", upwards[0], upwards[-1])
    assert (await runcast.events.get_replay(replay.id)).id == replay.id
    assert [each.id for each in await runcast.events.replays()] == [replay.id]


async def test_routes_without_a_method_of_their_own_are_there_too(runcast: WorkflowClient, admin: Client) -> None:
    assert (await runcast.me()).role == "admin"
    assert (await runcast.request("GET", "/me"))["organization"]["id"] == admin.organization_id
    assert [each["category"] async for each in runcast.list("/templates", limit=2)]


async def test_what_is_wrong_is_said_at_once_with_its_place(runcast: WorkflowClient) -> None:
    with pytest.raises(InvalidRequest) as error:
        await runcast.workflows.create({"name": "", "priority": 11, "definition": SMALLEST, "colour": "red"})
    assert {problem.field for problem in error.value.errors} == {"name", "priority", "colour"}
    assert error.value.request_id


async def test_a_wrong_key_is_said_so(hub: Hub) -> None:
    async with WorkflowClient(hub.url + "/api/v1", "sk_live_" + "0" * 32) as runcast:
        with pytest.raises(AuthenticationFailed):
            await runcast.me()
