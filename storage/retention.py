"""Archive files: the events of executions exactly as they are stored, one JSON object a line, gzipped.

A file is there whole or not at all: it is written under a temporary name, flushed to disk, and only then gets its
own, which no other file ever had. Sealed values stay sealed in it. Nothing here runs on the event loop.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import time
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Raw, Struct

from executor.domain.values import Instant
from executor.ports import Archived, Stored
from storage.codec import digest
from storage.errors import Broken

_LEVEL: Final = 6


class ArchivedEvent(Struct, frozen=True):
    """A line. `digest` and `hash` are hexadecimal; data and metadata are their very bytes."""

    position: int
    id: str
    type: str
    schema: int
    time: Instant
    organization_id: str
    stream: str
    version: int
    workflow_id: str | None
    execution_id: str | None
    data: Raw
    metadata: Raw
    digest: str
    hash: str


def lines(events: Iterable[Stored]) -> bytes:
    """Raises `Broken` for data that is not what was appended: to blank it would hide that."""
    return b"".join(_line(event) for event in events)


def _line(event: Stored) -> bytes:
    if digest(event.data) != event.digest:
        raise Broken(event.position, "its data is not what its digest says")
    shown = ArchivedEvent(*event[:10], Raw(event.data), Raw(event.metadata), event.digest.hex(), event.hash.hex())
    return msgspec.json.encode(shown) + b"\n"


def read(path: Path) -> list[Stored]:
    """The events of an archive file, in its order."""
    decoder = msgspec.json.Decoder(ArchivedEvent)
    with gzip.open(path, "rb") as file:
        return [_stored(decoder.decode(line)) for line in file]


def _stored(event: ArchivedEvent) -> Stored:
    fields = msgspec.structs.asdict(event) | {
        "data": bytes(event.data),
        "metadata": bytes(event.metadata),
        "digest": bytes.fromhex(event.digest),
        "hash": bytes.fromhex(event.hash),
    }
    return Stored(**fields)


def unchanged(archived: Iterable[Archived], versions: Mapping[str, int], awaited: Container[str]) -> list[Archived]:
    """Those that may be blanked: they are still at their version, and nothing waits for them. `versions` has those
    whose rows say that they ended."""
    return [
        each
        for each in archived
        if each.execution_id not in awaited and versions.get(each.execution_id) == each.version
    ]


def is_replayed(archived: Archived, replays: Sequence[tuple[str, int, int, int]]) -> bool:
    """Whether a replay (its organization, span and position) still has to come by."""
    return any(
        organization_id == archived.organization_id
        and first <= archived.last_position
        and last >= archived.first_position
        and position < archived.last_position
        for organization_id, first, last, position in replays
    )


def sweep(directory: Path, seconds: float) -> None:
    """Takes away what others left half written longer ago than some seconds. Raises `OSError`."""
    for path in directory.glob(".*.ndjson.gz.*"):
        if time.time() - path.stat().st_mtime > seconds:
            path.unlink(missing_ok=True)


class ArchiveFile:
    """A file on its way. `keep` or `discard` ends it. All raise `OSError`."""

    def __init__(self, directory: Path, name: str) -> None:
        """Makes the directory, for its owner only, where there is none."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = directory / name
        self._temporary = directory / f".{name}.{os.getpid()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._file = os.fdopen(os.open(self._temporary, flags, 0o600), "wb")
        self._gzip = gzip.GzipFile(fileobj=self._file, mode="wb", filename="", compresslevel=_LEVEL)

    def write(self, data: bytes) -> None:
        self._gzip.write(data)

    def keep(self) -> None:
        """From here on it is on disk, under its name."""
        self._gzip.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._temporary.rename(self.path)
        directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def discard(self) -> None:
        """Nothing is left of it, unless it was kept."""
        with contextlib.suppress(OSError, ValueError):
            self._gzip.close()
        with contextlib.suppress(OSError):
            self._file.close()
        self._temporary.unlink(missing_ok=True)
