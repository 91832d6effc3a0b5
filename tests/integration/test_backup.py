"""A backup of a hub at work is a whole hub as of one moment, and starts held, under an epoch of its own."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from executor.clock import SystemClock
from executor.ports import Metadata
from hub.auth.apikeys import new_key
from hub.backup import BackupFailed, backup
from hub.keys import create_key, organization_named
from hub.settings import Settings
from hub.wiring import opened_store
from storage.sqlite.backup import copy_database
from tests.integration.carrying import ALL, live, meta, table
from tests.integration.forgetting import FORGETFUL
from tests.integration.hubs import Client, runcast, running, until, up

pytestmark = FORGETFUL


def modes(directory: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in (directory, *directory.iterdir())}


async def test_a_backup_is_a_whole_hub_that_is_held_until_it_is_taken_over(tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    async with running(source) as hub:
        await live(hub)
        there = await hub.client()
        workflow = await there.workflow()
        before = {name: table(source, name) for name in ("events", *ALL) if name not in ("checkpoints", "key_use")}
        done = await backup(Settings(data_dir=source), copy)
        assert done.head.position == len(before["events"])
        assert done.head.hash == before["events"][-1][13]
        assert done.has_key
    assert modes(copy) == {"copy": 0o700, "runcast.db": 0o600, "secret.key": 0o600}
    for name, rows in before.items():
        assert table(copy, name) == rows, name
    async with running(copy) as hub:
        admin = Client(hub.url, hub.http, there.key, there.organization_id)
        assert hub.services.store.log.epoch != meta(source)["epoch"]
        assert (await admin.get("/health")).data["status"] == "degraded"
        waiting = await admin.execution(workflow["id"])
        assert (await admin.get(f"/executions/{waiting}")).data["status"] == "queued"
        epoch = hub.services.store.log.epoch
    async with running(copy, take_over=True) as hub:
        assert hub.services.store.log.epoch == epoch, "another one only at its first start"
        admin = Client(hub.url, hub.http, there.key, there.organization_id)
        assert (await admin.ended(waiting))["status"] == "completed"


async def test_a_backup_under_load_ends_and_has_all_that_was_acknowledged_before_it_began(tmp_path: Path) -> None:
    """Writers do not wait for it, and it does not begin anew with each of them."""
    source, clock = tmp_path / "source", SystemClock()
    async with opened_store(Settings(data_dir=source), clock) as (store, key):
        owner = await organization_named(store, clock, key, "default")

        async def write() -> None:
            while True:
                await create_key(store, clock, key, owner.id, Metadata(), name="n", key=new_key(), role="admin")

        writers = [asyncio.create_task(write()) for _ in range(8)]
        try:
            for number in range(3):
                head = store.log.head

                async def is_further(head: int = head) -> bool:
                    return store.log.head > head + 200

                await until(is_further)
                acknowledged = store.log.head
                ran = await runcast("backup", tmp_path / f"copy{number}", "--data-dir", source)
                assert (ran.code, ran.err) == (0, "")
                copied = table(tmp_path / f"copy{number}", "events")
                assert acknowledged <= len(copied) <= store.log.head
                assert f"holds {len(copied)} events" in ran.out
        finally:
            for writer in writers:
                writer.cancel()
            await asyncio.gather(*writers, return_exceptions=True)
        first = table(tmp_path / "copy0", "events")
        assert first == table(tmp_path / "copy2", "events")[: len(first)]


async def test_the_command_of_a_running_hub_and_a_restored_one(tmp_path: Path) -> None:
    async with up(tmp_path / "source") as hub:
        ran = await runcast("backup", tmp_path / "copy", "--data-dir", tmp_path / "source")
        assert ran.code == 0
        assert "secret key" in ran.out
        assert await hub.stop() == 0
    async with up(tmp_path / "copy") as hub:
        assert "restored from a backup" in hub.greeting
        assert "runcast take-over" in hub.greeting
        assert await hub.stop() == 0


async def test_what_cannot_be_backed_up_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for data_dir, target, word in (
        (tmp_path / "nowhere", tmp_path / "copy", "nowhere"),
        (source, source, "there already"),
        (source, tmp_path / "file" / "copy", "cannot be made"),
    ):
        async with opened_store(Settings(data_dir=source), SystemClock()):
            (tmp_path / "file").write_text("")
        with pytest.raises(BackupFailed, match=word):
            await backup(Settings(data_dir=data_dir), target)
    with pytest.raises(BackupFailed, match="pg_basebackup"):
        await backup(Settings(data_dir=source, database_url="postgresql://u:p@h/d"), tmp_path / "copy")
    shutil.rmtree(source)
    async with running(source) as hub:
        await hub.client()
    connection = sqlite3.connect(source / "runcast.db")
    connection.execute("UPDATE events SET type = 'apikey.revoked' WHERE position = 1")
    connection.commit()
    connection.close()
    with pytest.raises(BackupFailed, match="position 1"):
        await backup(Settings(data_dir=source), tmp_path / "copy")
    assert not [name for name in os.listdir(tmp_path) if "copy" in name]


def test_a_copy_is_one_file(tmp_path: Path) -> None:
    async def make() -> None:
        async with opened_store(Settings(data_dir=tmp_path / "source"), SystemClock()):
            seen: list[tuple[int, int]] = []
            source = tmp_path / "source" / "runcast.db"
            copy_database(source, tmp_path / "copy" / "a.db", {"held": "x"}, lambda *done: seen.append(done))
            assert seen[-1][0] == seen[-1][1] > 0

    asyncio.run(make())
    assert [path.name for path in (tmp_path / "copy").iterdir()] == ["a.db"]
