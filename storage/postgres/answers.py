"""First answers to requests with an `Idempotency-Key`, on PostgreSQL."""

from __future__ import annotations

from executor.domain.values import Instant
from executor.ports import FirstAnswer
from storage.postgres.connection import Pool
from storage.sql import named


class PostgresFirstAnswers:
    """Implements `ports.FirstAnswers`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def begin(
        self, organization_id: str, key: str, fingerprint: str, *, now: Instant, expires_at: Instant, lost: Instant
    ) -> FirstAnswer | None:
        await self._pool.execute(_sql("answers_expire"), now)
        values = (organization_id, key, fingerprint, now, expires_at, lost)
        while not await self._pool.value(_sql("answer_begin"), *values):
            if (found := await self._pool.row(_sql("answer"), organization_id, key)) is not None:
                return FirstAnswer(*found)
        return None

    async def finish(self, organization_id: str, key: str, status: int, sealed: str) -> None:
        await self._pool.execute(_sql("answer_finish"), organization_id, key, status, sealed)

    async def drop(self, organization_id: str, key: str) -> None:
        await self._pool.execute(_sql("answer_drop"), organization_id, key)


def _sql(name: str) -> str:
    return named("storage.postgres")[name]
