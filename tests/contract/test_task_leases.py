"""The ledger of task leases: who has which external task, until when, and that nobody else has it."""

from __future__ import annotations

import asyncio
from typing import Any

from executor.domain.task.decide import Opening, Origin, decide_claim, decide_complete, decide_create
from executor.domain.task.state import TaskKind, initial
from executor.ports import Store, TaskLease, TaskLeases
from tests.contract.notes import ORG, START, Author

TYPE = "render \ue000"


async def task(author: Author, id: str, type: str = TYPE, priority: int = 5, **more: Any) -> None:
    opening = Opening(kind=TaskKind.EXTERNAL, title=id, task_type=type, priority=priority)
    origin = Origin("W", "report", "X", "c", "", 1, 5)
    created = decide_create(initial(), opening, origin, START)
    await author.write(f"task:{id}", *created, **more)


async def claim(leases: TaskLeases, limit: int = 10, *types: str, lease: str = "L", seconds: float = 60) -> list[str]:
    return sorted(await leases.claim(ORG, types or (TYPE,), "worker", lease, seconds, limit))


async def test_urgent_ones_go_first_then_the_oldest(store: Store, author: Author) -> None:
    leases = store.ledgers.task_leases
    for id, priority in (("A", 5), ("B", 9), ("C", 5), ("D", 1)):
        await task(author, id, priority=priority)
        author.clock.move(1)
    await task(author, "E", "other", 10)
    assert await claim(leases, 2) == ["A", "B"]
    assert await claim(leases, 1) == ["C"]
    assert await claim(leases, 10, TYPE, "other", TYPE) == ["D", "E"]
    assert await claim(leases) == []


async def test_one_organization_never_gets_anothers(store: Store, author: Author) -> None:
    await task(author, "A", organization_id="another")
    assert await claim(store.ledgers.task_leases) == []


async def test_what_does_not_wait_for_a_worker_is_not_to_be_had(store: Store, author: Author) -> None:
    leases = store.ledgers.task_leases
    await task(author, "A")
    state, _ = await store.log.load("task:A")
    await author.write("task:A", *decide_claim(state, "somebody", "L0", 60))
    assert await claim(leases) == []
    state, _ = await store.log.load("task:A")
    await author.write("task:A", *decide_complete(state, None, None, None, "me", START))
    assert await claim(leases) == []


async def test_of_many_claims_at_once_none_gets_what_another_has(store: Store, author: Author) -> None:
    for number in range(20):
        await task(author, f"{number:02}")
    leases = store.ledgers.task_leases
    found = await asyncio.gather(*(claim(leases, 3, lease=f"L{number}") for number in range(10)))
    ids = [id for each in found for id in each]
    assert (len(ids), len(set(ids))) == (20, 20)


async def test_a_lease_is_its_holders_until_it_runs_out_or_is_dropped(store: Store, author: Author) -> None:
    leases = store.ledgers.task_leases
    await task(author, "A")
    assert await leases.take(TaskLease("A", "w", "L1"), 60)
    assert not await leases.take(TaskLease("A", "w", "L2"), 60)
    assert await claim(leases) == []
    assert await leases.renew("A", "w", 60)
    assert not await leases.renew("A", "x", 60)
    assert await leases.expired(10) == []
    await leases.drop("A", "L2")
    assert await claim(leases) == []
    await leases.drop("A", "L1")
    assert not await leases.renew("A", "w", 60)
    assert await claim(leases) == ["A"]


async def test_a_lease_that_ran_out_is_found_and_cannot_be_renewed(store: Store, author: Author) -> None:
    leases = store.ledgers.task_leases
    await task(author, "A")
    assert await leases.take(TaskLease("A", "w", "L1"), 0)
    assert await leases.expired(10) == [TaskLease("A", "w", "L1")]
    assert not await leases.renew("A", "w", 60)
    assert await claim(leases, lease="L2") == ["A"]
    assert await leases.expired(10) == []


async def test_what_a_worker_has_without_a_lease_is_found(store: Store, author: Author) -> None:
    leases = store.ledgers.task_leases
    await task(author, "A")
    await task(author, "B")
    assert await leases.orphans(10) == []
    state, _ = await store.log.load("task:A")
    await author.write("task:A", *decide_claim(state, "w", "L", 60))
    assert await leases.orphans(10) == [("A", 2)]
    await leases.take(TaskLease("A", "w", "L"), 60)
    assert await leases.orphans(10) == []
