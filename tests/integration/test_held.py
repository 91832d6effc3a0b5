"""A hub that was imported is held: it answers and takes commands, and does nothing until it is taken over."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest_asyncio

from hub.export_options import Form
from hub.exports import Selection, export
from hub.imports import import_events
from hub.settings import Settings
from tests.integration.carrying import meta, table
from tests.integration.forgetting import FORGETFUL
from tests.integration.hubs import WAITING, Client, Hub, runcast, running, until, up
from tests.integration.receiving import Receiver, receiving

FORM = Form.NDJSON


pytestmark = FORGETFUL


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


async def carried(source: Path, target: Path) -> None:
    """A past exported from one directory and imported into another."""
    file = source.with_name("log.ndjson")
    await export(Settings(data_dir=source), Selection(), output=file, form=FORM, compress=None)
    os.mkdir(target)
    shutil.copy(source / "secret.key", target)
    await import_events(Settings(data_dir=target), file)


def client_of(hub: Hub, there: Client) -> Client:
    """The client of the source, at another hub: its key is known there too."""
    return Client(hub.url, hub.http, there.key, there.organization_id)


async def health(hub: Hub) -> dict[str, Any]:
    answer = await hub.nobody.get("/health")
    assert answer.status == 200
    found: dict[str, Any] = answer.data
    return found


async def test_nothing_runs_and_nothing_is_sent_until_it_is_taken_over_and_then_only_what_is_new(
    tmp_path: Path, receiver: Receiver
) -> None:
    async with running(tmp_path / "source") as hub:
        there = await hub.client()
        workflow = await there.workflow()
        await there.webhook(receiver.url, "execution.completed")
        await there.ended(await there.execution(workflow["id"]))
        await until(lambda: has_arrived(receiver, 1))
        waits = (await there.workflow(WAITING))["id"]
        made = await there.post("/schedules", {"name": "n", "workflow_id": waits, "interval_seconds": 1})
        assert made.status == 201
    await carried(tmp_path / "source", tmp_path / "target")
    async with running(tmp_path / "target") as hub:
        admin = client_of(hub, there)
        came = await times(admin)
        found = await health(hub)
        assert found["status"] == "degraded"
        assert "imported" in found["components"]["workflow_engine"]["message"]
        assert (await admin.get("/executions")).data[0]["status"] == "completed"
        waiting = await admin.execution(workflow["id"])
        for _ in range(20):
            assert (await admin.get(f"/executions/{waiting}")).data["status"] == "queued"
        assert hub.services.engine.owned == 0
        assert await times(admin) == came, "schedules wait"
        assert table(tmp_path / "target", "deliveries") == []
    async with running(tmp_path / "target", take_over=True) as hub:
        admin = client_of(hub, there)
        assert (await admin.ended(waiting))["status"] == "completed"
        await until(lambda: has_arrived(receiver, 2))
        await until(lambda: has_come(admin, came))
        assert [each.json["data"]["execution"]["id"] for each in receiver.arrived[1:]] == [waiting]
        assert (await health(hub))["status"] == "healthy"
    assert "held" not in meta(tmp_path / "target")
    async with running(tmp_path / "target") as hub:
        assert (await health(hub))["status"] == "healthy", "it was taken over for good"


async def times(client: Client) -> int:
    """How many times of schedules have come."""
    return len(await client.events(types="schedule.fired,schedule.skipped"))


async def has_come(client: Client, before: int) -> bool:
    return await times(client) > before


async def has_arrived(receiver: Receiver, count: int) -> bool:
    return len(receiver.arrived) == count


async def test_up_says_that_it_is_held_and_take_over_ends_that(tmp_path: Path) -> None:
    async with up(tmp_path / "source") as hub:
        assert await hub.stop() == 0
    await carried(tmp_path / "source", tmp_path / "target")
    shutil.copy(tmp_path / "source" / "credentials.json", tmp_path / "target")
    async with up(tmp_path / "target") as hub, aiohttp.ClientSession() as http:
        assert "held" in hub.greeting
        assert "runcast take-over" in hub.greeting
        workflow = await hub.client(http).workflow()
        waiting = await hub.client(http).execution(workflow["id"])
        done = await runcast("take-over", "--data-dir", tmp_path / "target")
        assert (done.code, done.err) == (0, "")
        assert (await hub.client(http).ended(waiting))["status"] == "completed"
        assert await hub.stop() == 0
    async with up(tmp_path / "target", "--take-over") as hub:
        assert "take-over" not in hub.greeting
        assert await hub.stop() == 0
    again = await runcast("take-over", "--data-dir", tmp_path / "target")
    assert again.code == 0
    assert "not held" in again.out
