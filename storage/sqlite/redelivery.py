"""Deliveries that are asked for again, cancelled and counted, on SQLite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from executor.domain.values import Instant
from executor.ports import AttemptCount, Delivery, EndpointBacklog
from storage.sqlite.pool import ReadPool
from storage.sqlite.statements import queries, select_in
from storage.sqlite.writer import Writer

_COLUMNS: Final = ", ".join(Delivery.__struct_fields__)


class SqliteRedelivery:
    """Implements `ports.Redelivery`."""

    def __init__(self, writer: Writer, pool: ReadPool) -> None:
        self._writer, self._pool = writer, pool

    async def resend(self, id: str, now: Instant) -> Delivery | None:
        sql = queries()["resend"].replace("{columns}", _COLUMNS)
        row = await self._writer.run(lambda db: db.execute(sql, (id, now)).fetchone())
        return None if row is None else Delivery(**dict(zip(Delivery.__struct_fields__, row, strict=True)))

    async def cancel(self, ids: Sequence[str], now: Instant) -> int:
        if not ids:
            return 0
        return len(await self._writer.run(lambda db: select_in(db, queries()["cancel"], ids, now)))

    async def counts(self, webhook_id: str, since_hour: str) -> list[AttemptCount]:
        return [AttemptCount(*row) for row in await self._pool.rows(queries()["counts"], (webhook_id, since_hour))]

    async def backlog(self, webhook_id: str, most: int) -> EndpointBacklog:
        ((waiting, oldest),) = await self._pool.rows(queries()["endpoint_backlog"], (webhook_id, most))
        return EndpointBacklog(waiting, None if oldest is None else Instant(oldest))
