"""Retention: executions that ended long ago go to files, and their data out of the log.

First the file is on disk, then the events are blanked: whoever dies in between leaves a copy too many, never one too
few. Doing it again is harmless: what was archived is not there to be archived again.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import structlog
from msgspec import Struct

from executor.domain.errors import ResourceConflict, Unavailable
from executor.domain.values import Instant, plus
from executor.ports import Archived, Clock, Ended, Store
from hub.settings import LONGEST_DAYS
from storage.errors import Broken
from storage.retention import ArchiveFile, lines, sweep

LEASE: Final = "retention"
_LEASE_SECONDS: Final = 20.0
_RENEW_SECONDS: Final = 5.0
_PAGE: Final = 1000
"""Executions in a file, at most."""
_PAGE_BYTES: Final = 64 * 1024 * 1024
_BATCH: Final = 50
"""Executions that are blanked in one transaction, at most."""
_BATCH_EVENTS: Final = 1000
_BEGINNING: Final = (Instant(""), "")
_HOUR: Final = 3600.0
_DAY: Final = 86_400.0
_logger = structlog.get_logger(__name__)


_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": _DAY, "w": 7 * _DAY}


def seconds_of(age: str) -> float:
    """An age such as `90d`, `12h` or `30m`, in seconds. Raises `ValueError`, which says what is wrong."""
    number, unit = age.strip()[:-1], age.strip()[-1:]
    try:
        seconds = float(number) * _UNITS[unit]
    except (KeyError, ValueError):
        raise ValueError(f"'{age}' is not an age; write it as 90d, 12h or 30m") from None
    if not 0 <= seconds <= LONGEST_DAYS * _DAY:
        raise ValueError(f"'{age}' is not between 0 and {LONGEST_DAYS:g} days")
    return seconds


def before(now: Instant, seconds: float) -> Instant:
    return plus(now, -min(seconds, LONGEST_DAYS * _DAY))


class Report(Struct, frozen=True, kw_only=True):
    """What was archived, or would be. `broken` are executions whose data is not what was appended: they stay."""

    executions: int = 0
    events: int = 0
    files: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()

    def __add__(self, other: Report) -> Report:
        return Report(
            executions=self.executions + other.executions,
            events=self.events + other.events,
            files=self.files + other.files,
            broken=self.broken + other.broken,
        )


class _Written(NamedTuple):
    """An execution whose events are in a file."""

    ended: Ended
    events: int
    first_position: int
    last_position: int


class Archivist:
    """Archives into a directory. One at a time works on a store, by a lease."""

    def __init__(self, store: Store, clock: Clock, directory: Path) -> None:
        self._store, self._clock, self._directory = store, clock, directory
        self._holder = clock.new_id()

    async def run(self, until: Instant, *, is_dry: bool = False) -> Report:
        """Archives what ended before a time. Raises `ResourceConflict` where another one is at it, and `Unavailable`
        where the files cannot be written or the store is away; what was archived until then stays so."""
        leases, report = self._store.ledgers.leases, Report()
        if not await leases.take(LEASE, self._holder, _LEASE_SECONDS):
            raise ResourceConflict("executions are being archived already; try again when that is done")
        renewing = asyncio.create_task(self._renew())
        try:
            await asyncio.to_thread(sweep, self._directory, _DAY)
            async for page in self._pages(until):
                for organization_id, its in itertools.groupby(page, lambda ended: ended.organization_id):
                    ended = list(its)
                    report += _counted(ended) if is_dry else await self._archive(organization_id, ended)
        except OSError as error:
            said = f"the archive '{self._directory}' cannot be written: {error.strerror or error}"
            raise Unavailable(said) from None
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            await leases.drop(LEASE, self._holder)
        return report

    async def keep(self, days: float) -> None:
        """Archives what ended more than some days ago, now and every hour, until it is cancelled."""
        while True:
            pause = _HOUR
            try:
                report = await self.run(before(self._clock.now(), days * _DAY))
                if report.executions or report.broken:
                    _logger.info("retention.archived", executions=report.executions, files=report.files)
            except ResourceConflict:
                # Another one is at it, or died at it: it will be seen which.
                pause = _LEASE_SECONDS
            except Unavailable as error:
                _logger.warning("retention.put_off", error=str(error))
            await asyncio.sleep(pause)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            await self._store.ledgers.leases.take(LEASE, self._holder, _LEASE_SECONDS)

    async def _pages(self, until: Instant) -> AsyncIterator[list[Ended]]:
        """Of each page, the executions of one organization stand together."""
        after = _BEGINNING
        while page := await self._store.ledgers.retention.ended(until, after, _PAGE):
            after = (page[-1].completed_at, page[-1].execution_id)
            yield sorted(page, key=lambda ended: ended.organization_id)

    async def _archive(self, organization_id: str, ended: Sequence[Ended]) -> Report:
        """Some executions of one organization, in as many files as their size asks for."""
        report, rest = Report(), list(ended)
        while rest:
            archived_at = self._clock.now()
            name = f"{archived_at[:10]}-{organization_id}-{self._clock.new_id()}.ndjson.gz"
            file = await asyncio.to_thread(ArchiveFile, self._directory, name)
            try:
                written, broken, rest = await self._write(file, rest)
                if written:
                    await asyncio.to_thread(file.keep)
            finally:
                await asyncio.to_thread(file.discard)
            done = await self._blank(written, archived_at, name)
            report += Report(
                executions=len(done),
                events=sum(each.events for each in written if each.ended.execution_id in done),
                files=(str(file.path),) if written else (),
                broken=tuple(broken),
            )
        return report

    async def _write(
        self, file: ArchiveFile, ended: Sequence[Ended]
    ) -> tuple[list[_Written], list[str], list[Ended]]:
        """Writes executions until the file is large: those it has, those that are broken, and those left over."""
        written: list[_Written] = []
        broken: list[str] = []
        size = 0
        for number, each in enumerate(ended):
            if size >= _PAGE_BYTES:
                return written, broken, list(ended[number:])
            events = await self._store.ledgers.retention.events(each.execution_id)
            if sum(event.stream == f"execution:{each.execution_id}" for event in events) != each.version:
                continue
            try:
                text = await asyncio.to_thread(lines, events)
            except Broken as error:
                _logger.error("retention.broken", execution_id=each.execution_id, error=str(error))
                broken.append(each.execution_id)
                continue
            await asyncio.to_thread(file.write, text)
            size += len(text)
            written.append(_Written(each, len(events), events[0].position, events[-1].position))
        return written, broken, []

    async def _blank(self, written: Sequence[_Written], archived_at: Instant, file: str) -> set[str]:
        done: set[str] = set()
        for batch in _batches(written):
            done.update(await self._store.ledgers.retention.blank([_row(each, archived_at, file) for each in batch]))
        return done


def _counted(ended: Sequence[Ended]) -> Report:
    return Report(executions=len(ended), events=sum(each.version for each in ended))


def _batches(written: Sequence[_Written]) -> list[list[_Written]]:
    """Small transactions: appends wait behind each."""
    batches: list[list[_Written]] = []
    events = _BATCH_EVENTS
    for each in written:
        if events >= _BATCH_EVENTS or len(batches[-1]) == _BATCH:
            batches.append([])
            events = 0
        batches[-1].append(each)
        events += each.events
    return batches


def _row(written: _Written, archived_at: Instant, file: str) -> Archived:
    return Archived(
        **written.ended._asdict(),
        first_position=written.first_position,
        last_position=written.last_position,
        archived_at=archived_at,
        file=file,
    )
