"""Rows and names compared with the log, and put right beside the appends that go on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from msgspec import structs
from msgspec.structs import astuple

from executor.domain.execution.rows import ExecutionRow
from executor.domain.workflow import WorkflowRow
from executor.ports import NAMES, Aggregate, NameTaken, Repair, Row, RowQuery, Store
from storage.differences import Compared, Failure, decode_repairs
from storage.projections import Span, projections, revision_key, revisions, span_of, stale
from storage.rebuild import compare
from storage.source import opened_source
from tests.contract.conftest import UrlOf
from tests.contract.notes import CODEC, EXECUTIONS, NOTES, ORG, Author, Note, NoteNamed, RunChanged, evolve, note_row
from tests.contract.test_retention import archived, pass_by, run

TEXT = 'a\x00b \ue000 \ue001 \U0001f600 "'
AGGREGATES: tuple[Aggregate[Any], ...] = (NOTES, EXECUTIONS)
OF = projections(AGGREGATES)
EVERYTHING = Span()


class Rebuilder:
    """Compares the store behind a URL with its log, and repairs it."""

    def __init__(self, store: Store, url: str) -> None:
        self.store, self.url = store, url
        self.aggregates: Sequence[Aggregate[Any]] = AGGREGATES

    async def compare(self, *tables: str, span: Span = EVERYTHING) -> Compared:
        return await compare(self.url, span, frozenset(tables or OF), self.aggregates, CODEC)

    async def differences(self, *tables: str, span: Span = EVERYTHING) -> set[tuple[str, ...]]:
        found = await self.compare(*tables, span=span)
        assert sum(found.counts.values()) == len(found.differences)
        return {(each.table, *each.key, each.how, *each.columns) for each in found.differences}

    async def repair(self, found: Compared) -> list[str]:
        return [
            left for batch in found.repairs for left in await self.store.projections.repair(decode_repairs(batch))
        ]

    async def write(self, stream: str, version: int, table: str, removed: Any = None, put: Any = None) -> None:
        """Spoils a row."""
        assert await self.store.projections.repair([Repair(stream, version, table, removed, put)]) == []


async def found(store: Store) -> list[Row]:
    kinds: tuple[type[Row], ...] = (WorkflowRow, ExecutionRow)
    return [row for kind in kinds for row in await store.reads.find(kind, RowQuery(limit=1000))]


@pytest.fixture
async def rebuilder(store: Store, url_of: UrlOf, tmp_path: Path, author: Author) -> Rebuilder:
    """Of a store with a past: names are given up, and streams go on."""
    for number in range(4):
        await author.write(f"n{number}", f"{TEXT} {number}", NoteNamed(name=f"{TEXT} {number}"))
    await author.write("n0", NoteNamed(name=None))
    await author.write("n1", "later")
    await author.write("execution:e", RunChanged(row={"project_id": TEXT}))
    return Rebuilder(store, await url_of(tmp_path))


async def spoil(rebuilder: Rebuilder) -> None:
    right = {row.id: row for row in await rebuilder.store.reads.find(WorkflowRow, RowQuery())}
    wrong = structs.replace(right["n1"], name="wrong", version=9, document=b"{}")
    await rebuilder.write("note:n1", 3, "workflows", put=astuple(wrong))
    await rebuilder.write("note:n2", 2, "workflows", removed=("n2",))
    await rebuilder.write("note:ghost", 0, "workflows", put=astuple(structs.replace(wrong, id="ghost")))
    await rebuilder.write("execution:e", 1, "executions", removed=("e",))
    await rebuilder.write("note:n0", 3, NAMES, put=(f"note:{ORG}:held", "note:n0"))
    await rebuilder.write("note:n2", 2, NAMES, removed=(f"note:{ORG}:{TEXT} 2", "note:n2"))
    await rebuilder.write("note:n1", 3, NAMES, put=(f"note:{ORG}:{TEXT} 3", "note:n1"))
    await rebuilder.write("nobody's", 0, NAMES, put=("x", "nobody's"))


SPOILT = {
    ("workflows", "n1", "changed", "name", "version", "document"),
    ("workflows", "n2", "missing"),
    ("workflows", "ghost", "extra"),
    ("executions", "e", "missing"),
    ("names", "note:n0", "extra"),
    ("names", "note:n1", "extra"),
    ("names", "note:n2", "missing"),
    ("names", "note:n3", "missing"),
    ("names", "nobody's", "extra"),
}


async def test_rows_that_appends_wrote_do_not_differ(rebuilder: Rebuilder) -> None:
    compared = await rebuilder.compare()
    assert (compared.events, compared.counts, compared.repairs, compared.failures) == (11, {}, (), ())


async def test_whatever_is_wrong_is_named_and_put_right(rebuilder: Rebuilder, author: Author) -> None:
    before, head = await found(rebuilder.store), rebuilder.store.log.head
    await spoil(rebuilder)
    assert await rebuilder.differences() == SPOILT
    assert await rebuilder.repair(await rebuilder.compare()) == []
    assert await rebuilder.differences() == set()
    assert (await found(rebuilder.store), rebuilder.store.log.head) == (before, head)
    with pytest.raises(NameTaken):
        await author.write("n9", NoteNamed(name=f"{TEXT} 2"))
    await author.write("n9", NoteNamed(name="held"))
    assert await rebuilder.differences() == set()


async def test_one_table_is_rebuilt_without_the_others(rebuilder: Rebuilder) -> None:
    await spoil(rebuilder)
    for table in OF:
        of_it = {each for each in SPOILT if each[0] == table}
        assert await rebuilder.differences(table) == of_it
    await rebuilder.repair(await rebuilder.compare(NAMES))
    assert await rebuilder.differences() == {each for each in SPOILT if each[0] != NAMES}
    await rebuilder.repair(await rebuilder.compare("workflows", "executions"))
    assert await rebuilder.differences() == set()


async def test_spans_of_any_size_come_to_the_whole(rebuilder: Rebuilder) -> None:
    await spoil(rebuilder)
    async with opened_source(rebuilder.url) as source:
        borders = await source.borders(None, 2)
        assert borders == sorted(borders)
        assert await source.borders(borders[0], 2) == borders[1:]
        assert await source.borders(None, 100) == []
    spans = [Span(*ends) for ends in zip([None, *borders], [*borders, None], strict=True)]
    of_spans = [await rebuilder.differences(span=span) for span in spans]
    assert len(spans) > 2
    assert set().union(*of_spans) == SPOILT
    assert sum(map(len, of_spans)) == len(SPOILT)
    of_one = await rebuilder.differences(span=span_of("note:n2"))
    assert of_one >= {each for each in SPOILT if each[1] in ("n2", "note:n2")}


async def test_an_append_that_came_meanwhile_is_not_overwritten(rebuilder: Rebuilder, author: Author) -> None:
    await spoil(rebuilder)
    compared = await rebuilder.compare()
    for number in range(3):
        await author.write(f"n{number}", f"newer {number}", NoteNamed(name=f"newer {number}"))
    await author.write("ghost", "it is there now", NoteNamed(name=f"{TEXT} 0"))
    after = await found(rebuilder.store)
    left = await rebuilder.repair(compared)
    assert set(left) == {"note:n0", "note:n1", "note:n2", "note:ghost"}
    assert {row.id: row for row in await found(rebuilder.store)} == {row.id: row for row in after} | {  # type: ignore[attr-defined]
        "e": await rebuilder.store.reads.get(ExecutionRow, "e")
    }
    for stream in left:
        assert await rebuilder.repair(await rebuilder.compare(span=span_of(stream))) == []
    assert await rebuilder.differences() == set()


async def test_it_agrees_at_every_moment_while_appends_run(rebuilder: Rebuilder, author: Author) -> None:
    async def append(id: str) -> None:
        for number in range(25):
            await author.write(id, f"{number}", NoteNamed(name=f"{id} {number}"))

    appending = [asyncio.create_task(append(f"n{number}")) for number in range(4)]
    compared = 0
    while not all(task.done() for task in appending):
        await rebuilder.write("execution:e", 1, "executions", removed=("e",))
        assert await rebuilder.differences() == {("executions", "e", "missing")}
        assert await rebuilder.repair(await rebuilder.compare()) == []
        compared += 1
    await asyncio.gather(*appending)
    assert compared
    assert await rebuilder.differences() == set()


async def test_what_was_archived_stays_as_it_was_left(rebuilder: Rebuilder, store: Store, author: Author) -> None:
    await run(author, "old")
    await pass_by(store)
    entry, row = await archived(store, "old"), await store.reads.get(ExecutionRow, "old")
    assert row is not None
    await rebuilder.write("execution:old", 2, "executions", put=astuple(structs.replace(row, epoch=9)))
    compared = await rebuilder.compare()
    assert compared.counts == {"executions": 1}
    assert await store.ledgers.retention.blank([entry]) == ["old"]
    assert await rebuilder.repair(compared) == ["execution:old"]
    assert await store.reads.get(ExecutionRow, "old") is None
    assert await rebuilder.differences() == set()


async def test_a_stream_that_does_not_fold_is_named_and_left_alone(rebuilder: Rebuilder) -> None:
    def failing(note: Note, facts: Sequence[Any]) -> Note:
        if facts[0].stamp.id == "n2":
            raise ZeroDivisionError("a secret of the data")
        return evolve(note, facts)

    await spoil(rebuilder)
    rebuilder.aggregates = (structs.replace(NOTES, evolve=failing), EXECUTIONS)
    compared = await rebuilder.compare()
    assert compared.failures == (Failure("note:n2", "folding it raised ZeroDivisionError"),)
    await rebuilder.repair(compared)
    rebuilder.aggregates = AGGREGATES
    assert await rebuilder.differences() == {each for each in SPOILT if each[1] in ("n2", "note:n2")}


class OtherRow(WorkflowRow, frozen=True, kw_only=True):
    """`search` means another thing than before."""

    revision: ClassVar[int] = 2


async def test_rows_of_another_revision_are_known_and_rebuilt(rebuilder: Rebuilder, store: Store) -> None:
    def rows(before: Note, after: Note) -> Sequence[Row]:
        return (OtherRow(**structs.asdict(note_row(after)) | {"search": f"all of {len(after.texts)}"}),)

    assert stale(OF.values(), await store.projections.notes()) == []
    rebuilder.aggregates = (structs.replace(NOTES, rows=rows, kinds=(OtherRow,)), EXECUTIONS)
    of = projections(rebuilder.aggregates)
    assert stale(of.values(), await store.projections.notes()) == ["workflows"]
    assert await rebuilder.differences() == {("workflows", f"n{number}", "changed", "search") for number in range(4)}
    assert await rebuilder.repair(await rebuilder.compare()) == []
    row = await store.reads.get(WorkflowRow, "n1")
    assert row is not None
    assert row.search == "all of 2"
    await store.projections.note(revisions(of.values()))
    assert stale(of.values(), await store.projections.notes()) == []
    assert stale(OF.values(), await store.projections.notes()) == ["workflows"]


async def test_notes_are_kept_and_dropped(rebuilder: Rebuilder, store: Store) -> None:
    before = await store.projections.notes()
    assert revision_key("workflows") in before
    await store.projections.note({"a": TEXT, "b": "1"})
    await store.projections.note({"b": None})
    assert await store.projections.notes() == before | {"a": TEXT}
    async with opened_source(rebuilder.url) as source:
        assert await source.notes() == before | {"a": TEXT}
    assert await store.copying.marks() == {}


async def test_a_table_that_does_not_follow_from_the_log_is_refused(rebuilder: Rebuilder) -> None:
    good, bad = Repair("note:n1", 3, "workflows", ("n1",), None), Repair("x", 0, "deliveries", ("x",), None)
    with pytest.raises(ValueError, match="deliveries"):
        await rebuilder.store.projections.repair([good, bad])
    assert await rebuilder.differences() == set()
