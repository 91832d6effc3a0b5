"""The Python client's subscriptions, against a hub."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from executor.domain.values import plus
from hub.client import (
    ClientClosed,
    CompletionTimeout,
    Message,
    Misused,
    NoSocket,
    NotFound,
    SocketStopped,
    Subscription,
    SubscriptionRefused,
    WorkflowClient,
)
from hub.client.live import inbox, waiting
from tests.integration.hubs import SMALLEST, WAITING, Client, Hub, unique, until
from tests.unit.hub.client.scripted import Say, scripted

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def runcast(admin: Client) -> AsyncIterator[WorkflowClient]:
    async with WorkflowClient(admin.url, admin.key) as client:
        yield client
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "runcast socket"]


async def created(runcast: WorkflowClient, definition: dict[str, Any] = SMALLEST) -> str:
    return (await runcast.workflows.create({"name": unique("w"), "definition": definition})).id


async def taken(subscription: Subscription, count: int) -> list[Message]:
    """The next messages; the loop is left after them."""
    found: list[Message] = []
    async with asyncio.timeout(30):
        async for message in subscription:
            found.append(message)
            if len(found) == count:
                break
    return found


def positions(messages: list[Message]) -> list[int | None]:
    return [message.position for message in messages]


async def test_a_run_is_waited_for(runcast: WorkflowClient) -> None:
    execution = await runcast.workflows.execute(await created(runcast))
    result = await runcast.executions.wait_for_completion(execution.id, timeout=30)
    assert (result.id, result.status) == (execution.id, "completed")
    assert await runcast.executions.wait_for_completion(execution.id) == result


async def test_a_run_that_does_not_end_in_time_says_so_and_goes_on(runcast: WorkflowClient) -> None:
    execution = await runcast.workflows.execute(await created(runcast, WAITING))

    async def is_running() -> bool:
        return (await runcast.executions.get(execution.id)).status == "running"

    await until(is_running)
    with pytest.raises(CompletionTimeout, match=r"is running after 0\.5 seconds; it was not cancelled") as error:
        await runcast.executions.wait_for_completion(execution.id, timeout=0.5)
    assert (error.value.execution_id, error.value.status) == (execution.id, "running")
    waiting_for = asyncio.create_task(runcast.executions.wait_for_completion(execution.id, timeout=30))
    await runcast.executions.cancel(execution.id)
    assert (await waiting_for).status == "cancelled"
    with pytest.raises(NotFound):
        await runcast.executions.wait_for_completion("01ARZ3NDEKTSV4RRFFQ69G5FAV", timeout=30)


async def test_a_run_is_waited_for_where_no_socket_can_be_had(
    admin: Client, runcast: WorkflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "ASKING_SECONDS", (0.01, 0.05))
    execution = await runcast.workflows.execute(await created(runcast, WAITING))
    async with WorkflowClient(admin.url, admin.key) as deaf:
        deaf._links._url = admin.url.replace("http", "ws") + "/nowhere"
        waiting_for = asyncio.create_task(deaf.executions.wait_for_completion(execution.id, timeout=30))
        await until(lambda: no_links(deaf))
        await runcast.executions.cancel(execution.id)
        assert (await waiting_for).status == "cancelled"
        with pytest.raises(NoSocket, match="answered 404"):
            await taken(deaf.subscribe("events"), 1)


async def no_links(client: WorkflowClient) -> bool:
    return client._links.count == 0


async def test_a_channel_from_its_beginning_on_is_the_log(runcast: WorkflowClient, admin: Client) -> None:
    execution = await runcast.workflows.execute(await created(runcast))
    await runcast.executions.wait_for_completion(execution.id, timeout=30)
    expected = [event["position"] for event in await admin.events()]
    assert positions(await taken(runcast.subscribe("events", since=0), len(expected))) == expected
    heard = await taken(runcast.executions.subscribe(execution.id, since=0), 3)
    assert [message.channel for message in heard] == [f"execution:{execution.id}"] * 3
    assert heard[0].data["status"] == "queued"
    types = [event["position"] for event in await admin.events(types="execution.*")]
    found = await taken(runcast.subscribe("events", since=0, types=["execution.*"]), len(types))
    assert positions(found) == types


async def test_a_loop_that_was_left_goes_on_where_it_was_left(runcast: WorkflowClient, admin: Client) -> None:
    for _ in range(3):
        await created(runcast)
    expected = [event["position"] for event in await admin.events()]
    subscription = runcast.subscribe("events", since=0)
    for position in expected:
        assert positions(await taken(subscription, 1)) == [position]
        assert subscription.position == position
    assert subscription.epoch is not None
    again = runcast.subscribe("events", since=expected[0], epoch=subscription.epoch)
    assert positions(await taken(again, len(expected) - 1)) == expected[1:]


async def test_leaving_a_loop_unsubscribes(runcast: WorkflowClient, hub: Hub) -> None:
    await created(runcast)
    before = hub.services.sockets.subscription_count
    async for _ in runcast.subscribe("events", since=0):
        assert hub.services.sockets.subscription_count == before + 1
        break

    async def is_gone() -> bool:
        return hub.services.sockets.subscription_count == before

    await until(is_gone)
    async with runcast.subscribe("events") as subscription:
        assert hub.services.sockets.subscription_count == before + 1
        await created(runcast)
        assert [message.data["type"] for message in await taken(subscription, 1)] == ["workflow.created"]
        assert hub.services.sockets.subscription_count == before + 1, "a loop within does not end it"
    await until(is_gone)


async def test_many_subscriptions_share_a_socket_but_those_that_overlap(runcast: WorkflowClient, hub: Hub) -> None:
    workflow_id = await created(runcast)
    execution = await runcast.workflows.execute(workflow_id)
    await runcast.executions.wait_for_completion(execution.id, timeout=30)
    async with contextlib.AsyncExitStack() as stack:
        one = await stack.enter_async_context(runcast.executions.subscribe(execution.id, since=0))
        await stack.enter_async_context(runcast.subscribe("workflow", workflow_id=workflow_id))
        await stack.enter_async_context(runcast.subscribe("events"))
        await stack.enter_async_context(runcast.subscribe("task", assignee="ada"))
        assert runcast._links.count == 1
        every = await stack.enter_async_context(runcast.subscribe("execution", execution_id="*", since=0))
        same = await stack.enter_async_context(runcast.executions.subscribe(execution.id, since=0))
        assert runcast._links.count == 3
        assert await taken(one, 3) == await taken(every, 3) == await taken(same, 3)


async def test_what_is_refused_is_raised_there_and_nowhere_else(runcast: WorkflowClient) -> None:
    async with runcast.subscribe("events") as events:
        refused = runcast.subscribe("execution", execution_id="01ARZ3NDEKTSV4RRFFQ69G5FAV")
        with pytest.raises(SubscriptionRefused, match="was not found") as error:
            await taken(refused, 1)
        assert (error.value.code, error.value.field) == ("RESOURCE_NOT_FOUND", "execution_id")
        with pytest.raises(SubscriptionRefused, match="INVALID_POSITION"):
            async with runcast.subscribe("workflow", workflow_id="*", since=10**9):
                pass
        with pytest.raises(SubscriptionRefused, match="unknown"):
            await taken(runcast.subscribe("weather"), 1)
        long = runcast.subscribe("task", task_id="*", types=["x" * 70_000])
        with pytest.raises(SubscriptionRefused, match="PAYLOAD_TOO_LARGE"):
            await taken(long, 1)
        await created(runcast)
        assert (await taken(events, 1))[0].type == "event"
    with pytest.raises(Misused, match="one key"):
        runcast.subscribe("task", task_id="*", assignee="ada")


async def test_a_replay_ends_its_loop(runcast: WorkflowClient, admin: Client) -> None:
    await created(runcast)
    replay = await runcast.events.replay()
    heard = [message async for message in runcast.subscribe("replay", replay_id=replay.id)]
    assert [message.type for message in heard] == ["event"] * (len(heard) - 1) + ["replay_completed"]
    span = range(replay.first, replay.last + 1)
    expected = [event["position"] for event in await admin.events() if event["position"] in span]
    assert positions(heard[:-1]) == expected


async def test_an_archived_past_or_another_log_is_shown_as_a_gap(runcast: WorkflowClient) -> None:
    await created(runcast)
    head = (await runcast.events.list(order="desc", limit=1))[0].position
    subscription = runcast.subscribe("events", since=0, epoch="another")
    async with subscription:
        await created(runcast)
        gap, message = await taken(subscription, 2)
    assert (gap.is_gap, gap.channel, gap.data["reason"], gap.data["since"]) == (True, "events", "another_log", 0)
    assert gap.position is not None
    assert gap.position >= head
    assert subscription.epoch == gap.data["epoch"] != "another"
    assert message.data["type"] == "workflow.created"


async def test_one_loop_at_a_time(runcast: WorkflowClient) -> None:
    await created(runcast)
    subscription = runcast.subscribe("events", since=0)
    async for _ in subscription:
        with pytest.raises(Misused, match="looped over already"):
            await taken(subscription, 1)
        break
    assert await taken(subscription, 1) == [] if False else True


async def test_a_slow_reader_is_set_aside_delays_nobody_and_misses_nothing(
    runcast: WorkflowClient, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "MOST_MESSAGES", 8)
    async with runcast.subscribe("events") as slow, runcast.subscribe("workflow", workflow_id="*") as quick:
        since = slow.position
        for _ in range(60):
            await created(runcast)
        assert len(await taken(quick, 60)) == 60
        expected = [event["position"] for event in await admin.events(after=since)]
        assert slow.position == since, "nothing was taken of it"
        assert positions(await taken(slow, len(expected))) == expected
        await created(runcast)
        assert (await taken(slow, 1))[0].position == (await taken(quick, 1))[0].position, "both are live again"


async def test_a_closed_client_ends_its_loops(admin: Client, hub: Hub) -> None:
    client = WorkflowClient(admin.url, admin.key)
    async with client.subscribe("events") as subscription:
        looping = asyncio.create_task(taken(subscription, 1))
        await asyncio.sleep(0)
        before = hub.services.sockets.connection_count
        await client.aclose()
        with pytest.raises(ClientClosed):
            await looping

    async def is_gone() -> bool:
        return hub.services.sockets.connection_count < before

    await until(is_gone)
    with pytest.raises(ClientClosed):
        await taken(client.subscribe("events"), 1)


async def test_a_wrong_or_revoked_key_stops_every_loop(admin: Client, hub: Hub) -> None:
    async with WorkflowClient(admin.url, "sk_live_" + "0" * 32) as wrong:
        with pytest.raises(SocketStopped, match="credentials") as error:
            await taken(wrong.subscribe("events"), 1)
        assert error.value.code == 4401
    key = (await admin.post("/auth/api-keys", {"name": unique("k"), "role": "admin"})).data
    async with WorkflowClient(admin.url, key["api_key"]) as client, client.subscribe("events") as subscription:
        looping = asyncio.create_task(taken(subscription, 100))
        await admin.delete(f"/auth/api-keys/{key['id']}")
        with pytest.raises(SocketStopped):
            await looping


async def test_credentials_are_renewed_before_they_expire_and_the_loop_goes_on(hub: Hub) -> None:
    asked, organization = list[str](), unique("organization")
    admin = await hub.client(organization)

    async def fresh() -> str:
        now = hub.services.clock.now()
        short = await hub.client(organization, role="admin", expires_at=plus(now, 1.5))
        assert short.key is not None
        asked.append(short.key)
        return short.key

    async with WorkflowClient(admin.url, fresh) as client, client.subscribe("events") as subscription:
        connections = set(hub.services.sockets)

        async def were_renewed() -> bool:
            return len(asked) >= 3

        await until(were_renewed)
        await admin.workflow()
        async with asyncio.timeout(30):
            async for message in subscription:
                if message.data["type"] == "workflow.created":
                    break
        assert connections & set(hub.services.sockets) == connections, "it is the same socket"


async def test_an_expired_key_that_nobody_renews_stops(admin: Client, hub: Hub) -> None:
    short = await hub.client(role="admin", expires_at=plus(hub.services.clock.now(), 1))
    async with WorkflowClient(admin.url, short.key) as client:
        with pytest.raises(SocketStopped, match="give a callable as api_key") as error:
            await taken(client.subscribe("events"), 1)
        assert error.value.code == 4411


async def test_an_address_without_a_hub_is_said_so() -> None:
    async with scripted(Say(404, b"no")) as server, WorkflowClient(server.url, "key") as client:
        with pytest.raises(NoSocket, match="answered 404"):
            await taken(client.subscribe("events"), 1)


async def test_filters_and_the_channels_of_webhooks_and_of_the_system(runcast: WorkflowClient, admin: Client) -> None:
    wanted = runcast.subscribe("events", filter="data.name.startsWith('wanted')", types="workflow.created")
    system, hooks = runcast.subscribe("system"), runcast.subscribe("webhook", webhook_id="*")
    async with wanted, system, hooks:
        await created(runcast)
        workflow = await runcast.workflows.create({"name": unique("wanted"), "definition": SMALLEST})
        (heard,) = await taken(wanted, 1)
        assert heard.data["data"]["name"] == workflow.name
        await admin.post("/auth/api-keys", {"name": unique("k"), "role": "read_only"})
        (notice,) = await taken(system, 1)
        assert (notice.type, notice.data["event"]) == ("system_notification", "apikey.created")
        hook = await runcast.webhooks.create({"url": "https://example.com", "events": ["*"]})
        (event,) = await taken(hooks, 1)
        assert (event.channel, event.data["type"]) == (f"webhook:{hook.id}", "webhook.created")
    with pytest.raises(SubscriptionRefused, match="VALIDATION_ERROR: filter: ") as error:
        await taken(runcast.subscribe("events", filter="this is no condition"), 1)
    assert error.value.field == "filter"
    with pytest.raises(SubscriptionRefused):
        await taken(runcast.subscribe("events", mode="backwards"), 1)
