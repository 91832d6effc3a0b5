"""The ledger of deliveries on PostgreSQL: what is due to whom, what is under way, what came of each attempt.

The limits of an endpoint are kept here: claims of one shard go one after the other, whichever process they come from.
"""
# ruff: noqa: S608 - the text comes from our own types, checked; every value is a parameter

from __future__ import annotations

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
from storage.postgres.connection import Connection, Pool, arrays, changed, numbered
from storage.postgres.due import Due
from storage.postgres.values import back, columns
from storage.rows import kinds
from storage.sql import named

_COLUMNS: Final = ", ".join(Delivery.__struct_fields__)
_ATTEMPT_COLUMNS: Final = ", ".join(Attempt.__struct_fields__)
_PLANNED_ANEW: Final = "SET LOCAL plan_cache_mode = force_custom_plan"
"""A plan that was kept from when the table was small reads all of it: 20 ms for what takes 1.5."""
_STATE_COLUMNS: Final = ", ".join(EndpointState.__struct_fields__)
_TYPES: Final = {str: "text", int: "bigint", bytes: "bytea"}
_ENDED: Final = frozenset({"succeeded", "exhausted", "cancelled"})


class PostgresDeliveries:
    """Implements `ports.Deliveries`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._last: dict[int, str] = {}

    async def checkpoint(self, name: str) -> int:
        return int(await self._pool.value(_sql("checkpoint"), name) or 0)

    async def fan_out(self, name: str, since: int, checkpoint: int, deliveries: Sequence[Delivery]) -> None:
        async with self._pool.transaction() as connection:
            if not await connection.fetchval(_sql("move_checkpoint"), name, since, checkpoint):
                raise CheckpointMoved(name, since)
            await add(connection, deliveries)

    async def add(self, deliveries: Sequence[Delivery]) -> None:
        async with self._pool.transaction() as connection:
            await add(connection, deliveries)

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
        async with self._pool.transaction() as connection:
            await connection.execute(_PLANNED_ANEW)
            await connection.execute(_sql("claim_lock"), shard)
            due = await Due(connection, shard, now, through).of(limits, limit, self._last.get(shard, ""))
            self._last[shard] = due.last
            if not due.ids:
                return Claimed([], due.again_at)
            if due.paced:
                await connection.execute(_sql("pace"), *columns(due.paced, 2))
            take = _sql("take").replace("{columns}", _COLUMNS)
            rows = back(await connection.fetch(take, due.ids, lease_until, now))
        taken = {delivery.id: delivery for delivery in map(_delivery, rows)}
        return Claimed([taken[id] for id in due.ids if id in taken], due.again_at)

    async def renew(self, claimed: Sequence[Delivery], lease_until: Instant) -> None:
        if claimed:
            await self._pool.execute(_sql("renew"), *_held(claimed), lease_until)

    async def settle(self, settled: Sequence[Settled]) -> None:
        if not settled:
            return
        attempts = [astuple(one.attempt) for one in settled]
        made = [
            (one.attempt.delivery_id, one.attempt.attempt, one.status, one.next_attempt_at, one.completed_at)
            for one in sorted(settled, key=lambda one: one.attempt.delivery_id)
        ]
        async with self._pool.transaction() as connection:
            await connection.execute(_PLANNED_ANEW)
            written = await connection.fetch(_INSERT_ATTEMPTS, *columns(attempts, len(Attempt.__struct_fields__)))
            await connection.execute(_sql("settle"), *columns(made, 5))
            await connection.execute(_sql("answered"), *columns(answered(settled), 4))
            await connection.execute(_sql("count_attempts"), *columns(counted(new(settled, written)), 5))

    async def release(self, claimed: Sequence[Delivery], now: Instant) -> None:
        if claimed:
            await self._pool.execute(_sql("release"), *_held(claimed), now)

    async def drop(self, claimed: Sequence[Delivery], now: Instant) -> None:
        if claimed:
            await self._pool.execute(_sql("drop"), *_held(claimed), now)

    async def release_all(self, now: Instant) -> int:
        return await self._pool.execute(_sql("release_all"), now)

    async def release_stray(self, now: Instant, latest: Instant) -> int:
        return await self._pool.execute(_sql("release_stray"), now, latest)

    async def cancel_waiting(self, webhook_id: str, now: Instant, until: tuple[int, Instant] | None = None) -> int:
        values = (webhook_id, now, *(until or (None, None)), MOST_CANCELLED)
        cancelled, last = 0, MOST_CANCELLED
        while last >= MOST_CANCELLED:
            last = await self._pool.execute(_sql("cancel_waiting"), *values)
            cancelled += last
        return cancelled

    async def next_due(self, shard: int) -> Instant | None:
        due = await self._pool.value(_sql("next_due"), shard)
        return Instant(due) if due is not None else None

    async def backlog(self, now: Instant, most: int) -> Backlog:
        ((due, oldest),) = await self._pool.rows(_sql("backlog"), now, most)
        return Backlog(due, oldest)

    async def state(self, webhook_id: str) -> EndpointState | None:
        row = await self._pool.row(_state_sql("endpoint_state"), webhook_id)
        return None if row is None else _state(row)

    async def failing(self, since: Instant) -> list[EndpointState]:
        return [_state(row) for row in await self._pool.rows(_state_sql("endpoints_failing"), since)]

    async def forgive(self, webhook_id: str) -> None:
        await self._pool.execute(_sql("endpoint_forgive"), webhook_id)

    async def sweep_counts(self, before_hour: str) -> int:
        return await self._pool.execute(_sql("counts_sweep"), before_hour)

    async def get(self, id: str) -> tuple[Delivery, list[Attempt]] | None:
        row = await self._pool.row(_sql("delivery").replace("{columns}", _COLUMNS), id)
        if row is None:
            return None
        return _delivery(row), (await self.attempts([id])).get(id, [])

    async def find(self, query: DeliveryQuery) -> list[Delivery]:
        sql, params = _find_sql(query)
        return [_delivery(row) for row in await self._pool.rows(numbered(sql), *params)]

    async def attempts(self, delivery_ids: Sequence[str]) -> dict[str, list[Attempt]]:
        """Deliveries without attempts are absent."""
        attempts: dict[str, list[Attempt]] = {}
        for row in await self._pool.rows(_sql("attempts").replace("{columns}", _ATTEMPT_COLUMNS), list(delivery_ids)):
            attempts.setdefault(row[0], []).append(_attempt(row))
        return attempts


async def add(connection: Connection, deliveries: Sequence[Delivery], *, due_again: bool = False) -> int:
    """Those whose id exists are left alone, or `due_again` where they were given up or cancelled. How many were
    written."""
    if not deliveries:
        return 0
    rows = [(*astuple(delivery), _due_at(delivery)) for delivery in deliveries]
    insert = f"{_INSERT} {_DUE_AGAIN if due_again else 'DO NOTHING'}"
    return changed(await connection.execute(insert, *columns(rows, len(rows[0]))))


def _held(claimed: Sequence[Delivery]) -> tuple[list[str], list[int]]:
    """In one order for all: two statements that wait for each other's rows would be a deadlock."""
    held = sorted({(delivery.id, delivery.attempt_count) for delivery in claimed})
    return [id for id, _ in held], [attempt for _, attempt in held]


def _find_sql(query: DeliveryQuery) -> tuple[str, list[Any]]:
    """An event's index, an endpoint's or its organization's, newest first: the last two as a comparison of rows,
    which only that index can give in order. Joined to a text, a column is no index's."""
    before = query.before_id if query.before_id is not None else "\U0010ffff"
    found: list[tuple[str, Sequence[Any]]] = []
    if query.event_id is not None:
        found = [("event_id = ?", (query.event_id,)), ("id < ?", (before,))]
        order = "id || '' DESC"
    else:
        of = "organization_id" if query.webhook_id is None else "webhook_id"
        value = query.webhook_id or query.organization_id
        found = [(f"({of}, id) < (?, ?)", (value, before)), (f"({of}, id) >= (?, '')", (value,))]
        order = f"{of} DESC, id DESC"
    found += [
        ("organization_id || '' = ?", (query.organization_id,)),
        ("webhook_id || '' = ?", (query.webhook_id,)),
        one_of("status", query.statuses),
        one_of("event", query.events),
        ("created_at >= ?", (query.start_time,)),
        ("created_at < ?", (query.end_time,)),
    ]
    given = [(text, values) for text, values in found if values and values[0] is not None]
    where = " AND ".join([*(text for text, _ in given), *whole(query.statuses)])
    sql = f"SELECT {_COLUMNS} FROM deliveries WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?"
    return sql, [*(value for _, values in given for value in values), query.limit, query.offset]


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


@cache
def _state_sql(name: str) -> str:
    return _sql(name).replace("{columns}", _STATE_COLUMNS)


def _types(struct: type[Delivery] | type[Attempt]) -> list[str]:
    return [_TYPES[kind] for kind in kinds(struct).values()]


_INSERT: Final = (
    f"INSERT INTO deliveries ({_COLUMNS}, due_at) SELECT * FROM unnest({arrays([*_types(Delivery), 'text'])}) "
    "ON CONFLICT (id)"
)
_DUE_AGAIN: Final = """DO UPDATE
SET status = 'pending', forgiven = deliveries.attempt_count, next_attempt_at = excluded.next_attempt_at,
    completed_at = NULL, lease_until = NULL, due_at = ''
WHERE deliveries.status IN ('exhausted', 'cancelled')"""
_INSERT_ATTEMPTS: Final = (
    f"INSERT INTO attempts ({_ATTEMPT_COLUMNS}) SELECT * FROM unnest({arrays(_types(Attempt))}) "
    "ON CONFLICT (delivery_id, attempt) DO NOTHING RETURNING delivery_id, attempt"
)


def _sql(name: str) -> str:
    return named("storage.postgres")[name]
