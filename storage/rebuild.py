"""One span of a store compared with what its log says, in a process of its own: read-only, as of one moment.

An append writes its rows with its events, so at any moment the two must agree; what does not is answered as repairs.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from functools import lru_cache
from typing import Any, Final

from msgspec.structs import astuple

from executor.domain.events import Fact, Stamp
from executor.ports import NAMES, NEW, Aggregate
from storage.codec import CODEC, Codec, decode_metadata
from storage.differences import Compared, Differences, Rows, Values
from storage.errors import UnknownEvent
from storage.projections import Projection, Span, projections, tables_of
from storage.source import Source, opened_source

_AT_ONCE: Final = 1000
"""Events that are folded in one go; each go copies the state once."""
_DATA: Final = 6

Events = list[tuple[Any, ...]]
"""With the columns of `FOLDED`."""


async def compare(
    url: str, span: Span, tables: frozenset[str], aggregates: Sequence[Aggregate[Any]], codec: Codec = CODEC
) -> Compared:
    """The rows of some tables in a span against the log. Raises `WrongDatabase`, `Unavailable`."""
    of = {table: projection for table, projection in projections(aggregates).items() if table in tables}
    found, events = Differences(of), 0
    async with opened_source(url) as source, source.snapshot():
        actual = await _rows(source, of, span)
        for aggregate in aggregates:
            names = span.of_prefix(aggregate.prefix)
            if names is None or not tables_of(aggregate) & tables:
                continue
            async with aclosing(_streams(source, names)) as streams:
                async for stream, its in streams:
                    events += len(its)
                    there = actual.pop(stream, {})
                    # What was archived, whole streams at a time, stays as the retention has left it.
                    if not all(event[_DATA] for event in its):
                        continue
                    try:
                        expected = _expected(stream, its, aggregate, codec)
                    except Exception as error:
                        found.fail(stream, _why(error))
                    else:
                        found.compare(stream, its[-1][1], expected, there)
        for stream, there in actual.items():
            found.compare(stream, NEW, {}, there)
    return found.compared(events)


async def _rows(source: Source, of: dict[str, Projection], span: Span) -> dict[str, Rows]:
    """By stream."""
    rows: dict[str, Rows] = {}
    for table, projection in of.items():
        owners = span if projection.prefix is None else span.of_ids(projection.prefix)
        if owners is not None:
            at, begin = (
                projection.columns.index(projection.owner),
                f"{projection.prefix}:" if projection.prefix else "",
            )
            for row in await source.rows(projection, owners):
                rows.setdefault(begin + row[at], {}).setdefault(table, []).append(row)
    return rows


async def _streams(source: Source, names: Span) -> AsyncGenerator[tuple[str, Events], None]:
    stream, events = "", Events()
    async with aclosing(source.streams(names)) as chunks:
        async for chunk in chunks:
            for event in chunk:
                if event[0] != stream:
                    if events:
                        yield stream, events
                    stream, events = event[0], []
                events.append(event)
    if events:
        yield stream, events


def _expected(stream: str, events: Events, aggregate: Aggregate[Any], codec: Codec) -> Rows:
    """As the appends made them: of what a state has forgotten meanwhile, such as the components of iterations that
    ended, only the fold that it was in tells."""
    before = aggregate.initial()
    rows: dict[str, dict[Values, Values]] = {}
    for facts in _facts(stream, events, codec):
        state = aggregate.evolve(before, facts)
        for row in aggregate.rows(before, state):
            key = tuple(getattr(row, column) for column in row.key)
            rows.setdefault(row.table, {})[key] = astuple(row)
        before = state
    expected = {table: list(found.values()) for table, found in rows.items()}
    if names := aggregate.names(before):
        expected[NAMES] = [(name, stream) for name in names]
    return expected


def _facts(stream: str, events: Events, codec: Codec) -> Iterator[list[Fact]]:
    id, decode = stream.partition(":")[2], codec.decode
    for start in range(0, len(events), _AT_ONCE):
        yield [
            Fact(
                decode(type, schema, data),
                Stamp(time, organization_id, id, version, _actor(metadata)),
            )
            for _, version, type, schema, time, organization_id, data, metadata in events[start : start + _AT_ONCE]
        ]


@lru_cache(maxsize=1024)
def _actor(metadata: bytes) -> str:
    """The events of a stream mostly have few between them."""
    return decode_metadata(metadata).actor


def _why(error: Exception) -> str:
    """Of an error that is not ours no more than its kind: its text may quote data."""
    return str(error) if isinstance(error, UnknownEvent) else f"folding it raised {type(error).__name__}"
