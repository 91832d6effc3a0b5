"""`runcast projections rebuild`: rows and names folded again from the log, on all processors, while appends go on.

Other processes compare, span by span, and only read. What differs goes in small batches to the one process that may
write, which writes it only where no append has come since; a stream that has moved is compared again.
"""

from __future__ import annotations

import contextlib
import time
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import aclosing
from datetime import timedelta
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from executor.clock import SystemClock
from executor.domain.errors import Unavailable
from executor.domain.values import Instant, moment
from hub.aggregates import AGGREGATES
from hub.folding import compared
from hub.inspect import InspectError, log_url
from hub.operator import Ask, OperatorError, asking
from hub.settings import Settings
from hub.wiring import database_url
from hub.workers import cpus, workers
from storage.differences import Compared, Difference, Failure
from storage.errors import StorageError
from storage.projections import Span, projections, revisions, span_of, stale
from storage.source import opened_source
from storage.urls import is_postgres, sqlite_path

_SPAN: Final = 4000
"""Events. A process holds them in memory, with the rows that they lead to."""
_ALONE: Final = 20_000
"""Up to so many events other processes take longer to start than to help."""
_NOTED_SECONDS: Final = 1.0
_GOES_ON: Final = timedelta(days=1)
_TRIES: Final = 20
_SHOWN: Final = 100

Progress = Callable[[int, int], None]
"""(events compared, events to compare)"""


class RebuildFailed(Exception):
    """It was not done, or not to its end; says why."""


class Going(Struct, frozen=True):
    """How far a rebuild has come: what it leaves for the next call. `revisions` are those of the tables it makes;
    `is_whole` if all streams could be folded."""

    since: Instant
    through: str
    events: int
    revisions: dict[str, str]
    is_whole: bool


class Report(Struct, frozen=True, kw_only=True):
    """What came of it. `counts` are the rows that differed, by table, and `differences` the first of them. `since` is
    when the rebuild began that was gone on with, null where this one began."""

    since: Instant | None
    events: int
    seconds: float
    counts: dict[str, int]
    differences: tuple[Difference, ...]
    failures: tuple[Failure, ...]


async def check(
    settings: Settings,
    name: str | None = None,
    *,
    processes: int | None = None,
    span: int = _SPAN,
    progress: Progress = lambda done, total: None,
) -> Report:
    """Compares a projection with the log, or all of them, and writes nothing. Raises `RebuildFailed`."""
    tables = tables_named(name)
    with _explained():
        url = log_url(settings)
        plan, tally = await _planned(url, None, span), _Tally(None)
        async with aclosing(plan.compared(url, tables, processes, progress)) as steps:
            async for step in steps:
                tally.add(step.found)
        return tally.report()


async def rebuild(
    settings: Settings,
    name: str | None = None,
    *,
    processes: int | None = None,
    span: int = _SPAN,
    progress: Progress = lambda done, total: None,
    noted_seconds: float = _NOTED_SECONDS,
) -> Report:
    """Compares, and puts right what differs: from where the last call was stopped, if that began within a day and the
    program means the same by its rows. Raises `RebuildFailed`."""
    tables = tables_named(name)
    with _explained():
        url = log_url(settings)
        async with asking(settings) as ask:
            notes = _Notes(ask, name, tables, noted_seconds)
            going = await notes.going()
            plan, tally = await _planned(url, going, span), _Tally(going)
            async with aclosing(plan.compared(url, tables, processes, progress)) as steps:
                async for step in steps:
                    tally.add(step.found)
                    for stream in await _settled(ask, url, tables, step.found):
                        tally.failures.append(Failure(stream, "it changes too quickly; try again"))
                    notes.is_whole = notes.is_whole and not tally.failures
                    await notes.reached(step)
            await notes.ended()
            return tally.report()


async def rebuild_stale(settings: Settings, *, progress: Progress = lambda done, total: None) -> list[str]:
    """Rebuilds the tables to whose columns an earlier program gave another meaning; answers which. Raises
    `RebuildFailed`."""
    url = database_url(settings)
    if not is_postgres(url) and not sqlite_path(url).exists():
        return []
    with _explained():
        async with opened_source(url) as source:
            is_empty, notes = await source.given() == 0, await source.notes()
    tables = [] if is_empty else stale(projections(AGGREGATES).values(), notes)
    for table in tables:
        failures = (await rebuild(settings, table, progress=progress)).failures
        if failures:
            raise RebuildFailed(
                f"{table}: {len(failures)} streams, such as {failures[0].stream}: {failures[0].reason}"
            )
    return tables


def tables_named(name: str | None) -> frozenset[str]:
    """Raises `RebuildFailed` where no projection has the name."""
    known = projections(AGGREGATES)
    if name is not None and name not in known:
        raise RebuildFailed(f"there is no projection '{name}'; there are {', '.join(known)}")
    return frozenset(known) if name is None else frozenset({name})


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (InspectError, OperatorError, StorageError, Unavailable) as error:
        raise RebuildFailed(str(error)) from None
    except BrokenExecutor:
        raise RebuildFailed("a process that compares has died; try again") from None


class _Step(NamedTuple):
    """What came of a span that ends with a stream; `done` events have been compared by now."""

    through: str | None
    done: int
    found: Compared


class _Plan(NamedTuple):
    """The spans to compare, each of some `size` events. Of `total` events in the log, `done` were compared before."""

    spans: list[Span]
    size: int
    done: int
    total: int

    async def compared(
        self, url: str, tables: frozenset[str], processes: int | None, progress: Progress
    ) -> AsyncGenerator[_Step, None]:
        """In order."""
        if processes is None:
            processes = cpus() if len(self.spans) * self.size >= _ALONE else 0
        done, calls = self.done, ((url, span, tables) for span in self.spans)
        with workers(processes) as pool:
            ends = iter(self.spans)
            async for found in pool.in_order(compared, calls):
                done = min(done + self.size, self.total)
                yield _Step(next(ends).through, done, found)
                progress(done, self.total)


async def _planned(url: str, going: Going | None, size: int) -> _Plan:
    after, done = (None, 0) if going is None else (going.through, going.events)
    async with opened_source(url) as source:
        borders, total = await source.borders(after, size), await source.given()
    spans = [Span(first, last) for first, last in zip([after, *borders], [*borders, None], strict=True)]
    return _Plan(spans, size, min(done, total), total)


async def _settled(ask: Ask, url: str, tables: frozenset[str], found: Compared) -> set[str]:
    """Has the repairs written, again and again for streams that move meanwhile; answers those that never stood still.

    To compare one stream takes some milliseconds: less than the way to another process.
    """
    left = await _written(ask, found)
    for _ in range(_TRIES):
        left = {
            stream for moved in left for stream in await _written(ask, await compared(url, span_of(moved), tables))
        }
    return left


async def _written(ask: Ask, found: Compared) -> set[str]:
    left: set[str] = set()
    for batch in found.repairs:
        left.update(await ask("repair", repairs=b64encode(batch).decode()))
    return left


class _Tally:
    """What was found so far."""

    def __init__(self, going: Going | None) -> None:
        self.failures: list[Failure] = []
        self.events = 0
        self._since = going.since if going is not None else None
        self._counts: Counter[str] = Counter()
        self._differences: list[Difference] = []
        self._start = time.perf_counter()

    def add(self, found: Compared) -> None:
        self.events += found.events
        self._counts.update(found.counts)
        self._differences += found.differences[: _SHOWN - len(self._differences)]
        self.failures += found.failures

    def report(self) -> Report:
        return Report(
            since=self._since,
            events=self.events,
            seconds=time.perf_counter() - self._start,
            counts=dict(sorted(self._counts.items())),
            differences=tuple(self._differences),
            failures=tuple(self.failures),
        )


class _Notes:
    """What a rebuild leaves in the store about itself, so that the next call goes on."""

    def __init__(self, ask: Ask, name: str | None, tables: frozenset[str], seconds: float) -> None:
        self._ask, self._seconds, self._told = ask, seconds, time.monotonic()
        self._key = f"rebuild.{name or 'all'}"
        self._revisions = revisions(each for each in projections(AGGREGATES).values() if each.table in tables)
        self._since = SystemClock().now()
        self.is_whole = True

    async def going(self) -> Going | None:
        """What a call before has left, if it still holds."""
        note = (await self._ask("note", notes={})).get(self._key)
        try:
            going = msgspec.json.decode(note or "", type=Going)
        except msgspec.DecodeError:
            return None
        if going.revisions != self._revisions or moment(going.since) + _GOES_ON < moment(self._since):
            return None
        self._since, self.is_whole = going.since, going.is_whole
        return going

    async def reached(self, step: _Step) -> None:
        if step.through is None or time.monotonic() - self._told < self._seconds:
            return
        going = Going(self._since, step.through, step.done, self._revisions, self.is_whole)
        await self._ask("note", notes={self._key: msgspec.json.encode(going).decode()})
        self._told = time.monotonic()

    async def ended(self) -> None:
        """The tables are as this program makes them, if all of their streams could be folded."""
        await self._ask("note", notes={self._key: None} | (self._revisions if self.is_whole else {}))
