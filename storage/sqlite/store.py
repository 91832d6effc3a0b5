"""Opens a SQLite file as a store: for writing, by one process at a time, or beside it only for reading."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any, Final, NamedTuple

import structlog

from executor.ports import COPIED, Aggregate, Clock
from storage.aggregates import Aggregates
from storage.codec import CODEC, GENESIS, Codec
from storage.copying import Folding
from storage.errors import WrongDatabase
from storage.lock import FileLock
from storage.projections import NOTES, projections, revisions
from storage.sqlite.answers import SqliteFirstAnswers
from storage.sqlite.batch import Appender, end_of_chain
from storage.sqlite.checked import connect_checked, opening
from storage.sqlite.connection import connect_reader, connect_writer, create_file
from storage.sqlite.copying import SqliteCopying, SqliteCopySource, set_marks
from storage.sqlite.deliveries import SqliteDeliveries
from storage.sqlite.errors import ours
from storage.sqlite.ledgers import SqliteEngines, SqliteKeyUse, SqliteLeases, SqliteLedgers, SqliteOrganizations
from storage.sqlite.log import LogReader, SqliteLog
from storage.sqlite.migrate import check, migrate, migrations
from storage.sqlite.pool import ReadPool
from storage.sqlite.projections import SqliteProjections
from storage.sqlite.reads import SqliteReads
from storage.sqlite.redelivery import SqliteRedelivery
from storage.sqlite.replays import SqliteReplays
from storage.sqlite.retention import SqliteRetention
from storage.sqlite.statements import queries
from storage.sqlite.tasks import SqliteTaskLeases
from storage.sqlite.writer import Writer

_FORMAT: Final = "1"
"""How envelopes are encoded and chained."""
_WAL_FIXED_IN: Final = (3, 51, 3)
_log = structlog.get_logger(__name__)


class SqliteStore:
    """Implements `ports.Store`. `lock` is held until the store is closed."""

    def __init__(
        self,
        parts: _Parts,
        lock: FileLock,
        log: SqliteLog,
        reads: SqliteReads,
        ledgers: SqliteLedgers,
        copying: SqliteCopying,
        projections: SqliteProjections,
    ) -> None:
        self._parts = parts
        self.lock = lock
        self.log = log
        self.reads = reads
        self.ledgers = ledgers
        self.copying = copying
        self.projections = projections
        self._exclusive: dict[str, asyncio.Lock] = {}

    is_shared = False

    @asynccontextmanager
    async def exclusively(self, name: str) -> AsyncIterator[None]:
        """The file lock keeps every other process out already."""
        async with self._exclusive.setdefault(name, asyncio.Lock()):
            yield

    async def ping(self) -> None:
        with ours():
            self._parts.reader.execute("SELECT 1 FROM meta").fetchone()

    async def close(self) -> None:
        """Appends that were submitted are finished. May be called twice.

        The writer is the last to go: only the last connection can bring the whole WAL back into the file.
        """
        self.log.close()
        await self._parts.pool.close()
        self._parts.reader.close()
        await self.log.writer.close()
        self.lock.release()


class ReadOnlyStore:
    """The log of a store that another process may be writing to, or nobody."""

    def __init__(self, parts: _Parts, log: LogReader) -> None:
        self._parts = parts
        self.log = log
        self.copying = SqliteCopySource(parts.reader, parts.pool)

    async def close(self) -> None:
        self.log.close()
        await self._parts.pool.close()
        self._parts.reader.close()


class _Parts(NamedTuple):
    """What a store reads with."""

    reader: sqlite3.Connection
    pool: ReadPool
    epoch: str


async def open_for_writing(
    path: Path, aggregates: Sequence[Aggregate[Any]], *, clock: Clock, codec: Codec = CODEC
) -> SqliteStore:
    """Makes the file where there is none. Raises `Locked`, `WrongDatabase`, `Unavailable`."""
    known, folded = Aggregates(aggregates, codec), projections(aggregates)
    with ExitStack() as undo:
        create_file(path)
        lock = FileLock(path.with_name(path.name + ".lock"))
        undo.callback(lock.release)
        with opening(path):
            connection = undo.enter_context(closing(connect_writer(path)))
            epoch = _prepare(connection, clock, revisions(folded.values()))
            reader = undo.enter_context(closing(connect_reader(path)))
            parts = _Parts(reader, ReadPool(path), epoch)
            appender = Appender(known, clock)
            log = SqliteLog(
                reader,
                parts.pool,
                known,
                epoch,
                codec=codec,
                writer=lambda publish: Writer(connection, appender, publish),
            )
        undo.pop_all()
    ledgers = SqliteLedgers(
        SqliteEngines(log.writer, reader, clock),
        SqliteLeases(log.writer, clock),
        SqliteTaskLeases(log.writer, reader, clock),
        SqliteOrganizations(log.writer, reader),
        SqliteKeyUse(log.writer, reader),
        SqliteFirstAnswers(log.writer),
        SqliteDeliveries(log.writer, reader, parts.pool),
        SqliteRedelivery(log.writer, parts.pool),
        SqliteReplays(log.writer, reader, parts.pool),
        SqliteRetention(log.writer, reader, parts.pool),
    )
    copying = SqliteCopying(reader, parts.pool, log, Folding(log, known), appender.forget, clock)
    reads, of_rows = SqliteReads(reader, parts.pool, clock), SqliteProjections(log.writer, reader, folded)
    return SqliteStore(parts, lock, log, reads, ledgers, copying, of_rows)


async def open_for_reading(
    path: Path, aggregates: Sequence[Aggregate[Any]] = (), *, codec: Codec = CODEC
) -> ReadOnlyStore:
    """Takes no lock and changes nothing. `aggregates` are needed only to fold. Raises as above."""
    with ExitStack() as undo, opening(path):
        reader = undo.enter_context(closing(connect_checked(path)))
        epoch = _meta(reader, "epoch")
        if epoch is None:
            raise WrongDatabase("the database has no epoch")
        parts = _Parts(reader, ReadPool(path), epoch)
        log = LogReader(reader, parts.pool, Aggregates(aggregates, codec), epoch)
        undo.pop_all()
    return ReadOnlyStore(parts, log)


def migrate_sqlite(path: Path) -> list[str]:
    """Brings a file to the newest schema, as the hub's start does; one that is not there yet has nothing to bring.

    Raises `Locked` where a hub of an older version runs on it, and as above.
    """
    if not path.exists():
        return []
    with ExitStack() as undo, opening(path):
        with closing(connect_reader(path)) as reader:
            if check(reader) == migrations()[-1].version:
                return []
        undo.callback(FileLock(path.with_name(path.name + ".lock")).release)
        return migrate(undo.enter_context(closing(connect_writer(path))))


def _prepare(connection: sqlite3.Connection, clock: Clock, revisions: Mapping[str, str]) -> str:
    """Brings the schema up to date and answers the log's epoch, which a new log and a copy of one get here.

    The rows of an empty log are of these revisions."""
    for name in migrate(connection):
        _log.info("migrated the database", migration=name)
    if sqlite3.sqlite_version_info < _WAL_FIXED_IN:
        _log.debug("this SQLite needs all writes in one connection, and they are", sqlite=sqlite3.sqlite_version)
    connection.execute("BEGIN IMMEDIATE")
    format = _meta(connection, "format") or _set_meta(connection, "format", _FORMAT)
    epoch = _meta(connection, "epoch")
    if epoch is None or _meta(connection, COPIED) is not None:
        epoch = clock.new_id()
        set_marks(connection, {"epoch": epoch, COPIED: None})
    if end_of_chain(connection) == GENESIS:
        set_marks(connection, {NOTES + key: value for key, value in revisions.items()})
    connection.execute("COMMIT")
    if format != _FORMAT:
        raise WrongDatabase(f"the log has format {format}; this version knows {_FORMAT}: use a newer Runcast")
    return epoch


def _meta(connection: sqlite3.Connection, key: str) -> str | None:
    row = connection.execute(queries()["get_meta"], (key,)).fetchone()
    return str(row[0]) if row is not None else None


def _set_meta(connection: sqlite3.Connection, key: str, value: str) -> str:
    connection.execute(queries()["set_meta"], (key, value))
    return value
