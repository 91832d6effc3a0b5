"""Importing a full export into an empty log: proved line by line, folded as it comes, and held at its end.

An import may be killed and run again with the same file: what is there is compared by its hash, the rest is written.
"""

from __future__ import annotations

import contextlib
import gzip
import sys
import zlib
from collections.abc import AsyncIterator, Iterator
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, Final, cast

from msgspec import Struct

from executor.clock import SystemClock
from executor.domain.errors import Unavailable
from executor.ports import HELD, IMPORTING, Organization, Stored
from executor.sealing import SecretKey, Unsealable
from hub.aggregates import AGGREGATES
from hub.credentials import secret_key
from hub.export_forms import form_of, read
from hub.export_options import Form
from hub.settings import Settings
from hub.wiring import database_url, usable
from storage.codec import GENESIS, Link
from storage.copying import follow
from storage.errors import Broken, StorageError
from storage.open import OpenedStore, open_store
from webhooks.fanout import CHECKPOINT

_GZIP: Final = b"\x1f\x8b"
_PAGE: Final = 500
_PAGE_BYTES: Final = 4 * 1024 * 1024
_LONGEST_LINE: Final = 64 * 1024 * 1024
_TOLD_EVERY: Final = 20_000


class ImportFailed(Exception):
    """The import was not done, or not to its end; says why, and what helps."""


class Page(Struct, frozen=True):
    """Events that follow on each other, proved, and the organizations that they are the first of."""

    events: list[Stored]
    organizations: list[Organization]
    end: Link


class Imported(Struct, frozen=True):
    head: Link
    epoch: str
    has_key: bool

    def text(self, data_dir: Path) -> str:
        lines = [
            f"imported {self.head.position} events; the head is {self.head.position}, hash {self.head.hash.hex()}",
            "the hub is held: it answers, but runs, deliveries and schedules wait until 'runcast take-over'",
        ]
        if not self.has_key:
            lines.append(
                f"before it starts, put the secret.key of the hub that was exported into '{data_dir}', or set "
                "RUNCAST_SECRET_KEY to it: API keys and sealed secrets are nothing without it"
            )
        return "\n".join(lines)


async def import_events(settings: Settings, source: Path | None) -> Imported:
    """Brings the events of a file, or of standard input, into an empty log. Raises `ImportFailed`."""
    with _opened(source) as file:
        pages = _Reader(file).pages()
        first = next(pages, None)
        if first is None:
            raise ImportFailed("there are no events in it: it is not an export, or one of an empty log")
        try:
            async with _target(settings) as store:
                key = _key(settings)
                head = await _bring(store, first, pages, key)
                return Imported(head, store.log.epoch, key is not None)
        except (StorageError, Unavailable) as error:
            raise ImportFailed(str(error)) from None


async def _bring(store: OpenedStore, first: Page, rest: Iterator[Page], key: SecretKey | None) -> Link:
    there, told = store.log.head, 0
    end = GENESIS
    for page in _chained(first, rest):
        known = await _same(store, page.events, there) if end.position < there else 0
        fresh = page.events[known:]
        _check_keys(page.organizations, key)
        try:
            await store.copying.bring(
                fresh, organizations=page.organizations, marks={IMPORTING: "an import was not finished"}
            )
        except (ValueError, StorageError) as error:
            where = f"positions {page.events[0].position} to {page.end.position}"
            raise ImportFailed(f"{where} cannot be folded, and nothing from there on was written: {error}") from None
        end = page.end
        told = _tell(end.position, told)
    if end.position < there:
        raise ImportFailed(f"it ends at position {end.position}, but {there} events were imported before it ended")
    held = {IMPORTING: None, HELD: f"it was imported at {SystemClock().now()}"}
    # Nothing old is sent again when the hub is taken over: the fan-out goes on behind what was imported.
    await store.copying.bring((), checkpoints={CHECKPOINT: end.position}, marks=held)
    return end


async def _same(store: OpenedStore, events: list[Stored], there: int) -> int:
    """How many of the events are in the log already. Raises `ImportFailed` where others stand in their place."""
    known = 0
    while known < len(events) and events[known].position <= there:
        for stored in await store.log.scan(events[known].position - 1):
            if known == len(events):
                break
            if stored.hash != events[known].hash:
                raise ImportFailed(
                    f"position {stored.position} is not what was imported before: this is another log's export; "
                    "import it into another directory"
                )
            known += 1
    return known


def _check_keys(organizations: list[Organization], key: SecretKey | None) -> None:
    for organization in organizations:
        try:
            if key is not None and organization.sealed_key:
                key.organization_key(organization.id, organization.sealed_key)
        except Unsealable:
            raise ImportFailed(
                f"the secret key does not open the data of organization '{organization.name}': set "
                "RUNCAST_SECRET_KEY to that of the hub that was exported, or put its secret.key into the data "
                "directory"
            ) from None


def _key(settings: Settings) -> SecretKey | None:
    """The key of the settings or of the data directory, where there is one."""
    if settings.secret_key is None and not (settings.data_dir / "secret.key").exists():
        return None
    return secret_key(settings, is_new=False)


@contextlib.asynccontextmanager
async def _target(settings: Settings) -> AsyncIterator[OpenedStore]:
    """The log to import into: an empty one, or one whose import was not finished."""
    with usable(settings.data_dir):
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        store = await open_store(database_url(settings), AGGREGATES, clock=SystemClock())
    try:
        if store.log.head > 0 and IMPORTING not in await store.copying.marks():
            raise ImportFailed(
                f"the log has {store.log.head} events already, and an import needs an empty one: say another "
                "--data-dir, or another RUNCAST_DATABASE_URL"
            )
        yield store
    finally:
        await store.close()


class _Reader:
    """The lines of an export as pages, each event proved to follow from the one before it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._number = file, 0
        self._form: Form | None = None
        self._known: set[str] = set()

    def pages(self) -> Iterator[Page]:
        events: list[Stored] = []
        organizations: list[Organization] = []
        link, size = GENESIS, 0
        while line := self._line():
            event, organization = self._parsed(line, link)
            link = self._followed(event, link)
            events.append(event)
            if organization is not None:
                organizations.append(organization)
            size += len(line)
            if len(events) == _PAGE or size >= _PAGE_BYTES:
                yield Page(events, organizations, link)
                events, organizations, size = [], [], 0
        if events:
            yield Page(events, organizations, link)

    def _line(self) -> bytes:
        """The next line that is not blank; empty at the end."""
        while True:
            self._number += 1
            try:
                line = self._file.readline(_LONGEST_LINE)
            except (OSError, EOFError, zlib.error) as error:
                raise ImportFailed(f"line {self._number} cannot be read, the file is damaged: {error}") from None
            if len(line) == _LONGEST_LINE:
                raise ImportFailed(f"line {self._number} is longer than any event")
            if not line or not line.isspace():
                return line

    def _parsed(self, line: bytes, after: Link) -> tuple[Stored, Organization | None]:
        self._form = self._form or form_of(line)
        try:
            event, organization = read(self._form, line)
        except ValueError as error:
            where = f"line {self._number} (after position {after.position})"
            raise ImportFailed(f"{where} is not an event of an export: {error}") from None
        if organization is not None:
            if organization.id != event.organization_id:
                raise ImportFailed(f"line {self._number}, position {event.position}: its organization is another's")
            self._known.add(organization.id)
        return event, organization

    def _followed(self, event: Stored, after: Link) -> Link:
        at = f"line {self._number}, position {event.position}"
        if after is GENESIS and event.position != 1:
            raise ImportFailed(f"{at}: it does not begin at position 1; {_WHOLE}")
        if event.position > after.position + 1:
            raise ImportFailed(f"{at}: it does not follow position {after.position}; {_WHOLE}")
        try:
            link = follow(event, after)
        except Broken as broken:
            raise ImportFailed(f"{at}: {broken.reason}; nothing from there on was imported") from None
        if event.organization_id not in self._known:
            raise ImportFailed(f"{at}: its organization is not in the export; {_WHOLE}")
        return link


_WHOLE: Final = "only a whole export, without filters and from the beginning, can be proved, and so imported"


@contextlib.contextmanager
def _opened(source: Path | None) -> Iterator[BinaryIO]:
    """A file or standard input, decompressed where it begins as gzip does."""
    with contextlib.ExitStack() as stack:
        try:
            opened = sys.stdin.buffer if source is None else stack.enter_context(source.open("rb"))
            raw = cast(BufferedReader, opened)
            start = raw.peek(2)[:2]
        except OSError as error:
            raise ImportFailed(f"'{source or '-'}' cannot be read: {error.strerror or error}") from None
        yield cast(BinaryIO, stack.enter_context(gzip.GzipFile(fileobj=raw)) if start == _GZIP else raw)


def _chained(first: Page, rest: Iterator[Page]) -> Iterator[Page]:
    yield first
    yield from rest


def _tell(position: int, told: int) -> int:
    """Progress, for who watches."""
    if position - told < _TOLD_EVERY or not sys.stderr.isatty():
        return told
    sys.stderr.write(f"\r{position} events")
    return position
