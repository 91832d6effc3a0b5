"""What the ledger of deliveries keeps of endpoints: how much each may take, at what rate, and how it has answered."""

from __future__ import annotations

import pytest
from msgspec import structs

from executor.domain.values import Instant, plus
from executor.ports import Backlog, Deliveries, Delivery, EndpointLimits, EndpointState, Store
from tests.contract.notes import START
from tests.contract.test_deliveries import LEASE, MANY, add, claim, delivery, ids, settled


@pytest.fixture
def ledger(store: Store) -> Deliveries:
    return store.ledgers.deliveries


async def test_what_is_due_over_all_endpoints(ledger: Deliveries) -> None:
    assert await ledger.backlog(START, 10) == Backlog(0, None)
    earlier, later = plus(START, -60), plus(START, 60)
    retrying = {"status": "retrying", "attempt_count": 1}
    await add(
        ledger,
        delivery(1, shard=3),
        delivery(2, next_attempt_at=earlier, **retrying),
        delivery(3, next_attempt_at=later, **retrying),
        delivery(4, status="succeeded", created_at=plus(START, -99)),
    )
    assert await ledger.backlog(START, 10) == Backlog(2, earlier)
    assert (await ledger.backlog(later, 2)).due == 2, "no more are counted"


async def test_a_claim_takes_no_more_than_it_is_given_room_for(ledger: Deliveries) -> None:
    await add(ledger, *(delivery(number) for number in range(1, 6)), delivery(6, webhook_id="G"))
    two = EndpointLimits("H", 100, False, room=2)
    none = EndpointLimits("G", 100, False, room=0)
    assert ids(await claim(ledger, two, none)) == ["D001", "D002"]
    assert ids(await claim(ledger, two)) == ["D003", "D004"]


async def test_an_endpoints_rate_is_kept_by_all_claims_together(ledger: Deliveries) -> None:
    await add(ledger, *(delivery(number) for number in range(1, 40)))
    paced = EndpointLimits("H", 100, False, rate_per_second=20)
    taken: list[str] = []
    at = START
    for _ in range(6):
        claimed = await ledger.claim(0, {"H": paced}.get, at, plus(at, 30), 100, through=1000)
        taken += ids(claimed.deliveries)
        again = await ledger.claim(0, {"H": paced}.get, at, plus(at, 30), 100, through=1000)
        assert again.deliveries == []
        assert again.again_at is not None
        at = again.again_at
    assert at == plus(START, 0.3)
    assert taken == [f"D{number:03}" for number in range(1, 8)], "two at once, then one for each twentieth"
    rested = await ledger.claim(0, {"H": paced}.get, plus(at, 60), plus(at, 90), 100, through=1000)
    assert len(rested.deliveries) == 2, "who was idle saves nothing up"
    back = await ledger.claim(0, {"H": paced}.get, plus(START, -3600), LEASE, 100, through=1000)
    assert back.again_at is not None
    assert back.again_at <= plus(START, -3599), "a clock that stepped back holds nobody up"


async def test_how_an_endpoint_has_answered(ledger: Deliveries) -> None:
    assert await ledger.state("H") is None
    await add(ledger, *(delivery(number) for number in range(1, 5)), delivery(5, webhook_id="G"))
    both = (MANY, EndpointLimits("G", 100, False))
    one, two, three, four, other = sorted(await claim(ledger, *both), key=lambda each: each.id)

    async def answers(of: Delivery, kind: str, seconds: float) -> None:
        made = settled(of, kind, plus(START, 99) if kind == "retrying" else None)
        attempt = structs.replace(made.attempt, started_at=plus(START, seconds))
        await ledger.settle([structs.replace(made, attempt=attempt)])

    def seen(**fields: Instant) -> EndpointState:
        return EndpointState(webhook_id="H", **fields)

    await answers(one, "retrying", 1)
    first = plus(START, 1)
    assert await ledger.state("H") == seen(last_failure_at=first, failing_since=first)
    await answers(two, "exhausted", 2)
    assert await ledger.state("H") == seen(last_failure_at=plus(START, 2), failing_since=first)
    assert await ledger.failing(first) == [await ledger.state("H")]
    assert await ledger.failing(START) == []
    await answers(three, "succeeded", 3)
    ok = plus(START, 3)
    assert await ledger.state("H") == seen(last_success_at=ok, last_failure_at=plus(START, 2))
    await answers(four, "retrying", 4)
    since = plus(START, 4)
    assert await ledger.state("H") == seen(last_success_at=ok, last_failure_at=since, failing_since=since)
    await answers(other, "retrying", 1)
    await ledger.forgive("H")
    assert await ledger.state("H") == seen(last_success_at=ok, last_failure_at=since)
    assert await ledger.failing(plus(START, 99)) == []
