"""What becomes of a batch of appends, decided in order: ids first, then versions, then names. No I/O.

A backend prepares each append, looks up what the batch asks about (`Known`), lets a `Plan` decide one append after
the other, and writes what the plan has gathered in one transaction. An append that loses leaves the batch alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from msgspec import Raw

from executor.domain.events import Event, Fact, Stamp
from executor.domain.values import Instant
from executor.ports import Aggregate, Appended, Conflict, Metadata, NameTaken, Recorded, Row, StreamAppend
from storage.aggregates import Aggregates, aggregate_id
from storage.codec import Codec, Envelope, Link, chain, digest, encode_metadata
from storage.errors import RepeatedInPart


class Encoded(NamedTuple):
    """An event on its way to the log."""

    id: str
    event: Event
    schema: int
    data: bytes
    digest: bytes


class Part(NamedTuple):
    """One stream's part in an append; without events it is a guard."""

    append: StreamAppend
    aggregate: Aggregate[Any]
    events: tuple[Encoded, ...]


class Prepared(NamedTuple):
    """An append as far as it can be made ready before its batch: encoded, digested, checked for sense."""

    parts: tuple[Part, ...]
    ids: list[str]
    metadata: Metadata
    encoded_metadata: bytes
    size: int


def prepare(streams: Sequence[StreamAppend], metadata: Metadata, aggregates: Aggregates, codec: Codec) -> Prepared:
    """Raises `ValueError` where a stream or an id is there twice, `UnknownStream`, `UnknownEvent`."""
    parts, ids, size = [], [], 0
    for stream in streams:
        part = _part(stream, aggregates, codec)
        parts.append(part)
        for event in part.events:
            ids.append(event.id)
            size += len(event.data)
    if len(parts) > 1 and len({part.append.stream for part in parts}) < len(parts):
        raise ValueError("a stream is in the append twice")
    if len(ids) > 1 and len(set(ids)) < len(ids):
        raise ValueError("an event id is in the append twice")
    return Prepared(tuple(parts), ids, metadata, encode_metadata(metadata), size)


def _part(append: StreamAppend, aggregates: Aggregates, codec: Codec) -> Part:
    events = []
    for id, event in append.events:
        data = codec.encode(event)
        events.append(Encoded(id, event, codec.schema(event.type), data, digest(data)))
    return Part(append, aggregates.of(append.stream), tuple(events))


class Folded(NamedTuple):
    """What a part makes of its stream."""

    state: Any
    rows: Sequence[Row]
    names_before: tuple[str, ...]
    names_after: tuple[str, ...]


def fold(prepared: Prepared, time: Instant) -> tuple[Folded, ...] | Exception:
    """The states, rows and names after an append, or what its aggregate raised. Needs no look at the store."""
    try:
        return tuple(_fold_part(part, time, prepared.metadata.actor) for part in prepared.parts)
    except Exception as error:
        return error


def _fold_part(part: Part, time: Instant, actor: str) -> Folded:
    append, aggregate = part.append, part.aggregate
    before = append.state
    if not part.events:
        return Folded(before, (), (), ())
    id, organization_id = aggregate_id(append.stream), append.organization_id
    facts = [
        Fact(encoded.event, Stamp(time, organization_id, id, version, actor))
        for version, encoded in enumerate(part.events, append.expected + 1)
    ]
    after = aggregate.evolve(before, facts)
    return Folded(after, aggregate.rows(before, after), aggregate.names(before), aggregate.names(after))


def claimed_names(folded: Sequence[tuple[Folded, ...] | Exception]) -> set[str]:
    """The names that a batch wants to hold or release: those whose holders the plan has to know."""
    names: set[str] = set()
    for parts in folded:
        if isinstance(parts, Exception):
            continue
        for part in parts:
            if part.names_before != part.names_after:
                names.update(part.names_before, part.names_after)
    return names


class Known(NamedTuple):
    """What the store says about a batch before it: events of its ids, versions of its streams (0 where there is
    none), holders of its names. The plan writes what it decides into `versions` and `names`."""

    ids: dict[str, Recorded]
    versions: dict[str, int]
    names: dict[str, str | None]


_ABSENT = object()

FoldAt = Callable[[str, int], Any]
"""(stream, version) → the fold of the stream's events up to that version."""


class Plan:
    """A batch being decided. `recorded`, `digests`, `metadata`, `rows` and `names` are what is to be written."""

    def __init__(self, link: Link, time: Instant, known: Known, fold_at: FoldAt) -> None:
        self.link = link
        self.time = time
        self.recorded: list[Recorded] = []
        self.digests: list[bytes] = []
        self.metadata: list[bytes] = []
        self.rows: dict[type[Row], dict[tuple[Any, ...], Row]] = {}
        self.names: dict[str, str | None] = {}
        self._known = known
        self._fold_at = fold_at
        self._here: dict[str, Recorded] = {}
        self._states: dict[tuple[str, int], Any] = {}

    def decide(self, prepared: Prepared, folded: tuple[Folded, ...] | Exception) -> tuple[Appended, ...]:
        """The append's result once the batch is durable. Raises `Conflict`, `NameTaken`, `RepeatedInPart`, and what
        its aggregate raised; then the append adds nothing to the batch."""
        if self._is_repeated(prepared):
            return tuple(self._repeat(part) for part in prepared.parts)
        for part in prepared.parts:
            actual = self._known.versions[part.append.stream]
            if actual != part.append.expected:
                raise Conflict(part.append.stream, part.append.expected, actual)
        if isinstance(folded, Exception):
            raise folded
        self._take_names(prepared, folded)
        return tuple(self._write(prepared, part, after) for part, after in zip(prepared.parts, folded, strict=True))

    def _is_repeated(self, prepared: Prepared) -> bool:
        found, missing = [], False
        for part in prepared.parts:
            for event in part.events:
                first = self._here.get(event.id) or self._known.ids.get(event.id)
                if first is None:
                    missing = True
                elif first.stream != part.append.stream:
                    raise RepeatedInPart((event.id,))
                else:
                    found.append(event.id)
        if found and missing:
            raise RepeatedInPart(tuple(found))
        return bool(found)

    def _repeat(self, part: Part) -> Appended:
        append = part.append
        if not part.events:
            return Appended(recorded=(), state=append.state, version=append.expected, repeated=True)
        recorded = tuple(self._here.get(event.id) or self._known.ids[event.id] for event in part.events)
        version = max(event.version for event in recorded)
        state = self._states.get((append.stream, version), _ABSENT)
        if state is _ABSENT:
            state = self._fold_at(append.stream, version)
        return Appended(recorded=recorded, state=state, version=version, repeated=True)

    def _take_names(self, prepared: Prepared, folded: tuple[Folded, ...]) -> None:
        """First every name that the append lets go, then every one that it claims: so names may be swapped."""
        moves = [
            (part.append.stream, after.names_before, after.names_after)
            for part, after in zip(prepared.parts, folded, strict=True)
            if after.names_before != after.names_after
        ]
        if not moves:
            return
        changed: dict[str, str | None] = {}
        for stream, before, _ in moves:
            changed |= {name: None for name in before if self._known.names.get(name) == stream}
        for stream, _, after in moves:
            for name in after:
                if changed.get(name, self._known.names.get(name)) not in (None, stream):
                    raise NameTaken(name)
                changed[name] = stream
        self.names.update(changed)
        self._known.names.update(changed)

    def _write(self, prepared: Prepared, part: Part, after: Folded) -> Appended:
        append = part.append
        recorded = tuple(
            self._record(append, event, version, prepared)
            for version, event in enumerate(part.events, append.expected + 1)
        )
        version = append.expected + len(recorded)
        self._known.versions[append.stream] = version
        self._states[append.stream, version] = after.state
        for row in after.rows:
            key = tuple(getattr(row, column) for column in row.key)
            self.rows.setdefault(type(row), {})[key] = row
        return Appended(recorded=recorded, state=after.state, version=version)

    def _record(self, append: StreamAppend, event: Encoded, version: int, prepared: Prepared) -> Recorded:
        envelope = Envelope(
            self.link.position + 1,
            event.id,
            event.event.type,
            event.schema,
            self.time,
            append.organization_id,
            append.workflow_id,
            append.execution_id,
            append.stream,
            version,
            Raw(prepared.encoded_metadata),
        )
        hash = chain(self.link.hash, envelope.encode(), event.digest)
        recorded = Recorded(
            position=envelope.position,
            id=event.id,
            type=envelope.type,
            schema=event.schema,
            time=self.time,
            organization_id=append.organization_id,
            stream=append.stream,
            version=version,
            workflow_id=append.workflow_id,
            execution_id=append.execution_id,
            data=event.data,
            metadata=prepared.metadata,
            hash=hash,
        )
        self.link = Link(envelope.position, self.time, hash)
        self.recorded.append(recorded)
        self.digests.append(event.digest)
        self.metadata.append(prepared.encoded_metadata)
        self._here[event.id] = recorded
        return recorded
