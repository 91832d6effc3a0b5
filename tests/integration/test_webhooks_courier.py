"""What becomes of attempts under way where the store refuses one, where one is cut off, and at the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from executor.domain.values import plus
from executor.ports import Attempt, Delivery, EndpointLimits, Settled
from tests.integration.receiving import Arrived, World, receiving, until, world
from webhooks.courier import Courier
from webhooks.deliver import Made
from webhooks.directory import Directory
from webhooks.doorbell import Doorbell
from webhooks.endpoint import State
from webhooks.facts import Facts
from webhooks.health import Lanes
from webhooks.meter import DeliveryMeter


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


class Answers:
    """Attempts that come to what they are told, once they may."""

    def __init__(self) -> None:
        self.bodies: list[str] = []
        self.goes_on = asyncio.Event()
        self.begun = 0

    async def make(self, claimed: Delivery, state: State, is_held: Callable[[], bool]) -> Made:
        self.begun += 1
        await self.goes_on.wait()
        attempt = Attempt(
            delivery_id=claimed.id,
            attempt=claimed.attempt_count,
            started_at=claimed.created_at,
            duration_ms=1,
            status_code=200,
            error=None,
            response_body=self.bodies.pop(0) if self.bodies else "noted",
        )
        at = claimed.created_at
        settled = Settled(
            webhook_id=state.id, attempt=attempt, status="succeeded", next_attempt_at=None, completed_at=at
        )
        return Made(settled, None, None)

    async def close(self) -> None:
        pass


@asynccontextmanager
async def courier_of(hub: World, attempts: Any, ledger: Any = None) -> AsyncIterator[Courier]:
    store = hub.store
    made = Courier(
        attempts,
        ledger or store.ledgers.deliveries,
        Directory(store.log, store.reads),
        Facts(store.log),
        Doorbell(),
        hub.clock,
        DeliveryMeter(),
        Lanes(),
        is_shared=False,
    )
    made.open()
    try:
        yield made
    finally:
        await made.close(0.1)


async def claimed(hub: World, count: int) -> tuple[State, list[Delivery]]:
    """Test events of one endpoint, claimed."""
    acme = await hub.organization("acme")
    state = (await hub.register(acme, "http://127.0.0.1:2/")).state
    for _ in range(count):
        await hub.webhooks.commands.test(acme, state.id)
    now, limits = hub.clock.now(), EndpointLimits(state.id, 100, False)
    ledger = hub.store.ledgers.deliveries
    taken = await ledger.claim(state.shard, {state.id: limits}.get, now, plus(now, 5), 100, through=0)
    assert len(taken.deliveries) == count
    return state, taken.deliveries


async def status(hub: World, delivery: Delivery) -> str:
    found = await hub.store.ledgers.deliveries.get(delivery.id)
    assert found is not None
    return found[0].status


async def test_an_attempt_that_cannot_be_stored_holds_up_no_other_and_ends(hub: World) -> None:
    _, deliveries = await claimed(hub, 3)
    attempts = Answers()
    attempts.bodies = ["half of a pair: \ud800"]
    attempts.goes_on.set()
    async with courier_of(hub, attempts) as courier:
        await courier.dispatch(deliveries, time.monotonic())
        await until(lambda: not courier._under_way, 10)
    assert [await status(hub, each) for each in deliveries] == ["succeeded"] * 3
    kept = [(await hub.attempts(each.id))[0] for each in deliveries]
    assert sorted(str(each.response_body) for each in kept) == ["None", "noted", "noted"]


async def test_what_is_cut_off_before_it_began_has_ended(hub: World) -> None:
    state, deliveries = await claimed(hub, 2)
    async with courier_of(hub, Answers()) as courier:
        await courier.dispatch(deliveries, time.monotonic())
        courier._changed(state.id, True)
        await until(lambda: not courier._tasks)
        assert not courier._under_way, "its lease would be prolonged for ever"
        assert courier._lanes.in_flight(time.monotonic()) == (0, 0)


class Held:
    """A ledger whose settling waits until it may."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.goes_on, self.is_asked = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def settle(self, settled: Any) -> None:
        self.is_asked.set()
        await self.goes_on.wait()
        await self._inner.settle(settled)


async def test_what_was_answered_is_not_given_back_as_unsent(hub: World) -> None:
    _, deliveries = await claimed(hub, 2)
    attempts, ledger = Answers(), Held(hub.store.ledgers.deliveries)
    attempts.goes_on.set()
    async with courier_of(hub, attempts, ledger) as courier:
        await courier.dispatch(deliveries[:1], time.monotonic())
        await ledger.is_asked.wait()
        await courier.dispatch(deliveries[1:], time.monotonic())
        await until(lambda: len(courier._made) == 2)
        closing = asyncio.create_task(courier.close(0))
        await until(lambda: courier._is_giving_back)
        ledger.goes_on.set()
        await closing
    assert [await status(hub, each) for each in deliveries] == ["succeeded"] * 2


async def test_an_endpoint_found_switched_off_loses_only_what_was_found(hub: World) -> None:
    acme = await hub.organization("acme")
    state = (await hub.register(acme, "http://127.0.0.1:2/")).state
    commands = hub.webhooks.commands
    before = await commands.test(acme, state.id)
    now, limits = hub.clock.now(), EndpointLimits(state.id, 100, False)
    ledger = hub.store.ledgers.deliveries
    (held,) = (await ledger.claim(state.shard, {state.id: limits}.get, now, plus(now, 5), 100, through=0)).deliveries
    off = await commands.disable(acme, state.id)
    await commands.enable(acme, state.id)
    after = await commands.test(acme, state.id)
    assert await hub.webhooks.worker._courier._attempts.make(held, off, lambda: True) is None
    assert [await status(hub, each) for each in (before, after)] == ["cancelled", "pending"]


async def test_a_receiver_that_answers_with_what_it_was_sent_shows_no_secret(hub: World) -> None:
    async def echo(arrived: Arrived) -> web.StreamResponse:
        return web.json_response(dict(arrived.headers))

    acme = await hub.organization("acme")
    async with receiving() as receiver:
        receiver.replies = [echo]
        token, key = "t0ken-of-ours", 'key "of" ours'
        secret = {"authentication": {"type": "bearer", "token": token}, "headers": {"X-Key": key}}
        state = (await hub.register(acme, receiver.url, **secret)).state
        sent = await hub.webhooks.commands.test(acme, state.id)
        await hub.start()
        await until(lambda: _has_ended(hub, sent))
    (attempt,) = await hub.attempts(sent.id)
    assert receiver.arrived[0].headers["X-Key"] == key
    assert "webhook-signature" in str(attempt.response_body)
    assert "t0ken" not in repr(attempt)
    assert "of" not in str(attempt.response_body).partition("X-Key")[2].partition(",")[0]


async def _has_ended(hub: World, delivery: Delivery) -> bool:
    return await status(hub, delivery) == "succeeded"
