"""Durable events a second through the real path (group commit, rows, hash chain), on both stores, beside raw batched
inserts and beside the `eventsourcing` library.

    pip install -e '.[bench]'
    python benchmarks/append.py [--events 20000] [--stores sqlite,postgres] [--directory DIR]

Each appender appends one event of about 400 bytes to a stream of its own, waits until it is on the disk, and goes on;
each event rewrites the stream's row in `executions`, with a document of about 600 bytes. The raw side writes the same
bytes of the events alone, in batches as large as those the writer made, to the same columns and indexes at the same
durability: `executemany` on SQLite, `COPY` on PostgreSQL. `eventsourcing` writes the same bytes through its
application recorder, without rows and hashes, from as many threads as there are appenders. All are on the same disk.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import threading
import time
import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import asyncpg
import structlog
from msgspec import Struct
from rich.console import Console
from rich.table import Table
from stores import STORES, fresh

from executor.clock import SystemClock
from executor.domain.events import Fact
from executor.domain.events.execution import LogWritten
from executor.domain.execution.rows import ExecutionRow
from executor.domain.values import Instant
from executor.ports import NEW, Aggregate, Metadata, NewEvent, Row, StreamAppend
from storage.open import is_postgres, open_store, sqlite_path
from storage.postgres import events as postgres_events
from storage.postgres.migrate import migrate as migrate_postgres
from storage.postgres.store import PostgresStore
from storage.sqlite import events
from storage.sqlite.connection import connect_writer
from storage.sqlite.migrate import migrate
from storage.sqlite.store import SqliteStore

APPENDERS = (1, 16, 64, 256)
COLUMNS = (
    *("store", "appenders", "events/s", "p50 ms", "p99 ms", "p99.9 ms", "batch", "raw events/s", "of raw"),
    "eventsourcing events/s",
)
CLOCK = SystemClock()
ORGANIZATION, WORKFLOW = CLOCK.new_id(), CLOCK.new_id()


class RunState(Struct, frozen=True):
    id: str = ""
    version: int = 0
    created_at: Instant = Instant("")


def evolve(state: RunState, facts: Sequence[Fact]) -> RunState:
    first, last = facts[0].stamp, facts[-1].stamp
    return RunState(last.id, last.version, state.created_at or first.time)


def rows(before: RunState, after: RunState) -> Sequence[Row]:
    row = ExecutionRow(
        id=after.id,
        organization_id=ORGANIZATION,
        workflow_id=WORKFLOW,
        status="running",
        priority=5,
        tags="[]",
        created_by="benchmark",
        created_at=after.created_at,
        started_at=after.created_at,
        completed_at=None,
        runnable_at=after.created_at if after.version % 2 else None,
        engine="benchmark",
        epoch=1,
        project_id=None,
        root_execution_id=None,
        is_in_queue=False,
        is_holding=True,
        slot=None,
        concurrency_key=None,
        concurrency_limit=None,
        concurrency_slot=None,
        queue_deadline=None,
        version=after.version,
        document=b"{" + b'"x":"%d"' % after.version + b" " * 590 + b"}",
    )
    return (row,)


AGGREGATE: Aggregate[Any] = Aggregate(
    prefix="execution", initial=RunState, evolve=evolve, rows=rows, kinds=(ExecutionRow,)
)
EVENT = LogWritten(level="info", message="x" * 330)
"""About 400 bytes of data."""


class Measured(NamedTuple):
    per_second: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    batch: float


async def appender(store: SqliteStore | PostgresStore, count: int, waits: list[float]) -> None:
    id = CLOCK.new_id()
    state, version = AGGREGATE.initial(), NEW
    metadata = Metadata(actor="api_key:" + id, request_id=id)
    for _ in range(count):
        append = StreamAppend(
            stream=f"execution:{id}",
            expected=version,
            state=state,
            events=(NewEvent(CLOCK.new_id(), EVENT),),
            organization_id=ORGANIZATION,
            workflow_id=WORKFLOW,
            execution_id=id,
        )
        start = time.perf_counter()
        (done,) = await store.log.append((append,), metadata)
        waits.append(time.perf_counter() - start)
        state, version = done.state, done.version


async def measure(url: str, appenders: int, total: int) -> Measured:
    store = await open_store(url, [AGGREGATE], clock=CLOCK)
    waits: list[float] = []
    before, start = store.log.writer.transactions, time.perf_counter()
    await asyncio.gather(*(appender(store, total // appenders, waits) for _ in range(appenders)))
    took, transactions = time.perf_counter() - start, store.log.writer.transactions - before
    await store.log.verify()
    await store.close()
    waits.sort()
    p50, p99, p999 = (waits[int(len(waits) * part)] * 1000 for part in (0.5, 0.99, 0.999))
    return Measured(len(waits) / took, p50, p99, p999, len(waits) / transactions)


async def stored(url: str) -> list[tuple[Any, ...]]:
    """The bytes that were appended, to be written again by nothing but the driver."""
    store = await open_store(url, [AGGREGATE], clock=CLOCK)
    values: list[tuple[Any, ...]] = []
    while page := await store.log.scan(values[-1][0] if values else 0):
        values += page
    await store.close()
    return values


def raw_sqlite(url: str, values: list[tuple[Any, ...]], batch: int) -> float:
    connection = connect_writer(sqlite_path(url))
    migrate(connection)
    sql = f"INSERT INTO {events.INTO} VALUES ({', '.join('?' * len(values[0]))})"
    start = time.perf_counter()
    for at in range(0, len(values), batch):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(sql, values[at : at + batch])
        connection.execute("COMMIT")
    took = time.perf_counter() - start
    connection.close()
    return len(values) / took


async def raw_postgres(url: str, values: list[tuple[Any, ...]], batch: int) -> float:
    connection = await asyncpg.connect(url)
    await migrate_postgres(connection)
    columns = postgres_events.ALL.split(", ")
    start = time.perf_counter()
    for at in range(0, len(values), batch):
        await connection.copy_records_to_table("events", records=values[at : at + batch], columns=columns)
    took = time.perf_counter() - start
    await connection.close()
    return len(values) / took


def measure_raw(url: str, values: list[tuple[Any, ...]], batch: int) -> float:
    if is_postgres(url):
        return asyncio.run(raw_postgres(url, values, batch))
    return raw_sqlite(url, values, batch)


def measure_peer(url: str, values: list[tuple[Any, ...]], appenders: int) -> float:
    """`eventsourcing`: each thread saves one event of a stream of its own after the other."""
    from eventsourcing.persistence import StoredEvent

    recorder = _recorder(url)
    data = values[0][10]
    each = max(1, len(values) // appenders)

    def save() -> None:
        id = uuid.uuid4()
        for version in range(1, each + 1):
            recorder.insert_events([StoredEvent(id, version, "benchmark:LogWritten", data)])

    threads = [threading.Thread(target=save) for _ in range(appenders)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - start
    recorder.datastore.close()
    return each * appenders / took


def _recorder(url: str) -> Any:
    if is_postgres(url):
        from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore

        parts = urlsplit(url)
        datastore: Any = PostgresDatastore(
            dbname=parts.path[1:],
            host=parse_qs(parts.query)["host"][0],
            port=5432,
            user=parts.username,
            password="",
            pool_size=16,
            max_overflow=16,
            connect_timeout=60,
        )
        recorder: Any = PostgresApplicationRecorder(datastore, events_table_name="stored_events")
    else:
        from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore

        datastore = SQLiteDatastore(str(sqlite_path(url)), lock_timeout=60, pool_timeout=60)
        recorder = SQLiteApplicationRecorder(datastore)
    recorder.create_table()
    return recorder


def line(store: str, appenders: int, total: int, directory: str | None) -> list[str]:
    with fresh(store, directory) as url:
        ours = asyncio.run(measure(url, appenders, total))
        values = asyncio.run(stored(url))
    with fresh(store, directory) as url:
        raw = measure_raw(url, values, max(1, round(ours.batch)))
    with fresh(store, directory) as url:
        peer = measure_peer(url, values[: max(appenders, total // 10)], appenders)
    return [
        store,
        str(appenders),
        f"{ours.per_second:,.0f}",
        f"{ours.p50_ms:.2f}",
        f"{ours.p99_ms:.2f}",
        f"{ours.p999_ms:.2f}",
        f"{ours.batch:.1f}",
        f"{raw:,.0f}",
        f"{ours.per_second / raw:.0%}",
        f"{peer:,.0f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000, help="for each line but the first, which has a tenth")
    parser.add_argument("--stores", default=",".join(STORES), help="which of them")
    parser.add_argument("--directory", help="where to write; the disk to measure (default: a temporary directory)")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    table = Table(title="Durable appends: one event and one row each, flushed before they are acknowledged")
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for store in arguments.stores.split(","):
        for appenders in APPENDERS:
            total = arguments.events // (10 if appenders == 1 else 1)
            table.add_row(*line(store, appenders, total, arguments.directory))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
