"""The ledger of deliveries on SQLite: what is due to whom, what is under way, what came of each attempt.

The limits of an endpoint are kept here, inside the writer's transaction, so two pumps cannot overstep them together.
"""
# ruff: noqa: S608 - the text comes from our own types, checked; every value is a parameter

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from msgspec.structs import astuple

from executor.domain.values import Instant
from executor.ports import Attempt, CheckpointMoved, Delivery, DeliveryQuery, EndpointLimits, Settled
from storage.sqlite.errors import ours
from storage.sqlite.pool import ReadPool
from storage.sqlite.statements import insert, queries, select_in
from storage.sqlite.writer import Writer

_COLUMNS: Final = ", ".join(Delivery.__struct_fields__)
_ATTEMPT_COLUMNS: Final = ", ".join(Attempt.__struct_fields__)
_MAX_IDS: Final = 1000
_ENDED: Final = frozenset({"succeeded", "exhausted", "cancelled"})


class SqliteDeliveries:
    """Implements `ports.Deliveries`. `connection` is used only on the loop's thread."""

    def __init__(self, writer: Writer, connection: sqlite3.Connection, pool: ReadPool) -> None:
        self._writer = writer
        self._connection = connection
        self._pool = pool

    async def checkpoint(self, name: str) -> int:
        with ours():
            row = self._connection.execute(queries()["checkpoint"], (name,)).fetchone()
        return int(row[0]) if row is not None else 0

    async def fan_out(self, name: str, since: int, checkpoint: int, deliveries: Sequence[Delivery]) -> None:
        def write(db: sqlite3.Connection) -> None:
            found = db.execute(queries()["checkpoint"], (name,)).fetchone()
            if (found[0] if found is not None else 0) != since:
                raise CheckpointMoved(name, since)
            add(db, deliveries)
            db.execute(queries()["set_checkpoint"], (name, checkpoint))

        await self._writer.run(write)

    async def add(self, deliveries: Sequence[Delivery]) -> None:
        await self._writer.run(lambda db: add(db, deliveries))

    async def claim(
        self,
        shard: int,
        limits: Sequence[EndpointLimits],
        now: Instant,
        lease_until: Instant,
        limit: int,
        *,
        through: int,
    ) -> list[Delivery]:
        if not limits or limit <= 0:
            return []
        return await self._writer.run(lambda db: _claim(db, shard, limits, now, lease_until, limit, through))

    async def renew(self, claimed: Sequence[Delivery], lease_until: Instant) -> None:
        if claimed:
            await self._writer.run(lambda db: select_in(db, queries()["renew"], _held(claimed), lease_until))

    async def settle(self, settled: Sequence[Settled]) -> None:
        if settled:
            await self._writer.run(lambda db: _settle(db, settled))

    async def release(self, claimed: Sequence[Delivery], now: Instant) -> None:
        if claimed:
            await self._writer.run(lambda db: select_in(db, queries()["release"], _held(claimed), now))

    async def release_all(self, now: Instant) -> int:
        return await self._writer.run(lambda db: db.execute(queries()["release_all"], (now,)).rowcount)

    async def cancel_waiting(self, webhook_id: str, now: Instant, until: tuple[int, Instant] | None = None) -> int:
        values = (webhook_id, now, *(until or (None, None)))
        return await self._writer.run(lambda db: db.execute(queries()["cancel_waiting"], values).rowcount)

    async def next_due(self, shard: int) -> Instant | None:
        with ours():
            due = self._connection.execute(queries()["next_due"], (shard,)).fetchone()[0]
        return Instant(due) if due is not None else None

    async def due_shards(self, now: Instant) -> list[int]:
        with ours():
            return [shard for (shard,) in self._connection.execute(queries()["due_shards"], (now,))]

    async def get(self, id: str) -> tuple[Delivery, list[Attempt]] | None:
        with ours():
            found = _deliveries(self._connection, [id])
            attempts = select_in(self._connection, queries()["attempts"], [id])
        return (found[0], [_attempt(row) for row in attempts]) if found else None

    async def find(self, query: DeliveryQuery) -> list[Delivery]:
        sql, params = _find_sql(query)
        return [_delivery(row) for row in await self._pool.rows(sql, params)]

    async def attempts(self, delivery_ids: Sequence[str]) -> dict[str, list[Attempt]]:
        """Deliveries without attempts are absent."""
        attempts: dict[str, list[Attempt]] = {}
        for start in range(0, len(delivery_ids), _MAX_IDS):
            ids = delivery_ids[start : start + _MAX_IDS]
            sql = queries()["attempts"].replace("{values}", ", ".join("?" * len(ids)))
            for row in await self._pool.rows(sql, ids):
                attempts.setdefault(row[0], []).append(_attempt(row))
        return attempts


def add(db: sqlite3.Connection, deliveries: Sequence[Delivery]) -> None:
    """Those whose id exists are left alone."""
    rows = [(*astuple(delivery), _due_at(delivery)) for delivery in deliveries]
    insert(db, f"deliveries({_COLUMNS}, due_at)", rows, "ON CONFLICT (id) DO NOTHING")


def _claim(
    db: sqlite3.Connection,
    shard: int,
    limits: Sequence[EndpointLimits],
    now: Instant,
    lease_until: Instant,
    limit: int,
    through: int,
) -> list[Delivery]:
    of = {endpoint.webhook_id: endpoint for endpoint in limits}
    due: list[tuple[str, int, str]] = []
    for webhook_id, under_way, is_due in select_in(db, queries()["under_way"], [(id,) for id in of], now, now):
        free = min(of[webhook_id].max_in_flight - under_way, limit)
        if not is_due or free <= 0:
            continue
        if of[webhook_id].ordered:
            rows = [] if under_way else _next_in_order(db, webhook_id, now, shard, through)
        else:
            rows = _next(db, webhook_id, now, shard, through, free)
        due += ((due_at, position or 0, id) for id, due_at, position in rows)
    ids = [id for _, _, id in sorted(set(due))[:limit]]
    select_in(db, queries()["take"], ids, lease_until)
    taken = {delivery.id: delivery for delivery in _deliveries(db, ids)}
    return [taken[id] for id in ids]


def _next(db: sqlite3.Connection, webhook_id: str, now: Instant, shard: int, through: int, free: int) -> list[Any]:
    """What is live, as many as there is room for; of what is replayed one at a time, in room that is left."""
    rows = db.execute(queries()["due_of_endpoint"], (webhook_id, now, shard, through, free)).fetchall()
    if len(rows) < free:
        rows += db.execute(queries()["replayed_due_in_order"], (webhook_id, now, shard, through)).fetchall()
    return rows


def _next_in_order(db: sqlite3.Connection, webhook_id: str, now: Instant, shard: int, through: int) -> list[Any]:
    """What is live goes before what is replayed, so that a long replay holds nothing up."""
    named = (queries()[name] for name in ("due_in_order", "replayed_due_in_order"))
    return next(filter(None, (db.execute(sql, (webhook_id, now, shard, through)).fetchall() for sql in named)), [])


def _held(claimed: Sequence[Delivery]) -> list[tuple[str, int]]:
    return list({(delivery.id, delivery.attempt_count) for delivery in claimed})


def _settle(db: sqlite3.Connection, settled: Sequence[Settled]) -> None:
    into = f"attempts({_ATTEMPT_COLUMNS})"
    insert(db, into, [astuple(one.attempt) for one in settled], "ON CONFLICT (delivery_id, attempt) DO NOTHING")
    made = [
        (one.attempt.delivery_id, one.attempt.attempt, one.status, one.next_attempt_at, one.completed_at)
        for one in settled
    ]
    select_in(db, queries()["settle"], made)


def _deliveries(db: sqlite3.Connection, ids: Sequence[str]) -> list[Delivery]:
    sql = queries()["deliveries_in"].replace("{columns}", _COLUMNS)
    return [_delivery(row) for row in select_in(db, sql, ids)]


def _find_sql(query: DeliveryQuery) -> tuple[str, list[Any]]:
    """An endpoint's index or its organization's, newest first."""
    filters = (
        ("webhook_id = ?", query.webhook_id),
        (f"{'+' if query.webhook_id is not None else ''}organization_id = ?", query.organization_id),
        ("status = ?", query.status),
        ("event = ?", query.event),
        ("created_at >= ?", query.start_time),
        ("created_at < ?", query.end_time),
        ("id < ?", query.before_id),
    )
    given = [(text, value) for text, value in filters if value is not None]
    where = " AND ".join(text for text, _ in given)
    sql = f"SELECT {_COLUMNS} FROM deliveries WHERE {where} ORDER BY id DESC LIMIT ? OFFSET ?"
    return sql, [*(value for _, value in given), query.limit, query.offset]


def _due_at(delivery: Delivery) -> Instant | None:
    if delivery.status in _ENDED:
        return None
    if delivery.status == "in_flight":
        return delivery.lease_until or delivery.created_at
    return delivery.next_attempt_at or delivery.created_at


def _delivery(row: Sequence[Any]) -> Delivery:
    return Delivery(**dict(zip(Delivery.__struct_fields__, row, strict=True)))


def _attempt(row: Sequence[Any]) -> Attempt:
    return Attempt(**dict(zip(Attempt.__struct_fields__, row, strict=True)))
