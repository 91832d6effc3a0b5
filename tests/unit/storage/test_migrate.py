from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from storage.errors import WrongDatabase
from storage.sqlite.migrate import APPLICATION_ID, Migration, check, migrate, migrations, version

MORE = Migration(
    migrations()[-1].version + 1, "more", "CREATE TABLE more (x TEXT) STRICT; INSERT INTO more VALUES ('a');"
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "log.db", isolation_level=None)) as connection:
        yield connection


def tables(database: sqlite3.Connection) -> set[str]:
    return {name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}


def test_versions_are_dense_from_one_and_files_are_found() -> None:
    assert [step.version for step in migrations()] == list(range(1, len(migrations()) + 1))
    assert migrations()[0].name == "0001_initial"


def test_an_empty_file_gets_every_step_once(database: sqlite3.Connection) -> None:
    assert version(database) == 0
    assert migrate(database) == [step.name for step in migrations()]
    assert migrate(database) == []
    assert check(database) == migrations()[-1].version
    assert {"events", "names", "executions", "deliveries", "meta"} <= tables(database)
    assert database.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)


def test_every_table_is_strict(database: sqlite3.Connection) -> None:
    migrate(database)
    rows = database.execute("SELECT name, strict FROM pragma_table_list WHERE schema = 'main' AND type = 'table'")
    assert {name for name, strict in rows if not strict} <= {"sqlite_schema", "sqlite_sequence"}


@pytest.mark.parametrize("start", range(1, len(migrations()) + 1))
def test_each_older_version_comes_to_the_newest(database: sqlite3.Connection, start: int) -> None:
    migrate(database, migrations()[:start])
    database.execute("INSERT INTO meta (key, value) VALUES ('epoch', 'kept')")
    assert migrate(database, [*migrations(), MORE])[-1] == "more"
    assert version(database) == MORE.version
    assert database.execute("SELECT value FROM meta").fetchone() == ("kept",)
    assert database.execute("SELECT x FROM more").fetchone() == ("a",)


def test_a_step_that_fails_leaves_the_version_before_it(database: sqlite3.Connection) -> None:
    migrate(database)
    broken = Migration(MORE.version, "broken", MORE.sql + "INSERT INTO nowhere VALUES (1);")
    with pytest.raises(sqlite3.OperationalError):
        migrate(database, [*migrations(), broken])
    assert version(database) == migrations()[-1].version
    assert "more" not in tables(database)
    assert migrate(database, [*migrations(), MORE]) == ["more"]


def test_a_newer_schema_is_refused(database: sqlite3.Connection) -> None:
    migrate(database, [*migrations(), MORE])
    with pytest.raises(WrongDatabase, match=f"schema {MORE.version}"):
        migrate(database)


def test_a_database_of_somebody_else_is_refused(database: sqlite3.Connection) -> None:
    database.execute("CREATE TABLE theirs (x)")
    with pytest.raises(WrongDatabase, match="not one of Runcast's"):
        migrate(database)
    assert tables(database) == {"theirs"}
