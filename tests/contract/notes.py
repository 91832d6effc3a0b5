"""Small aggregates for the contract: notes, which have names and rows, and runs, whose rows are executions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, ClassVar

import msgspec
from msgspec import Struct, structs
from ulid import ULID

from executor.domain.aggregate import Keeper
from executor.domain.events import CATALOGUE, Event, Fact
from executor.domain.execution.rows import ExecutionRow
from executor.domain.task import rows as tasks
from executor.domain.values import Instant, instant, moment
from executor.domain.workflow import WorkflowRow
from executor.ports import NEW, Aggregate, Appended, EventLog, Metadata, NewEvent, Row, StreamAppend
from storage.codec import Codec

ORG = "01ORGANIZATION000000000000"
START = Instant("2026-01-31T12:00:00.000Z")


class SetClock:
    """Stands still until it is moved, also backwards. Its ids sort in the order they were made."""

    def __init__(self, at: Instant = START) -> None:
        self.at = at
        self._made = 0

    def now(self) -> Instant:
        return self.at

    def new_id(self) -> str:
        self._made += 1
        return str(ULID.from_int((int(moment(START).timestamp() * 1000) << 80) + self._made))

    def move(self, seconds: float) -> Instant:
        self.at = instant(moment(self.at) + timedelta(seconds=seconds))
        return self.at


class NoteWritten(Event, frozen=True, kw_only=True):
    type: ClassVar[str] = "note.written"
    text: str


class NoteNamed(Event, frozen=True, kw_only=True):
    """`name` null gives the name up."""

    type: ClassVar[str] = "note.named"
    name: str | None


class NoteCursed(Event, frozen=True, kw_only=True):
    """`how`: `evolve` or `rows` raises, or `value` makes a row that no database takes."""

    type: ClassVar[str] = "note.cursed"
    how: str


class RunChanged(Event, frozen=True, kw_only=True):
    """Fields of the run's row that change."""

    type: ClassVar[str] = "run.changed"
    row: dict[str, Any]


CODEC = Codec({**CATALOGUE, **{cls.type: cls for cls in (NoteWritten, NoteNamed, NoteCursed, RunChanged)}})


class Note(Struct, frozen=True, kw_only=True):
    id: str = ""
    texts: tuple[str, ...] = ()
    name: str | None = None
    cursed: str | None = None
    organization_id: str = ""
    created_at: Instant = Instant("")
    updated_at: Instant = Instant("")
    version: int = 0


def evolve(note: Note, facts: Sequence[Fact]) -> Note:
    for event, stamp in facts:
        note = structs.replace(
            note,
            id=stamp.id,
            organization_id=stamp.organization_id,
            created_at=note.created_at or stamp.time,
            updated_at=stamp.time,
            version=stamp.version,
        )
        match event:
            case NoteWritten(text=text):
                note = structs.replace(note, texts=(*note.texts, text))
            case NoteNamed(name=name):
                note = structs.replace(note, name=name)
            case NoteCursed(how="evolve"):
                raise ZeroDivisionError("cursed")
            case NoteCursed(how=how):
                note = structs.replace(note, cursed=how)
    return note


def note_row(note: Note) -> WorkflowRow:
    return WorkflowRow(
        id=note.id,
        organization_id=note.organization_id,
        name=note.name or "",
        status="draft",
        category=note.name,
        tags=msgspec.json.encode(note.texts).decode(),
        search=" ".join(note.texts).lower(),
        created_by="nobody",
        created_at=note.created_at,
        updated_at=note.updated_at,
        version=2**70 if note.cursed == "value" else note.version,
        document=msgspec.json.encode(note),
    )


def rows(before: Note, after: Note) -> Sequence[Row]:
    if after.cursed == "rows":
        raise ZeroDivisionError("cursed")
    return (note_row(after),)


NOTES: Aggregate[Note] = Aggregate(
    prefix="note",
    initial=Note,
    evolve=evolve,
    rows=rows,
    names=lambda note: (f"note:{note.organization_id}:{note.name}",) if note.name is not None else (),
    kinds=(WorkflowRow,),
    keeper=Keeper(revision=1, pack=msgspec.json.encode, unpack=msgspec.json.Decoder(Note).decode),
)


def run_row(id: str, organization_id: str, created_at: Instant) -> ExecutionRow:
    return ExecutionRow(
        id=id,
        organization_id=organization_id,
        workflow_id="w",
        status="queued",
        priority=5,
        tags="[]",
        created_by="nobody",
        created_at=created_at,
        started_at=None,
        completed_at=None,
        runnable_at=None,
        engine=None,
        epoch=0,
        project_id=None,
        root_execution_id=None,
        is_in_queue=False,
        is_holding=False,
        slot=None,
        concurrency_key=None,
        concurrency_limit=None,
        concurrency_slot=None,
        queue_deadline=None,
        version=0,
        document=b"{}",
    )


def evolve_run(run: ExecutionRow | None, facts: Sequence[Fact]) -> ExecutionRow | None:
    for event, stamp in facts:
        run = run or run_row(stamp.id, stamp.organization_id, stamp.time)
        assert isinstance(event, RunChanged)
        run = structs.replace(run, version=stamp.version, **event.row)
    return run


RUNS: Aggregate[ExecutionRow | None] = Aggregate(
    prefix="run",
    initial=lambda: None,
    evolve=evolve_run,
    rows=lambda before, after: (after,) if after is not None else (),
    kinds=(ExecutionRow,),
)

EXECUTIONS = structs.replace(RUNS, prefix="execution")
"""Runs in streams of the name that retention knows."""

AGGREGATES: tuple[Aggregate[Any], ...] = (NOTES, RUNS, EXECUTIONS, tasks.AGGREGATE)


class Author:
    """Appends to one log, with ids from one clock."""

    def __init__(self, log: EventLog, clock: SetClock) -> None:
        self.log = log
        self.clock = clock

    def part(
        self,
        id: str,
        *events: Event | str,
        expected: int = NEW,
        state: Any = None,
        ids: Sequence[str] | None = None,
        **more: Any,
    ) -> StreamAppend:
        """A part for the note `id`, or for a whole stream name; a text stands for a `NoteWritten`."""
        named = ids or [self.clock.new_id() for _ in events]
        facts = [NoteWritten(text=event) if isinstance(event, str) else event for event in events]
        stream = id if ":" in id else f"note:{id}"
        return StreamAppend(
            stream=stream,
            expected=expected,
            state=state if state is not None or stream.startswith(("run:", "execution:")) else Note(),
            events=tuple(map(NewEvent, named, facts)),
            organization_id=more.pop("organization_id", ORG),
            **more,
        )

    async def write(self, id: str, *events: Event | str, actor: str = "system", **more: Any) -> Appended:
        """Appends to a stream at whatever version it is."""
        stream = id if ":" in id else f"note:{id}"
        state, version = await self.log.load(stream)
        part = self.part(stream, *events, expected=version, state=state, **more)
        return (await self.log.append((part,), Metadata(actor=actor)))[0]

    async def run(self, id: str, **row: Any) -> Appended:
        return await self.write(f"run:{id}", RunChanged(row=row))
