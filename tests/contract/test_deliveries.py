"""The ledger of deliveries: who may send what, how much at once, in which order, and what came of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from executor.domain.values import Instant, plus
from executor.ports import (
    Attempt,
    CheckpointMoved,
    Claimed,
    Deliveries,
    Delivery,
    DeliveryQuery,
    EndpointLimits,
    Settled,
    Store,
)
from tests.contract.conftest import Opener, opened
from tests.contract.notes import ORG, START, SetClock

LEASE = plus(START, 30)
MANY = EndpointLimits("H", 100, False)
ONE_BY_ONE = EndpointLimits("H", 100, True)


@pytest.fixture
def ledger(store: Store) -> Deliveries:
    return store.ledgers.deliveries


def delivery(number: int, **more: Any) -> Delivery:
    fields: dict[str, Any] = {
        "id": f"D{number:03}",
        "organization_id": ORG,
        "webhook_id": "H",
        "shard": 0,
        "event_id": f"E{number}",
        "event": "note.written",
        "position": number,
        "next_attempt_at": START,
        "created_at": START,
    }
    return Delivery(**{**fields, **more})


def settled(of: Delivery, status: str, next_attempt_at: Instant | None = None) -> Settled:
    attempt = Attempt(
        delivery_id=of.id,
        attempt=of.attempt_count,
        started_at=START,
        duration_ms=12,
        status_code=None if status == "retrying" else 200,
        error="refused" if status == "retrying" else None,
        response_body="a\0b",
    )
    ended = None if status == "retrying" else plus(START, 1)
    return Settled(
        webhook_id=of.webhook_id,
        attempt=attempt,
        status=status,
        next_attempt_at=next_attempt_at,
        completed_at=ended,
    )


async def add(ledger: Deliveries, *deliveries: Delivery) -> None:
    since = await ledger.checkpoint("fan-out")
    position = max((one.position or 0 for one in deliveries), default=0)
    await ledger.fan_out("fan-out", since, position, deliveries)


async def claim(
    ledger: Deliveries,
    *limits: EndpointLimits,
    at: Instant = START,
    lease: Instant = LEASE,
    limit: int = 100,
    shard: int = 0,
    through: int = 1000,
) -> list[Delivery]:
    of = {wanted.webhook_id: wanted for wanted in limits or (MANY,)}
    return (await ledger.claim(shard, of.get, at, lease, limit, through=through)).deliveries


def ids(deliveries: list[Delivery]) -> list[str]:
    return [one.id for one in deliveries]


async def status(ledger: Deliveries, id: str) -> str:
    found = await ledger.get(id)
    assert found is not None
    return found[0].status


async def test_deliveries_and_checkpoint_are_written_together(ledger: Deliveries) -> None:
    assert await ledger.checkpoint("fan-out") == 0
    body = b'{"x": "\\u0000"}\0\xff'
    both = (delivery(1), delivery(2, position=None, body=body, status="retrying", attempt_count=2))
    await ledger.fan_out("fan-out", 0, 17, both)
    assert await ledger.checkpoint("fan-out") == 17
    assert await ledger.checkpoint("another") == 0
    for one in both:
        assert await ledger.get(one.id) == (one, [])
    assert await ledger.get("nobody") is None
    await ledger.fan_out("fan-out", 17, 18, ())
    assert await ledger.checkpoint("fan-out") == 18


async def test_a_checkpoint_that_another_has_moved_is_left_alone(ledger: Deliveries) -> None:
    await ledger.fan_out("fan-out", 0, 17, [delivery(1)])
    for since in (0, 16, 18):
        with pytest.raises(CheckpointMoved):
            await ledger.fan_out("fan-out", since, 20, [delivery(2)])
    assert await ledger.checkpoint("fan-out") == 17
    assert await ledger.get(delivery(2).id) is None


async def test_of_many_who_move_a_checkpoint_one_does(ledger: Deliveries) -> None:
    moves = [ledger.fan_out("fan-out", 0, 17, [delivery(number)]) for number in range(10)]
    done = await asyncio.gather(*moves, return_exceptions=True)
    assert done.count(None) == 1
    assert sum(isinstance(one, CheckpointMoved) for one in done) == 9
    there = [await ledger.get(delivery(number).id) for number in range(10)]
    assert there.count(None) == 9


async def test_what_is_there_already_is_left_alone(ledger: Deliveries) -> None:
    await add(ledger, delivery(1))
    (sent,) = await claim(ledger)
    await ledger.settle([settled(sent, "succeeded")])
    await add(ledger, delivery(1), delivery(2))
    await ledger.add([delivery(2, event="other"), delivery(3)])
    assert await status(ledger, "D001") == "succeeded"
    assert ids(await claim(ledger)) == ["D002", "D003"]
    assert await ledger.checkpoint("fan-out") == 2


async def test_a_claim_takes_what_is_due_oldest_first(ledger: Deliveries) -> None:
    await add(ledger, delivery(3), delivery(1), delivery(2, status="retrying", next_attempt_at=plus(START, 1)))
    claimed = await claim(ledger)
    assert ids(claimed) == ["D001", "D003"]
    assert {(one.status, one.attempt_count, one.lease_until) for one in claimed} == {("in_flight", 1, LEASE)}
    assert await ledger.get("D001") == (claimed[0], [])
    assert await claim(ledger) == []
    assert ids(await claim(ledger, at=plus(START, 1))) == ["D002"]


async def test_a_claim_takes_only_its_shard_its_endpoints_and_its_limit(ledger: Deliveries) -> None:
    await add(ledger, delivery(1), delivery(2), delivery(3, shard=1), delivery(4, webhook_id="other"))
    assert ids(await claim(ledger, limit=1)) == ["D001"]
    assert ids(await claim(ledger)) == ["D002"]
    assert await ledger.claim(0, {}.get, START, LEASE, 10, through=1000) == Claimed([])
    assert ids(await claim(ledger, shard=1)) == ["D003"]
    assert await claim(ledger, EndpointLimits("nobody", 1, False)) == []


async def test_no_more_than_max_in_flight_are_under_way(ledger: Deliveries) -> None:
    three = EndpointLimits("H", 3, False)
    await add(ledger, *(delivery(number) for number in range(10)))
    claims = await asyncio.gather(*(claim(ledger, three) for _ in range(5)))
    assert sorted(map(len, claims)) == [0, 0, 0, 0, 3]
    first = next(filter(None, claims))
    await ledger.settle([settled(first[0], "succeeded"), settled(first[1], "retrying", plus(START, 60))])
    assert ids(await claim(ledger, three)) == ["D003", "D004"]


async def test_a_claim_over_several_endpoints_is_fair_by_age(ledger: Deliveries) -> None:
    both = (EndpointLimits("H", 2, False), EndpointLimits("G", 5, False))
    await add(ledger, *(delivery(number, webhook_id="HG"[number % 2]) for number in range(8)))
    assert ids(await claim(ledger, *both, limit=3)) == ["D000", "D001", "D002"]
    assert ids(await claim(ledger, *both)) == ["D003", "D005", "D007"]


async def test_who_has_much_waiting_holds_up_nobody(ledger: Deliveries) -> None:
    both = (EndpointLimits("H", 100, False), EndpointLimits("G", 100, False))
    await add(ledger, *(delivery(number) for number in range(50)), *(delivery(n, webhook_id="G") for n in (90, 91)))
    assert ids(await claim(ledger, *both, limit=5)) == ["D000", "D090", "D001", "D091", "D002"]


async def test_of_more_endpoints_than_a_claim_may_take_all_have_their_turn(ledger: Deliveries) -> None:
    names = [f"H{number}" for number in range(5)]
    await add(ledger, *(delivery(10 * n + m, webhook_id=name) for n, name in enumerate(names) for m in range(3)))
    limits = [EndpointLimits(name, 100, False) for name in names]
    served = [one.webhook_id for _ in range(5) for one in await claim(ledger, *limits, limit=2)]
    assert sorted(served[:4]) == ["H0", "H1", "H2", "H3"]
    assert sorted(served) == sorted(names * 2)


async def test_a_retry_has_its_turn_before_what_came_after_it(ledger: Deliveries) -> None:
    late = plus(START, 5)
    await add(
        ledger,
        delivery(1, status="retrying", attempt_count=1, next_attempt_at=plus(START, 3)),
        delivery(2),
        *(delivery(number, next_attempt_at=late, created_at=late) for number in range(3, 9)),
    )
    one_at_a_time = EndpointLimits("H", 100, False, None, 1)
    taken = [ids(await claim(ledger, one_at_a_time, at=plus(START, 9))) for _ in range(3)]
    assert taken == [["D002"], ["D001"], ["D003"]]


async def test_an_ordered_endpoint_has_only_its_oldest_under_way(ledger: Deliveries) -> None:
    await add(ledger, delivery(2), delivery(1), delivery(3))
    (first,) = await claim(ledger, ONE_BY_ONE)
    assert first.id == "D001"
    assert await claim(ledger, ONE_BY_ONE) == []
    await ledger.settle([settled(first, "retrying", plus(START, 60))])
    assert await claim(ledger, ONE_BY_ONE) == []
    (again,) = await claim(ledger, ONE_BY_ONE, at=plus(START, 60))
    assert (again.id, again.attempt_count) == ("D001", 2)
    await ledger.settle([settled(again, "exhausted")])
    assert ids(await claim(ledger, ONE_BY_ONE, at=plus(START, 60))) == ["D002"]


async def test_what_a_dead_worker_held_is_due_when_its_lease_runs_out(ledger: Deliveries) -> None:
    await add(ledger, delivery(1))
    await claim(ledger)
    assert await claim(ledger, at=plus(START, 29)) == []
    assert await ledger.next_due(0) == LEASE
    (again,) = await claim(ledger, at=LEASE, lease=plus(LEASE, 30))
    assert (again.id, again.attempt_count, again.lease_until) == ("D001", 2, plus(LEASE, 30))


async def test_what_happened_after_the_limits_were_known_waits_for_newer_ones(ledger: Deliveries) -> None:
    await add(ledger, delivery(1), delivery(2), delivery(3), delivery(4, webhook_id="G"))
    await ledger.add([delivery(0, position=None, body=b"{}")])
    both = (MANY, EndpointLimits("G", 100, True))
    assert ids(await claim(ledger, *both, through=2)) == ["D000", "D001", "D002"]
    assert await claim(ledger, *both, through=2) == []
    assert ids(await claim(ledger, *both, through=4)) == ["D003", "D004"]


async def test_of_an_ordered_endpoint_nothing_passes_what_waits_for_newer_limits(ledger: Deliveries) -> None:
    await add(ledger, delivery(7))
    await ledger.add([delivery(3)])
    assert await claim(ledger, ONE_BY_ONE, through=2) == []
    (first,) = await claim(ledger, ONE_BY_ONE, through=3)
    await ledger.settle([settled(first, "succeeded")])
    assert await claim(ledger, ONE_BY_ONE, through=6) == []
    assert ids(await claim(ledger, ONE_BY_ONE, through=7)) == ["D007"]


async def test_a_lease_is_prolonged_for_who_holds_it(ledger: Deliveries) -> None:
    await add(ledger, delivery(1), delivery(2), delivery(3))
    first, second, third = await claim(ledger)
    await ledger.settle([settled(second, "succeeded")])
    later = plus(START, 45)
    await ledger.renew([first, second], later)
    assert await status(ledger, second.id) == "succeeded"
    assert ids(await claim(ledger, at=LEASE, lease=plus(LEASE, 30))) == [third.id]
    found = await ledger.get(first.id)
    assert found is not None
    assert (found[0].status, found[0].lease_until, found[0].attempt_count) == ("in_flight", later, 1)
    assert await ledger.next_due(0) == later
    assert ids(await claim(ledger, at=later)) == [first.id]
    await ledger.renew([], later)


async def test_who_lost_a_lease_neither_prolongs_it_nor_gives_it_back(ledger: Deliveries) -> None:
    await add(ledger, delivery(1))
    (lost,) = await claim(ledger)
    (held,) = await claim(ledger, at=LEASE, lease=plus(LEASE, 30))
    await ledger.renew([lost], plus(LEASE, 3600))
    await ledger.release([lost], LEASE)
    assert await ledger.get("D001") == (held, [])
    await ledger.settle([settled(held, "succeeded")])
    assert await status(ledger, "D001") == "succeeded"


async def test_a_lease_that_ran_out_frees_its_place(ledger: Deliveries) -> None:
    one = EndpointLimits("H", 1, False)
    await add(ledger, delivery(1), delivery(2))
    assert ids(await claim(ledger, one)) == ["D001"]
    assert await claim(ledger, one) == []
    assert len(await claim(ledger, one, at=LEASE, lease=plus(LEASE, 30))) == 1


async def test_settling_writes_the_attempts_and_what_they_made(ledger: Deliveries) -> None:
    await add(ledger, delivery(1), delivery(2))
    first, second = await claim(ledger)
    works = [settled(first, "succeeded"), settled(second, "retrying", plus(START, 60))]
    await ledger.settle(works)
    found = await ledger.get("D001")
    assert found is not None
    assert found[1] == [works[0].attempt]
    assert (found[0].status, found[0].completed_at, found[0].lease_until) == ("succeeded", plus(START, 1), None)
    found = await ledger.get("D002")
    assert found is not None
    assert (found[0].status, found[0].next_attempt_at, found[0].completed_at) == ("retrying", plus(START, 60), None)
    (again,) = await claim(ledger, at=plus(START, 60))
    await ledger.settle([settled(again, "exhausted")])
    attempts = await ledger.attempts(["D001", "D002", "D003"])
    assert {id: [one.attempt for one in of] for id, of in attempts.items()} == {"D001": [1], "D002": [1, 2]}
    assert await ledger.attempts([]) == {}
    await ledger.settle([])


async def test_a_stale_attempt_is_kept_but_decides_nothing(ledger: Deliveries) -> None:
    await add(ledger, delivery(1))
    (stale,) = await claim(ledger)
    (fresh,) = await claim(ledger, at=LEASE, lease=plus(LEASE, 30))
    await ledger.settle([settled(stale, "exhausted")])
    assert await status(ledger, "D001") == "in_flight"
    await ledger.settle([settled(fresh, "succeeded")])
    await ledger.settle([settled(fresh, "exhausted")])
    assert await status(ledger, "D001") == "succeeded"
    assert [one.attempt for one in (await ledger.attempts(["D001"]))["D001"]] == [1, 2]


@pytest.mark.parametrize(
    ("result", "after"), [("succeeded", "succeeded"), ("exhausted", "exhausted"), ("retrying", "cancelled")]
)
async def test_an_end_wins_over_a_cancellation_and_a_retry_does_not(
    ledger: Deliveries, result: str, after: str
) -> None:
    await add(ledger, delivery(1))
    (sent,) = await claim(ledger)
    assert await ledger.cancel_waiting("H", START) == 1
    await ledger.settle([settled(sent, result, plus(START, 60) if result == "retrying" else None)])
    assert await status(ledger, "D001") == after
    assert await claim(ledger, at=plus(START, 3600)) == []
    assert await ledger.next_due(0) is None


async def test_cancelling_what_an_event_ended_leaves_alone_what_came_after_it_and_replays(ledger: Deliveries) -> None:
    test = {"position": None, "body": b"{}"}
    await add(
        ledger,
        *(delivery(number) for number in range(4)),
        delivery(4, replay_id="R"),
        delivery(5, **test),
        delivery(6, **test, created_at=plus(START, 9)),
    )
    assert await ledger.cancel_waiting("H", plus(START, 9), (delivery(1).position or 0, plus(START, 5))) == 3
    ended = {number for number in range(7) if await status(ledger, f"D{number:03}") == "cancelled"}
    assert ended == {0, 1, 5}


async def test_cancelling_ends_what_has_not_ended(ledger: Deliveries) -> None:
    await add(ledger, *(delivery(number) for number in range(3)), delivery(3, webhook_id="other"))
    (sent,) = await claim(ledger, limit=1)
    await ledger.settle([settled(sent, "succeeded")])
    await claim(ledger, limit=1)
    assert await ledger.cancel_waiting("H", plus(START, 9)) == 2
    assert await ledger.cancel_waiting("H", START) == 0
    assert await status(ledger, sent.id) == "succeeded"
    found = await ledger.get("D002")
    assert found is not None
    assert (found[0].status, found[0].completed_at) == ("cancelled", plus(START, 9))
    assert await status(ledger, "D003") == "pending"


async def test_of_many_that_are_cancelled_none_is_left(ledger: Deliveries) -> None:
    """More than are cancelled in one transaction."""
    await add(ledger, *(delivery(number, id=f"D{number:05}") for number in range(1, 2201)))
    assert await ledger.cancel_waiting("H", START, (2100, START)) == 2100
    assert len(await claim(ledger, limit=200, through=3000)) == 100


async def test_what_is_dropped_is_cancelled_and_nothing_else_is(ledger: Deliveries) -> None:
    await add(ledger, *(delivery(number) for number in range(1, 4)))
    first, second = await claim(ledger, limit=2)
    await ledger.drop([first, structs.replace(second, attempt_count=7)], plus(START, 1))
    assert [await status(ledger, id) for id in ("D001", "D002", "D003")] == ["cancelled", "in_flight", "pending"]


async def test_what_is_given_back_is_due_again_and_not_counted(ledger: Deliveries) -> None:
    await add(ledger, delivery(1), delivery(2))
    first, second = await claim(ledger)
    await ledger.settle([settled(second, "succeeded")])
    await ledger.release([first, second, delivery(7)], plus(START, 5))
    found = await ledger.get("D001")
    assert found is not None
    assert (found[0].status, found[0].attempt_count, found[0].next_attempt_at) == ("pending", 0, plus(START, 5))
    assert await status(ledger, "D002") == "succeeded"
    (again,) = await claim(ledger, at=plus(START, 5))
    assert (again.id, again.attempt_count) == ("D001", 1)
    await ledger.release([], START)


async def test_what_a_dead_process_was_sending_is_due_at_once_and_counted(ledger: Deliveries) -> None:
    await add(ledger, delivery(1), delivery(2), delivery(3))
    await claim(ledger, limit=2)
    now = plus(START, 1)
    assert await ledger.release_all(now) == 2
    again = await claim(ledger, EndpointLimits("H", 2, False), at=now)
    assert [(one.id, one.attempt_count) for one in again] == [("D003", 1), ("D001", 2)]


async def test_when_a_shard_is_due(ledger: Deliveries) -> None:
    """What was never tried is due whatever the clock says."""
    assert await ledger.next_due(0) is None
    later = plus(START, 60)
    tried = {"status": "retrying", "attempt_count": 1}
    await add(ledger, delivery(1, shard=3), delivery(2, shard=7, next_attempt_at=later, **tried))
    assert [await ledger.next_due(shard) for shard in (0, 3, 7)] == [None, "", later]
    long_ago = plus(START, -3600)
    assert ids(await claim(ledger, shard=3, at=long_ago)) == ["D001"]
    assert await ledger.next_due(3) == LEASE
    assert await claim(ledger, shard=7) == []
    assert ids(await claim(ledger, shard=7, at=later)) == ["D002"]


async def test_a_lease_beyond_all_leases_is_a_clock_that_stepped_back(ledger: Deliveries) -> None:
    await add(ledger, delivery(1), delivery(2))
    await claim(ledger, limit=1)
    await claim(ledger, limit=1, lease=plus(START, 3600))
    assert await ledger.release_stray(START, LEASE) == 1
    assert [(one.id, one.attempt_count) for one in await claim(ledger)] == [("D002", 2)]


async def test_lists_are_newest_first_and_filtered(ledger: Deliveries) -> None:
    for number in range(6):
        more = {"webhook_id": "G"} if number == 1 else {"event": "x.y"} if number == 2 else {}
        await add(ledger, delivery(number, created_at=plus(START, number), **more))
    await add(ledger, delivery(9, organization_id="another"))
    (sent,) = await claim(ledger, limit=1)
    await ledger.settle([settled(sent, "succeeded")])

    async def find(**more: Any) -> list[str]:
        return ids(await ledger.find(DeliveryQuery(organization_id=ORG, **more)))

    assert await find() == ["D005", "D004", "D003", "D002", "D001", "D000"]
    assert await find(webhook_id="G") == ["D001"]
    assert await find(webhook_id="H", statuses=("succeeded",)) == [sent.id]
    assert await find(events=("x.y",)) == ["D002"]
    assert await find(start_time=plus(START, 2), end_time=plus(START, 4)) == ["D003", "D002"]
    assert await find(before_id="D003", limit=2) == ["D002", "D001"]
    assert await find(limit=2, offset=1) == ["D004", "D003"]
    assert ids(await ledger.find(DeliveryQuery(organization_id="another", webhook_id="H"))) == ["D009"]


async def test_deliveries_outlive_a_restart(opener: Opener, tmp_path: Path, clock: SetClock) -> None:
    async with opened(opener, tmp_path, clock) as store:
        await add(store.ledgers.deliveries, *(delivery(number) for number in range(300)))
    async with opened(opener, tmp_path, clock) as store:
        assert await store.ledgers.deliveries.checkpoint("fan-out") == 299
        assert len(await claim(store.ledgers.deliveries, EndpointLimits("H", 1000, False), limit=1000)) == 300
