from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from executor.ports import EventQuery
from tests.integration.forgetting import FORGETFUL
from tests.integration.receiving import QUICK, Arrived, Receiver, World, receiving, until, world
from webhooks.commands import Caller
from webhooks.requests import RotateSecret, UpdateWebhook

_REFERENCE = """\
import hmac
import hashlib

def verify_webhook_signature(payload, signature, secret):
    expected_signature = hmac.new(
        secret.encode(),
        payload.encode(),
        hashlib.sha256
    ).hexdigest()

    return hmac.compare_digest(f"sha256={expected_signature}", signature)
"""
"""What the reference gives to its users."""


def verifies_by_the_reference(arrived: Arrived, secret: str) -> bool:
    reference: dict[str, Any] = {}
    exec(_REFERENCE, reference)
    verified: bool = reference["verify_webhook_signature"](
        arrived.body.decode(), arrived.headers["X-Webhook-Signature"], secret
    )
    return verified


def verifies_by_the_standard(arrived: Arrived, secret: str) -> bool:
    """https://www.standardwebhooks.com, "Verifying webhook authenticity"."""
    key = base64.b64decode(secret.removeprefix("whsec_")) if secret.startswith("whsec_") else secret.encode()
    signed = f"{arrived.id}.{arrived.headers['webhook-timestamp']}.".encode() + arrived.body
    wanted = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return wanted in arrived.headers["webhook-signature"].split(" ")


pytestmark = FORGETFUL


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        await made.start()
        yield made


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


@pytest.fixture
async def acme(hub: World) -> Caller:
    return await hub.organization("acme")


@pytest.mark.parametrize("secret", [None, "your-webhook-secret", "sécret"])
async def test_a_delivery_arrives_and_verifies_with_both_signatures(
    hub: World, acme: Caller, receiver: Receiver, secret: str | None
) -> None:
    created = await hub.register(acme, receiver.url + "/hook?a=b", "workflow.created", secret=secret)
    event_id = await hub.workflow(acme, "Data Processing Pipeline")
    await until(lambda: len(receiver.arrived) == 1)
    arrived = receiver.arrived[0]
    assert verifies_by_the_reference(arrived, created.secret)
    assert verifies_by_the_standard(arrived, created.secret)
    assert created.secret == secret or created.secret.startswith("whsec_")
    (delivered,) = await hub.deliveries(acme)
    assert arrived.id == event_id
    assert arrived.headers["X-Webhook-Event"] == "workflow.created"
    assert arrived.headers["X-Webhook-Delivery"] == delivered.id
    assert arrived.headers["X-Webhook-Attempt"] == "1"
    assert arrived.headers["User-Agent"] == "Runcast/test"
    assert arrived.headers["Content-Type"] == "application/json"
    said = arrived.json
    assert said["webhook_id"] == created.state.id
    assert said["event_id"] == event_id
    assert said["data"]["workflow"]["name"] == "Data Processing Pipeline"
    assert "definition" not in said["data"]["workflow"]


async def test_deliveries_stand_in_the_order_of_the_log_also_within_a_millisecond(
    hub: World, acme: Caller, receiver: Receiver
) -> None:
    await hub.register(acme, receiver.url, "*")
    await asyncio.gather(*(hub.execution(acme) for _ in range(20)))
    await hub.quiet()
    listed = await hub.deliveries(acme)
    assert [each.position for each in listed] == sorted(each.position or 0 for each in listed)
    events = {event.position: event.time for event in await hub.store.log.read(EventQuery(limit=1000))}
    assert [each.created_at for each in listed] == [events[each.position or 0] for each in listed]


async def test_a_retired_secret_signs_no_longer_than_it_was_said_to(
    hub: World, acme: Caller, receiver: Receiver
) -> None:
    created = await hub.register(acme, receiver.url, "workflow.created")
    rotated = await hub.webhooks.commands.rotate(acme, created.state.id, RotateSecret(overlap_seconds=1))
    await hub.webhooks.commands.test(acme, created.state.id)
    await until(lambda: len(receiver.arrived) == 1)
    assert rotated.state.endpoint is not None
    (retired,) = rotated.state.endpoint.retired
    await until(lambda: hub.clock.now() >= retired.expires_at)
    await hub.webhooks.commands.test(acme, created.state.id)
    await until(lambda: len(receiver.arrived) == 2)
    assert len(receiver.arrived[1].headers["webhook-signature"].split(" ")) == 1
    assert verifies_by_the_standard(receiver.arrived[1], rotated.secret or "")


async def test_an_execution_is_told_as_of_each_event(hub: World, acme: Caller, receiver: Receiver) -> None:
    await hub.register(acme, receiver.url, "execution.*", "component.completed", ordered=True)
    id = await hub.execution(acme, priority=8, project_id="p1", city="Bern", password="sealed:v1:AAAA")
    await until(lambda: len(receiver.arrived) == 4)
    assert receiver.events() == [
        "execution.created",
        "execution.started",
        "component.completed",
        "execution.completed",
    ]
    bodies = [each.json for each in receiver.arrived]
    assert [body["position"] for body in bodies] == sorted(body["position"] for body in bodies)
    runs = [body["data"]["execution"] for body in bodies]
    assert [run["status"] for run in runs] == ["queued", "running", "running", "completed"]
    assert {run["id"] for run in runs} == {id}
    assert runs[0]["parameters"] == {"city": "Bern", "password": "[REDACTED]"}
    assert (runs[0]["priority"], runs[0]["project_id"], runs[0]["tags"]) == (8, "p1", ["nightly"])
    assert runs[0]["completed_at"] is None
    assert runs[3]["completed_at"] == bodies[3]["timestamp"]
    assert runs[3]["results"] == {"start": {"rows": 3}}
    assert runs[3]["progress"]["percentage"] == 100
    assert bodies[2]["data"]["component"]["output_data"] == {"rows": 3}
    assert bodies[0]["data"]["workflow"] == {
        "id": runs[0]["workflow_id"],
        "name": "report",
        "status": "active",
        "version": 3,
    }


async def test_a_failed_attempt_is_repeated_with_the_same_bytes(hub: World, acme: Caller, receiver: Receiver) -> None:
    receiver.replies = [500, 503, 404]
    await hub.register(acme, receiver.url, "workflow.created")
    event_id = await hub.workflow(acme, "a")
    await until(lambda: len(receiver.arrived) == 4)
    assert len({each.body for each in receiver.arrived}) == 1
    assert {each.id for each in receiver.arrived} == {event_id}
    assert [each.headers["X-Webhook-Attempt"] for each in receiver.arrived] == ["1", "2", "3", "4"]
    (sent,) = await hub.deliveries(acme)
    await until(lambda: has(hub, acme, ["succeeded"]))
    attempts = await hub.attempts(sent.id)
    assert [each.status_code for each in attempts] == [500, 503, 404, 200]
    assert [each.attempt for each in attempts] == [1, 2, 3, 4]
    assert all(each.error is None and each.response_body == "noted" for each in attempts)


async def has(hub: World, caller: Caller, statuses: list[str], webhook_id: str | None = None) -> bool:
    return await hub.statuses(caller, webhook_id) == statuses


async def test_a_redirect_is_recorded_and_not_followed(hub: World, acme: Caller, receiver: Receiver) -> None:
    async def elsewhere(arrived: Arrived) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": receiver.url + "/elsewhere"})

    receiver.replies = [elsewhere]
    await hub.register(acme, receiver.url + "/hook", "workflow.created")
    await hub.workflow(acme, "a")
    await until(lambda: has(hub, acme, ["succeeded"]))
    assert [each.path for each in receiver.arrived] == ["/hook", "/hook"]
    (sent,) = await hub.deliveries(acme)
    assert [each.status_code for each in await hub.attempts(sent.id)] == [302, 200]


async def test_no_connection_is_recorded_as_an_error(hub: World, acme: Caller) -> None:
    async with receiving() as gone:
        url = gone.url
    policy = QUICK | {"max_attempts": 2}
    created = await hub.register(acme, url, "workflow.created", retry_policy=policy)
    await hub.workflow(acme, "a")
    await until(lambda: has(hub, acme, ["exhausted"]))
    (sent,) = await hub.deliveries(acme)
    attempts = await hub.attempts(sent.id)
    assert [(each.status_code, each.error) for each in attempts] == [(None, "the connection was refused")] * 2
    (told,) = await hub.store.log.stream(f"delivery:{sent.id}")
    assert told.type == "delivery.exhausted"
    assert created.state.id.encode() in told.data


async def test_gone_disables_the_endpoint(hub: World, acme: Caller, receiver: Receiver) -> None:
    receiver.replies = [410]
    created = await hub.register(acme, receiver.url, "workflow.created")
    await hub.workflow(acme, "a")
    await until(lambda: has(hub, acme, ["exhausted"]))
    state = await hub.webhooks.commands.get(acme, created.state.id)
    assert not state.is_active
    assert "410" in (state.disabled_reason or "")
    await hub.workflow(acme, "b")
    await hub.quiet()
    assert await hub.statuses(acme) == ["exhausted"]
    await hub.webhooks.commands.enable(acme, created.state.id)
    await hub.workflow(acme, "c")
    await until(lambda: has(hub, acme, ["exhausted", "succeeded"]))
    assert len(receiver.arrived) == 2


async def test_deleting_cancels_what_waits_and_nothing_more_is_sent(
    hub: World, acme: Caller, receiver: Receiver
) -> None:
    receiver.always = 500
    created = await hub.register(
        acme, receiver.url, "workflow.*", retry_policy=QUICK | {"initial_delay_seconds": 60, "max_delay_seconds": 60}
    )
    await hub.workflow(acme, "a")
    await until(lambda: has(hub, acme, ["retrying"]))
    await hub.webhooks.commands.delete(acme, created.state.id)
    await hub.workflow(acme, "b")
    await hub.quiet()
    await until(lambda: has(hub, acme, ["cancelled"]))
    assert len(receiver.arrived) == 1


async def test_switching_off_cancels_and_switching_on_starts_from_there(
    hub: World, acme: Caller, receiver: Receiver
) -> None:
    receiver.replies = [500]
    created = await hub.register(
        acme, receiver.url, "workflow.*", retry_policy=QUICK | {"initial_delay_seconds": 60, "max_delay_seconds": 60}
    )
    await hub.workflow(acme, "a")
    await until(lambda: has(hub, acme, ["retrying"]))
    await hub.webhooks.commands.update(acme, created.state.id, UpdateWebhook(active=False))
    await hub.workflow(acme, "b")
    await hub.webhooks.commands.update(acme, created.state.id, UpdateWebhook(active=True))
    await hub.workflow(acme, "c")
    await until(lambda: has(hub, acme, ["cancelled", "succeeded"]))
    assert [each.json["data"]["workflow"]["name"] for each in receiver.arrived] == ["a", "c"]


async def test_an_ordered_endpoint_gets_everything_in_order_though_some_fail(
    hub: World, acme: Caller, receiver: Receiver
) -> None:
    receiver.replies = [500, 200, 503, 500]
    await hub.register(acme, receiver.url, "workflow.created", ordered=True)
    for number in range(5):
        await hub.workflow(acme, f"w{number}")
    await until(lambda: len(receiver.arrived) == 8)
    names = [each.json["data"]["workflow"]["name"] for each in receiver.arrived]
    assert names == ["w0", "w0", "w1", "w1", "w1", "w2", "w3", "w4"]
    await until(lambda: has(hub, acme, ["succeeded"] * 5))


async def test_never_more_than_max_in_flight_are_under_way(hub: World, acme: Caller, receiver: Receiver) -> None:
    under_way, most = 0, 0

    async def slow(arrived: Arrived) -> web.StreamResponse:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await until(lambda: under_way >= 2 or len(receiver.arrived) == 10)
        under_way -= 1
        return web.Response()

    receiver.replies = [slow] * 10
    await hub.register(acme, receiver.url, "workflow.created", max_in_flight=2)
    for number in range(10):
        await hub.workflow(acme, f"w{number}")
    await until(lambda: has(hub, acme, ["succeeded"] * 10))
    assert most == 2


async def test_an_endpoint_hears_nothing_of_itself_of_before_it_or_of_others_organizations(
    hub: World, acme: Caller, receiver: Receiver
) -> None:
    other = await hub.organization("other")
    await hub.workflow(acme, "before")
    created = await hub.register(acme, receiver.url + "/a", "*")
    await hub.workflow(other, "of another")
    second = await hub.register(acme, receiver.url + "/b", "workflow.*")
    await hub.webhooks.commands.update(acme, created.state.id, UpdateWebhook(description="changed"))
    await hub.webhooks.commands.delete(acme, second.state.id)
    await hub.workflow(acme, "after")
    await hub.quiet()
    await until(lambda: len(receiver.arrived) == 3)
    assert sorted(receiver.events("/a")) == ["webhook.created", "webhook.deleted", "workflow.created"]
    assert receiver.events("/b") == []
    about = next(each.json["data"]["webhook"] for each in receiver.arrived if each.event == "webhook.created")
    assert about["id"] == second.state.id
    assert about["url"] == receiver.url + "/b"
    assert b"sealed:" not in b"".join(each.body for each in receiver.arrived)


async def test_an_endpoint_hears_of_anothers_spent_delivery_but_two_do_not_tell_each_other_for_ever(
    hub: World, acme: Caller, receiver: Receiver
) -> None:
    once = QUICK | {"max_attempts": 1}
    receiver.always = 500
    first = await hub.register(acme, receiver.url + "/a", "delivery.*", "workflow.*", retry_policy=once)
    second = await hub.register(acme, receiver.url + "/b", "delivery.*", retry_policy=once)
    await hub.workflow(acme, "a")
    await until(lambda: has(hub, acme, ["exhausted"], second.state.id))
    await hub.quiet()
    assert receiver.events("/a") == ["workflow.created"]
    assert receiver.events("/b") == ["delivery.exhausted"]
    assert await hub.statuses(acme, first.state.id) == ["exhausted"]


async def test_filters_choose_by_workflow_project_priority_and_condition(
    hub: World, acme: Caller, receiver: Receiver
) -> None:
    wanted = {
        "project": {"project_ids": ["p1"]},
        "priority": {"priority_levels": ["high", 9]},
        "condition": {"condition": "data.execution.parameters.city == 'Bern' && event == 'execution.completed'"},
        "nothing": {"workflow_ids": [hub.clock.new_id()]},
    }
    for path, filters in wanted.items():
        await hub.register(acme, f"{receiver.url}/{path}", "execution.completed", "workflow.created", filters=filters)
    await hub.execution(acme, priority=8, project_id="p1", city="Basel")
    await hub.execution(acme, priority=3, project_id="p2", city="Bern")
    await hub.workflow(acme, "a")
    await hub.quiet()
    await until(lambda: len(receiver.arrived) == 3)
    cities = {each.path: each.json["data"]["execution"]["parameters"]["city"] for each in receiver.arrived}
    assert cities == {"/project": "Basel", "/priority": "Basel", "/condition": "Bern"}


async def test_credentials_and_headers_go_along(hub: World, acme: Caller, receiver: Receiver) -> None:
    await hub.register(
        acme, receiver.url + "/bearer", headers={"X-Team": "ops"}, authentication={"type": "bearer", "token": "t0k"}
    )
    basic = {"type": "basic", "username": "me", "password": "pw"}
    await hub.register(acme, receiver.url + "/basic", authentication=basic)
    await hub.register(
        acme, receiver.url + "/header", authentication={"type": "header", "name": "X-Key", "value": "k"}
    )
    await hub.workflow(acme, "a")
    await until(lambda: {each.path for each in receiver.arrived if each.event == "workflow.created"} == PATHS)
    sent = {each.path: each.headers for each in receiver.arrived}
    assert (sent["/bearer"]["Authorization"], sent["/bearer"]["X-Team"]) == ("Bearer t0k", "ops")
    assert sent["/basic"]["Authorization"] == "Basic " + base64.b64encode(b"me:pw").decode()
    assert sent["/header"]["X-Key"] == "k"


PATHS = {"/bearer", "/basic", "/header"}


async def test_a_test_event_arrives_signed_without_a_position(hub: World, acme: Caller, receiver: Receiver) -> None:
    created = await hub.register(acme, receiver.url, "workflow.created")
    sent = await hub.webhooks.commands.test(acme, created.state.id)
    await until(lambda: len(receiver.arrived) == 1)
    (arrived,) = receiver.arrived
    assert (arrived.event, arrived.json["position"], arrived.id) == ("webhook.test", None, sent.event_id)
    assert verifies_by_the_standard(arrived, created.secret)
    await until(lambda: has(hub, acme, ["succeeded"]))


async def test_an_answer_is_kept_up_to_sixteen_kibibytes(hub: World, acme: Caller, receiver: Receiver) -> None:
    async def much(arrived: Arrived) -> web.StreamResponse:
        return web.Response(body=b"\0" + b"x" * 10_000_000)

    receiver.replies = [much]
    await hub.register(acme, receiver.url, "workflow.created")
    await hub.workflow(acme, "a")
    await until(lambda: has(hub, acme, ["succeeded"]))
    (sent,) = await hub.deliveries(acme)
    (attempt,) = await hub.attempts(sent.id)
    assert len(attempt.response_body or "") == 16 * 1024
