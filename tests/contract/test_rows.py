"""Rows: there when the append is acknowledged, the newest of a thing only, and found by every kind of query."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from executor.domain.execution.rows import ComponentRow, ExecutionRow
from executor.domain.workflow import WorkflowRow
from executor.ports import Contains, Eq, HasAll, In, Order, Range, RowQuery, Store, Where
from tests.contract.notes import ORG, Author, Note, NoteNamed, note_row


async def test_a_row_is_there_when_the_append_is_acknowledged(store: Store, author: Author) -> None:
    async def write_and_read(number: int) -> None:
        for text in ("one", "two", "three"):
            done = await author.write(f"{number}", text)
            assert await store.reads.get(WorkflowRow, f"{number}") == note_row(done.state)

    await asyncio.gather(*(write_and_read(number) for number in range(20)))


async def test_lists_and_counts_see_what_was_acknowledged(store: Store, author: Author) -> None:
    for number in range(1, 6):
        await author.write(f"{number}", "x")
        assert await store.reads.count(WorkflowRow) == number
        assert len(await store.reads.find(WorkflowRow, RowQuery())) == number


async def test_there_is_no_row_of_what_is_not_there(store: Store) -> None:
    assert await store.reads.get(WorkflowRow, "a") is None
    assert await store.reads.get(ComponentRow, "a", "b", "") is None


async def test_a_repeat_does_not_bring_an_old_row_back(store: Store, author: Author) -> None:
    part = author.part("a", "one")
    await store.log.append((part,))
    newest = await author.write("a", "two")
    await store.log.append((part,))
    assert await store.reads.get(WorkflowRow, "a") == note_row(newest.state)


async def test_the_last_row_of_a_batch_wins(store: Store, author: Author) -> None:
    """Two appends to one stream are queued in one turn of the loop, so one batch has both."""
    texts = ("one", "two", "three")
    states = [Note(), *await _states(author, texts)]
    parts = [author.part("a", text, expected=at, state=states[at]) for at, text in enumerate(texts)]
    results = await asyncio.gather(*(store.log.append((part,)) for part in parts))
    assert await store.reads.get(WorkflowRow, "a") == note_row(results[-1][0].state)
    assert results[-1][0].state.texts == texts


async def _states(author: Author, texts: Sequence[str]) -> list[Note]:
    """What a note of the same history, under another id, comes to be after each of these texts."""
    return [(await author.write("twin", text)).state for text in texts]


async def test_bytes_and_odd_text_in_rows_are_kept(store: Store, author: Author) -> None:
    odd = "a\0b \u2028 \U0001f600 ' \" \\u0000"
    done = await author.write("odd", NoteNamed(name=odd), odd)
    row = await store.reads.get(WorkflowRow, "odd")
    assert row == note_row(done.state)
    assert row is not None
    assert (row.name, row.search) == (odd, odd.lower())
    assert await store.reads.find(WorkflowRow, RowQuery(where=(Eq("name", odd),))) == [row]
    assert await store.reads.find(WorkflowRow, RowQuery(where=(Eq("name", "a"),))) == []


async def names(store: Store, *where: Where) -> list[str]:
    rows = await store.reads.find(WorkflowRow, RowQuery(where=where, order=(Order("id"),)))
    assert await store.reads.count(WorkflowRow, where) == len(rows)
    return [row.id for row in rows]


async def test_every_kind_of_filter(store: Store, author: Author) -> None:
    await author.write("a", NoteNamed(name="First"), "Grün", "red")
    author.clock.move(1)
    await author.write("b", NoteNamed(name="second"), "red")
    author.clock.move(1)
    await author.write("c", "RED", "blue_green", organization_id="another")
    start, end = (await store.log.load("note:a"))[0].created_at, author.clock.at
    assert await names(store) == ["a", "b", "c"]
    assert await names(store, Eq("organization_id", ORG)) == ["a", "b"]
    assert await names(store, Eq("category", None)) == ["c"]
    assert await names(store, Eq("version", 3)) == ["a"]
    assert await names(store, In("id", ("a", "c", "z"))) == ["a", "c"]
    assert await names(store, In("id", ())) == []
    assert await names(store, Range("created_at", start, end)) == ["a", "b"]
    assert await names(store, Range("created_at", start=end)) == ["c"]
    assert await names(store, Range("created_at", end=start)) == []
    assert await names(store, Range("created_at")) == ["a", "b", "c"]
    assert await names(store, Range("version", 2, 3)) == ["b", "c"]
    assert await names(store, Contains(("search",), "gRÜn")) == ["a"]
    assert await names(store, Contains(("name", "search"), "FIRST")) == ["a"]
    assert await names(store, Contains(("name", "search"), "re")) == ["a", "b", "c"]
    assert await names(store, Contains(("search",), "e%")) == []
    assert await names(store, Contains(("search",), "blue_")) == ["c"]
    assert await names(store, HasAll("tags", ("red",))) == ["a", "b"]
    assert await names(store, HasAll("tags", ("red", "Grün"))) == ["a"]
    assert await names(store, HasAll("tags", ())) == ["a", "b", "c"]
    assert await names(store, HasAll("tags", ("red",)), Eq("name", "second"), Eq("status", "draft")) == ["b"]


@pytest.mark.parametrize(
    "query",
    [
        RowQuery(where=(Eq("nothing", 1),)),
        RowQuery(where=(Contains(("name", "1=1 --"), "x"),)),
        RowQuery(where=(Range("document; DROP TABLE events", "x"),)),
        RowQuery(where=(HasAll("nothing", ("x",)),)),
        RowQuery(where=(In("rowid", (1,)),)),
        RowQuery(order=(Order("nothing"),)),
        RowQuery(order=(Order("created_at"), Order("id")), after=("x",)),
    ],
)
async def test_unknown_columns_and_short_cursors_are_refused(store: Store, query: RowQuery) -> None:
    with pytest.raises(ValueError, match=r"column|cursor"):
        await store.reads.find(WorkflowRow, query)


ORDERS = [
    (Order("id"),),
    (Order("id", True),),
    (Order("created_at", True), Order("id", True)),
    (Order("created_at"), Order("id", True)),
    (Order("category"), Order("id")),
    (Order("category", True), Order("created_at"), Order("id", True)),
]


@pytest.mark.parametrize(
    "order", ORDERS, ids=lambda order: " ".join(f"{by.column}{'-' * by.descending}" for by in order)
)
async def test_pages_by_cursor_make_up_the_whole_list(store: Store, author: Author, order: tuple[Order, ...]) -> None:
    for number in range(17):
        events: Sequence[NoteNamed | str] = ("x",) if number % 3 else (NoteNamed(name=f"name {number % 2} {number}"),)
        await author.write(f"{number * 7 % 17:02}", *events)
        author.clock.move(number % 2)
    whole = await store.reads.find(WorkflowRow, RowQuery(order=order, limit=100))
    assert len(whole) == 17
    paged: list[WorkflowRow] = []
    while True:
        after = tuple(getattr(paged[-1], by.column) for by in order) if paged else None
        page = await store.reads.find(WorkflowRow, RowQuery(order=order, after=after, limit=4))
        if not page:
            break
        paged += page
    assert paged == whole


async def test_null_comes_first_ascending_and_last_descending(store: Store, author: Author) -> None:
    await author.write("a", "x")
    await author.write("b", NoteNamed(name="n"))
    up = await store.reads.find(WorkflowRow, RowQuery(order=(Order("category"), Order("id"))))
    down = await store.reads.find(WorkflowRow, RowQuery(order=(Order("category", True), Order("id"))))
    assert [row.id for row in up] == ["a", "b"]
    assert [row.id for row in down] == ["b", "a"]


async def test_limit_and_offset(store: Store, author: Author) -> None:
    for number in range(9):
        await author.write(f"{number}", "x")
    rows = await store.reads.find(WorkflowRow, RowQuery(limit=3, offset=2))
    assert [row.id for row in rows] == ["6", "5", "4"]


async def test_rows_of_runs_have_their_types(store: Store, author: Author) -> None:
    await author.run("r", status="running", engine="e", runnable_at="2026-01-31T12:00:00.000Z", epoch=3)
    row = await store.reads.get(ExecutionRow, "r")
    assert row == (await store.log.load("run:r"))[0]
