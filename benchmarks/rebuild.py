"""Events a second of a proof, a comparison and a rebuild, on both stores, beside what the driver and the decoder come
to in the same run.

    pip install -e '.[bench]'
    python benchmarks/rebuild.py [--events 200000] [--database sqlite,postgres] [--directory DIR]

The log is of executions: each has 13 events of about 500 bytes, a row in `executions` and five in `components`. The
limits are of one process: `read` fetches the columns of a proof in the order of the log, `read by stream` those of a
fold in the order of streams, `and decode` makes events of these. The rest is what the command says of itself, on all
processors, with the start of its processes: of a rebuild where nothing differs, and where every row was lost. `CPU s`
are the processor's seconds of all processes together (without PostgreSQL's), which say more on a machine that others
use too.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import re
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import structlog
from rich.console import Console
from rich.table import Table
from stores import STORES, fresh

from executor.clock import SystemClock
from executor.domain.events import Event
from executor.domain.execution.rows import AGGREGATE
from executor.ports import NEW, Metadata, NewEvent, Store, StreamAppend
from hub.settings import Settings
from hub.wiring import opened_store
from hub.workers import cpus
from storage.codec import CODEC, decode_metadata
from storage.projections import Span
from storage.source import Chunk, opened_source
from storage.urls import is_postgres, sqlite_path
from tests.unit.executor.play import Play, flow

CLOCK = SystemClock()
ORGANIZATION, WORKFLOW = CLOCK.new_id(), CLOCK.new_id()
TABLES = ("executions", "components")
AT_ONCE = 64


def execution() -> list[Event]:
    """The events of one that completed."""
    play = Play(flow("start > fetch > shape > store > end"), {"text": "x" * 100}).claim()
    for component in ("start", "fetch", "shape", "store", "end"):
        play.complete(component, output={"text": "x" * 150})
    assert play.status == "completed"
    return play.events


EVENTS = execution()


async def fill(settings: Settings, count: int) -> None:
    async with opened_store(settings, CLOCK) as (store, _):
        executions = iter(range(count // len(EVENTS)))

        async def append() -> None:
            for _ in executions:
                await append_one(store)

        await asyncio.gather(*(append() for _ in range(AT_ONCE)))


async def append_one(store: Store) -> None:
    id = CLOCK.new_id()
    append = StreamAppend(
        stream=f"execution:{id}",
        expected=NEW,
        state=AGGREGATE.initial(),
        events=tuple(NewEvent(CLOCK.new_id(), event) for event in EVENTS),
        organization_id=ORGANIZATION,
        workflow_id=WORKFLOW,
        execution_id=id,
    )
    await store.log.append((append,), Metadata(actor="api_key:" + id, request_id=id))


async def lose_rows(url: str) -> None:
    statements = [f"DELETE FROM {table}" for table in TABLES]
    if is_postgres(url):
        connection = await asyncpg.connect(url)
        for statement in [*statements, "VACUUM ANALYZE"]:
            await connection.execute(statement)
        await connection.close()
        return
    with closing(sqlite3.connect(sqlite_path(url))) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


class Measured(NamedTuple):
    name: str
    events: int
    seconds: float
    bytes: int = 0
    cpu: float = 0.0

    @property
    def per_second(self) -> float:
        return self.events / self.seconds


async def drained(chunks: AsyncGenerator[Chunk, None], use: Callable[[Chunk], Any], data: int) -> tuple[int, int]:
    count = size = 0
    async with aclosing(chunks):
        async for chunk in chunks:
            use(chunk)
            count += len(chunk)
            size += sum(len(row[data]) + len(row[data + 1]) for row in chunk)
    return count, size


def decoded(chunk: Chunk) -> None:
    for _, _, type, schema, _, _, data, metadata in chunk:
        CODEC.decode(type, schema, data)
        decode_metadata(metadata)


async def limits(url: str) -> list[Measured]:
    measured = []

    async def timed(name: str, chunks: AsyncGenerator[Chunk, None], use: Callable[[Chunk], Any], data: int) -> None:
        start, cpu = time.perf_counter(), time.process_time()
        count, size = await drained(chunks, use, data)
        cpu = time.process_time() - cpu
        measured.append(Measured(name, count, time.perf_counter() - start, size, cpu))

    async with opened_source(url) as source:
        through = await source.given()
        await timed("read, one process", source.events(0, through), len, 10)
        async with source.snapshot():
            await timed("read by stream", source.streams(Span()), len, 6)
            await timed("and decode", source.streams(Span()), decoded, 6)
    return measured


def said(settings: Settings, *command: str) -> Measured:
    """What `runcast` says of its own speed."""
    environment = {"RUNCAST_DATABASE_URL": settings.database_url or "", "PYTHONPATH": str(Path(__file__).parents[1])}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "hub.cli", *command, "--data-dir", str(settings.data_dir)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    seconds = re.search(r" in ([\d.]+) s: ", done.stdout)
    events, size = re.search(r"(\d+) events", done.stdout), re.search(r"([\d.]+) MB in", done.stdout)
    assert seconds is not None
    assert events is not None
    name = " ".join(command[1:])
    bytes = int(float(size[1]) * 1e6) if size is not None else 0
    return Measured(name, int(events[1]), float(seconds[1]), bytes, cpu)


def measured(settings: Settings, url: str) -> list[Measured]:
    lines = asyncio.run(limits(url))
    lines.append(said(settings, "events", "verify"))
    lines.append(said(settings, "projections", "rebuild", "--check"))
    lines.append(said(settings, "projections", "rebuild"))
    asyncio.run(lose_rows(url))
    lines.append(said(settings, "projections", "rebuild")._replace(name="rebuild, all rows lost"))
    said(settings, "projections", "rebuild", "--check")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--database", default=",".join(STORES), help="which stores")
    parser.add_argument("--directory", help="where to write; the disk to measure (default: a temporary directory)")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    table = Table(title=f"Proof, comparison and rebuild on {cpus()} processors, beside one process that only reads")
    for column in ("store", "what", "events", "seconds", "events/s", "MB/s", "of read", "CPU s"):
        table.add_column(column, justify="left" if column in ("store", "what") else "right")
    for store in arguments.database.split(","):
        with fresh(store, arguments.directory) as url, tempfile.TemporaryDirectory() as data_dir:
            settings = Settings(data_dir=Path(data_dir), database_url=url)
            asyncio.run(fill(settings, arguments.events))
            lines = measured(settings, url)
        for line in lines:
            table.add_row(
                store,
                line.name,
                f"{line.events:,}",
                f"{line.seconds:.2f}",
                f"{line.per_second:,.0f}",
                f"{line.bytes / line.seconds / 1e6:,.0f}" if line.bytes else "",
                f"{line.per_second / lines[0].per_second:.0%}",
                f"{line.cpu:.2f}",
            )
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
