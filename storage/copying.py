"""What carrying a hub from store to store needs, whatever the stores: the proof of each event that is brought, the
rows and names that follow from it, and the one list of tables that a copy carries beside the log."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, Protocol

from msgspec import Raw

from executor.ports import NEW, EventLog, Recorded, Row, Stored
from storage.aggregates import Aggregates
from storage.codec import GENESIS, Envelope, Link, chain, decode_metadata, digest
from storage.errors import Broken

_REMEMBERED_STATES: Final = 4096


class Table(NamedTuple):
    """A table that a copy carries as it is, and its primary key."""

    name: str
    key: tuple[str, ...] = ("id",)


CARRIED: Final = (
    Table("names", ("name",)),
    Table("workflows"),
    Table("executions"),
    Table("components", ("execution_id", "component_id", "iteration")),
    Table("webhooks"),
    Table("agents"),
    Table("templates"),
    Table("schedules"),
    Table("tasks"),
    Table("api_keys"),
    Table("organizations"),
    Table("key_use"),
    Table("first_answers", ("organization_id", "key")),
    Table("checkpoints", ("name",)),
    Table("deliveries"),
    Table("attempts", ("delivery_id", "attempt")),
    Table("endpoint_states", ("webhook_id",)),
    Table("attempt_counts", ("webhook_id", "hour", "outcome", "bucket")),
    Table("replays"),
    Table("archived_executions", ("execution_id",)),
)
"""Everything but the log, which is carried event by event: names, rows and ledgers."""

LEFT_BEHIND: Final = frozenset({"events", "meta", "engines", "leases", "task_leases", "folds"})
"""The log itself, and what is true of one store only: its marks and epoch, who lives on it, who holds what in it, and
folds, which are kept again when they are needed."""


class Scanned(Protocol):
    """A log, as far as a proof goes."""

    async def scan(self, after: int) -> list[Stored]: ...


_NAMES: Final = frozenset(table.name for table in CARRIED)


def carried(table: str) -> str:
    """The name of a table that a copy carries; `ValueError` for any other. Nothing unchecked gets into SQL."""
    if table not in _NAMES:
        raise ValueError(f"{table!r} is not a table that a copy carries")
    return table


def follow(event: Stored, after: Link) -> Link:
    """The link that an event makes of the one before it. Raises `Broken` where it does not follow.

    Data that was archived is blank; its digest stands for it.
    """
    position = after.position + 1
    if event.position != position:
        raise Broken(position, f"missing: the next event stands at {event.position}")
    if event.time < after.time:
        raise Broken(position, f"its time {event.time} is before {after.time}, the time of the event before it")
    if event.data and digest(event.data) != event.digest:
        raise Broken(position, "its data is not what its digest says")
    if chain(after.hash, envelope(event).encode(), event.digest) != event.hash:
        raise Broken(position, "its hash does not follow from its content and the hash before it")
    return Link(position, event.time, event.hash)


async def proved(log: Scanned) -> Link:
    """The end of a log that is proved from its beginning to where it ends now. Raises `Broken`."""
    link = GENESIS
    while page := await log.scan(link.position):
        for event in page:
            link = follow(event, link)
    return link


def envelope(event: Stored) -> Envelope:
    return Envelope(
        event.position,
        event.id,
        event.type,
        event.schema,
        event.time,
        event.organization_id,
        event.workflow_id,
        event.execution_id,
        event.stream,
        event.version,
        Raw(event.metadata),
    )


def recorded(event: Stored) -> Recorded:
    return Recorded(
        position=event.position,
        id=event.id,
        type=event.type,
        schema=event.schema,
        time=event.time,
        organization_id=event.organization_id,
        stream=event.stream,
        version=event.version,
        workflow_id=event.workflow_id,
        execution_id=event.execution_id,
        data=event.data,
        metadata=decode_metadata(event.metadata),
        hash=event.hash,
    )


class Followed(NamedTuple):
    """What some events lead to: rows by their kind, names that are let go, names that streams hold now."""

    rows: dict[type[Row], list[Row]]
    freed: list[str]
    held: list[tuple[str, str]]


class Folding:
    """Folds what is brought into a log, page by page, without a second pass over it: the last states are kept, others
    are folded again from the log that was brought before."""

    def __init__(self, log: EventLog, aggregates: Aggregates) -> None:
        self._log, self._aggregates = log, aggregates
        self._states: OrderedDict[str, tuple[Any, int]] = OrderedDict()

    async def fold(self, events: Sequence[Stored]) -> Followed:
        """What was archived, whole streams at a time, leads to nothing: its rows went with its data.

        Raises `ValueError` where an event does not follow on its stream's version, `UnknownStream`, `UnknownEvent`.
        """
        rows: dict[type[Row], dict[tuple[Any, ...], Row]] = {}
        freed: set[str] = set()
        held: dict[str, str] = {}
        for stream, page in _by_stream(events).items():
            if not all(event.data for event in page):
                continue
            aggregate = self._aggregates.of(stream)
            before, version = await self._state(stream, page[0].version)
            for expected, event in enumerate(page, version + 1):
                if event.version != expected:
                    raise ValueError(f"position {event.position}: {stream} is at version {expected - 1}")
            after = self._aggregates.evolve(stream, before, [recorded(event) for event in page])
            self._states[stream] = (after, page[-1].version)
            for row in aggregate.rows(before, after):
                rows.setdefault(type(row), {})[tuple(getattr(row, column) for column in row.key)] = row
            names = aggregate.names(after)
            freed |= set(aggregate.names(before)) - set(names)
            held |= dict.fromkeys(names, stream)
        while len(self._states) > _REMEMBERED_STATES:
            self._states.popitem(last=False)
        return Followed(
            {kind: list(found.values()) for kind, found in rows.items()}, sorted(freed), sorted(held.items())
        )

    def forget(self) -> None:
        """What was folded last was not written."""
        self._states.clear()

    async def _state(self, stream: str, version: int) -> tuple[Any, int]:
        if version == NEW + 1:
            return self._aggregates.initial(stream), NEW
        known = self._states.pop(stream, None)
        return known if known is not None else await self._log.load(stream)


def _by_stream(events: Iterable[Stored]) -> dict[str, list[Stored]]:
    streams: dict[str, list[Stored]] = {}
    for event in events:
        streams.setdefault(event.stream, []).append(event)
    return streams
