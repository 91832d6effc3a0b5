"""From the append in one process to its delivery in another: with hints over Redis, by polling where Redis is away,
and beside PostgreSQL's own LISTEN/NOTIFY.

    pip install -e '.[bench]'
    python benchmarks/tail.py [--events 3000] [--rates 50,500] [--directory DIR]

One process appends events of about 400 bytes at a fixed rate, each by itself, through the real store on PostgreSQL.
The time of a delivery runs from the call of the append, so the commit on the disk is part of it. `tail` is when the
log's tail in another process yields the event; `socket` when a client of a `runcast web` process has its message.
The peer inserts the same bytes and calls NOTIFY in the same transaction; its listener then reads the row.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final

import asyncpg
import structlog
from append import AGGREGATE, CLOCK, WORKFLOW
from rich.console import Console
from rich.table import Table
from stores import fresh
from websockets.asyncio.client import connect

from executor.domain.events.execution import LogWritten
from executor.ports import NEW, EventQuery, Metadata, NewEvent, Store, StreamAppend
from hub.hints import Hints
from hub.valkey import EmbeddedValkey
from storage.open import open_store

KEY: Final = "sk_test_" + "B" * 32
NOWHERE: Final = "redis://127.0.0.1:9"
"""The port of the discard service: nobody answers."""
POLLED_EVENTS: Final = 300
Append = Callable[[str], Awaitable[None]]


def stamped(number: int) -> str:
    """About 400 bytes that say when they were made. CLOCK_MONOTONIC is one for all processes of a machine."""
    return f"{time.monotonic()} {number} {'x' * 320}"


def since(text: str) -> float:
    """Milliseconds."""
    return (time.monotonic() - float(text.split()[0])) * 1000


async def at_rate(append: Append, count: int, rate: float) -> None:
    """Calls at fixed times, whether or not those before are done: a slow one does not hide how others wait."""
    start, tasks = time.perf_counter(), []
    for number in range(count):
        await asyncio.sleep(max(0.0, start + number / rate - time.perf_counter()))
        tasks.append(asyncio.create_task(append(stamped(number))))
    await asyncio.gather(*tasks)


@contextlib.asynccontextmanager
async def hinted(url: str, redis: str) -> AsyncIterator[Store]:
    """The store as every process of a hub has it, telling the others and hearing them."""
    store = await open_store(url, [AGGREGATE], clock=CLOCK)
    hints = Hints(redis, store.log.epoch, CLOCK.new_id(), noticed=store.log.notice, rung=lambda shard: None)
    store.log.on_append(hints.moved)
    running = asyncio.create_task(hints.run())
    while redis != NOWHERE and not hints.is_connected:
        await asyncio.sleep(0.01)
    try:
        yield store
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await store.close()


def appending(store: Store, organization_id: str) -> Append:
    async def append(text: str) -> None:
        id = CLOCK.new_id()
        one = StreamAppend(
            stream=f"execution:{id}",
            expected=NEW,
            state=AGGREGATE.initial(),
            events=(NewEvent(CLOCK.new_id(), LogWritten(level="info", message=text)),),
            organization_id=organization_id,
            workflow_id=WORKFLOW,
            execution_id=id,
        )
        await store.log.append((one,), Metadata(actor="benchmark"))

    return append


async def ours(url: str, redis: str, count: int, rate: float) -> dict[str, list[float]]:
    """Waits of the tail and of the socket, in one run."""
    with web(url, redis) as address:
        async with hinted(url, redis) as store:
            (first,) = await store.log.read(EventQuery(organization_id=None, limit=1))
            with other("tail", count, url, redis) as tail, other("socket", count, url, address) as socket:
                await at_rate(appending(store, first.organization_id), count, rate)
                return {"tail": result(tail), "socket": result(socket)}


async def peer(url: str, count: int, rate: float) -> dict[str, list[float]]:
    pool = await asyncpg.create_pool(url, min_size=8, max_size=8)
    await pool.execute("CREATE TABLE peer (id BIGSERIAL PRIMARY KEY, data TEXT NOT NULL)")

    async def append(text: str) -> None:
        async with pool.acquire() as connection, connection.transaction():
            id = await connection.fetchval("INSERT INTO peer (data) VALUES ($1) RETURNING id", text)
            await connection.execute("SELECT pg_notify('peer', $1)", str(id))

    with other("listen", count, url, "") as listener:
        await at_rate(append, count, rate)
        waits = result(listener)
    await pool.close()
    return {"LISTEN/NOTIFY": waits}


# The other process: says `ready`, then how long each of the events that it was told to expect has taken.


async def follow(count: int, url: str, redis: str) -> None:
    async with hinted(url, redis) as store:
        events = (event async for page in store.log.tail(store.log.head) for event in page)
        await receive((json.loads(event.data)["message"] async for event in events), count)


async def watch(count: int, _: str, address: str) -> None:
    socket_url = f"{address.replace('http', 'ws')}/api/v1/ws"
    async with connect(socket_url, additional_headers={"X-API-Key": KEY}, proxy=None) as socket:
        await socket.send(json.dumps({"type": "subscribe", "data": {"channel": "events"}}))
        while json.loads(await socket.recv())["type"] != "subscribed":
            pass
        await receive((json.loads(text)["data"]["data"]["message"] async for text in socket), count)


async def listen(count: int, url: str, _: str) -> None:
    connection, reader, ids = await asyncpg.connect(url), await asyncpg.connect(url), asyncio.Queue[str]()
    await connection.add_listener("peer", lambda *notice: ids.put_nowait(notice[3]))

    async def texts() -> AsyncIterator[str]:
        while True:
            yield await reader.fetchval("SELECT data FROM peer WHERE id = $1", int(await ids.get()))

    await receive(texts(), count)
    await asyncio.gather(connection.close(), reader.close())


async def receive(texts: AsyncIterator[str], count: int) -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    waits: list[float] = []
    async for text in texts:
        waits.append(since(text))
        if len(waits) == count:
            break
    sys.stdout.write(json.dumps(waits) + "\n")
    sys.stdout.flush()


ROLES: Final = {"tail": follow, "socket": watch, "listen": listen}


@contextlib.contextmanager
def other(role: str, count: int, url: str, address: str) -> Iterator[subprocess.Popen[str]]:
    """This file in another process, which is ready."""
    command = [sys.executable, __file__, "--as", role, "--events", str(count), "--urls", url, address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise SystemExit(f"the process that is the {role} did not start")
            yield process
        finally:
            process.kill()


def result(process: subprocess.Popen[str]) -> list[float]:
    assert process.stdout is not None
    waits: list[float] = json.loads(process.stdout.readline())
    return sorted(waits)


@contextlib.contextmanager
def web(url: str, redis: str) -> Iterator[str]:
    """Where a `runcast web` listens."""
    settings = {"DATABASE_URL": url, "REDIS_URL": redis, "BOOTSTRAP_API_KEY": KEY, "SECRET_KEY": "of a benchmark"}
    settings |= {"LOG_LEVEL": "error"}
    environment = os.environ | {f"RUNCAST_{name}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "hub.cli", "web", "--port", "0"]
    with (
        tempfile.TemporaryDirectory() as home,
        subprocess.Popen(command, env=environment, cwd=home, stdout=subprocess.PIPE, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            greeting = process.stdout.readline()
            if "listens on" not in greeting:
                raise SystemExit("'runcast web' did not start")
            yield greeting.split()[-1]
        finally:
            process.terminate()
            process.wait()


async def measure(arguments: argparse.Namespace, table: Table) -> None:
    with tempfile.TemporaryDirectory(prefix="runcast-bench-") as place:
        valkey = EmbeddedValkey(Path(place))
        await valkey.start()
        try:
            for rate in (float(text) for text in arguments.rates.split(",")):
                for hints, redis, count in (
                    ("Redis", valkey.url, arguments.events),
                    ("none: polling", NOWHERE, POLLED_EVENTS),
                ):
                    with fresh("postgres", arguments.directory) as url:
                        for name, waits in (await ours(url, redis, count, rate)).items():
                            table.add_row(name, hints, f"{rate:,.0f}", *shown(waits))
                with fresh("postgres", arguments.directory) as url:
                    for name, waits in (await peer(url, arguments.events, rate)).items():
                        table.add_row(name, "NOTIFY", f"{rate:,.0f}", *shown(waits))
        finally:
            await valkey.stop()


def shown(waits: list[float]) -> list[str]:
    return [f"{waits[int(len(waits) * part)]:.1f}" for part in (0.5, 0.99, 0.999)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=3000, help=f"for each line; {POLLED_EVENTS} where it polls")
    parser.add_argument("--rates", default="50,500", help="events a second")
    parser.add_argument("--directory", help="where to write; the disk to measure (default: a temporary directory)")
    parser.add_argument("--as", dest="role", choices=ROLES, help=argparse.SUPPRESS)
    parser.add_argument("--urls", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    if arguments.role is not None:
        asyncio.run(ROLES[arguments.role](arguments.events, *arguments.urls))
        return
    table = Table(title="From an append to its delivery in another process, the commit included")
    for column in ("to", "hints", "events/s", "p50 ms", "p99 ms", "p99.9 ms"):
        table.add_column(column, justify="right")
    asyncio.run(measure(arguments, table))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
