"""Deliveries that are asked for again, cancelled and counted, on PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from executor.domain.values import Instant
from executor.ports import AttemptCount, Delivery, EndpointBacklog
from storage.postgres.connection import Pool
from storage.sql import named

_COLUMNS: Final = ", ".join(Delivery.__struct_fields__)


class PostgresRedelivery:
    """Implements `ports.Redelivery`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def resend(self, id: str, now: Instant) -> Delivery | None:
        row = await self._pool.row(_sql("resend").replace("{columns}", _COLUMNS), id, now)
        return None if row is None else Delivery(**dict(zip(Delivery.__struct_fields__, row, strict=True)))

    async def cancel(self, ids: Sequence[str], now: Instant) -> int:
        """In one order for all: two statements that wait for each other's rows would be a deadlock."""
        return await self._pool.execute(_sql("cancel"), sorted(ids), now)

    async def counts(self, webhook_id: str, since_hour: str) -> list[AttemptCount]:
        return [AttemptCount(*row) for row in await self._pool.rows(_sql("counts"), webhook_id, since_hour)]

    async def backlog(self, webhook_id: str, most: int) -> EndpointBacklog:
        ((waiting, oldest),) = await self._pool.rows(_sql("endpoint_backlog"), webhook_id, most)
        return EndpointBacklog(int(waiting), None if oldest is None else Instant(oldest))


def _sql(name: str) -> str:
    return named("storage.postgres")[name]
