"""How this process connects: one connection that writes, any number that only read.

SQLite before 3.51.3 can corrupt a WAL when two connections write or checkpoint at the same moment. Here only the
writer does either, and the lock file keeps a second process from writing, so every version from 3.38 on is safe.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Final
from urllib.parse import quote

BUSY_SECONDS: Final = 5.0
_CHECKPOINT_PAGES: Final = 4000
_WAL_KEPT_BYTES: Final = 64 * 1024 * 1024
_CACHE_KIB: Final = 64 * 1024


def connect_writer(path: Path) -> sqlite3.Connection:
    """The one connection that writes and checkpoints. May be used from another thread than this."""
    connection = sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_KEPT_BYTES}")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    """For point reads on the spot: use it only from the thread that opened it."""
    return sqlite3.connect(
        read_only_uri(path), uri=True, timeout=BUSY_SECONDS, isolation_level=None, cached_statements=256
    )


def read_only_uri(path: Path) -> str:
    return f"file:{quote(str(path.absolute()))}?mode=ro"


def create_file(path: Path) -> None:
    """An empty file that only its owner may read, in a directory as closed where that is made here too.

    SQLite gives its WAL and shared memory the same mode.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
