"""A rebuild puts right whatever follows from the log: beside a running hub or without, on both stores, stopped and
gone on with."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, ClassVar

import asyncpg
import pytest
import pytest_asyncio
from msgspec import structs

import hub.folding
import hub.rebuild
import hub.wiring
from executor.clock import SystemClock
from executor.domain import workflow
from executor.domain.workflow import State, WorkflowRow
from executor.ports import Row
from hub import control
from hub.aggregates import AGGREGATES
from hub.move import move
from hub.operator import Site, served_by
from hub.rebuild import RebuildFailed, Report, check, rebuild, rebuild_stale
from hub.settings import Settings
from hub.wiring import opened_store
from storage.open import migrate
from tests.integration.carrying import FOLDED, live
from tests.integration.hubs import Hub, runcast, running
from tests.postgres import PostgresServer

Tables = dict[str, list[tuple[Any, ...]]]
LEDGERS = ("organizations", "deliveries", "attempts", "checkpoints")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def past(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of a hub that was stopped."""
    data_dir = tmp_path_factory.mktemp("past")

    async with running(data_dir) as hub:
        await live(hub)
    return data_dir


class Place:
    """A hub's data on one of the stores, and its tables by SQL."""

    def __init__(self, settings: Settings, postgres: str | None) -> None:
        self.settings, self._postgres = settings, postgres

    async def sql(self, statement: str) -> list[tuple[Any, ...]]:
        if self._postgres is None:
            with closing(sqlite3.connect(self.settings.data_dir / "runcast.db")) as database:
                found = database.execute(statement).fetchall()
                database.commit()
                return found
        connection = await asyncpg.connect(self._postgres)
        try:
            return [tuple(row) for row in await connection.fetch(statement)]
        finally:
            await connection.close()

    async def tables(self, *names: str) -> Tables:
        return {name: sorted(await self.sql(f"SELECT * FROM {name}"), key=repr) for name in names}


@pytest.fixture(params=["sqlite", "postgres"])
async def place(request: pytest.FixtureRequest, past: Path, tmp_path: Path) -> AsyncIterator[Place]:
    data_dir = tmp_path / "data"
    shutil.copytree(past, data_dir)
    settings = Settings(data_dir=data_dir, port=0)
    if request.param == "sqlite":
        yield Place(settings, None)
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    async with server.database() as url:
        await move(settings, url)
        settings = structs.replace(settings, database_url=url)
        async with opened_store(settings, SystemClock()):
            """The first opening of a shared store makes its default organization."""
        yield Place(settings, url)


async def rebuilt(place: Place, name: str | None = None, **more: Any) -> Report:
    return await rebuild(place.settings, name, processes=0, span=20, **more)


async def checked(place: Place, name: str | None = None) -> Report:
    return await check(place.settings, name, processes=0, span=20)


async def test_tables_that_were_lost_come_back_as_they_were(place: Place) -> None:
    before, beside = await place.tables(*FOLDED), await place.tables("events", *LEDGERS)
    whole = await checked(place)
    assert (whole.counts, whole.failures, whole.events) == ({}, (), len(beside["events"]))
    for name in FOLDED:
        await place.sql(f"DELETE FROM {name}")
    assert (await checked(place)).counts == {name: len(rows) for name, rows in before.items()}
    assert (await rebuilt(place, "names")).counts == {"names": len(before["names"])}
    assert (await rebuilt(place)).counts == {name: len(before[name]) for name in FOLDED if name != "names"}
    assert await place.tables(*FOLDED) == before
    assert await place.tables("events", *LEDGERS) == beside
    assert (await rebuilt(place)).counts == {}


class Stopped(Exception):
    pass


def stop_after(events: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        assert done <= total
        if done >= events:
            raise Stopped

    return progress


async def test_one_that_was_stopped_goes_on_where_it_was(place: Place) -> None:
    before = await place.tables("executions", "components")
    events = len((await place.tables("events"))["events"])
    await place.sql("DELETE FROM executions")
    await place.sql("DELETE FROM components")
    with pytest.raises(Stopped):
        await rebuilt(place, progress=stop_after(events // 2), noted_seconds=0)
    first = (await place.sql("SELECT min(id) FROM executions"))[0][0]
    half = await place.tables("executions")
    assert 0 < len(half["executions"]) < len(before["executions"])
    await place.sql(f"UPDATE executions SET status = 'wrong' WHERE id = '{first}'")
    rest = await rebuilt(place)
    assert rest.since is not None
    assert 0 < rest.events < events
    assert (await checked(place)).counts == {"executions": 1}
    again = await rebuilt(place)
    assert (again.since, again.events, again.counts) == (None, events, {"executions": 1})
    assert await place.tables("executions", "components") == before


class OtherRow(WorkflowRow, frozen=True, kw_only=True):
    """`search` means another thing than before."""

    revision: ClassVar[int] = 2


def other_rows(before: State, after: State) -> Sequence[Row]:
    return [
        OtherRow(**structs.asdict(row) | {"search": f"by {row.created_by}"})
        for row in workflow.rows(before, after)
        if isinstance(row, WorkflowRow)
    ]


async def test_a_program_that_means_something_else_by_a_column_has_the_table_rebuilt(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = structs.replace(workflow.AGGREGATE, rows=other_rows, kinds=(OtherRow,))
    aggregates = (changed, *AGGREGATES[1:])
    assert await rebuild_stale(place.settings) == []
    for module in (hub.folding, hub.rebuild, hub.wiring):
        monkeypatch.setattr(module, "AGGREGATES", aggregates)
    async with running(place.settings.data_dir, database_url=place.settings.database_url):
        assert "'runcast migrate' rebuilds them" in capsys.readouterr().out
    assert await rebuild_stale(place.settings) == ["workflows"]
    assert await place.sql("SELECT count(*) FROM workflows WHERE search <> 'by ' || created_by") == [(0,)]
    assert await rebuild_stale(place.settings) == []
    assert (await checked(place)).counts == {}


async def test_where_there_is_no_hub_yet_nothing_is_of_an_earlier_version(tmp_path: Path, postgres_url: str) -> None:
    assert await rebuild_stale(Settings(data_dir=tmp_path / "none")) == []
    await migrate(postgres_url)
    assert await rebuild_stale(Settings(data_dir=tmp_path / "none", database_url=postgres_url)) == []
    assert not (tmp_path / "none").exists()


@asynccontextmanager
async def controlled(hub: Hub, settings: Settings) -> AsyncIterator[None]:
    """The door of the operator's commands, which `runcast up` opens beside the hub."""
    services = hub.services
    site = Site(settings, services.store, services.clock, services.secret_key)
    async with control.served(settings.data_dir, served_by(lambda: site)):
        yield


async def test_beside_a_running_hub_rows_are_put_right_while_executions_run(past: Path, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    shutil.copytree(past, data_dir)
    place = Place(Settings(data_dir=data_dir, port=0), None)
    before = await place.tables("workflows", "names")
    for name in FOLDED:
        await place.sql(f"DELETE FROM {name}")
    async with running(data_dir) as hub, controlled(hub, place.settings):
        client = await hub.client()
        flow = await client.workflow()
        rebuilding = asyncio.create_task(rebuild(place.settings, processes=2, span=20))
        made = []
        while not rebuilding.done() or len(made) < 5:
            made.append(await client.execution(flow["id"]))
        report = await rebuilding
        assert report.failures == ()
        assert report.counts["workflows"] == len(before["workflows"])
        for id in made:
            assert (await client.ended(id))["status"] == "completed"
        assert (await checked(place)).counts == {}
        after = await place.tables("workflows", "names")
        assert all(set(rows) <= set(after[name]) for name, rows in before.items())
        with pytest.raises(RebuildFailed, match=r"no projection 'deliveries'; there are agents, api_keys"):
            await rebuild(place.settings, "deliveries")


async def test_the_command_says_what_differs_and_no_value(past: Path, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    shutil.copytree(past, data_dir)
    place = Place(Settings(data_dir=data_dir), None)
    id = (await place.sql("SELECT max(id) FROM webhooks"))[0][0]
    await place.sql(f"UPDATE webhooks SET url = 'http://s3cret', shard = shard + 1 WHERE id = '{id}'")
    await place.sql("DELETE FROM names WHERE name LIKE 'apikey:%'")
    said = await runcast("projections", "rebuild", "--check", "--data-dir", data_dir)
    assert said.code == 1
    assert f"webhooks {id}  changed: url, shard\n" in said.out
    assert "names apikey:01" in said.out
    assert "rows that differ: " in said.out
    digests = [row[0] for row in await place.sql("SELECT digest FROM api_keys")]
    assert not any(secret in said.out + said.err for secret in ("s3cret", *digests))
    done = await runcast("projections", "rebuild", "--data-dir", data_dir)
    assert (done.code, done.err) == (0, "")
    assert "rows put right: " in done.out
    assert (await checked(place)).counts == {}
    wrong = await runcast("projections", "rebuild", "nonsense", "--data-dir", data_dir)
    assert wrong.code == 2
    assert f"there are {', '.join(sorted(FOLDED))}" in wrong.err
