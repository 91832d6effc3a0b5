"""Deliveries that are asked for again, cancelled and counted."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from executor.domain.values import plus
from executor.ports import AttemptCount, Deliveries, DeliveryQuery, EndpointBacklog, Redelivery, Store, latency_bucket
from tests.contract.notes import ORG, START
from tests.contract.test_deliveries import add, claim, delivery, ids, settled

LATER = plus(START, 60)


@pytest.fixture
def ledger(store: Store) -> Deliveries:
    return store.ledgers.deliveries


@pytest.fixture
def again(store: Store) -> Redelivery:
    return store.ledgers.redelivery


async def status(ledger: Deliveries, id: str) -> str:
    found = await ledger.get(id)
    assert found is not None
    return found[0].status


@pytest.mark.parametrize("end", ["succeeded", "exhausted", "retrying"])
async def test_what_was_sent_is_due_at_once_with_its_attempts_forgiven(
    ledger: Deliveries, again: Redelivery, end: str
) -> None:
    await add(ledger, delivery(1))
    (sent,) = await claim(ledger)
    await ledger.settle([settled(sent, end, LATER if end == "retrying" else None)])
    assert await claim(ledger) == []
    resent = await again.resend("D001", LATER)
    assert resent is not None
    assert (resent.status, resent.attempt_count, resent.forgiven) == ("pending", 1, 1)
    assert (resent.next_attempt_at, resent.completed_at, resent.lease_until) == (LATER, None, None)
    (taken,) = await claim(ledger)
    assert (taken.id, taken.attempt_count, taken.forgiven) == ("D001", 2, 1)


async def test_what_was_cancelled_or_never_tried_is_due_too(ledger: Deliveries, again: Redelivery) -> None:
    await add(ledger, delivery(1), delivery(2))
    assert await again.cancel(["D001"], START) == 1
    for id in ("D001", "D002"):
        resent = await again.resend(id, LATER)
        assert resent is not None
        assert (resent.status, resent.forgiven, resent.completed_at) == ("pending", 0, None)
    assert ids(await claim(ledger)) == ["D001", "D002"]


async def test_what_is_being_sent_is_left_alone(ledger: Deliveries, again: Redelivery) -> None:
    await add(ledger, delivery(1))
    (sent,) = await claim(ledger)
    assert await again.resend("D001", LATER) is None
    assert await again.cancel(["D001"], LATER) == 0
    found = await ledger.get("D001")
    assert found is not None
    assert found[0] == sent
    assert await again.resend("unknown", LATER) is None


async def test_an_attempt_from_before_says_nothing_of_one_that_was_asked_for_again(
    ledger: Deliveries, again: Redelivery
) -> None:
    await add(ledger, delivery(1))
    (sent,) = await claim(ledger)
    await ledger.cancel_waiting("H", START)
    await again.resend("D001", LATER)
    await ledger.settle([settled(sent, "exhausted")])
    assert await status(ledger, "D001") == "pending"


async def test_those_that_wait_are_cancelled_of_any_number(ledger: Deliveries, again: Redelivery) -> None:
    await add(ledger, *(delivery(number) for number in range(700)))
    (sent,) = await claim(ledger, limit=1)
    await ledger.settle([settled(sent, "succeeded")])
    every = [f"D{number:03}" for number in range(700)]
    assert await again.cancel([*every, "unknown"], LATER) == 699
    assert await again.cancel(every, LATER) == 0
    assert await again.cancel([], LATER) == 0
    assert await status(ledger, sent.id) == "succeeded"
    found = await ledger.get("D699")
    assert found is not None
    assert (found[0].status, found[0].completed_at, found[0].next_attempt_at) == ("cancelled", LATER, None)
    assert await claim(ledger) == []


async def test_attempts_are_counted_from_an_hour_on_and_swept_before_it(
    ledger: Deliveries, again: Redelivery
) -> None:
    await add(ledger, *(delivery(number) for number in range(4)), delivery(9, webhook_id="G"))
    for number, sent in enumerate(await claim(ledger)):
        end = settled(sent, "succeeded" if number < 3 else "exhausted")
        at = plus(START, 3600 * number)
        await ledger.settle([structs.replace(end, attempt=structs.replace(end.attempt, started_at=at))])
    bucket = latency_bucket(12)
    assert await again.counts("H", START[:13]) == [
        AttemptCount("internal", bucket, 1),
        AttemptCount("succeeded", bucket, 3),
    ]
    assert await again.counts("H", plus(START, 7200)[:13]) == [
        AttemptCount("internal", bucket, 1),
        AttemptCount("succeeded", bucket, 1),
    ]
    assert await again.counts("G", START[:13]) == []
    assert await ledger.sweep_counts(plus(START, 7200)[:13]) == 2
    assert await ledger.sweep_counts(plus(START, 7200)[:13]) == 0
    assert [count.attempts for count in await again.counts("H", START[:13])] == [1, 1]


async def test_an_attempt_that_is_settled_again_is_counted_once(ledger: Deliveries, again: Redelivery) -> None:
    await add(ledger, delivery(1), delivery(2))
    one, other = await claim(ledger)
    await ledger.settle([settled(one, "succeeded")])
    await ledger.settle([settled(one, "succeeded"), settled(other, "succeeded")])
    assert await again.counts("H", START[:13]) == [AttemptCount("succeeded", latency_bucket(12), 2)]


async def test_what_waits_is_counted_up_to_a_bound(ledger: Deliveries, again: Redelivery) -> None:
    assert await again.backlog("H", 5) == EndpointBacklog(0, None)
    await add(ledger, *(delivery(number, created_at=plus(START, number)) for number in range(1, 5)))
    assert await again.backlog("H", 5) == EndpointBacklog(4, plus(START, 1))
    assert await again.backlog("H", 2) == EndpointBacklog(2, plus(START, 1))
    sent = await claim(ledger, limit=1)
    assert await again.backlog("H", 5) == EndpointBacklog(4, plus(START, 1)), "what is being sent has not ended"
    await ledger.settle([settled(each, "succeeded") for each in sent])
    assert await again.backlog("H", 5) == EndpointBacklog(3, plus(START, 2))


async def test_lists_take_several_of_a_kind(ledger: Deliveries, again: Redelivery) -> None:
    await add(ledger, *(delivery(number, event=f"x.{number}") for number in range(5)))
    one, two = await claim(ledger, limit=2)
    await ledger.settle([settled(one, "succeeded"), settled(two, "exhausted")])
    await again.cancel(["D004"], START)

    async def find(**more: Any) -> list[str]:
        return ids(await ledger.find(DeliveryQuery(organization_id=ORG, webhook_id="H", **more)))

    assert await find(statuses=("exhausted",)) == ["D001"]
    assert await find(statuses=("exhausted", "succeeded")) == ["D001", "D000"]
    assert await find(statuses=("pending", "cancelled"), events=("x.0", "x.3", "x.4")) == ["D004", "D003"]
    assert await find(event_id="E3") == ["D003"]
    assert await find(event_id="E3", statuses=("exhausted",)) == []
    assert await find(statuses=("exhausted",), before_id="D001") == []
    everywhere = DeliveryQuery(organization_id=ORG, statuses=("exhausted",))
    assert ids(await ledger.find(everywhere)) == ["D001"]
    assert await ledger.find(structs.replace(everywhere, organization_id="another")) == []
    assert await ledger.find(DeliveryQuery(organization_id="another", event_id="E3")) == []
