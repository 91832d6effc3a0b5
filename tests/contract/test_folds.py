"""Folds that are kept: a cache, from which loads begin."""

from __future__ import annotations

import pytest
from msgspec import structs

from executor.ports import Store
from tests.contract.notes import Author


async def test_a_load_begins_at_the_fold_that_was_kept(store: Store, author: Author) -> None:
    written = await author.write("a", "one", "two")
    await store.log.keep("note:a", structs.replace(written.state, texts=("kept",)), 2)
    assert (await store.log.load("note:a"))[0].texts == ("kept",)
    await author.write("a", "three")
    state, version = await store.log.load("note:a")
    assert (state.texts, version) == (("kept", "three"), 3)


async def test_only_a_later_fold_takes_the_place_of_one(store: Store, author: Author) -> None:
    written = await author.write("a", "one", "two")
    await store.log.keep("note:a", structs.replace(written.state, texts=("later",)), 2)
    await store.log.keep("note:a", structs.replace(written.state, texts=("earlier",)), 1)
    assert (await store.log.load("note:a"))[0].texts == ("later",)


async def test_what_was_known_and_what_was_then_are_not_taken_from_it(store: Store, author: Author) -> None:
    first = await author.write("a", "one")
    second = await author.write("a", "two")
    await store.log.keep("note:a", structs.replace(second.state, texts=("kept",)), 2)
    assert (await store.log.load("note:a", (first.state, 1)))[0].texts == ("one", "two")
    assert (await store.log.load("note:a", through=2))[0].texts == ("one", "two")


async def test_a_fold_that_cannot_be_read_is_left_alone(
    store: Store, author: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = await author.write("a", "one", "two")
    with monkeypatch.context() as broken:
        broken.setattr("storage.aggregates.Aggregates.pack", lambda *_: (1, b"{\xff"))
        await store.log.keep("note:a", written.state, 2)
    assert (await store.log.load("note:a"))[0].texts == ("one", "two")


async def test_streams_whose_folds_are_not_kept_stay_as_they_are(store: Store, author: Author) -> None:
    await store.log.keep("run:a", None, 7)
    assert await store.log.load("run:a") == (None, 0)
