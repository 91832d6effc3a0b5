"""Durable events a second through the real path (group commit, rows, hash chain), beside raw batched inserts.

    python benchmarks/append.py [--events 20000] [--directory DIR]

Each appender appends one event of about 400 bytes to a stream of its own, waits until it is on the disk, and goes on;
each event rewrites the stream's row in `executions`, with a document of about 600 bytes. The raw side writes the same
bytes of the events alone, with `executemany`, in batches as large as those the writer made: the same columns and
indexes, WAL, synchronous=FULL. Both directories are on the same disk.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import structlog
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from executor.clock import SystemClock
from executor.domain.events import Fact
from executor.domain.events.execution import LogWritten
from executor.domain.execution.rows import ExecutionRow
from executor.domain.values import Instant
from executor.ports import NEW, Aggregate, Metadata, NewEvent, Row, StreamAppend
from storage.open import open_store
from storage.sqlite import events
from storage.sqlite.connection import connect_writer
from storage.sqlite.migrate import migrate
from storage.sqlite.store import SqliteStore

APPENDERS = (1, 16, 64, 256)
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
        version=after.version,
        document=b"{" + b'"x":"%d"' % after.version + b" " * 590 + b"}",
    )
    return (row,)


AGGREGATE: Aggregate[Any] = Aggregate(
    prefix="execution", initial=RunState, evolve=evolve, rows=rows, name=lambda state: None
)
EVENT = LogWritten(level="info", message="x" * 330)
"""About 400 bytes of data."""


class Measured(NamedTuple):
    per_second: float
    p50_ms: float
    p99_ms: float
    batch: float


async def appender(store: SqliteStore, count: int, waits: list[float]) -> None:
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


async def measure(path: Path, appenders: int, total: int) -> Measured:
    store = await open_store(f"sqlite:///{path}", [AGGREGATE], clock=CLOCK)
    waits: list[float] = []
    before, start = store.log.writer.transactions, time.perf_counter()
    await asyncio.gather(*(appender(store, total // appenders, waits) for _ in range(appenders)))
    took, transactions = time.perf_counter() - start, store.log.writer.transactions - before
    await store.log.verify()
    await store.close()
    waits.sort()
    return Measured(
        len(waits) / took,
        waits[len(waits) // 2] * 1000,
        waits[int(len(waits) * 0.99)] * 1000,
        len(waits) / transactions,
    )


def measure_raw(source: Path, path: Path, batch: int) -> float:
    """The same events, written by nothing but SQLite."""
    with sqlite3.connect(source) as reading:
        values = reading.execute(f"SELECT {events.INTO[7:-1]} FROM events ORDER BY position").fetchall()
    reading.close()
    connection = connect_writer(path)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000, help="for each line but the first, which has a tenth")
    parser.add_argument("--directory", help="where to write; the disk to measure (default: a temporary directory)")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    table = Table(title="Durable appends: one event and one row each, WAL, synchronous=FULL")
    for column in ("appenders", "events/s", "p50 ms", "p99 ms", "mean batch", "raw events/s", "of raw"):
        table.add_column(column, justify="right")
    for appenders in APPENDERS:
        total = arguments.events // (10 if appenders == 1 else 1)
        with tempfile.TemporaryDirectory(prefix="runcast-append-", dir=arguments.directory) as directory:
            path = Path(directory)
            ours = asyncio.run(measure(path / "ours.db", appenders, total))
            raw = measure_raw(path / "ours.db", path / "raw.db", max(1, round(ours.batch)))
        table.add_row(
            str(appenders),
            f"{ours.per_second:,.0f}",
            f"{ours.p50_ms:.2f}",
            f"{ours.p99_ms:.2f}",
            f"{ours.batch:.1f}",
            f"{raw:,.0f}",
            f"{ours.per_second / raw:.0%}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
