"""The ledger of replays on PostgreSQL. A replay's deliveries are written in the transaction that moves it on."""
# ruff: noqa: S608 - the text comes from our own types, checked; every value is a parameter

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import astuple, replace

from executor.domain.values import Instant
from executor.ports import Delivery, Replay, ReplayQuery
from storage.postgres.connection import Pool, numbered
from storage.postgres.deliveries import add
from storage.sql import named

_FIELDS: Final = Replay.__struct_fields__
_COLUMNS: Final = ", ".join(_FIELDS)
_TYPES: Final = _FIELDS.index("types")
_INSERT: Final = numbered(f"INSERT INTO replays ({_COLUMNS}) VALUES ({', '.join('?' * len(_FIELDS))})")


class PostgresReplays:
    """Implements `ports.Replays`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, replay: Replay) -> None:
        values = list(astuple(replay))
        values[_TYPES] = msgspec.json.encode(replay.types).decode()
        await self._pool.execute(_INSERT, *values)

    async def get(self, id: str) -> Replay | None:
        row = await self._pool.row(_sql("replay"), id)
        return _replay(row) if row is not None else None

    async def find(self, query: ReplayQuery) -> list[Replay]:
        where, params = _filters(query)
        sql = f"SELECT {_COLUMNS} FROM replays WHERE {where} ORDER BY id DESC LIMIT ? OFFSET ?"
        rows = await self._pool.rows(numbered(sql), *params, query.limit, query.offset)
        return [_replay(row) for row in rows]

    async def count(self, query: ReplayQuery) -> int:
        where, params = _filters(replace(query, before_id=None))
        return int(await self._pool.value(numbered(f"SELECT count(*) FROM replays WHERE {where}"), *params))

    async def open(self) -> list[Replay]:
        return [_replay(row) for row in await self._pool.rows(_sql("replays_open"))]

    async def advance(
        self, id: str, since: int, position: int, processed: int, deliveries: Sequence[Delivery] = ()
    ) -> bool:
        async with self._pool.transaction() as connection:
            is_moved = await connection.fetchval(_sql("replay_advance"), id, since, position, processed)
            if is_moved:
                await add(connection, deliveries)
            return bool(is_moved)

    async def recover(self, id: str, since: int, position: int, deliveries: Sequence[Delivery]) -> int:
        async with self._pool.transaction() as connection:
            if not await connection.fetchval(_sql("replay_advance"), id, since, position, 0):
                return 0
            recovered = await add(connection, sorted(deliveries, key=lambda each: each.id), due_again=True)
            await connection.execute(_sql("replay_count"), id, recovered)
            return recovered

    async def end(self, id: str, status: str, now: Instant, error: str | None = None) -> bool:
        async with self._pool.transaction() as connection:
            is_ended = await connection.fetchval(_sql("replay_end"), id, status, now, error)
            if is_ended:
                await connection.execute(_sql("replay_cancel_waiting"), id, now)
            return bool(is_ended)

    async def waiting(self, id: str) -> int:
        return int(await self._pool.value(_sql("replay_waiting"), id))


def _filters(query: ReplayQuery) -> tuple[str, list[Any]]:
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


def _sql(name: str) -> str:
    return named("storage.postgres")[name].replace("{columns}", _COLUMNS)
