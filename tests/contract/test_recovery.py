"""Jobs that make due again what was given up, cancelled, or never written."""

from __future__ import annotations

import pytest

from executor.domain.values import plus
from executor.ports import Deliveries, DeliveryQuery, Redelivery, Replays, Store
from tests.contract.notes import ORG, START
from tests.contract.test_deliveries import add, claim, delivery, ids, settled
from tests.contract.test_replays import replay

LATER = plus(START, 60)


@pytest.fixture
def ledger(store: Store) -> Replays:
    return store.ledgers.replays


@pytest.fixture
def deliveries(store: Store) -> Deliveries:
    return store.ledgers.deliveries


@pytest.fixture
def again(store: Store) -> Redelivery:
    return store.ledgers.redelivery


@pytest.mark.parametrize("kind", ["failed", "undelivered"])
async def test_a_recovery_is_kept_with_its_kind(ledger: Replays, kind: str) -> None:
    await ledger.add(replay(kind=kind))
    await ledger.add(replay(2))
    assert [each.kind for each in await ledger.open()] == [kind, "replay"]


async def test_what_has_not_arrived_is_due_and_what_has_or_waits_is_left_alone(
    ledger: Replays, deliveries: Deliveries, again: Redelivery
) -> None:
    await ledger.add(replay(kind="undelivered"))
    await add(deliveries, *(delivery(number) for number in range(11, 16)))
    arrived, given_up, under_way = await claim(deliveries, limit=3)
    await deliveries.settle([settled(arrived, "succeeded"), settled(given_up, "exhausted")])
    await again.cancel(["D014"], START)
    wanted = [delivery(number, next_attempt_at=LATER) for number in range(11, 17)]
    assert await ledger.recover("R001", 10, 16, wanted) == 3
    found = {one.id: one for one in await deliveries.find(DeliveryQuery(organization_id=ORG))}
    assert [found[id].status for id in sorted(found)] == [
        *("succeeded", "pending", "in_flight", "pending", "pending", "pending"),
    ]
    assert found["D013"] == under_way
    made_due = found["D012"]
    assert (made_due.attempt_count, made_due.forgiven, made_due.next_attempt_at) == (1, 1, LATER)
    assert (made_due.completed_at, made_due.created_at) == (None, START)
    assert ids(await claim(deliveries)) == ["D012", "D014", "D015", "D016"]
    job = await ledger.get("R001")
    assert job is not None
    assert (job.status, job.position, job.processed) == ("running", 16, 3)


async def test_a_step_that_is_not_its_turn_s_writes_nothing(ledger: Replays, deliveries: Deliveries) -> None:
    await ledger.add(replay(kind="undelivered"))
    assert await ledger.recover("R001", 11, 16, [delivery(11)]) == 0
    assert await ledger.recover("R001", 10, 12, []) == 0
    assert await ledger.recover("R001", 12, 12, [delivery(11)]) == 1, "a step may stay where it is"
    await ledger.end("R001", "cancelled", START)
    assert await ledger.recover("R001", 12, 16, [delivery(12)]) == 0
    assert await deliveries.get("D012") is None
    found = await deliveries.get("D011")
    assert found is not None
    assert found[0].status == "pending", "what was made due is live, and no job's"
