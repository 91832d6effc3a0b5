"""Exporting the log: in order, beside a running hub, read-only, a page at a time."""

from __future__ import annotations

import contextlib
import gzip
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import IO, Final

from msgspec import Struct, structs

from executor.domain.errors import Invalid, Unavailable
from executor.domain.values import Instant, plus
from executor.ports import EventQuery, Organization, Recorded, Stored
from hub.export_forms import cloud_event, exported
from hub.export_options import Form
from hub.inspect import InspectError, Reader, opened_reader
from hub.patterns import wanted_types
from hub.settings import Settings
from hub.times import parse_time
from storage.codec import digest, encode_metadata

_PAGE: Final = 200
_GZIP_LEVEL: Final = 6
_TOLD_EVERY: Final = 20_000

Out = IO[bytes] | gzip.GzipFile


class Selection(Struct, frozen=True, kw_only=True):
    """Which events to export, as the command has them. Positions and their end are exclusive."""

    after: int = 0
    before: int | None = None
    types: tuple[str, ...] = ()
    execution_id: str | None = None
    workflow_id: str | None = None
    organization: str | None = None
    start_time: str | None = None
    end_time: str | None = None

    @property
    def is_filtered(self) -> bool:
        """It may leave events out between its first and its last."""
        return bool(self.types or self.execution_id or self.workflow_id or self.organization)

    @property
    def is_whole(self) -> bool:
        """It has every event from the first on, so that it can be proved, and imported."""
        return not (self.is_filtered or self.after or self.start_time)


class Done(Struct, frozen=True):
    """What was exported; `last` is null where that was nothing."""

    count: int
    last: Stored | None

    @property
    def text(self) -> str:
        if self.last is None:
            return "exported no events: none is selected"
        return f"exported {self.count} events, through position {self.last.position}, hash {self.last.hash.hex()}"


async def export(
    settings: Settings, selection: Selection, *, output: Path | None, form: Form, compress: bool | None
) -> Done:
    """Writes the selected events, one a line, to a file or to standard output. Raises `InspectError`.

    A file is there whole or not at all, for its owner only: it holds what a backup holds. Where `compress` is null,
    the file's name says it.
    """
    is_gzip = compress if compress is not None else output is not None and output.suffix == ".gz"
    if output is None and is_gzip and sys.stdout.isatty():
        raise InspectError("compressed data is not for a terminal: say --output FILE, or pipe it away")
    store = await opened_reader(settings)
    try:
        lines = await _Lines.of(store, selection, form)
        with _written(output) as raw, _compressed(raw, is_gzip) as file:
            return await lines.write(file, tells=output is not None and sys.stderr.isatty())
    except Unavailable as error:
        raise InspectError(str(error)) from None
    finally:
        await store.close()


class _Lines:
    """The lines of an export, and the organizations that they still have to bring."""

    def __init__(self, store: Reader, query: EventQuery, selection: Selection, form: Form) -> None:
        self._log, self._query, self._form = store.log, query, form
        self._is_filtered = selection.is_filtered
        self._untold: dict[str, Organization] = {}
        self._scanned: dict[int, Stored] = {}

    @classmethod
    async def of(cls, store: Reader, selection: Selection, form: Form) -> _Lines:
        known = await store.copying.organizations()
        lines = cls(store, await _query(store, selection, known), selection, form)
        if selection.is_whole:
            lines._untold = {organization.id: organization for organization in known}
        return lines

    async def write(self, file: Out, *, tells: bool) -> Done:
        count, last = 0, None
        async for page in self._pages():
            file.writelines(self._line(event) + b"\n" for event in page)
            count, last = count + len(page), page[-1]
            if tells and count // _TOLD_EVERY > (count - len(page)) // _TOLD_EVERY:
                sys.stderr.write(f"\r{count} events, position {last.position}")
        if tells and count >= _TOLD_EVERY:
            sys.stderr.write("\n")
        return Done(count, last)

    def _line(self, event: Stored) -> bytes:
        organization = self._untold.pop(event.organization_id, None)
        if self._form is Form.CLOUDEVENTS:
            return cloud_event(event, self._log.epoch, organization)
        return exported(event, organization)

    async def _pages(self) -> AsyncIterator[list[Stored]]:
        """Pages that are not empty."""
        after, before = self._query.after, self._query.before or 0
        while True:
            if self._is_filtered:
                found = await self._log.read(structs.replace(self._query, after=after))
                page = [await self._stored(recorded) for recorded in found]
            else:
                page = [event for event in await self._log.scan(after) if event.position < before]
            if not page:
                return
            yield page
            after = page[-1].position

    async def _stored(self, recorded: Recorded) -> Stored:
        """As its table holds it; the digest of archived data is only there."""
        if not recorded.data and recorded.position not in self._scanned:
            self._scanned = {event.position: event for event in await self._log.scan(recorded.position - 1)}
        return self._scanned[recorded.position] if not recorded.data else _stored(recorded)


async def _query(store: Reader, selection: Selection, known: list[Organization]) -> EventQuery:
    """Its times as positions, and its end at the head of now, so that an export beside a busy hub ends."""
    after, before = selection.after, await store.log.refresh() + 1
    if selection.before is not None:
        before = min(before, selection.before)
    if selection.start_time is not None:
        after = max(after, await store.log.position_at(plus(_time(selection.start_time, "--start-time"), -0.001)))
    if selection.end_time is not None:
        end = await store.log.position_at(plus(_time(selection.end_time, "--end-time"), -0.001))
        before = min(before, end + 1)
    try:
        types = wanted_types(selection.types, "--types")
    except Invalid as invalid:
        raise InspectError(str(invalid)) from None
    return EventQuery(
        after=after,
        before=before,
        types=types,
        execution_id=selection.execution_id,
        workflow_id=selection.workflow_id,
        organization_id=_organization(selection.organization, known),
        limit=_PAGE,
    )


def _time(text: str, option: str) -> Instant:
    try:
        return parse_time(text)
    except ValueError as error:
        raise InspectError(f"{option} {error}") from None


def _organization(wanted: str | None, known: list[Organization]) -> str | None:
    """By its id or its name."""
    if wanted is None:
        return None
    found = [organization.id for organization in known if wanted in (organization.id, organization.name)]
    if not found:
        raise InspectError(f"--organization: there is no organization '{wanted}'")
    return found[0]


def _stored(recorded: Recorded) -> Stored:
    return Stored(
        recorded.position,
        recorded.id,
        recorded.type,
        recorded.schema,
        recorded.time,
        recorded.organization_id,
        recorded.stream,
        recorded.version,
        recorded.workflow_id,
        recorded.execution_id,
        recorded.data,
        encode_metadata(recorded.metadata),
        digest(recorded.data),
        recorded.hash,
    )


@contextlib.contextmanager
def _written(output: Path | None) -> Iterator[IO[bytes]]:
    """Standard output, or a file that takes its name once it is whole and on the disk."""
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    temporary = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(output)
        _sync_directory(output.parent)
    except OSError as error:
        raise InspectError(f"'{output}' cannot be written: {error.strerror or error}") from None
    finally:
        temporary.unlink(missing_ok=True)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _compressed(file: IO[bytes], is_gzip: bool) -> Iterator[Out]:
    if not is_gzip:
        yield file
        return
    with gzip.GzipFile("", "wb", _GZIP_LEVEL, file) as compressed:
        yield compressed
