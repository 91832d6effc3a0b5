"""A move carries a whole hub from store to store and back, and leaves exactly one of them to run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from executor.clock import SystemClock
from executor.ports import IMPORTING
from hub.aggregates import AGGREGATES
from hub.move import MoveFailed, move, shown
from hub.settings import Settings
from hub.wiring import opened_store
from storage.open import OpenedStore, open_store
from tests.integration.carrying import ALL, live, meta, table
from tests.integration.forgetting import FORGETFUL
from tests.integration.hubs import Client, runcast, running, until
from tests.integration.receiving import Receiver, receiving

pytestmark = FORGETFUL


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[OpenedStore]:
    store = await open_store(url, AGGREGATES, clock=SystemClock())
    try:
        yield store
    finally:
        await store.close()


def same(one: Path, other: Path) -> None:
    for name in ("events", *ALL):
        assert table(one, name) == table(other, name), name


async def past(data_dir: Path) -> Client:
    """A hub with a past, deliveries that arrived and one that waits for its next attempt."""
    async with receiving() as receiver, running(data_dir) as hub:
        await live(hub)
        client = await hub.client()
        await client.webhook(receiver.url, "workflow.created")
        failing = await client.webhook("http://127.0.0.1:2/", "workflow.created")
        await client.workflow()
        await until(lambda: arrived(receiver, client, failing["id"]))
    assert table(data_dir, "deliveries")
    assert table(data_dir, "attempts")
    return client


async def arrived(receiver: Receiver, client: Client, failing: str) -> bool:
    deliveries = (await client.get(f"/webhooks/{failing}/deliveries")).data
    return bool(receiver.arrived) and any(each["attempt_count"] for each in deliveries)


async def test_to_postgresql_and_back_nothing_is_lost_and_only_the_last_one_runs(
    tmp_path: Path, postgres_url: str
) -> None:
    source, last = tmp_path / "source", tmp_path / "last"
    client = await past(source)
    before = table(source, "events")
    moved = await move(Settings(data_dir=source), postgres_url)
    assert (moved.head.position, moved.head.hash) == (before[-1][0], before[-1][13])
    assert moved.rows == sum(len(table(source, name)) for name in ALL)
    refused = await runcast("up", "--port", "0", "--data-dir", source)
    assert refused.code == 1
    assert f"moved to {shown(postgres_url)}" in refused.err
    with pytest.raises(MoveFailed, match="was moved to"):
        await move(Settings(data_dir=source), f"sqlite:///{tmp_path}/elsewhere/runcast.db")
    back = f"sqlite:///{last}/runcast.db"
    settings = Settings(data_dir=source, database_url=postgres_url)
    done = await runcast("move", "--to", back, "--data-dir", source, DATABASE_URL=postgres_url)
    assert (done.code, done.err) == (0, "")
    same(source, last)
    assert len({meta(source)["epoch"], meta(last)["epoch"]}) == 2
    assert (last / "secret.key").stat().st_mode & 0o777 == 0o600
    with pytest.raises(MoveFailed, match="was moved to"):
        await move(settings, f"sqlite:///{tmp_path}/elsewhere/runcast.db")
    async with running(last) as hub:
        there = Client(hub.url, hub.http, client.key, client.organization_id)
        assert (await there.get("/health")).data["status"] == "healthy"
        workflow = await there.workflow()
        assert (await there.ended(await there.execution(workflow["id"])))["status"] == "completed"
    async with running(source, take_over=True) as hub:
        assert hub.head >= before[-1][0], "taken over all the same"


async def test_a_move_that_was_interrupted_goes_on(tmp_path: Path, postgres_url: str) -> None:
    """It was killed in the middle of the log, then in the middle of a table, then before the target was let go."""
    source, last = tmp_path / "source", tmp_path / "last"
    await past(source)
    async with opened(f"sqlite:///{source}/runcast.db") as store, opened(postgres_url) as target:
        page = await store.log.scan(0)
        await target.copying.bring(page[:40], marks={IMPORTING: "a move into it was not finished"}, is_folded=False)
        columns = await store.copying.columns("executions")
        rows = await store.copying.rows("executions", ("id",), None, 2)
        await target.copying.put("executions", columns, rows)
    await move(Settings(data_dir=source), postgres_url)
    async with opened(postgres_url) as target:
        assert await target.copying.marks() == {}
        await target.copying.mark({IMPORTING: "a move into it was not finished"})
    await move(Settings(data_dir=source), postgres_url)
    await move(Settings(data_dir=source, database_url=postgres_url), f"sqlite:///{last}/runcast.db")
    same(source, last)


async def test_what_cannot_be_moved_is_refused_and_stays_as_it_is(tmp_path: Path, postgres_url: str) -> None:
    source, other = tmp_path / "source", tmp_path / "other"
    for data_dir in (source, other):
        async with running(data_dir) as hub:
            await hub.client()
            if data_dir == other:
                with pytest.raises(MoveFailed, match="in use"):
                    await move(Settings(data_dir=other), postgres_url)
    before = meta(source)
    for to, word in (
        (f"sqlite:///{other}/runcast.db", "empty"),
        (f"sqlite:///{source}/runcast.db", "already"),
        ("mysql://u:hunter2@h/d", "not a database URL"),
        ("postgresql://u:hunter2@127.0.0.1:1/d", "does not answer"),
    ):
        with pytest.raises(MoveFailed, match=word) as caught:
            await move(Settings(data_dir=source), to)
        assert "hunter2" not in str(caught.value)
    async with opened(postgres_url) as target:
        await target.copying.mark({IMPORTING: "an import was not finished"})
    with pytest.raises(MoveFailed, match="import"):
        await move(Settings(data_dir=source), postgres_url)
    async with opened(postgres_url) as target:
        await target.copying.mark({IMPORTING: None})
    elsewhere = await asyncpg.connect(postgres_url, server_settings={"application_name": "runcast elsewhere"})
    with pytest.raises(MoveFailed, match="1 other process is on it: stop the hub first"):
        await move(Settings(data_dir=source, database_url=postgres_url), f"sqlite:///{tmp_path}/new/runcast.db")
    await elsewhere.close()
    assert meta(source) == before
    async with opened_store(Settings(data_dir=source), SystemClock()) as (store, _):
        assert store.log.head == 1


async def test_a_log_that_does_not_prove_is_not_moved(tmp_path: Path) -> None:
    async with running(tmp_path / "source") as hub:
        await hub.client()
    async with opened(f"sqlite:///{tmp_path}/source/runcast.db") as store:
        events = await store.log.scan(0)
    async with opened(f"sqlite:///{tmp_path}/broken/runcast.db") as store:
        await store.copying.bring([events[0]._replace(hash=bytes(32))])
    with pytest.raises(MoveFailed, match="position 1"):
        await move(Settings(data_dir=tmp_path / "broken"), f"sqlite:///{tmp_path}/target/runcast.db")


def test_a_url_is_shown_without_what_is_secret_in_it() -> None:
    assert shown("postgresql://u:p@h:5433/d?password=x") == "postgresql://h:5433/d"
    assert shown("postgresql://u@/d?host=/run/pg&password=x") == "postgresql:///run/pg/d"
    assert shown("sqlite:////a/b.db") == "sqlite:////a/b.db"
