"""The ledger of replays on SQLite. A replay's deliveries are written in the transaction that moves it on."""
# ruff: noqa: S608 - the text comes from our own types, checked; every value is a parameter

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import astuple

from executor.domain.values import Instant
from executor.ports import Delivery, Replay, ReplayQuery
from storage.sqlite.deliveries import add
from storage.sqlite.errors import ours
from storage.sqlite.pool import ReadPool
from storage.sqlite.statements import insert, queries
from storage.sqlite.writer import Writer

_FIELDS: Final = Replay.__struct_fields__
COLUMNS: Final = ", ".join(_FIELDS)
_TYPES: Final = _FIELDS.index("types")
_DUE_AGAIN: Final = """ON CONFLICT (id) DO UPDATE
SET status = 'pending', forgiven = attempt_count, next_attempt_at = excluded.next_attempt_at, completed_at = NULL,
    lease_until = NULL, due_at = ''
WHERE status IN ('exhausted', 'cancelled')"""


class SqliteReplays:
    """Implements `ports.Replays`. `connection` is used only on the loop's thread."""

    def __init__(self, writer: Writer, connection: sqlite3.Connection, pool: ReadPool) -> None:
        self._writer = writer
        self._connection = connection
        self._pool = pool

    async def add(self, replay: Replay) -> None:
        values = list(astuple(replay))
        values[_TYPES] = msgspec.json.encode(replay.types).decode()
        await self._writer.run(lambda db: insert(db, f"replays({COLUMNS})", [values]))

    async def get(self, id: str) -> Replay | None:
        found = self._spot("replay", id)
        return _replay(found[0]) if found else None

    async def find(self, query: ReplayQuery) -> list[Replay]:
        where, params = filters(query)
        sql = f"SELECT {COLUMNS} FROM replays WHERE {where} ORDER BY id DESC LIMIT ? OFFSET ?"
        return [_replay(row) for row in await self._pool.rows(sql, (*params, query.limit, query.offset))]

    async def count(self, query: ReplayQuery) -> int:
        where, params = filters(msgspec.structs.replace(query, before_id=None))
        rows = await self._pool.rows(f"SELECT count(*) FROM replays WHERE {where}", params)
        return int(rows[0][0])

    async def open(self) -> list[Replay]:
        return [_replay(row) for row in self._spot("replays_open")]

    async def advance(
        self, id: str, since: int, position: int, processed: int, deliveries: Sequence[Delivery] = ()
    ) -> bool:
        def write(db: sqlite3.Connection) -> bool:
            is_moved = db.execute(queries()["replay_advance"], (position, processed, id, since)).rowcount > 0
            if is_moved:
                add(db, deliveries)
            return is_moved

        return await self._writer.run(write)

    async def recover(self, id: str, since: int, position: int, deliveries: Sequence[Delivery]) -> int:
        def write(db: sqlite3.Connection) -> int:
            if db.execute(queries()["replay_advance"], (position, 0, id, since)).rowcount == 0:
                return 0
            before = db.total_changes
            add(db, deliveries, _DUE_AGAIN)
            recovered = db.total_changes - before
            db.execute(queries()["replay_count"], (recovered, id))
            return recovered

        return await self._writer.run(write)

    async def end(self, id: str, status: str, now: Instant, error: str | None = None) -> bool:
        def write(db: sqlite3.Connection) -> bool:
            is_ended = db.execute(queries()["replay_end"], (status, now, error, id)).rowcount > 0
            if is_ended:
                db.execute(queries()["replay_cancel_waiting"], (now, id))
            return is_ended

        return await self._writer.run(write)

    async def waiting(self, id: str) -> int:
        return int(self._spot("replay_waiting", id)[0][0])

    def _spot(self, name: str, *params: Any) -> list[tuple[Any, ...]]:
        with ours():
            return self._connection.execute(queries()[name].replace("{columns}", COLUMNS), params).fetchall()


def filters(query: ReplayQuery) -> tuple[str, list[Any]]:
    given = (
        ("organization_id = ?", query.organization_id),
        ("status = ?", query.status),
        ("id < ?", query.before_id),
    )
    found = [(text, value) for text, value in given if value is not None]
    return " AND ".join(text for text, _ in found), [value for _, value in found]


def _replay(row: Sequence[Any]) -> Replay:
    fields = dict(zip(_FIELDS, row, strict=True))
    return Replay(**fields | {"types": msgspec.json.decode(fields["types"], type=tuple[str, ...])})
