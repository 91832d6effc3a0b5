"""A copy of a SQLite file beside the process that writes it: the online backup, as of one moment."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

from storage.errors import WrongDatabase
from storage.sqlite.connection import connect_reader, create_file
from storage.sqlite.copying import set_marks
from storage.sqlite.errors import ours
from storage.sqlite.migrate import check

_PAGES: Final = 1024

Progress = Callable[[int, int], None]
"""(pages done, pages in all)."""


def copy_database(source: Path, target: Path, marks: Mapping[str, str], progress: Progress) -> None:
    """Copies a database page by page into a new file, which gets marks, and is on the disk afterwards.

    A reading transaction is open from the first page to the last. Without it the copy would begin anew whenever
    somebody writes; with it, writers only find that their WAL grows meanwhile. Raises `WrongDatabase`, `Unavailable`.
    """
    create_file(target)
    with ours(), closing(connect_reader(source)) as reader, closing(sqlite3.connect(target)) as writer:
        check(reader)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM meta").fetchone()
        reader.backup(writer, pages=_PAGES, progress=lambda _, left, all: progress(all - left, all))
        reader.execute("ROLLBACK")
        # One file, and nothing beside it that a copy of the copy could forget.
        writer.execute("PRAGMA journal_mode = DELETE")
        with writer:
            set_marks(writer, marks)
        (found,) = writer.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise WrongDatabase(f"the copy is damaged: {found}")
    _sync(target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
