from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing

import asyncpg
import pytest

from executor.clock import SystemClock
from storage.errors import WrongDatabase
from storage.open import migrate as migrate_url
from storage.open import open_reader, open_store
from storage.postgres.connection import Connection
from storage.postgres.migrate import check, migrate, migrations, version
from storage.sql import Migration
from storage.sqlite.migrate import migrate as migrate_sqlite
from tests.contract.notes import AGGREGATES

MORE = Migration(migrations()[-1].version + 1, "more", "CREATE TABLE more (x TEXT); INSERT INTO more VALUES ('a');")


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(postgres_url)
    yield connection
    await connection.close()


async def tables(database: Connection) -> set[str]:
    rows = await database.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {name for (name,) in rows}


def test_versions_are_dense_from_one_and_files_are_found() -> None:
    assert [step.version for step in migrations()] == list(range(1, len(migrations()) + 1))
    assert migrations()[0].name == "0001_initial"


async def test_an_empty_database_gets_every_step_once(database: Connection) -> None:
    assert await version(database) == 0
    assert await migrate(database) == [step.name for step in migrations()]
    assert await migrate(database) == []
    assert await check(database) == migrations()[-1].version
    assert {"events", "names", "executions", "deliveries", "meta", "log"} <= await tables(database)


async def test_processes_that_start_at_once_share_the_work(postgres_url: str) -> None:
    stores = await asyncio.gather(*(open_store(postgres_url, AGGREGATES, clock=SystemClock()) for _ in range(8)))
    assert len({store.log.epoch for store in stores}) == 1
    await asyncio.gather(*(store.close() for store in stores))
    assert await migrate_url(postgres_url) == []


@pytest.mark.parametrize("start", range(1, len(migrations()) + 1))
async def test_each_older_version_comes_to_the_newest(database: Connection, start: int) -> None:
    await migrate(database, migrations()[:start])
    await database.execute("INSERT INTO meta (key, value) VALUES ('epoch', 'kept')")
    assert (await migrate(database, [*migrations(), MORE]))[-1] == "more"
    assert await version(database) == MORE.version
    assert await database.fetchval("SELECT value FROM meta") == "kept"
    assert await database.fetchval("SELECT x FROM more") == "a"


async def test_a_step_that_fails_leaves_the_version_before_it(database: Connection) -> None:
    await migrate(database)
    broken = Migration(MORE.version, "broken", MORE.sql + "INSERT INTO nowhere VALUES (1);")
    with pytest.raises(asyncpg.UndefinedTableError):
        await migrate(database, [*migrations(), broken])
    assert await version(database) == migrations()[-1].version
    assert "more" not in await tables(database)
    assert await migrate(database, [*migrations(), MORE]) == ["more"]


async def test_a_newer_schema_is_refused(database: Connection, postgres_url: str) -> None:
    await migrate(database, [*migrations(), MORE])
    with pytest.raises(WrongDatabase, match=f"schema {MORE.version}"):
        await migrate(database)
    with pytest.raises(WrongDatabase, match="use a newer Runcast"):
        await open_store(postgres_url, AGGREGATES, clock=SystemClock())


async def test_an_older_schema_waits_for_the_command(database: Connection, postgres_url: str) -> None:
    await migrate(database)
    await database.execute("UPDATE runcast_migrations SET version = version - 1")
    with pytest.raises(WrongDatabase, match="runcast migrate"):
        await open_store(postgres_url, AGGREGATES, clock=SystemClock())


async def test_a_database_of_somebody_else_is_refused(database: Connection, postgres_url: str) -> None:
    await database.execute("CREATE TABLE events (theirs TEXT)")
    with pytest.raises(WrongDatabase, match="not Runcast's"):
        await open_store(postgres_url, AGGREGATES, clock=SystemClock())
    assert await tables(database) <= {"events", "runcast_migrations"}


async def test_a_reader_makes_nothing(database: Connection, postgres_url: str) -> None:
    with pytest.raises(WrongDatabase, match="no hub's data"):
        await open_reader(postgres_url, clock=SystemClock())
    assert await tables(database) == set()


async def test_both_backends_have_the_same_tables_and_columns(database: Connection) -> None:
    """What one migration adds on one of them is missing on the other until it is added there too."""
    await migrate(database)
    here = await database.fetch(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
    )
    columns = {(table, column) for table, column in here if table not in ("log", "runcast_migrations")}
    assert columns == sqlite_columns()


def sqlite_columns() -> set[tuple[str, str]]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate_sqlite(connection)
        rows = connection.execute(
            "SELECT m.name, c.name FROM sqlite_schema AS m JOIN pragma_table_info(m.name) AS c WHERE m.type = 'table'"
        )
        return {(table, column) for table, column in rows if not table.startswith("sqlite_")}
