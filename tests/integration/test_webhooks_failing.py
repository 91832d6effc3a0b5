"""An endpoint that has failed for days is switched off, and says how to come back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from executor.domain.events.webhook import WebhookDisabled
from executor.domain.values import Instant, plus
from executor.ports import Attempt, EndpointState, Settled
from tests.integration.receiving import World, world
from webhooks.commands import Caller
from webhooks.directory import Directory
from webhooks.endpoint import State
from webhooks.sweep import Sweep, has_failed_for_days

DAY = 86_400.0
START = Instant("2026-01-31T12:00:00.000Z")


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


@pytest.mark.parametrize(
    ("last", "disabled"), [(4.9, False), (5.0, True), (30.0, True)], ids=["under five days", "five days", "more"]
)
def test_only_failures_over_five_days_count(last: float, disabled: bool) -> None:
    state = EndpointState(webhook_id="H", failing_since=START, last_failure_at=plus(START, last * DAY))
    assert has_failed_for_days(state) is disabled
    assert not has_failed_for_days(EndpointState(webhook_id="H", last_failure_at=START))


async def failed(hub: World, state: State, *at: Instant, status: str = "retrying") -> None:
    """Attempts that failed at these times, as a worker settles them."""
    for number, moment in enumerate(at, 1):
        attempt = Attempt(
            delivery_id=f"D{moment}",
            attempt=number,
            started_at=moment,
            duration_ms=1,
            status_code=500,
            error=None,
            response_body=None,
        )
        await hub.store.ledgers.deliveries.settle(
            [Settled(webhook_id=state.id, attempt=attempt, status=status, next_attempt_at=None, completed_at=None)]
        )


def sweep(hub: World) -> Sweep:
    directory = Directory(hub.store.log, hub.store.reads)
    return Sweep(hub.store.log, hub.store.ledgers.deliveries, directory, hub.clock, 5.0)


async def reasons(hub: World, acme: Caller, id: str) -> tuple[bool, str | None]:
    state = await hub.webhooks.commands.get(acme, id)
    return state.is_active, state.disabled_reason


async def test_five_days_of_failures_switch_it_off_once(hub: World) -> None:
    acme = await hub.organization("acme")
    bad = (await hub.register(acme, "http://127.0.0.1:2/")).state
    good = (await hub.register(acme, "http://127.0.0.1:2/")).state
    now = hub.clock.now()
    since = plus(now, -5 * DAY - 60)
    await failed(hub, bad, since, plus(now, -3 * DAY), now)
    await failed(hub, good, since)
    await failed(hub, good, now, status="succeeded")
    await sweep(hub).once()
    assert await reasons(hub, acme, good.id) == (True, None)
    active, reason = await reasons(hub, acme, bad.id)
    assert not active
    assert reason is not None
    assert since in reason
    assert f"/api/v1/webhooks/{bad.id}/enable" in reason
    assert f"/api/v1/webhooks/{bad.id}/recover" in reason
    head = hub.store.log.head
    recorded = await hub.store.log.at(head)
    assert recorded is not None
    assert recorded.type == WebhookDisabled.type
    assert recorded.metadata.actor == "system"
    await hub.webhooks.commands.enable(acme, bad.id)
    await sweep(hub).once()
    assert await reasons(hub, acme, bad.id) == (True, None), "it begins anew"


async def test_one_that_was_tried_once_and_never_again_stays_on(hub: World) -> None:
    acme = await hub.organization("acme")
    state = (await hub.register(acme, "http://127.0.0.1:2/")).state
    await failed(hub, state, plus(hub.clock.now(), -30 * DAY))
    await sweep(hub).once()
    assert await reasons(hub, acme, state.id) == (True, None)


async def test_one_that_was_deleted_meanwhile_is_left_alone(hub: World) -> None:
    acme = await hub.organization("acme")
    state = (await hub.register(acme, "http://127.0.0.1:2/")).state
    now = hub.clock.now()
    await failed(hub, state, plus(now, -6 * DAY), now)
    await hub.webhooks.commands.delete(acme, state.id)
    head = hub.store.log.head
    await sweep(hub).once()
    assert hub.store.log.head == head
    known = await hub.store.ledgers.deliveries.state(state.id)
    assert known is not None
    assert known.failing_since is None
