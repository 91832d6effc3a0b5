"""What is made of each answer and each error, and of changes to an endpoint while its deliveries wait or are sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from executor.domain.errors import ResourceConflict
from executor.domain.values import moment
from executor.ports import Attempt, Delivery
from tests.acceptance.hostile import Hostile, hostile
from tests.integration.forgetting import FORGETFUL
from tests.integration.receiving import QUICK, Arrived, Receiver, World, receiving, until, world
from webhooks.commands import Caller
from webhooks.endpoint import State
from webhooks.requests import UpdateWebhook
from webhooks.verification import verify

pytestmark = FORGETFUL

ONCE = QUICK | {"max_attempts": 1}
LATER = QUICK | {"initial_delay_seconds": 600, "max_delay_seconds": 600}

ANSWERS = {
    "says-300": "redirected",
    "redirects": "redirected",
    "says-400": "rejected",
    "says-401": "rejected",
    "says-404": "rejected",
    "says-409": "rejected",
    "says-422": "rejected",
    "says-408": "unavailable",
    "says-425": "unavailable",
    "says-429": "rate_limited",
    "says-500": "unavailable",
    "says-502": "unavailable",
    "says-599": "unavailable",
    "big": "unavailable",
}
ERRORS = {
    "hangs": "timeout",
    "drips-headers": "timeout",
    "drips-body": "timeout",
    "resets": "protocol",
    "resets-midway": "protocol",
    "garbage": "protocol",
    "closes": "protocol",
}


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        await made.start()
        yield made


@pytest.fixture
async def acme(hub: World) -> Caller:
    return await hub.organization("acme")


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


@pytest.fixture
async def bad() -> AsyncIterator[Hostile]:
    async with hostile(failures=1) as made:
        yield made


async def have(hub: World, caller: Caller, *statuses: str, of: State | None = None) -> bool:
    return await hub.statuses(caller, of and of.id) == list(statuses)


async def only(hub: World, caller: Caller, webhook_id: str) -> tuple[Delivery, list[Attempt]]:
    (delivery,) = await hub.deliveries(caller, webhook_id)
    return delivery, await hub.attempts(delivery.id)


async def test_every_failure_has_its_class_and_is_tried_again(hub: World, acme: Caller, bad: Hostile) -> None:
    wanted, ids = ANSWERS | ERRORS, {}
    for path in wanted:
        created = await hub.register(acme, f"{bad.url}/{path}", "workflow.created", timeout_seconds=1)
        ids[path], bad.secrets[path] = created.state.id, created.secret
    await hub.workflow(acme, "a")
    await until(lambda: have(hub, acme, *["succeeded"] * len(wanted)))
    for path, kind in wanted.items():
        delivery, (failed, done) = await only(hub, acme, ids[path])
        assert (delivery.attempt_count, failed.error_class, done.error_class) == (2, kind, None), path
        assert (failed.status_code is None) == (failed.error is not None) == (path in ERRORS), path
        assert done.status_code == 200
        assert failed.duration_ms < 3000
        assert len(failed.response_body or "") <= 16 * 1024
    assert (await only(hub, acme, ids["says-422"]))[1][0].status_code == 422
    assert bad.of("elsewhere") == []
    assert bad.wrong == []


async def test_who_is_not_there_or_speaks_no_tls_has_a_class_too(
    hub: World, acme: Caller, receiver: Receiver
) -> None:
    async with receiving() as gone:
        url = gone.url
    refused = (await hub.register(acme, url, "workflow.created", retry_policy=ONCE)).state
    plain = (await hub.register(acme, receiver.url.replace("http:", "https:"), retry_policy=ONCE)).state
    await hub.workflow(acme, "a")
    await until(lambda: have(hub, acme, "exhausted", of=refused))
    assert (await only(hub, acme, refused.id))[1][0].error_class == "connect"

    async def has_failed() -> bool:
        return any(each.status == "exhausted" for each in await hub.deliveries(acme, plain.id))

    await until(has_failed)
    kinds = {
        attempt.error_class
        for each in await hub.deliveries(acme, plain.id)
        for attempt in await hub.attempts(each.id)
    }
    assert kinds == {"tls"}


@pytest.mark.parametrize("status", [429, 503, 500], ids=str)
async def test_retry_after_makes_the_next_attempt_later_within_bounds(
    hub: World, acme: Caller, receiver: Receiver, status: int
) -> None:
    asked = {
        "/seconds": ("100", 100.0),
        "/date": (formatdate(time.time() + 300, usegmt=True), 300.0),
        "/too-long": ("999999999999999999999999", 3600.0),
        "/too-late": (formatdate(time.time() + 400_000, usegmt=True), 3600.0),
        "/over": (formatdate(time.time() - 1000, usegmt=True), 10.0),
        "/negative": ("-5", 10.0),
        "/words": ("soon", 10.0),
        "/huge-date": ("Fri, 31 Dec 999999 23:59:59 GMT", 10.0),
        "/shorter": ("1", 10.0),
    }

    async def answer(arrived: Arrived) -> web.StreamResponse:
        return web.Response(status=status, headers={"Retry-After": asked[arrived.path][0]})

    receiver.replies = [answer] * len(asked)
    policy = QUICK | {"initial_delay_seconds": 10, "max_delay_seconds": 10}
    ids = {
        path: (await hub.register(acme, receiver.url + path, "workflow.created", retry_policy=policy)).state.id
        for path in asked
    }
    await hub.workflow(acme, "a")
    await until(lambda: have(hub, acme, *["retrying"] * len(asked)))
    for path, (_, seconds) in asked.items():
        delivery, (attempt,) = await only(hub, acme, ids[path])
        assert delivery.next_attempt_at is not None
        waits = (moment(delivery.next_attempt_at) - moment(attempt.started_at)).total_seconds()
        most = max(seconds, 10 * 1.2) + 10
        assert seconds * 0.8 <= waits <= most, (path, waits)


async def test_another_hears_once_each_time_that_a_delivery_is_given_up_and_of_what_is_switched_off(
    hub: World, acme: Caller, receiver: Receiver
) -> None:
    wish, of_a = ("delivery.exhausted", "webhook.disabled", "workflow.created"), [500, 500, 410]

    async def answer(arrived: Arrived) -> web.StreamResponse:
        return web.Response(status=of_a.pop(0) if arrived.path == "/a" else 200)

    receiver.replies = [answer] * 6
    failing = (await hub.register(acme, receiver.url + "/a", *wish, retry_policy=ONCE)).state
    await hub.workflow(acme, "a")
    await until(lambda: have(hub, acme, "exhausted", of=failing))
    other = (await hub.register(acme, receiver.url + "/b", *wish[:2])).state
    (spent,) = await hub.deliveries(acme, failing.id)
    await hub.quiet()
    await hub.webhooks.redeliveries.resend(acme, spent.id)
    await until(lambda: have(hub, acme, "succeeded", of=other))
    (told,) = [each for each in receiver.arrived if each.path == "/b"]
    assert (told.event, told.json["data"]["delivery"]["id"]) == ("delivery.exhausted", spent.id)
    await until(lambda: have(hub, acme, "exhausted", of=failing))
    await hub.webhooks.redeliveries.resend(acme, spent.id)
    await until(lambda: len(receiver.events("/b")) == 3)
    assert sorted(receiver.events("/b")) == ["delivery.exhausted", "delivery.exhausted", "webhook.disabled"]
    assert receiver.events("/a") == ["workflow.created"] * 3, "it never hears of itself"
    assert len({each.id for each in receiver.arrived if each.path == "/a"}) == 1
    sent, attempts = await only(hub, acme, failing.id)
    assert (sent.attempt_count, [each.status_code for each in attempts]) == (3, [500, 500, 410])
    with pytest.raises(ResourceConflict):
        await hub.webhooks.redeliveries.resend(acme, spent.id)


async def change(hub: World, caller: Caller, state: State, **fields: Any) -> None:
    await hub.webhooks.commands.update(caller, state.id, UpdateWebhook(**fields))


async def test_what_waits_goes_to_the_new_url_signed_with_the_new_secret(
    hub: World, acme: Caller, receiver: Receiver
) -> None:
    receiver.replies = [500, 500]
    state = (await hub.register(acme, receiver.url + "/old", "workflow.*", retry_policy=LATER)).state
    ids = [await hub.workflow(acme, name) for name in ("a", "b")]
    await until(lambda: have(hub, acme, "retrying", "retrying"))
    new = "another secret of mine"
    await change(hub, acme, state, url=receiver.url + "/new", secret=new, events=("execution.*",))
    for delivery in await hub.deliveries(acme):
        await hub.webhooks.redeliveries.resend(acme, delivery.id)
    await until(lambda: have(hub, acme, "succeeded", "succeeded"))
    arrived = [each for each in receiver.arrived if each.path == "/new"]
    assert sorted(each.id for each in arrived) == sorted(ids), "patterns hold for what comes after"
    for each in arrived:
        assert verify(each.body, each.headers, new)["event_id"] == each.id
    await hub.workflow(acme, "c")
    await hub.quiet()
    assert len(await hub.deliveries(acme)) == 2


async def test_what_is_under_way_ends_where_it_goes_and_its_repeat_goes_to_the_new_url(
    hub: World, acme: Caller, receiver: Receiver
) -> None:
    goes_on = asyncio.Event()

    async def hang(arrived: Arrived) -> web.StreamResponse:
        await goes_on.wait()
        return web.Response(status=500 if arrived.json["data"]["workflow"]["name"] == "b" else 200)

    receiver.replies = [hang, hang]
    state = (await hub.register(acme, receiver.url + "/old", "workflow.created")).state
    await hub.workflow(acme, "a")
    await hub.workflow(acme, "b")
    await until(lambda: len(receiver.arrived) == 2)
    await change(hub, acme, state, url=receiver.url + "/new")
    goes_on.set()
    await until(lambda: have(hub, acme, "succeeded", "succeeded"))
    names = [(each.path, each.json["data"]["workflow"]["name"]) for each in receiver.arrived]
    assert sorted(names[:2]) == [("/old", "a"), ("/old", "b")]
    assert names[2:] == [("/new", "b")]


async def test_order_and_room_hold_as_soon_as_they_are_changed(hub: World, acme: Caller, receiver: Receiver) -> None:
    under_way, most, goes_on = 0, 0, asyncio.Event()

    async def answer(arrived: Arrived) -> web.StreamResponse:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        if arrived.json["data"]["workflow"]["name"] == "first":
            await goes_on.wait()
        await asyncio.sleep(0.005)
        under_way -= 1
        return web.Response()

    receiver.replies = [answer] * 7
    state = (await hub.register(acme, receiver.url, "workflow.created", max_in_flight=1)).state
    ids = [await hub.workflow(acme, "first")]
    await until(lambda: len(receiver.arrived) == 1)
    ids += [await hub.workflow(acme, f"w{number}") for number in range(6)]
    await change(hub, acme, state, ordered=True, max_in_flight=20)
    await hub.quiet()
    goes_on.set()
    await until(lambda: have(hub, acme, *["succeeded"] * 7))
    assert [each.id for each in receiver.arrived] == ids
    assert most == 1


@pytest.mark.parametrize("answers", [200, 500])
async def test_what_is_under_way_when_it_is_switched_off_ends_and_is_not_tried_again(
    hub: World, acme: Caller, receiver: Receiver, answers: int
) -> None:
    goes_on = asyncio.Event()

    async def hang(arrived: Arrived) -> web.StreamResponse:
        await goes_on.wait()
        return web.Response(status=answers)

    receiver.replies = [hang]
    state = (await hub.register(acme, receiver.url, "workflow.created", max_in_flight=1)).state
    await hub.workflow(acme, "a")
    await hub.workflow(acme, "b")
    await until(lambda: len(receiver.arrived) == 1)
    await hub.webhooks.commands.disable(acme, state.id)
    await until(lambda: have(hub, acme, "cancelled", "cancelled"))
    goes_on.set()
    wanted = "succeeded" if answers == 200 else "cancelled"

    async def is_told() -> bool:
        return [len(await hub.attempts(each.id)) for each in await hub.deliveries(acme)] == [1, 0]

    await until(is_told)
    await hub.webhooks.commands.enable(acme, state.id)
    await hub.workflow(acme, "c")
    await until(lambda: have(hub, acme, wanted, "cancelled", "succeeded"))
    assert [each.json["data"]["workflow"]["name"] for each in receiver.arrived] == ["a", "c"]
