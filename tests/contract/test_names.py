"""Names that are unique while they are held: claimed, released, swapped, and raced for."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from executor.ports import NameTaken, Store
from tests.contract.conftest import Opener, opened
from tests.contract.notes import ORG, Author, NoteCursed, NoteNamed, SetClock


async def test_a_name_that_is_held_cannot_be_claimed(store: Store, author: Author) -> None:
    await author.write("a", NoteNamed(name="report"))
    with pytest.raises(NameTaken) as caught:
        await author.write("b", "x", NoteNamed(name="report"))
    assert caught.value.name == f"note:{ORG}:report"
    assert store.log.head == 1
    await author.write("a", "goes on", NoteNamed(name="report"))


async def test_a_name_is_its_organizations(store: Store, author: Author) -> None:
    await author.write("a", NoteNamed(name="report"))
    await author.write("b", NoteNamed(name="report"), organization_id="another")


async def test_a_released_name_can_be_claimed_again(store: Store, author: Author) -> None:
    await author.write("a", NoteNamed(name="report"))
    await author.write("a", NoteNamed(name="other"))
    await author.write("b", NoteNamed(name="report"))
    await author.write("b", NoteNamed(name=None))
    await author.write("a", NoteNamed(name="report"))
    with pytest.raises(NameTaken):
        await author.write("c", NoteNamed(name="report"))


async def test_of_those_who_race_for_a_name_one_wins(store: Store, author: Author) -> None:
    claims = [author.write(f"{number}", NoteNamed(name="report")) for number in range(20)]
    results = await asyncio.gather(*claims, return_exceptions=True)
    assert sum(isinstance(result, NameTaken) for result in results) == 19
    assert store.log.head == 1


async def test_a_name_released_in_a_batch_is_free_for_the_next_in_it(store: Store, author: Author) -> None:
    done = await author.write("a", NoteNamed(name="report"))
    release = store.log.append((author.part("a", NoteNamed(name=None), expected=1, state=done.state),))
    claim = store.log.append((author.part("b", NoteNamed(name="report")),))
    again = store.log.append((author.part("c", NoteNamed(name="report")),))
    results = await asyncio.gather(release, claim, again, return_exceptions=True)
    assert [isinstance(result, NameTaken) for result in results] == [False, False, True]


async def test_names_may_be_swapped_in_one_append(store: Store, author: Author) -> None:
    a = await author.write("a", NoteNamed(name="one"))
    b = await author.write("b", NoteNamed(name="two"))
    await store.log.append(
        (
            author.part("a", NoteNamed(name="two"), expected=1, state=a.state),
            author.part("b", NoteNamed(name="one"), expected=1, state=b.state),
        )
    )
    for name in ("one", "two"):
        with pytest.raises(NameTaken):
            await author.write("c", NoteNamed(name=name))


async def test_two_streams_of_one_append_cannot_hold_one_name(store: Store, author: Author) -> None:
    with pytest.raises(NameTaken):
        await store.log.append(
            (author.part("a", NoteNamed(name="report")), author.part("b", NoteNamed(name="report")))
        )
    await author.write("c", NoteNamed(name="report"))


async def test_an_append_that_fails_claims_nothing(store: Store, author: Author) -> None:
    for how in ("evolve", "value"):
        with pytest.raises(Exception):  # noqa: B017 - whatever it was, the name is free after it
            await author.write("a", NoteNamed(name="report"), NoteCursed(how=how))
    await author.write("b", NoteNamed(name="report"))


async def test_names_differ_in_every_character(store: Store, author: Author) -> None:
    names = ["report", "Report", "report ", "report\0", "report\0a", "réport", "re\u0301port"]
    await asyncio.gather(*(author.write(f"{number}", NoteNamed(name=name)) for number, name in enumerate(names)))
    for name in names:
        with pytest.raises(NameTaken):
            await author.write("late", NoteNamed(name=name))


async def test_names_are_held_after_a_restart(opener: Opener, tmp_path: Path, clock: SetClock) -> None:
    async with opened(opener, tmp_path, clock) as store:
        await Author(store.log, clock).write("a", NoteNamed(name="report"))
    async with opened(opener, tmp_path, clock) as store:
        author = Author(store.log, clock)
        with pytest.raises(NameTaken):
            await author.write("b", NoteNamed(name="report"))
        await author.write("a", NoteNamed(name=None))
        await author.write("b", NoteNamed(name="report"))
