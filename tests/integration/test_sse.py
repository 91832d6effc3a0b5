from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from executor.domain.values import plus
from hub.socket.limits import Limits
from tests.integration.hubs import Client, Hub, unique, until, up
from tests.integration.listening import listening
from tests.integration.streaming import Sent, refused, streaming

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def works(client: Client, count: int = 1) -> list[dict[str, Any]]:
    """Some executions that have ended; the organization's events so far."""
    workflow = await client.workflow()
    for id in [await client.execution(workflow["id"]) for _ in range(count)]:
        await client.ended(id)
    return await client.events()


def as_sent(events: list[dict[str, Any]]) -> list[Sent]:
    return [Sent(str(event["position"]), event["type"], event) for event in events]


async def test_a_stream_has_the_whole_log_and_then_what_happens(admin: Client) -> None:
    before = await works(admin)
    async with streaming(admin, since=0) as source:
        answer = source.answer
        assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Accel-Buffering"] == "no"
        assert answer.headers["X-Request-ID"]
        assert await source.take(len(before)) == as_sent(before)
        assert source.retry == 2000
        after = await works(admin)
        assert await source.take(len(after) - len(before)) == as_sent(after)[len(before) :]


async def test_a_stream_that_says_no_position_begins_at_the_head(admin: Client) -> None:
    before = await works(admin)
    async with streaming(admin) as source:
        after = await works(admin)
        assert await source.take(len(after) - len(before)) == as_sent(after)[len(before) :]


async def test_the_last_event_id_wins_over_since(admin: Client) -> None:
    events = await works(admin)
    async with streaming(admin, since=0, last_event_id=str(events[2]["position"])) as source:
        assert await source.take(len(events) - 3) == as_sent(events)[3:]


async def test_who_is_cut_off_before_the_first_event_comes_back_to_the_same_place(admin: Client) -> None:
    before = await works(admin)
    async with streaming(admin) as source:
        await source.begun()
    missed = await works(admin)
    async with streaming(admin, last_event_id=source.last_event_id) as source:
        assert await source.take(len(missed) - len(before)) == as_sent(missed)[len(before) :]


async def test_cut_again_and_again_while_others_write_nothing_is_missed_or_comes_twice(admin: Client) -> None:
    workflow = await admin.workflow()
    executing = [asyncio.create_task(admin.execution(workflow["id"])) for _ in range(40)]
    got, total = list[Sent](), 2 + 5 * len(executing)
    while len(got) < total:
        async with streaming(admin, last_event_id=got[-1].id if got else "0") as source:
            got += await source.take(min(len(got) % 13 + 1, total - len(got)))
    await asyncio.gather(*executing)
    assert got == as_sent(await admin.events())


def is_completed(event: dict[str, Any]) -> bool:
    return bool(event["type"].endswith(".completed"))


async def test_filters(admin: Client) -> None:
    one, two = await admin.workflow(), await admin.workflow()
    first, second = await admin.execution(one["id"]), await admin.execution(two["id"])
    await admin.ended(first)
    await admin.ended(second)
    events = await admin.events()
    cases: list[tuple[dict[str, Any], Any]] = [
        ({"types": "workflow.created,*.completed"}, lambda e: e["type"] == "workflow.created" or is_completed(e)),
        ({"workflow_id": one["id"]}, lambda e: e["workflow_id"] == one["id"]),
        ({"execution_id": second}, lambda e: e["execution_id"] == second),
        (
            {"execution_id": second, "workflow_id": two["id"], "types": "*.completed"},
            lambda e: e["execution_id"] == second and is_completed(e),
        ),
    ]
    for query, holds in cases:
        expected = as_sent([event for event in events if holds(event)])
        assert len(expected) > 1
        async with streaming(admin, since=0, **query) as source:
            assert await source.take(len(expected)) == expected
    async with streaming(admin, types="workflow.activated", workflow_id=one["id"]) as source:
        await admin.workflow()
        await admin.post(f"/workflows/{two['id']}/activate")
        await admin.post(f"/workflows/{one['id']}/activate")
        (sent,) = await source.take(1)
        assert (sent.event, sent.data["workflow_id"]) == ("workflow.activated", one["id"])


@pytest.mark.parametrize(
    ("query", "code", "field"),
    [
        ({"since": "x"}, "VALIDATION_ERROR", "since"),
        ({"since": -1}, "VALIDATION_ERROR", "since"),
        ({"since": 10**12}, "INVALID_POSITION", "since"),
        ({"last_event_id": "x"}, "VALIDATION_ERROR", "Last-Event-ID"),
        ({"last_event_id": "-1"}, "VALIDATION_ERROR", "Last-Event-ID"),
        ({"last_event_id": "9" * 30}, "VALIDATION_ERROR", "Last-Event-ID"),
        ({"last_event_id": "9" * 12, "since": 0}, "INVALID_POSITION", "Last-Event-ID"),
        ({"types": "execution.done"}, "VALIDATION_ERROR", "types"),
        ({"after": 1}, "VALIDATION_ERROR", "after"),
        ({"limit": 1}, "VALIDATION_ERROR", "limit"),
    ],
)
async def test_what_is_wrong_is_named(admin: Client, query: dict[str, Any], code: str, field: str) -> None:
    answer = await refused(admin, **query)
    assert (answer.status, answer.codes, answer.fields) == (422, {code}, [field])


async def test_an_organization_gets_only_its_own(admin: Client, hub: Hub) -> None:
    workflow = await admin.workflow()
    execution = await admin.execution(workflow["id"])
    await admin.ended(execution)
    stranger = await hub.client()
    for query in (
        {"workflow_id": workflow["id"]},
        {"execution_id": execution},
        {"workflow_id": "x"},
        {"execution_id": "*"},
    ):
        answer = await refused(stranger, **query)
        assert (answer.status, answer.codes) == (404, {"RESOURCE_NOT_FOUND"})
    other = await admin.workflow()
    assert (await refused(admin, execution_id=execution, workflow_id=other["id"])).status == 404
    async with streaming(stranger, since=0) as source:
        await works(admin)
        await stranger.workflow()
        sent = await source.take(2)
    assert [each.event for each in sent] == ["apikey.created", "workflow.created"]
    assert {each.data["organization_id"] for each in sent} == {stranger.organization_id}


async def test_who_may(hub: Hub) -> None:
    assert (await refused(hub.nobody)).status == 401
    assert (await refused(hub.nobody, token="sk_live_" + "x" * 32)).status == 401
    answer = await refused(await hub.client(permissions=("execution.read",)))
    assert (answer.status, answer.errors[0]["details"]) == (403, {"permission": "event.read"})
    reader = await hub.client(permissions=("event.read",))
    async with streaming(hub.nobody, token=reader.key, since=0) as source:
        assert [each.event for each in await source.take(1)] == ["apikey.created"]
    answer = await hub.nobody.get("/events", token=reader.key)
    assert answer.status == 401


async def test_asking_for_the_head_of_a_stream_ends_at_once(admin: Client, hub: Hub) -> None:
    answer = await admin.send("HEAD", "/events/stream", since=0)
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Type"].startswith("text/event-stream")


async def test_a_stream_ends_with_its_key(admin: Client, hub: Hub) -> None:
    organization = unique("organization")
    owner, reader = await hub.client(organization), await hub.client(organization, role="read_only")
    id = (await reader.get("/me")).data["id"]
    async with streaming(reader, since=0) as source:
        await source.take(1)
        assert (await owner.delete(f"/auth/api-keys/{id}")).status == 200
        await source.to_its_end()
        assert source.comments[-1] == "the credentials were revoked"
    assert (await refused(reader)).status == 401
    expiring = await hub.client(organization, expires_at=plus(hub.services.clock.now(), 1))
    async with streaming(expiring) as source:
        await source.to_its_end()
        assert source.comments[-1] == "the credentials have expired"
    assert source.retry is not None
    assert source.retry >= 2000


async def test_streams_count_as_connections_of_their_organization(
    admin: Client, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub.services.streams.quotas, "limits", Limits(connections=2))
    stranger = await hub.client()
    async with listening(admin), streaming(admin, since=0) as source:
        await source.take(1)
        answer = await refused(admin)
        assert (answer.status, answer.codes) == (429, {"RATE_LIMIT_EXCEEDED"})
        assert answer.errors[0]["message"] == "the organization has 2 connections here already"
        assert int(answer.headers["Retry-After"]) == answer.errors[0]["details"]["retry_after"] > 0
        async with streaming(stranger, since=0) as other:
            await other.take(1)

    async def is_free() -> bool:
        async with admin.http.get(
            f"{admin.url}/api/v1/events/stream", headers={"X-API-Key": admin.key or ""}
        ) as answer:
            return answer.status == 200

    await until(is_free)


async def test_nothing_is_left_of_a_client_that_went(admin: Client, hub: Hub) -> None:
    async with streaming(admin, since=0) as source:
        await source.take(1)
        assert len(hub.services.streams) >= 1

    async def none_is_left() -> bool:
        return len(hub.services.streams) == 0

    await until(none_is_left)


async def test_the_hub_says_when_it_goes_and_logs_no_token(tmp_path: Path) -> None:
    async with up(tmp_path / "data", LOG_LEVEL="DEBUG") as hub, aiohttp.ClientSession() as http:
        nobody = Client(hub.url, http, None)
        async with streaming(nobody, token=hub.key, since=0) as source:
            await source.take(1)
            assert (await refused(nobody, token=hub.key, since="x")).status == 422
            stopping = asyncio.create_task(hub.stop(seconds=8))
            await source.to_its_end()
            assert source.comments[-1] == "the hub is going down"
            assert await stopping == 0
        assert "/events/stream" in hub.log
        assert hub.key not in hub.log
