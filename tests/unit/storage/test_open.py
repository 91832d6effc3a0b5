from __future__ import annotations

import os
from pathlib import Path

import pytest

from executor.clock import SystemClock
from storage.errors import Locked, WrongDatabase
from storage.lock import holder
from storage.open import open_readonly, open_store, sqlite_path
from tests.contract.notes import NOTES


def test_urls_name_files() -> None:
    assert sqlite_path("sqlite:////var/lib/log.db") == Path("/var/lib/log.db")
    assert sqlite_path("sqlite:///data/log.db") == Path("data/log.db")
    assert sqlite_path("sqlite:////a%20b%3F/log.db") == Path("/a b?/log.db")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "log.db",
        "/log.db",
        "sqlite://",
        "sqlite:///",
        "sqlite://host/db",
        "mysql://u:secret@h/d",
        "postgresql+asyncpg://u:secret@h/d",
    ],
)
def test_any_other_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(WrongDatabase, match="use sqlite:///path") as caught:
        sqlite_path(url)
    assert "secret" not in str(caught.value)


async def test_a_new_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "log.db"
    store = await open_store(f"sqlite:///{path}", [NOTES], clock=SystemClock())
    try:
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}
        assert len(list(path.parent.iterdir())) == 4
    finally:
        await store.close()
    assert sorted(file.name for file in path.parent.iterdir()) == ["log.db", "log.db.lock"]


async def test_a_second_open_for_writing_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    store = await open_store(url, [NOTES], clock=SystemClock())
    store.lock.set_address("http://127.0.0.1:1")
    with pytest.raises(Locked, match=r"http://127\.0\.0\.1:1"):
        await open_store(url, [NOTES], clock=SystemClock())
    await store.close()
    await (await open_store(url, [NOTES], clock=SystemClock())).close()
    assert holder(tmp_path / "log.db.lock").pid is None


async def test_an_odd_path_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "a b?c#d%41" / "log.db"
    store = await open_store(f"sqlite:///{tmp_path}/a b%3Fc%23d%2541/log.db", [NOTES], clock=SystemClock())
    await store.close()
    assert path.exists()


@pytest.mark.parametrize("content", [b"not a database" * 100, b"SQLite format 3\0" + b"\xff" * 4096])
async def test_another_kind_of_file_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "log.db"
    path.write_bytes(content)
    with pytest.raises(WrongDatabase, match="not a SQLite database"):
        await open_store(f"sqlite:///{path}", [NOTES], clock=SystemClock())
    assert path.read_bytes() == content
    with pytest.raises(WrongDatabase):
        await open_readonly(path)


async def test_reading_what_is_not_there_is_refused_and_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(WrongDatabase, match="there is no database"):
        await open_readonly(tmp_path / "log.db")
    (tmp_path / "empty.db").touch()
    with pytest.raises(WrongDatabase, match="older schema"):
        await open_readonly(tmp_path / "empty.db")
    assert os.listdir(tmp_path) == ["empty.db"]


async def test_two_aggregates_of_one_prefix_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="prefix 'note'"):
        await open_store(f"sqlite:///{tmp_path}/log.db", [NOTES, NOTES], clock=SystemClock())
