"""The ledger of deliveries by itself, in a process that obeys orders on standard input: `ledger.py URL` of its store.
What is delivered already is copied by SQL from rows that were made in the proper way, so it has whatever columns
those have."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing
from typing import Any, Final

import asyncpg
import uvloop
from orders import Answer, heed

from executor.clock import SystemClock
from executor.domain.values import plus
from executor.ports import Attempt, Claimed, Delivery, EndpointLimits, Settled
from hub.aggregates import AGGREGATES
from storage.open import OpenedStore, is_postgres, open_store, sqlite_path

AT_ONCE: Final = 100
ENDPOINTS: Final = 10
LEASE_SECONDS: Final = 60
SHARD: Final = 0
CHUNK: Final = 1000
"""Copies of each row in one transaction."""
COPIES: Final = """
    WITH RECURSIVE copies(copy) AS (SELECT {first} UNION ALL SELECT copy + 1 FROM copies WHERE copy < {last})
    INSERT INTO {table} ({columns}) SELECT {values} FROM {table} CROSS JOIN copies WHERE {id} IN ({ids})
"""
Execute = Callable[[str], Awaitable[Sequence[Any]]]


class Ledger:
    def __init__(self, url: str, store: OpenedStore, clock: SystemClock) -> None:
        self._url, self._deliveries, self._clock = url, store.ledgers.deliveries, clock
        self.organization, self._position = clock.new_id(), 0
        self.webhooks = [clock.new_id() for _ in range(ENDPOINTS)]

    async def fill(self, rows: int) -> Answer:
        """So many deliveries that have succeeded, each with its attempt."""
        await self._add()
        made = (await self._claim()).deliveries
        await self._settle(made)
        ids = ", ".join(f"'{each.id}'" for each in made)
        async with self._sql() as execute:
            for table, id in (("deliveries", "id"), ("attempts", "delivery_id")):
                columns = await execute(f"SELECT * FROM {table} LIMIT 1")
                values = [
                    f"substr({id}, 1, 10) || substr({id}, 19) || copy" if each == id else each for each in columns
                ]
                for copy in range(0, rows // len(made), CHUNK):
                    first, last = 10_000_000 + copy, 10_000_000 + min(copy + CHUNK, rows // len(made)) - 1
                    names = {"columns": ", ".join(columns), "values": ", ".join(values)}
                    await execute(COPIES.format(table=table, id=id, ids=ids, first=first, last=last, **names))
        return {}

    async def measure(self, rounds: int) -> Answer:
        """Seconds of each claim of what is due, and of the settlement of what it took."""
        claims, settlements = [], []
        for _ in range(rounds):
            await self._add()
            began = time.perf_counter()
            taken = await self._claim()
            claimed = time.perf_counter()
            await self._settle(taken.deliveries)
            claims.append(claimed - began)
            settlements.append(time.perf_counter() - claimed)
            if len(taken.deliveries) != AT_ONCE:
                raise RuntimeError(f"{len(taken.deliveries)} of {AT_ONCE} were claimed")
        return {"claims": claims, "settlements": settlements}

    async def _add(self) -> None:
        now, made = self._clock.now(), []
        for number in range(AT_ONCE):
            self._position += 1
            made.append(
                Delivery(
                    id=self._clock.new_id(),
                    organization_id=self.organization,
                    webhook_id=self.webhooks[number % ENDPOINTS],
                    shard=SHARD,
                    event_id=self._clock.new_id(),
                    event="execution.completed",
                    position=self._position,
                    next_attempt_at=now,
                    created_at=now,
                )
            )
        await self._deliveries.add(made)

    async def _claim(self) -> Claimed:
        now = self._clock.now()
        limits = {id: EndpointLimits(id, AT_ONCE, ordered=False) for id in self.webhooks}
        lease_until = plus(now, LEASE_SECONDS)
        return await self._deliveries.claim(SHARD, limits.get, now, lease_until, AT_ONCE, through=self._position)

    async def _settle(self, claimed: Sequence[Delivery]) -> None:
        now = self._clock.now()
        await self._deliveries.settle([_settled(each, now) for each in claimed])

    @asynccontextmanager
    async def _sql(self) -> AsyncIterator[Execute]:
        """Runs a statement in a transaction of its own, and answers the names of the columns."""
        if is_postgres(self._url):
            connection = await asyncpg.connect(self._url)
            yield lambda sql: _on_postgres(connection, sql)
            await connection.execute("VACUUM ANALYZE")
            await connection.close()
            return
        with closing(sqlite3.connect(sqlite_path(self._url), isolation_level=None, check_same_thread=False)) as db:
            yield lambda sql: asyncio.to_thread(_on_sqlite, db, sql)
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


async def _on_postgres(connection: asyncpg.Connection, sql: str) -> list[str]:
    statement = await connection.prepare(sql)
    await statement.fetch()
    return [each.name for each in statement.get_attributes()]


def _on_sqlite(db: sqlite3.Connection, sql: str) -> list[str]:
    return [each[0] for each in db.execute(sql).description or ()]


def _settled(claimed: Delivery, now: Any) -> Settled:
    attempt = Attempt(
        delivery_id=claimed.id,
        attempt=claimed.attempt_count,
        started_at=now,
        duration_ms=12,
        status_code=200,
        error=None,
        response_body="",
    )
    return Settled(
        webhook_id=claimed.webhook_id, attempt=attempt, status="succeeded", next_attempt_at=None, completed_at=now
    )


async def serve(url: str) -> None:
    clock = SystemClock()
    store = await open_store(url, AGGREGATES, clock=clock)
    ledger = Ledger(url, store, clock)
    await heed(fill=ledger.fill, measure=ledger.measure)


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
