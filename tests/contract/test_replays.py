"""The ledger of replays: how far each has come, what it wrote, and its end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from executor.domain.values import plus
from executor.ports import Deliveries, EndpointLimits, Replay, ReplayQuery, Replays, Store
from tests.contract.conftest import Opener, opened
from tests.contract.notes import ORG, START, SetClock
from tests.contract.test_deliveries import LEASE, ONE_BY_ONE, claim, delivery, ids, settled, status


@pytest.fixture
def ledger(store: Store) -> Replays:
    return store.ledgers.replays


@pytest.fixture
def deliveries(store: Store) -> Deliveries:
    return store.ledgers.deliveries


def replay(number: int = 1, **more: Any) -> Replay:
    fields: dict[str, Any] = {
        "id": f"R{number:03}",
        "organization_id": ORG,
        "webhook_id": "H",
        "first": 11,
        "last": 20,
        "position": 10,
        "created_by": "somebody",
        "created_at": START,
    }
    return Replay(**{**fields, **more})


def replayed(number: int, of: str = "R001", **more: Any) -> Any:
    return delivery(number, id=f"{of}-{number:03}", replay_id=of, **more)


async def test_what_was_added_is_there_as_it_was(ledger: Replays) -> None:
    full = replay(
        types=("a.*", "\0\U0001f600"),
        workflow_id="W",
        execution_id="X",
        status="failed",
        processed=3,
        error="gone",
        completed_at=START,
    )
    await ledger.add(full)
    await ledger.add(replay(2, webhook_id=None))
    assert await ledger.get("R001") == full
    assert await ledger.get("R002") == replay(2, webhook_id=None)
    assert await ledger.get("nobody") is None


async def test_moving_on_writes_deliveries_and_progress_together(ledger: Replays, deliveries: Deliveries) -> None:
    await ledger.add(replay())
    assert await ledger.advance("R001", 10, 13, 2, [replayed(11), replayed(13)])
    assert await ledger.get("R001") == replay(status="running", position=13, processed=2)
    assert await ledger.advance("R001", 13, 20, 0)
    assert await ledger.get("R001") == replay(status="running", position=20, processed=2)
    assert await ledger.waiting("R001") == 2
    assert await ledger.waiting("R002") == 0
    (first,) = await claim(deliveries)
    assert first == replace(
        replayed(11), status="in_flight", attempt_count=1, next_attempt_at=None, lease_until=LEASE
    )
    await deliveries.settle([settled(first, "succeeded")])
    assert await ledger.waiting("R001") == 1
    assert ids(await claim(deliveries)) == ["R001-013"]


async def test_only_who_knows_where_it_is_moves_it(ledger: Replays, deliveries: Deliveries) -> None:
    await ledger.add(replay())
    for since in (9, 11):
        assert not await ledger.advance("R001", since, 13, 1, [replayed(12)])
    assert not await ledger.advance("nobody", 10, 13, 1, [replayed(12)])
    assert await ledger.get("R001") == replay()
    assert await ledger.waiting("R001") == 0
    moves = [ledger.advance("R001", 10, 13, 1, [replayed(number)]) for number in range(11, 16)]
    assert sorted(await asyncio.gather(*moves)) == [False] * 4 + [True]
    assert await ledger.waiting("R001") == 1


async def test_a_cancelled_one_cancels_what_waits_and_moves_no_more(ledger: Replays, deliveries: Deliveries) -> None:
    await ledger.add(replay())
    await ledger.advance("R001", 10, 13, 3, [replayed(11), replayed(12), replayed(13)])
    await deliveries.add([delivery(1), replayed(1, "R002")])
    live, sent = await claim(deliveries, EndpointLimits("H", 2, False))
    assert ids([live, sent]) == ["D001", "R001-011"]
    await deliveries.settle([settled(sent, "succeeded")])
    now = plus(START, 5)
    assert await ledger.end("R001", "cancelled", now)
    assert await ledger.waiting("R001") == 0
    assert await status(deliveries, sent.id) == "succeeded"
    assert await status(deliveries, "R001-012") == "cancelled"
    assert await status(deliveries, "D001") == "in_flight"
    assert await ledger.waiting("R002") == 1
    ended = replay(status="cancelled", position=13, processed=1, completed_at=now)
    assert await ledger.get("R001") == ended
    assert not await ledger.advance("R001", 13, 14, 1, [replayed(14)])
    assert not await ledger.end("R001", "completed", plus(START, 9), "late")
    assert not await ledger.end("nobody", "completed", now)
    assert await ledger.get("R001") == ended
    assert await deliveries.get("R001-014") is None


async def test_one_that_failed_says_why(ledger: Replays) -> None:
    await ledger.add(replay())
    assert await ledger.end("R001", "failed", START, "the webhook was deleted")
    assert await ledger.get("R001") == replay(status="failed", completed_at=START, error="the webhook was deleted")


async def test_those_that_have_not_ended(ledger: Replays) -> None:
    assert await ledger.open() == []
    for number in (3, 1, 2):
        await ledger.add(replay(number))
    await ledger.end("R002", "completed", START)
    assert [one.id for one in await ledger.open()] == ["R001", "R003"]


async def test_lists_are_newest_first_of_one_organization(ledger: Replays) -> None:
    for number in range(5):
        await ledger.add(replay(number))
    await ledger.add(replay(9, organization_id="another"))
    await ledger.end("R003", "cancelled", START)

    async def find(**more: Any) -> list[str]:
        return [one.id for one in await ledger.find(ReplayQuery(organization_id=ORG, **more))]

    assert await find() == ["R004", "R003", "R002", "R001", "R000"]
    assert await find(status="cancelled") == ["R003"]
    assert await find(before_id="R003", limit=2) == ["R002", "R001"]
    assert await find(offset=3) == ["R001", "R000"]
    assert await ledger.count(ReplayQuery(organization_id=ORG, before_id="R003", limit=1, offset=2)) == 5
    assert await ledger.count(ReplayQuery(organization_id=ORG, status="pending")) == 4


async def test_what_is_replayed_goes_one_at_a_time_in_room_that_what_is_live_leaves(
    ledger: Replays, deliveries: Deliveries
) -> None:
    three = EndpointLimits("H", 3, False)
    await deliveries.add([replayed(1), replayed(2), replayed(1, "R000"), *(delivery(n) for n in range(900, 904))])
    first = await claim(deliveries, three)
    assert ids(first) == ["D900", "D901", "D902"]
    await deliveries.settle([settled(one, "succeeded") for one in first])
    assert sorted(ids(await claim(deliveries, three))) == ["D903", "R000-001"]
    assert await claim(deliveries, three) == [], "one replay after another, and of each one at a time"
    late = plus(START, 60)
    assert sorted(ids(await claim(deliveries, three, at=late, lease=plus(late, 30)))) == ["D903", "R000-001"]


async def test_a_replayed_delivery_that_failed_holds_back_those_behind_it(
    ledger: Replays, deliveries: Deliveries
) -> None:
    await deliveries.add([replayed(1), replayed(2)])
    (first,) = await claim(deliveries)
    await deliveries.settle([settled(first, "retrying", plus(START, 60))])
    assert await claim(deliveries, at=plus(START, 30)) == []
    (again,) = await claim(deliveries, at=plus(START, 60))
    assert (again.id, again.attempt_count) == ("R001-001", 2)
    await deliveries.settle([settled(again, "exhausted")])
    assert ids(await claim(deliveries, at=plus(START, 60))) == ["R001-002"]


async def test_an_ordered_endpoint_gets_what_is_live_before_what_is_replayed(
    ledger: Replays, deliveries: Deliveries
) -> None:
    await deliveries.add([replayed(1), replayed(2), replayed(1, "R000"), delivery(900), delivery(901)])
    got: list[str] = []
    while claimed := await claim(deliveries, ONE_BY_ONE):
        (one,) = claimed
        assert await claim(deliveries, ONE_BY_ONE) == []
        got.append(one.id)
        await deliveries.settle([settled(one, "succeeded")])
    assert got == ["D900", "D901", "R000-001", "R001-001", "R001-002"]


async def test_a_replay_goes_on_while_what_is_live_waits_for_its_retry_and_never_beside_it(
    deliveries: Deliveries,
) -> None:
    await deliveries.add([replayed(1), delivery(900)])
    (live,) = await claim(deliveries, ONE_BY_ONE)
    await deliveries.settle([settled(live, "retrying", plus(START, 60))])
    (again,) = await claim(deliveries, ONE_BY_ONE)
    assert again.id == "R001-001"
    assert await claim(deliveries, ONE_BY_ONE, at=plus(START, 20)) == []
    late = plus(START, 60)
    assert ids(await claim(deliveries, ONE_BY_ONE, at=late, lease=plus(late, 30))) == ["D900"]


async def test_it_is_there_after_the_store_was_closed(opener: Opener, tmp_path: Path, clock: SetClock) -> None:
    async with opened(opener, tmp_path, clock) as store:
        await store.ledgers.replays.add(replay())
        await store.ledgers.replays.advance("R001", 10, 12, 1, [replayed(11)])
    async with opened(opener, tmp_path, clock) as store:
        assert await store.ledgers.replays.open() == [replay(status="running", position=12, processed=1)]
        assert await store.ledgers.replays.waiting("R001") == 1
        found = await store.ledgers.deliveries.get("R001-011")
        assert found is not None
        assert replace(found[0], body=None) == replayed(11)
