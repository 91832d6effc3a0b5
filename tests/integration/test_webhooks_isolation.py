"""Endpoints that hang or fail hold nobody else up; and faults that other senders of webhooks had, which must not be
ours."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from redis.asyncio import Redis

from executor.clock import SystemClock
from executor.domain.errors import ResourceConflict
from executor.domain.values import Instant, plus
from tests.integration.forgetting import FORGETFUL
from tests.integration.receiving import QUICK, Arrived, Receiver, World, receiving, until, world
from webhooks.commands import Caller
from webhooks.health import Lanes
from webhooks.verification import verify

pytestmark = FORGETFUL

HOUR = 3600.0
HANGING, SLOW_ROOM = 60, 40


class SetClock(SystemClock):
    """The real one, but for so many seconds that have passed besides."""

    ahead = 0.0

    def now(self) -> Instant:
        return plus(super().now(), self.ahead)


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


async def have(hub: World, caller: Caller, *statuses: str, of: str | None = None) -> bool:
    return await hub.statuses(caller, of) == list(statuses)


async def test_sixty_endpoints_that_hang_leave_healthy_ones_all_they_need(
    hub: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webhooks.assembly.Lanes", lambda: Lanes(fast_room=10, slow_room=SLOW_ROOM, crowd=20))
    hub.webhooks, ended = hub.fresh(), asyncio.Event()

    async def answer(arrived: Arrived) -> web.StreamResponse:
        if arrived.path == "/hangs":
            await ended.wait()
        return web.Response()

    receiver.replies = [answer] * 10_000
    acme = await hub.organization("acme")
    healthy = [(await hub.register(acme, f"{receiver.url}/{n}", "workflow.*")).state.id for n in range(3)]
    await hub.start()
    await hub.workflow(acme, "first")
    await until(lambda: len(receiver.arrived) == 3)
    for _ in range(HANGING):
        await hub.register(acme, f"{receiver.url}/hangs", "workflow.*", timeout_seconds=60)
    await hub.workflow(acme, "to fill the slow lane")
    await until(lambda: len(receiver.events("/hangs")) >= SLOW_ROOM)  # Claims of one moment may go past its room.
    for number in range(20):
        await hub.workflow(acme, f"w{number}")
    for id in healthy:
        await until(lambda id=id: have(hub, acme, *["succeeded"] * 22, of=id), seconds=20)  # type: ignore[misc]
    hanging = len(receiver.events("/hangs"))
    assert hub.webhooks.lanes.in_flight(time.monotonic())[1] >= hanging, "none of them has ended meanwhile"
    ended.set()


async def test_a_breaker_opens_probes_with_one_request_and_closes(
    hub: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webhooks.health.FAILURES", 3)
    monkeypatch.setattr("webhooks.health.STREAK_SECONDS", 0.0)
    monkeypatch.setattr("webhooks.health.PAUSE_SECONDS", (0.2, 0.2))
    goes_on = asyncio.Event()

    async def answer(arrived: Arrived) -> web.StreamResponse:
        if arrived.path == "/well":
            return web.Response()
        if len(receiver.events("/bad")) <= 3:
            return web.Response(status=500)
        await goes_on.wait()
        return web.Response()

    receiver.replies = [answer] * 100
    acme = await hub.organization("acme")
    bad = (await hub.register(acme, receiver.url + "/bad", "workflow.*", max_in_flight=3)).state.id
    well = (await hub.register(acme, receiver.url + "/well", "workflow.*")).state.id
    fanning = asyncio.create_task(hub.webhooks.fanout.run())
    for name in ("a", "b", "c"):
        await hub.workflow(acme, name)
    await hub.quiet()
    fanning.cancel()
    await asyncio.wait([fanning])
    hub.webhooks = hub.fresh()
    await hub.start()
    await until(lambda: hub.webhooks.lanes.census(time.monotonic()).open == 1)
    assert len(receiver.events("/bad")) == 3
    await until(lambda: len(receiver.events("/bad")) == 4)
    assert hub.webhooks.lanes.census(time.monotonic()).half_open == 1
    for number in range(5):
        await hub.workflow(acme, f"w{number}")
        await until(lambda number=number: len(receiver.events("/well")) == 4 + number)  # type: ignore[misc]
    assert len(receiver.events("/bad")) == 4, "one request probes it"
    goes_on.set()
    await until(lambda: have(hub, acme, *["succeeded"] * 8, of=bad))
    assert hub.webhooks.lanes.census(time.monotonic()) == (2, 0, 0)
    counts = [each.attempt_count for each in await hub.deliveries(acme, bad)]
    assert counts == [2, 2, 2, 1, 1, 1, 1, 1], "who waited kept all attempts"
    assert await have(hub, acme, *["succeeded"] * 8, of=well)


async def test_a_rate_is_kept_from_the_first_request_on(hub: World, receiver: Receiver) -> None:
    """frain-dev/convoy#1927: a limit of one a minute let five through at once."""
    acme = await hub.organization("acme")
    receiver.always = 500
    slow = (await hub.register(acme, receiver.url + "/slow", "workflow.*", rate_limit_per_second=0.01)).state.id
    await hub.register(acme, receiver.url + "/other", "workflow.*", retry_policy=QUICK | {"max_attempts": 1})
    await hub.start()
    for number in range(5):
        await hub.workflow(acme, f"w{number}")
    await until(lambda: len(receiver.events("/other")) == 5)
    await until(lambda: have(hub, acme, "retrying", *["pending"] * 4, of=slow))
    assert len(receiver.events("/slow")) == 1


async def has_failed(hub: World, caller: Caller, times: int) -> bool:
    return [(each.status, each.attempt_count) for each in await hub.deliveries(caller)] == [("retrying", times)]


async def test_every_attempt_is_signed_anew_over_the_same_bytes(
    hub: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """better-auth#8844, documenso#3204: repeats with a time from long ago, or with another body."""
    monkeypatch.setattr("webhooks.pump._LONGEST_PAUSE_SECONDS", 0.1)  # Nobody rings when a test sets its clock.
    hub.clock = clock = SetClock()
    hub.webhooks = hub.fresh()
    acme = await hub.organization("acme")
    receiver.replies = [500, 500]
    policy = QUICK | {"initial_delay_seconds": 3000, "max_delay_seconds": 3000}
    created = await hub.register(acme, receiver.url, "workflow.*", retry_policy=policy)
    await hub.start()
    await hub.workflow(acme, "a")
    for number in (1, 2):
        await until(lambda number=number: has_failed(hub, acme, number))  # type: ignore[misc]
        clock.ahead = number * HOUR
    await until(lambda: have(hub, acme, "succeeded"))
    times = []
    for arrived in receiver.arrived:
        sent_at = int(arrived.headers["webhook-timestamp"])
        verify(arrived.body, arrived.headers, created.secret, now=sent_at)
        times.append(sent_at)
    assert len({(each.body, each.id) for each in receiver.arrived}) == 1
    assert [round((later - times[0]) / HOUR) for later in times] == [0, 1, 2]


async def test_what_fails_for_ever_is_given_up_though_redis_forgets_everything(
    hub: World, receiver: Receiver
) -> None:
    """frain-dev/convoy#1833 and #1667: retried without end and uncounted; and due in the past, never picked up."""
    acme = await hub.organization("acme")
    receiver.always = 403
    policy = QUICK | {"max_attempts": 6, "initial_delay_seconds": 0.05, "max_delay_seconds": 0.05}
    created = await hub.register(acme, receiver.url, "workflow.*", retry_policy=policy)
    await hub.start()
    client: Redis[bytes] = Redis.from_url(hub.valkey.url)
    await hub.workflow(acme, "a")
    for number in range(6):
        await until(lambda number=number: len(receiver.arrived) > number)  # type: ignore[misc]
        await client.flushall()
    await client.aclose()
    await until(lambda: have(hub, acme, "exhausted"))
    (sent,) = await hub.deliveries(acme, created.state.id)
    attempts = await hub.attempts(sent.id)
    assert (sent.attempt_count, [each.attempt for each in attempts]) == (6, [1, 2, 3, 4, 5, 6])
    assert [each.headers["X-Webhook-Attempt"] for each in receiver.arrived] == list("123456")


async def test_what_is_being_sent_is_not_asked_for_again(hub: World, receiver: Receiver) -> None:
    """A retry by hand that does not look at the status sends twice at once."""
    goes_on = asyncio.Event()

    async def hang(arrived: Arrived) -> web.StreamResponse:
        await goes_on.wait()
        return web.Response()

    receiver.replies = [hang]
    acme = await hub.organization("acme")
    await hub.register(acme, receiver.url, "workflow.*")
    await hub.start()
    await hub.workflow(acme, "a")
    await until(lambda: len(receiver.arrived) == 1)
    (sent,) = await hub.deliveries(acme)
    with pytest.raises(ResourceConflict, match="being sent"):
        await hub.webhooks.redeliveries.resend(acme, sent.id)
    goes_on.set()
    await until(lambda: have(hub, acme, "succeeded"))
    assert len(receiver.arrived) == 1
