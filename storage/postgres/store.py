"""Opens a PostgreSQL database as a store: for any number of processes on any number of machines."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog

from executor.ports import Aggregate, Clock
from storage.aggregates import Aggregates
from storage.codec import CODEC, Codec
from storage.copying import Folding
from storage.errors import WrongDatabase
from storage.postgres import migrate
from storage.postgres.answers import PostgresFirstAnswers
from storage.postgres.batch import Appender
from storage.postgres.connection import Connection, Pool, connect
from storage.postgres.copying import PostgresCopying, set_marks
from storage.postgres.deliveries import PostgresDeliveries
from storage.postgres.errors import ours
from storage.postgres.ledgers import (
    PostgresEngines,
    PostgresKeyUse,
    PostgresLeases,
    PostgresLedgers,
    PostgresOrganizations,
)
from storage.postgres.log import PostgresLog
from storage.postgres.projections import PostgresProjections
from storage.postgres.reads import PostgresReads
from storage.postgres.redelivery import PostgresRedelivery
from storage.postgres.replays import PostgresReplays
from storage.postgres.retention import PostgresRetention
from storage.postgres.tasks import PostgresTaskLeases
from storage.projections import NOTES, projections, revisions
from storage.sql import named

_FORMAT: Final = "1"
"""How envelopes are encoded and chained."""
_EXCLUSIVE: Final = 1918987877
_log = structlog.get_logger(__name__)


class PostgresStore:
    """Implements `ports.Store`."""

    is_shared = True

    def __init__(
        self,
        pool: Pool,
        log: PostgresLog,
        reads: PostgresReads,
        ledgers: PostgresLedgers,
        copying: PostgresCopying,
        projections: PostgresProjections,
    ) -> None:
        self._pool = pool
        self._exclusive: dict[str, asyncio.Lock] = {}
        self.log = log
        self.reads = reads
        self.ledgers = ledgers
        self.copying = copying
        self.projections = projections

    @asynccontextmanager
    async def exclusively(self, name: str) -> AsyncIterator[None]:
        """By an advisory lock of the database; the server frees it where this process dies."""
        key = zlib.crc32(name.encode()) - 2**31
        async with self._exclusive.setdefault(name, asyncio.Lock()), self._pool.connection() as connection:
            await connection.execute("SELECT pg_advisory_lock($1, $2)", _EXCLUSIVE, key)
            try:
                yield
            except Exception:
                await connection.execute("SELECT pg_advisory_unlock($1, $2)", _EXCLUSIVE, key)
                raise
            await connection.execute("SELECT pg_advisory_unlock($1, $2)", _EXCLUSIVE, key)

    async def ping(self) -> None:
        await self._pool.value("SELECT 1")

    async def close(self) -> None:
        """Appends that were submitted are finished. May be called twice."""
        self.log.close()
        await self.log.writer.close()
        await self._pool.close()


async def open_postgres(
    url: str, aggregates: Sequence[Aggregate[Any]], *, clock: Clock, codec: Codec = CODEC, makes: bool = True
) -> PostgresStore:
    """Makes the schema in an empty database, if it `makes` anything; an older one is left for `runcast migrate`.

    Raises `WrongDatabase`, `Unavailable`.
    """
    known, folded = Aggregates(aggregates, codec), projections(aggregates)
    with ours():
        connection = await connect(url)
        try:
            epoch, head = await _prepare(connection, clock, makes, revisions(folded.values()))
        finally:
            await connection.close()
    pool = Pool(url)
    log = PostgresLog(pool, lambda: connect(url), known, Appender(known, clock), codec, epoch, head)
    ledgers = PostgresLedgers(
        PostgresEngines(pool),
        PostgresLeases(pool),
        PostgresTaskLeases(pool),
        PostgresOrganizations(pool),
        PostgresKeyUse(pool),
        PostgresFirstAnswers(pool),
        PostgresDeliveries(pool),
        PostgresRedelivery(pool),
        PostgresReplays(pool),
        PostgresRetention(pool),
    )
    copying = PostgresCopying(pool, log, Folding(log, known), clock)
    return PostgresStore(pool, log, PostgresReads(pool), ledgers, copying, PostgresProjections(pool, folded))


async def migrate_postgres(url: str) -> list[str]:
    """Brings a database to the newest schema; answers the names of the steps that were missing.

    Raises `WrongDatabase`, `Unavailable`.
    """
    with ours():
        connection = await connect(url)
        try:
            return await migrate.migrate(connection)
        finally:
            await connection.close()


async def _prepare(
    connection: Connection, clock: Clock, makes: bool, revisions: Mapping[str, str]
) -> tuple[str, int]:
    """The log's epoch, which a new log gets here, and its head. The rows of an empty log are of these revisions."""
    if makes and await migrate.check(connection) == 0:
        for name in await migrate.migrate(connection):
            _log.info("migrated the database", migration=name)
    await migrate.require(connection)
    if makes:
        await connection.execute(_sql("add_meta"), "format", _FORMAT)
        await connection.execute(_sql("add_meta"), "epoch", clock.new_id())
    format = await connection.fetchval(_sql("get_meta"), "format")
    if format != _FORMAT:
        raise WrongDatabase(f"the log has format {format}; this version knows {_FORMAT}: use a newer Runcast")
    epoch, head = await connection.fetchval(_sql("get_meta"), "epoch"), await connection.fetchval(_sql("head"))
    if makes and head == 0:
        await set_marks(connection, {NOTES + key: value for key, value in revisions.items()})
    return str(epoch), int(head)


def _sql(name: str) -> str:
    return named("storage.postgres")[name]
