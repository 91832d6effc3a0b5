"""`runcast backup`: a copy of an embedded hub's data directory that can be started, made while the hub runs."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
from pathlib import Path
from typing import Final

from msgspec import Struct

from executor.clock import SystemClock
from executor.domain.errors import Unavailable
from executor.ports import COPIED, HELD
from hub.inspect import InspectError, database_path
from hub.settings import Settings
from storage.codec import Link
from storage.copying import proved
from storage.errors import Broken, StorageError
from storage.open import is_postgres, open_readonly
from storage.sqlite.backup import copy_database

KEPT: Final = ("secret.key", "credentials.json")
"""What a data directory holds beside the database, and a hub cannot do without."""


class BackupFailed(Exception):
    """There is no backup; says why."""


class Backup(Struct, frozen=True):
    """`has_key` is false where the secret key was not in the data directory, and so is not in the copy."""

    path: Path
    head: Link
    has_key: bool
    has_archives: bool

    @property
    def text(self) -> str:
        lines = [
            f"'{self.path}' holds {self.head.position} events, proved; the head's hash is {self.head.hash.hex()}"
        ]
        if self.has_key:
            lines.append("it holds the secret key too: whoever has it can read everything")
        else:
            lines.append("the secret key (RUNCAST_SECRET_KEY) is not in it: keep it elsewhere, it is needed")
        if self.has_archives:
            lines.append("archive files are not in it: they never change, copy them as they are")
        return "\n".join(lines)


async def backup(settings: Settings, target: Path) -> Backup:
    """Copies the data directory into a new one, which is there whole or not at all. Raises `BackupFailed`."""
    source, made = _begun(settings, target)
    try:
        head = await _copied(settings, source, made)
        made.rename(target)
    except (StorageError, Unavailable, OSError, sqlite3.Error) as error:
        raise BackupFailed(f"there is no backup: {error}") from None
    finally:
        shutil.rmtree(made, ignore_errors=True)
    has_archives = settings.archive.is_dir() and any(settings.archive.iterdir())
    return Backup(target, head, (target / "secret.key").exists(), has_archives)


def _begun(settings: Settings, target: Path) -> tuple[Path, Path]:
    """The file to copy, and the directory that the copy is made in before it takes its name."""
    if is_postgres(settings.database_url or ""):
        raise BackupFailed("this copies an embedded hub; for PostgreSQL use pg_basebackup (docs/operations.md)")
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise BackupFailed(f"'{target}' is there already; a backup needs a new directory")
        source = database_path(settings)
        made = target.with_name(f".{target.name}.{os.getpid()}")
        made.mkdir(mode=0o700, parents=True)
    except InspectError as error:
        raise BackupFailed(str(error)) from None
    except OSError as error:
        raise BackupFailed(f"'{target}' cannot be made: {error.strerror}") from None
    return source, made


async def _copied(settings: Settings, source: Path, made: Path) -> Link:
    """What is in the data directory, and the proof of its log as it was copied."""
    for name in KEPT:
        if (settings.data_dir / name).exists():
            copy_private(settings.data_dir / name, made / name)
    since = f"it was restored from a backup of {SystemClock().now()}"
    copy_database(source, made / "runcast.db", {HELD: since, COPIED: since}, _tell)
    store = await open_readonly(made / "runcast.db")
    try:
        return await proved(store.log)
    except Broken as broken:
        raise StorageError(f"the log is broken at {broken}") from None
    finally:
        await store.close()


def copy_private(source: Path, target: Path) -> None:
    """A file of keys, for its owner only from its first byte on."""
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(source.read_bytes())
        file.flush()
        os.fsync(file.fileno())


def _tell(done: int, all: int) -> None:
    """Progress, for who watches."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done * 100 // max(all, 1)} %" + ("\n" if done == all else ""))
