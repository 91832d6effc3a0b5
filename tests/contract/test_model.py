"""Whatever is appended, in whatever batches: the store does what a dictionary of lists would do."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from executor.domain.workflow import WorkflowRow
from executor.ports import Conflict, EventQuery, NameTaken, StreamAppend
from storage.codec import verify
from tests.contract.conftest import Opener, opened
from tests.contract.notes import Author, Note, NoteNamed, SetClock, note_row

IDS = ("a", "b", "c")


class Part(NamedTuple):
    """`behind`: how many versions before its stream's the append expects. `name`: null keeps the name."""

    id: str
    texts: list[str]
    name: str | None
    behind: int


parts = st.builds(
    Part,
    st.sampled_from(IDS),
    st.lists(st.text(max_size=3), max_size=3),
    st.sampled_from([None, None, "x", "y"]),
    st.sampled_from([0, 0, 0, 0, 1]),
)
appends = st.lists(parts, min_size=1, max_size=3, unique_by=lambda part: part.id)
batches = st.lists(st.lists(appends, min_size=1, max_size=4), min_size=1, max_size=6)


class Model:
    """Each stream's texts and name; an append holds as a whole or not at all."""

    def __init__(self) -> None:
        self.notes: dict[str, Note] = {id: Note() for id in IDS}
        self.events = 0

    def apply(self, append: list[Part], expected: dict[str, int]) -> type[Exception] | None:
        if any(expected[part.id] != self.notes[part.id].version for part in append):
            return Conflict
        names = {id: note.name for id, note in self.notes.items()}
        names.update({part.id: part.name for part in append if part.name is not None})
        held = [name for name in names.values() if name is not None]
        if len(set(held)) < len(held):
            return NameTaken
        for part in append:
            note = self.notes[part.id]
            added = len(part.texts) + (part.name is not None)
            self.notes[part.id] = Note(
                texts=(*note.texts, *part.texts), name=part.name or note.name, version=note.version + added
            )
            self.events += added
        return None


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(batches=batches)
def test_the_store_does_what_the_model_does(opener: Opener, batches: list[list[list[Part]]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(compare(opener, Path(directory), batches))


async def compare(opener: Opener, directory: Path, batches: list[list[list[Part]]]) -> None:
    model, clock = Model(), SetClock()
    async with opened(opener, directory, clock) as store:
        author = Author(store.log, clock)
        for batch in batches:
            works, expected = [], []
            for append in batch:
                states = {part.id: await store.log.load(f"note:{part.id}") for part in append}
                versions = {part.id: max(0, states[part.id][1] - part.behind) for part in append}
                streams = [to_stream(author, part, versions[part.id], states[part.id][0]) for part in append]
                works.append(store.log.append(streams))
                expected.append(versions)
            results = await asyncio.gather(*works, return_exceptions=True)
            for append, versions, result in zip(batch, expected, results, strict=True):
                refused = model.apply(append, versions)
                assert isinstance(result, refused or tuple), (append, result)
        for id, note in model.notes.items():
            state, version = await store.log.load(f"note:{id}")
            assert (state.texts, state.name, version) == (note.texts, note.name, note.version)
            assert await store.reads.get(WorkflowRow, id) == (note_row(state) if version else None)
        recorded = await store.log.read(EventQuery(limit=10_000))
        assert verify(recorded).position == store.log.head == model.events


def to_stream(author: Author, part: Part, expected: int, state: Note) -> StreamAppend:
    named = [NoteNamed(name=part.name)] if part.name is not None else []
    return author.part(part.id, *part.texts, *named, expected=expected, state=state)
