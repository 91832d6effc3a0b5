"""The proof of the log: whatever is done to it by hand is found, at the first position that does not fit."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest

from hub.inspect import InspectError
from hub.proof import Proof, verify
from hub.settings import Settings
from storage.open import open_store
from tests.contract.notes import AGGREGATES, CODEC, Author, SetClock

EVENTS, STRETCH = 40, 10
SPOTS = (1, 2, 10, 11, 17, 20, 21, 39, 40)
"""First, last, in the middle, and on both sides of the borders between stretches."""


@pytest.fixture
async def settings(tmp_path: Path) -> Settings:
    await fill(f"sqlite:///{tmp_path}/runcast.db")
    return Settings(data_dir=tmp_path)


async def fill(url: str) -> None:
    clock = SetClock()
    store = await open_store(url, AGGREGATES, clock=clock, codec=CODEC)
    author = Author(store.log, clock)
    for number in range(EVENTS):
        await author.write(f"{number % 3}", f"text {number}", actor="user:x", workflow_id=f"W{number}")
        clock.move(1)
    await store.close()


def edit(settings: Settings, *statements: str, **values: object) -> None:
    with closing(sqlite3.connect(settings.data_dir / "runcast.db")) as connection:
        for statement in statements:
            connection.execute(statement, values)
        connection.commit()


async def proved(settings: Settings, first: int = 1, last: int | None = None, processes: int = 0) -> Proof:
    return await verify(settings, first, last, processes=processes, stretch=STRETCH)


async def flaw_at(settings: Settings, first: int = 1, last: int | None = None) -> int | None:
    """Where the proof sees the first flaw, whether by stretches or in one go."""
    by_stretches = (await proved(settings, first, last)).flaw
    in_one = (await verify(settings, first, last)).flaw
    assert (by_stretches and by_stretches.position) == (in_one and in_one.position)
    return by_stretches.position if by_stretches is not None else None


FLIPS = {
    "data": "data = CAST(replace(CAST(data AS TEXT), 'text', 'tExt') AS BLOB)",
    "cut data": "data = substr(data, 1, 5)",
    "metadata": "metadata = CAST(replace(CAST(metadata AS TEXT), 'user:x', 'user:y') AS BLOB)",
    "more metadata": """metadata = CAST('{"actor":"user:x","more":1}' AS BLOB)""",
    "metadata spelled otherwise": """metadata = CAST('{"actor": "user:x"}' AS BLOB)""",
    "id": "id = 'x' || substr(id, 2)",
    "id that is no text": "id = CAST(x'ff' || substr(id, 2) AS TEXT)",
    "type": "type = 'note.named'",
    "schema": "schema = 2",
    "organization": "organization_id = 'O'",
    "stream": "stream = 'note:9'",
    "version": "version = version + 100",
    "workflow": "workflow_id = NULL",
    "execution": "execution_id = 'X'",
    "digest": "digest = zeroblob(32)",
    "short digest": "digest = substr(digest, 1, 31)",
    "hash": "hash = zeroblob(32)",
    "blanked with a false digest": "data = x'', digest = zeroblob(32)",
    "later": "time = '2026-01-31T12:00:00.001Z'",
}


@pytest.mark.parametrize("flip", FLIPS)
async def test_a_changed_column_is_found_where_it_is(settings: Settings, flip: str) -> None:
    for spot in (1, 10, 11, 17, 40):
        with closing(sqlite3.connect(settings.data_dir / "runcast.db")) as connection:
            kept = connection.execute("SELECT * FROM events WHERE position = ?", (spot,)).fetchone()
        edit(settings, f"UPDATE events SET {FLIPS[flip]} WHERE position = :spot", spot=spot)
        assert await flaw_at(settings) == spot
        with closing(sqlite3.connect(settings.data_dir / "runcast.db")) as connection:
            connection.execute(f"REPLACE INTO events VALUES ({', '.join('?' * len(kept))})", kept)
            connection.commit()
    assert await flaw_at(settings) is None


@pytest.mark.parametrize("spot", SPOTS)
async def test_a_removed_event_is_found(settings: Settings, spot: int) -> None:
    edit(settings, "DELETE FROM events WHERE position = :spot", spot=spot)
    assert await flaw_at(settings) == spot


@pytest.mark.parametrize("spot", SPOTS)
async def test_a_removed_tail_is_found(settings: Settings, spot: int) -> None:
    edit(settings, "DELETE FROM events WHERE position >= :spot", spot=spot)
    assert await flaw_at(settings) == spot


@pytest.mark.parametrize("spot", [1, 10, 17, 20, 39])
async def test_swapped_events_are_found(settings: Settings, spot: int) -> None:
    edit(
        settings,
        "UPDATE events SET position = -1 WHERE position = :spot",
        "UPDATE events SET position = :spot WHERE position = :spot + 1",
        "UPDATE events SET position = :spot + 1 WHERE position = -1",
        spot=spot,
    )
    assert await flaw_at(settings) == spot


@pytest.mark.parametrize("spot", [2, 10, 11, 12, 40])
async def test_time_that_runs_backwards_is_found_and_said(settings: Settings, spot: int) -> None:
    edit(settings, "UPDATE events SET time = '2026-01-31T11:00:00.000Z' WHERE position = :spot", spot=spot)
    proof = await proved(settings)
    assert proof.flaw is not None
    assert (proof.flaw.position, "is before 2026-01-31T12:" in proof.flaw.reason) == (spot, True)


async def test_of_several_flaws_the_first_is_named(settings: Settings) -> None:
    for spot in (33, 21, 12):
        edit(settings, "UPDATE events SET version = version + 50 WHERE position = :spot", spot=spot)
        assert await flaw_at(settings) == spot


async def test_blanked_data_is_proved_by_its_digest(settings: Settings) -> None:
    whole = await proved(settings)
    edit(settings, "UPDATE events SET data = x'' WHERE position IN (1, 10, 11, 30, 40)")
    blanked = await proved(settings)
    assert (blanked.flaw, blanked.count, blanked.hash) == (None, EVENTS, whole.hash)
    assert blanked.bytes < whole.bytes


async def test_other_processes_come_to_the_same(settings: Settings) -> None:
    whole, alone = await proved(settings, processes=2), await proved(settings)
    assert (whole.flaw, whole.count, whole.position, whole.hash) == (None, EVENTS, EVENTS, alone.hash)
    assert whole.bytes == alone.bytes
    edit(settings, "UPDATE events SET data = x'7b7d' WHERE position = 23")
    assert (await proved(settings, processes=2)).flaw == (await proved(settings)).flaw
    assert (await proved(settings, processes=2)).position == 22


async def test_a_span_is_chained_from_the_event_before_it(settings: Settings) -> None:
    edit(settings, "UPDATE events SET data = x'7b7d' WHERE position IN (5, 30)")
    assert await flaw_at(settings) == 5
    assert await flaw_at(settings, 1, 4) is None
    assert await flaw_at(settings, 6) == 30
    assert await flaw_at(settings, 6, 29) is None
    assert await flaw_at(settings, 31, 40) is None
    span = await proved(settings, 6, 29)
    assert (span.count, span.position) == (24, 29)
    edit(settings, "UPDATE events SET hash = zeroblob(32) WHERE position = 12")
    assert await flaw_at(settings, 13) == 13
    edit(settings, "DELETE FROM events WHERE position = 12")
    assert await flaw_at(settings, 13) == 12


@pytest.mark.parametrize(("first", "last"), [(41, None), (1, 41), (5, 4)])
async def test_a_span_that_is_none_is_refused(settings: Settings, first: int, last: int | None) -> None:
    with pytest.raises(InspectError, match=r"--from|--to"):
        await verify(settings, first, last)


async def test_it_proves_beside_the_process_that_writes(settings: Settings) -> None:
    clock = SetClock()
    clock.move(100)
    store = await open_store(f"sqlite:///{settings.data_dir}/runcast.db", AGGREGATES, clock=clock, codec=CODEC)
    try:
        author = Author(store.log, clock)
        clock._made = 1000
        for number in range(5):
            await author.write("new", f"{number}")
            proof = await proved(settings)
            assert (proof.flaw, proof.position) == (None, EVENTS + number + 1)
    finally:
        await store.close()


POSTGRES = {
    "data": ("UPDATE events SET data = '{{}}'::bytea WHERE position = {0}",),
    "metadata": ("""UPDATE events SET metadata = '{{"actor": "user:x"}}'::bytea WHERE position = {0}""",),
    "organization": ("UPDATE events SET organization_id = 'O' WHERE position = {0}",),
    "digest": ("UPDATE events SET digest = sha256('x') WHERE position = {0}",),
    "hash": ("UPDATE events SET hash = sha256('x') WHERE position = {0}",),
    "backwards": ("UPDATE events SET time = '2026-01-31T11:00:00.000Z' WHERE position = {0}",),
    "removed": ("DELETE FROM events WHERE position = {0}",),
    "tail": ("DELETE FROM events WHERE position >= {0}",),
    "swapped": (
        "UPDATE events SET position = -1 WHERE position = {0}",
        "UPDATE events SET position = {0} WHERE position = {0} + 1",
        "UPDATE events SET position = {0} + 1 WHERE position = -1",
    ),
}


@pytest.mark.parametrize("damage", POSTGRES)
async def test_damage_on_postgresql_is_found(postgres_url: str, tmp_path: Path, damage: str) -> None:
    await fill(postgres_url)
    settings = Settings(data_dir=tmp_path, database_url=postgres_url)
    assert await flaw_at(settings) is None
    connection = await asyncpg.connect(postgres_url)
    try:
        for spot in (32, 21, 11, 10, 2):
            for statement in POSTGRES[damage]:
                await connection.execute(statement.format(spot))
            assert await flaw_at(settings) == spot
    finally:
        await connection.close()


async def test_other_processes_prove_a_log_on_postgresql(postgres_url: str, tmp_path: Path) -> None:
    await fill(postgres_url)
    settings = Settings(data_dir=tmp_path, database_url=postgres_url)
    proof = await proved(settings, processes=2)
    assert (proof.flaw, proof.count, proof.position) == (None, EVENTS, EVENTS)
    with pytest.raises(InspectError, match=r"does not answer|does not exist"):
        await verify(Settings(data_dir=tmp_path, database_url=postgres_url + "-nowhere"))
