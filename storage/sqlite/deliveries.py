"""The ledger of deliveries on SQLite: what is due to whom, what is under way, what came of each attempt.

The limits of an endpoint are kept here: claims of one shard go one after the other, so two pumps cannot overstep them
together. No other process claims from this store.
"""
# ruff: noqa: S608 - the text comes from our own types, checked; every value is a parameter

from __future__ import annotations

import asyncio
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final

from msgspec.structs import astuple

from executor.domain.values import Instant
from executor.ports import (
    Attempt,
    Backlog,
    CheckpointMoved,
    Claimed,
    Delivery,
    DeliveryQuery,
    EndpointLimits,
    EndpointState,
    Settled,
)
from storage.attempts import answered, counted, new
from storage.found import MOST_CANCELLED, one_of, whole
from storage.sqlite.due import Due
from storage.sqlite.errors import ours
from storage.sqlite.pool import ReadPool
from storage.sqlite.statements import insert, queries, select_in
from storage.sqlite.writer import Writer

_COLUMNS: Final = ", ".join(Delivery.__struct_fields__)
_ATTEMPT_COLUMNS: Final = ", ".join(Attempt.__struct_fields__)
_MAX_IDS: Final = 1000
_STATE_COLUMNS: Final = ", ".join(EndpointState.__struct_fields__)
_ENDED: Final = frozenset({"succeeded", "exhausted", "cancelled"})

_UNLESS_WRITTEN: Final = "ON CONFLICT (delivery_id, attempt) DO NOTHING RETURNING delivery_id, attempt"
_PACED: Final = "ON CONFLICT (webhook_id) DO UPDATE SET paced_until = excluded.paced_until"
_ANSWERED: Final = """ON CONFLICT (webhook_id) DO UPDATE
SET last_success_at = coalesce(excluded.last_success_at, last_success_at),
    last_failure_at = coalesce(excluded.last_failure_at, last_failure_at),
    failing_since = iif(excluded.last_success_at IS NULL,
                        coalesce(failing_since, excluded.failing_since), excluded.failing_since)"""
_COUNTED: Final = """ON CONFLICT (webhook_id, hour, outcome, bucket) DO UPDATE
SET attempts = attempts + excluded.attempts"""


class SqliteDeliveries:
    """Implements `ports.Deliveries`. `connection` is used only on the loop's thread."""

    def __init__(self, writer: Writer, connection: sqlite3.Connection, pool: ReadPool) -> None:
        self._writer = writer
        self._connection = connection
        self._pool = pool
        self._claims: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._last: dict[int, str] = {}

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
        limits: Callable[[str], EndpointLimits | None],
        now: Instant,
        lease_until: Instant,
        limit: int,
        *,
        through: int,
    ) -> Claimed:
        if limit <= 0:
            return Claimed([])
        async with self._claims[shard]:
            # Looked up here, in many small statements; on the writer's thread each would wait for the loop.
            with ours():
                due = Due(self._connection, shard, now, through).of(limits, limit, self._last.get(shard, ""))
            self._last[shard] = due.last
            if not due.ids:
                return Claimed([], due.again_at)
            rows = await self._writer.run(lambda db: _take(db, due, now, lease_until))
        taken = {delivery.id: delivery for delivery in map(_delivery, rows)}
        return Claimed([taken[id] for id in due.ids if id in taken], due.again_at)

    async def renew(self, claimed: Sequence[Delivery], lease_until: Instant) -> None:
        if claimed:
            await self._writer.run(lambda db: select_in(db, queries()["renew"], _held(claimed), lease_until))

    async def settle(self, settled: Sequence[Settled]) -> None:
        if settled:
            await self._writer.run(lambda db: _settle(db, settled))

    async def release(self, claimed: Sequence[Delivery], now: Instant) -> None:
        if claimed:
            await self._writer.run(lambda db: select_in(db, queries()["release"], _held(claimed), now))

    async def drop(self, claimed: Sequence[Delivery], now: Instant) -> None:
        if claimed:
            await self._writer.run(lambda db: select_in(db, queries()["drop"], _held(claimed), now))

    async def release_all(self, now: Instant) -> int:
        return await self._writer.run(lambda db: db.execute(queries()["release_all"], (now,)).rowcount)

    async def release_stray(self, now: Instant, latest: Instant) -> int:
        return await self._writer.run(lambda db: db.execute(queries()["release_stray"], (now, latest)).rowcount)

    async def cancel_waiting(self, webhook_id: str, now: Instant, until: tuple[int, Instant] | None = None) -> int:
        values = (webhook_id, now, *(until or (None, None)), MOST_CANCELLED)
        cancelled, last = 0, MOST_CANCELLED
        while last >= MOST_CANCELLED:
            last = await self._writer.run(lambda db: db.execute(queries()["cancel_waiting"], values).rowcount)
            cancelled += last
        return cancelled

    async def next_due(self, shard: int) -> Instant | None:
        with ours():
            due = self._connection.execute(queries()["next_due"], (shard,)).fetchone()[0]
        return Instant(due) if due is not None else None

    async def backlog(self, now: Instant, most: int) -> Backlog:
        ((due, oldest),) = await self._pool.rows(queries()["backlog"], (now, most))
        return Backlog(due, oldest)

    async def state(self, webhook_id: str) -> EndpointState | None:
        with ours():
            row = self._connection.execute(_state_sql("endpoint_state"), (webhook_id,)).fetchone()
        return None if row is None else _state(row)

    async def failing(self, since: Instant) -> list[EndpointState]:
        with ours():
            return [_state(row) for row in self._connection.execute(_state_sql("endpoints_failing"), (since,))]

    async def forgive(self, webhook_id: str) -> None:
        await self._writer.run(lambda db: db.execute(queries()["endpoint_forgive"], (webhook_id,)).rowcount)

    async def sweep_counts(self, before_hour: str) -> int:
        return await self._writer.run(lambda db: db.execute(queries()["counts_sweep"], (before_hour,)).rowcount)

    async def get(self, id: str) -> tuple[Delivery, list[Attempt]] | None:
        with ours():
            found = _deliveries(self._connection, [id])
            attempts = select_in(self._connection, _attempts_sql(), [id])
        return (found[0], [_attempt(row) for row in attempts]) if found else None

    async def find(self, query: DeliveryQuery) -> list[Delivery]:
        sql, params = _find_sql(query)
        return [_delivery(row) for row in await self._pool.rows(sql, params)]

    async def attempts(self, delivery_ids: Sequence[str]) -> dict[str, list[Attempt]]:
        """Deliveries without attempts are absent."""
        attempts: dict[str, list[Attempt]] = {}
        for start in range(0, len(delivery_ids), _MAX_IDS):
            ids = delivery_ids[start : start + _MAX_IDS]
            sql = _attempts_sql().replace("{values}", ", ".join("?" * len(ids)))
            for row in await self._pool.rows(sql, ids):
                attempts.setdefault(row[0], []).append(_attempt(row))
        return attempts


def add(
    db: sqlite3.Connection, deliveries: Sequence[Delivery], on_conflict: str = "ON CONFLICT (id) DO NOTHING"
) -> None:
    """Those whose id exists are left alone, unless said."""
    rows = [(*astuple(delivery), _due_at(delivery)) for delivery in deliveries]
    insert(db, f"deliveries({_COLUMNS}, due_at)", rows, on_conflict)


def _take(db: sqlite3.Connection, due: Due, now: Instant, lease_until: Instant) -> list[tuple[Any, ...]]:
    if due.paced:
        insert(db, "endpoint_states(webhook_id, paced_until)", due.paced, _PACED)
    return select_in(db, _take_sql(), due.ids, lease_until, now)


def _held(claimed: Sequence[Delivery]) -> list[tuple[str, int]]:
    return list({(delivery.id, delivery.attempt_count) for delivery in claimed})


def _settle(db: sqlite3.Connection, settled: Sequence[Settled]) -> None:
    into = f"attempts({_ATTEMPT_COLUMNS})"
    written = insert(db, into, [astuple(one.attempt) for one in settled], _UNLESS_WRITTEN)
    made = [
        (one.attempt.delivery_id, one.attempt.attempt, one.status, one.next_attempt_at, one.completed_at)
        for one in settled
    ]
    select_in(db, queries()["settle"], made)
    insert(
        db,
        "endpoint_states(webhook_id, last_success_at, last_failure_at, failing_since)",
        answered(settled),
        _ANSWERED,
    )
    insert(
        db, "attempt_counts(webhook_id, hour, outcome, bucket, attempts)", counted(new(settled, written)), _COUNTED
    )


def _deliveries(db: sqlite3.Connection, ids: Sequence[str]) -> list[Delivery]:
    sql = queries()["deliveries_in"].replace("{columns}", _COLUMNS)
    return [_delivery(row) for row in select_in(db, sql, ids)]


@cache
def _take_sql() -> str:
    return queries()["take"].replace("{columns}", _COLUMNS)


@cache
def _attempts_sql() -> str:
    return queries()["attempts"].replace("{columns}", _ATTEMPT_COLUMNS)


@cache
def _state_sql(name: str) -> str:
    return queries()[name].replace("{columns}", _STATE_COLUMNS)


def _find_sql(query: DeliveryQuery) -> tuple[str, list[Any]]:
    """An event's index, an endpoint's or its organization's, newest first; a `+` keeps the planner from another."""
    in_event, in_webhook = ("" if of is None else "+" for of in (query.event_id, query.webhook_id))
    filters: tuple[tuple[str, Sequence[Any]], ...] = (
        ("event_id = ?", _given(query.event_id)),
        (f"{in_event}webhook_id = ?", _given(query.webhook_id)),
        (f"{in_event or in_webhook}organization_id = ?", (query.organization_id,)),
        one_of("status", query.statuses),
        one_of("event", query.events),
        ("created_at >= ?", _given(query.start_time)),
        ("created_at < ?", _given(query.end_time)),
        ("id < ?", _given(query.before_id)),
    )
    given = [(text, values) for text, values in filters if values]
    where = " AND ".join([*(text for text, _ in given), *whole(query.statuses)])
    sql = f"SELECT {_COLUMNS} FROM deliveries WHERE {where} ORDER BY id DESC LIMIT ? OFFSET ?"
    return sql, [*(value for _, values in given for value in values), query.limit, query.offset]


def _given(value: str | None) -> Sequence[str]:
    return () if value is None else (value,)


def _due_at(delivery: Delivery) -> Instant | str | None:
    if delivery.status in _ENDED:
        return None
    if delivery.status == "pending":
        return ""
    if delivery.status == "in_flight":
        return delivery.lease_until or delivery.created_at
    return delivery.next_attempt_at or delivery.created_at


def _delivery(row: Sequence[Any]) -> Delivery:
    return Delivery(**dict(zip(Delivery.__struct_fields__, row, strict=True)))


def _attempt(row: Sequence[Any]) -> Attempt:
    return Attempt(**dict(zip(Attempt.__struct_fields__, row, strict=True)))


def _state(row: Sequence[Any]) -> EndpointState:
    return EndpointState(**dict(zip(EndpointState.__struct_fields__, row, strict=True)))
