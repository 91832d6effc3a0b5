"""Deliveries whose process was away longer than their leases last, or whose clock is set while they are under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web

from executor.clock import SystemClock
from executor.domain.values import Instant, plus
from executor.ports import Metadata, Store
from tests.integration.forgetting import FORGETFUL
from tests.integration.receiving import QUICK, Arrived, Receiver, World, receiving, until, world
from webhooks.assembly import Webhooks
from webhooks.commands import Caller
from webhooks.endpoint import State

pytestmark = FORGETFUL

HOUR = 3600.0


class SetClock(SystemClock):
    """The real one, but for so many seconds that somebody has set it forward."""

    ahead = 0.0

    def now(self) -> Instant:
        return plus(super().now(), self.ahead)


class LateClaims:
    """The deliveries of a process that is paused while the store answers a claim that took something."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.claimed, self.goes_on = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def claim(self, *arguments: Any, **named: Any) -> Any:
        answer = await self._inner.claim(*arguments, **named)
        if answer.deliveries:
            self.claimed.set()
            await self.goes_on.wait()
        return answer

    def store(self, store: Store) -> Store:
        ledgers = cast("Any", store.ledgers)._replace(deliveries=self)
        parts = {"log": store.log, "reads": store.reads, "ledgers": ledgers, "is_shared": store.is_shared}
        return cast("Store", SimpleNamespace(**parts))


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[World]:
    """Where leases are short."""
    async with world(tmp_path, lease_seconds=0.6) as made:
        yield made


@pytest.fixture
def clock(hub: World) -> SetClock:
    hub.clock = clock = SetClock()
    hub.webhooks = hub.fresh()
    return clock


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


async def have(hub: World, caller: Caller, *statuses: str) -> bool:
    return await hub.statuses(caller) == list(statuses)


async def claims(hub: World, state: State) -> tuple[LateClaims, Webhooks, asyncio.Task[Any]]:
    """A process that is paused when it has just claimed what there is to deliver."""
    fanning = asyncio.create_task(hub.webhooks.fanout.run())
    await hub.workflow(Caller(state.organization_id, Metadata(actor="somebody")), "a")
    await hub.quiet()
    fanning.cancel()
    await asyncio.wait([fanning])
    late = LateClaims(hub.store.ledgers.deliveries)
    process = hub.fresh(late.store(hub.store))
    claiming = asyncio.create_task(process.worker._pump._claim(state.shard))
    async with asyncio.timeout(10):
        await late.claimed.wait()
    hub.webhooks = hub.fresh()
    return late, process, claiming


async def test_what_another_took_meanwhile_is_not_sent_by_who_comes_back(hub: World, receiver: Receiver) -> None:
    acme = await hub.organization("acme")
    created = await hub.register(acme, receiver.url, "workflow.created", ordered=True)
    late, away, claiming = await claims(hub, created.state)
    await hub.start(is_alone=False)
    await until(lambda: have(hub, acme, "succeeded"))
    late.goes_on.set()
    await claiming
    await away.worker._courier.close(grace=30)
    assert [each.headers["X-Webhook-Attempt"] for each in receiver.arrived] == ["2"]
    (sent,) = await hub.deliveries(acme)
    assert (sent.status, sent.attempt_count) == ("succeeded", 2)
    assert [each.attempt for each in await hub.attempts(sent.id)] == [2]


@pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["forward", "back"])
async def test_what_is_under_way_is_not_sent_again_when_the_clock_is_set(
    hub: World, clock: SetClock, receiver: Receiver, jump: float
) -> None:
    goes_on = asyncio.Event()

    async def hang(arrived: Arrived) -> web.StreamResponse:
        await goes_on.wait()
        return web.Response()

    receiver.replies = [hang]
    acme = await hub.organization("acme")
    slow = await hub.register(acme, receiver.url + "/slow", "workflow.created", ordered=True, timeout_seconds=30)
    await hub.register(acme, receiver.url + "/other", "workflow.created")
    await hub.start()
    await hub.workflow(acme, "a")
    await until(lambda: len(receiver.arrived) == 2)
    clock.ahead = jump
    await hub.workflow(acme, "b")
    await until(lambda: len(receiver.events("/other")) == 2)
    goes_on.set()
    await until(lambda: len(receiver.events("/slow")) == 2)
    await until(lambda: have(hub, acme, *["succeeded"] * 4))
    assert [each.attempt_count for each in await hub.deliveries(acme, slow.state.id)] == [1, 1]


async def test_everything_arrives_though_the_clock_goes_forward_an_hour_and_back(
    hub: World, clock: SetClock, receiver: Receiver
) -> None:
    acme = await hub.organization("acme")
    receiver.replies = [500] * 6
    policy = QUICK | {"max_attempts": 20, "initial_delay_seconds": 0.1, "max_delay_seconds": 0.2}
    for path in ("/a", "/b"):
        await hub.register(acme, receiver.url + path, "workflow.created", retry_policy=policy, ordered=path == "/b")
    await hub.start()
    for number, ahead in enumerate((0.0, HOUR, 2 * HOUR, HOUR, 0.0, HOUR, -HOUR, 3 * HOUR)):
        clock.ahead = ahead
        await hub.workflow(acme, f"w{number}")
        await until(lambda number=number: len({each.id for each in receiver.arrived}) > number)  # type: ignore[misc]
    await until(lambda: have(hub, acme, *["succeeded"] * 16))
    of_b = dict.fromkeys(each.json["data"]["workflow"]["name"] for each in receiver.arrived if each.path == "/b")
    assert list(of_b) == [f"w{number}" for number in range(8)]


async def test_a_lease_of_somebody_dead_whose_clock_was_ahead_is_ended_by_the_sweep(
    hub: World, clock: SetClock, receiver: Receiver
) -> None:
    acme = await hub.organization("acme")
    created = await hub.register(acme, receiver.url, "workflow.created")
    clock.ahead = HOUR
    _, _, dying = await claims(hub, created.state)
    dying.cancel()
    await asyncio.wait([dying])
    clock.ahead = 0.0
    await hub.start(is_alone=False)
    await until(lambda: len(receiver.arrived) == 1, seconds=20)
    assert receiver.arrived[0].headers["X-Webhook-Attempt"] == "2"
