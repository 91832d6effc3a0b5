"""The small ledgers: organizations and key use; and that ledger writes and appends do not harm each other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path

import pytest

from executor.domain.errors import Unavailable
from executor.domain.values import plus
from executor.ports import Organization, Store
from tests.contract.conftest import Opener, opened
from tests.contract.notes import START, Author, NoteCursed, SetClock


def organization(id: str, name: str) -> Organization:
    return Organization(id=id, name=name, sealed_key=f"sealed {id}", created_at=START)


async def test_an_organization_is_kept(store: Store) -> None:
    one = organization("O1", "Ärzte \0 & Co")
    assert await store.ledgers.organizations.add(one) == one
    assert await store.ledgers.organizations.get("O1") == one
    assert await store.ledgers.organizations.by_name(one.name) == one
    assert await store.ledgers.organizations.get("O2") is None
    assert await store.ledgers.organizations.by_name("Ärzte ") is None


async def test_of_organizations_of_one_name_the_first_stays(store: Store) -> None:
    organizations = store.ledgers.organizations
    kept = await asyncio.gather(*(organizations.add(organization(f"O{number}", "one")) for number in range(10)))
    assert len(set(kept)) == 1
    assert await organizations.by_name("one") == kept[0]


async def test_key_use_keeps_the_latest(store: Store) -> None:
    use = store.ledgers.key_use
    await use.touch({"a": START, "b": plus(START, 5)})
    await use.touch({"a": plus(START, 9), "b": START})
    assert await use.last_used(["a", "b", "c"]) == {"a": plus(START, 9), "b": plus(START, 5)}
    await use.touch({})
    assert await use.last_used([]) == {}


async def test_many_keys_at_once(store: Store) -> None:
    used = {f"{number}": plus(START, number) for number in range(1000)}
    await store.ledgers.key_use.touch(used)
    assert await store.ledgers.key_use.last_used(list(used)) == used


async def test_a_lease_is_one_holders_until_it_runs_out(store: Store) -> None:
    leases = store.ledgers.leases
    assert await leases.take("fan-out", "A", 60)
    assert await leases.take("fan-out", "A", 60)
    assert not await leases.take("fan-out", "B", 60)
    assert await leases.take("another", "B", 60)
    assert await leases.take("fan-out", "A", 0)
    assert await leases.take("fan-out", "B", 60)
    assert not await leases.take("fan-out", "A", 60)


async def test_a_lease_that_was_dropped_is_free(store: Store) -> None:
    leases = store.ledgers.leases
    assert await leases.take("fan-out", "A", 60)
    await leases.drop("fan-out", "B")
    assert not await leases.take("fan-out", "B", 60)
    await leases.drop("fan-out", "A")
    assert await leases.take("fan-out", "B", 60)


async def test_of_many_who_take_a_lease_one_has_it(store: Store) -> None:
    taken = await asyncio.gather(*(store.ledgers.leases.take("fan-out", f"{n}", 60) for n in range(10)))
    assert taken.count(True) == 1


async def test_one_at_a_time_is_inside(store: Store) -> None:
    inside: list[int] = []

    async def enter(number: int) -> None:
        async with store.exclusively("first start"):
            inside.append(number)
            assert len(inside) == 1
            await asyncio.sleep(0)
            inside.remove(number)

    await asyncio.gather(*(enter(number) for number in range(10)))


async def test_ledger_writes_and_appends_share_batches_without_harm(store: Store, author: Author) -> None:
    engines, organizations = store.ledgers.engines, store.ledgers.organizations
    await organizations.add(organization("O", "one"))
    works: list[Awaitable[object]] = []
    for number in range(60):
        works.append(author.write(f"{number}", NoteCursed(how="value") if number == 7 else "x"))
        works.append(engines.beat(f"E{number}", 30))
        works.append(organizations.add(organization("O", f"the id of another {number}")))
    results = await asyncio.gather(*works, return_exceptions=True)
    failed = [number for number, result in enumerate(results) if isinstance(result, Exception)]
    assert failed == sorted([7 * 3, *range(2, 180, 3)])
    assert store.log.head == 59


async def test_a_store_answers_pings_until_it_is_closed(opener: Opener, tmp_path: Path, clock: SetClock) -> None:
    async with opened(opener, tmp_path, clock) as store:
        await store.ping()
    await store.close()
    for use in (
        store.ping(),
        store.log.at(1),
        store.log.append((Author(store.log, clock).part("a", "x"),)),
        store.ledgers.engines.beat("E", 1),
        store.reads.claimable(START, 1),
    ):
        with pytest.raises(Unavailable):
            await use


async def test_closing_finishes_what_was_submitted(opener: Opener, tmp_path: Path, clock: SetClock) -> None:
    async with opened(opener, tmp_path, clock) as store:
        author = Author(store.log, clock)
        works = [asyncio.ensure_future(store.log.append((author.part(f"{number}", "x"),))) for number in range(50)]
        await asyncio.sleep(0)
    assert {result[0].version for result in await asyncio.gather(*works)} == {1}
    async with opened(opener, tmp_path, clock) as store:
        assert store.log.head == 50
