"""What docs/operations.md says of backing up PostgreSQL: a base backup, and a dump, of a log at work."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from executor.clock import SystemClock
from executor.domain.events import apikey
from executor.ports import NEW, Metadata, NewEvent, StreamAppend
from hub.aggregates import AGGREGATES
from hub.auth import apikeys
from hub.settings import Settings
from hub.takeover import take_over
from storage.copying import proved
from storage.open import OpenedStore, open_store
from tests.integration.hubs import until
from tests.postgres import PostgresServer

CLOCK = SystemClock()


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    server.start()
    yield server
    server.remove()


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[OpenedStore]:
    store = await open_store(url, AGGREGATES, clock=CLOCK)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def under_load(store: OpenedStore) -> AsyncIterator[list[tuple[int, bytes]]]:
    """Positions and hashes as they are acknowledged, while keys are written without a pause."""
    acknowledged: list[tuple[int, bytes]] = []

    async def write() -> None:
        while True:
            event = apikey.ApiKeyCreated(
                name="n",
                description=None,
                prefix="sk_live_",
                digest=CLOCK.new_id(),
                role="admin",
                permissions=(),
                expires_at=None,
                created_by=None,
            )
            part = StreamAppend(
                stream=f"apikey:{CLOCK.new_id()}",
                expected=NEW,
                state=apikeys.AGGREGATE.initial(),
                events=(NewEvent(CLOCK.new_id(), event),),
                organization_id="O",
            )
            for done in await store.log.append((part,), Metadata()):
                acknowledged.extend((recorded.position, recorded.hash) for recorded in done.recorded)

    writers = [asyncio.create_task(write()) for _ in range(4)]
    try:
        await until(lambda: reached(acknowledged, 100))
        yield acknowledged
    finally:
        for writer in writers:
            writer.cancel()
        await asyncio.gather(*writers, return_exceptions=True)


async def reached(acknowledged: list[tuple[int, bytes]], count: int) -> bool:
    return len(acknowledged) >= count


async def restored(url: str, before: list[tuple[int, bytes]], epoch: str) -> None:
    """What was acknowledged before the backup is there, the log proves, has another epoch, and goes on."""
    said = await take_over(Settings(data_dir=Path("/nowhere"), database_url=url), new_epoch=True)
    assert "epoch" in said
    async with opened(url) as store:
        assert store.log.epoch != epoch
        head = await proved(store.log)
        assert head.position == store.log.head >= len(before)
        for position, hash in before:
            found = await store.log.at(position)
            assert found is not None
            assert found.hash == hash
        async with under_load(store) as acknowledged:
            pass
        assert min(acknowledged)[0] == head.position + 1
        await proved(store.log)


async def test_a_base_backup_under_load_restores_to_a_new_server(server: PostgresServer) -> None:
    elsewhere = PostgresServer(Path(tempfile.mkdtemp(prefix="runcast-pg-")))
    try:
        async with server.database() as url, opened(url) as store:
            async with under_load(store) as acknowledged:
                arguments = ("-h", str(server.directory), "-U", "postgres", "-X", "stream", "--checkpoint=fast")
                during = ("-D", str(server.directory / "copy"), "--no-sync")
                before = list(acknowledged)
                await asyncio.to_thread(server.run, "pg_basebackup", *arguments, *during)
                await until(lambda: reached(acknowledged, len(before) + 100))
            (server.directory / "copy").rename(elsewhere.data)
            elsewhere.start()
            await restored(url.replace(str(server.directory), str(elsewhere.directory)), before, store.log.epoch)
    finally:
        elsewhere.remove()


async def test_a_dump_under_load_restores_to_a_new_database(server: PostgresServer) -> None:
    async with server.database() as url, server.database() as other, opened(url) as store:
        async with under_load(store) as acknowledged:
            before = list(acknowledged)
            dump = str(server.directory / "runcast.dump")
            await asyncio.to_thread(server.run, "pg_dump", "-Fc", "-f", dump, "-d", url)
        await asyncio.to_thread(server.run, "pg_restore", "-d", other, dump)
        await restored(other, before, store.log.epoch)
