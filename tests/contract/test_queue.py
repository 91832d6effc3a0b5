"""What the rows say of the queue: who waits, who has which place, who has waited too long."""

from __future__ import annotations

from typing import Any

from executor.domain.execution.queue import Held, Waiting
from executor.domain.plans import Plan
from executor.domain.values import plus
from executor.ports import Organization, Store
from tests.contract.notes import ORG, START, Author

NOW, LATER = plus(START, 60), plus(START, 3600)


async def waits(author: Author, id: str, **row: Any) -> None:
    await author.run(id, is_in_queue=True, runnable_at=START, **row)


async def holds(author: Author, id: str, **row: Any) -> None:
    await author.run(id, is_holding=True, status="running", **row)


async def test_the_queues_there_are_and_how_many_run(store: Store, author: Author) -> None:
    assert await store.reads.queues() == {}
    await waits(author, "1")
    await waits(author, "2", organization_id="another")
    await holds(author, "3")
    await holds(author, "4", organization_id="a third one")
    assert await store.reads.queues() == {ORG: 1, "another": 0}


async def test_urgent_ones_are_first_and_then_the_oldest(store: Store, author: Author) -> None:
    for id, priority in (("1", 5), ("2", 9), ("3", 5), ("4", 1)):
        await waits(author, id, priority=priority)
    await author.run("5", is_in_queue=True, runnable_at=LATER)
    assert [each.id for each in await store.reads.in_queue(ORG, NOW, 10)] == ["2", "1", "3", "4"]
    assert await store.reads.in_queue(ORG, NOW, 1) == [Waiting("2", 9)]


async def test_those_whose_key_is_full_are_left_out(store: Store, author: Author) -> None:
    await waits(author, "1", concurrency_key="k", concurrency_limit=1)
    await waits(author, "2", concurrency_key="l", concurrency_limit=2)
    await holds(author, "3", concurrency_key="k", concurrency_limit=1, concurrency_slot=0)
    await holds(author, "4", concurrency_key="l", concurrency_limit=2, concurrency_slot=1)
    assert await store.reads.in_queue(ORG, NOW, 10) == [Waiting("2", 5, "l", 2)]


async def test_the_places_that_are_taken(store: Store, author: Author) -> None:
    await holds(author, "1", slot=3)
    await holds(author, "2", concurrency_key="k", concurrency_slot=0)
    await holds(author, "3")
    assert sorted(await store.reads.places(ORG), key=str) == [Held(3, None, None), Held(None, "k", 0)]


async def test_who_is_in_the_queue_is_claimed_only_when_it_is_too_late(store: Store, author: Author) -> None:
    await waits(author, "1", queue_deadline=NOW)
    await waits(author, "2", queue_deadline=LATER)
    await author.run("3", runnable_at=START)
    assert [each.id for each in await store.reads.claimable(START, 10)] == ["3"]
    assert [each.id for each in await store.reads.claimable(NOW, 10)] == ["1", "3"]
    assert await store.reads.next_runnable_at(NOW) == LATER


async def test_what_completed_executions_took(store: Store, author: Author) -> None:
    for id, seconds in (("1", 2.0), ("2", 4.5)):
        await author.run(id, status="completed", started_at=START, completed_at=plus(START, seconds))
    await author.run("3", status="failed", started_at=START, completed_at=LATER)
    assert sorted(await store.reads.recent_durations("w", 10)) == [2.0, 4.5]
    assert await store.reads.recent_durations("other", 10) == []


async def test_a_plan_is_kept(store: Store) -> None:
    organizations = store.ledgers.organizations
    one = Organization(id="O1", name="one", sealed_key="k", created_at=START, plan=Plan.FREE)
    assert (await organizations.add(one)).runs_at_once == 5
    await organizations.set_plan("O1", Plan.CUSTOM, 7)
    found = await organizations.get("O1")
    assert found is not None
    assert (found.plan, found.runs_at_once) == (Plan.CUSTOM, 7)
    await organizations.set_plan("O1", Plan.UNLIMITED, None)
    assert [each.runs_at_once for each in await organizations.all()] == [None]
