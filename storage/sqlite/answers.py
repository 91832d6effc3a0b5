"""First answers to requests with an `Idempotency-Key`, on SQLite."""

from __future__ import annotations

import sqlite3

from executor.domain.values import Instant
from executor.ports import FirstAnswer
from storage.sqlite.statements import queries
from storage.sqlite.writer import Writer


class SqliteFirstAnswers:
    """Implements `ports.FirstAnswers`."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def begin(
        self, organization_id: str, key: str, fingerprint: str, *, now: Instant, expires_at: Instant, lost: Instant
    ) -> FirstAnswer | None:
        def begin(db: sqlite3.Connection) -> FirstAnswer | None:
            db.execute(queries()["answers_expire"], (now,))
            values = (organization_id, key, fingerprint, now, expires_at, lost)
            if db.execute(queries()["answer_begin"], values).rowcount > 0:
                return None
            return FirstAnswer(*db.execute(queries()["answer"], (organization_id, key)).fetchone())

        return await self._writer.run(begin)

    async def finish(self, organization_id: str, key: str, status: int, sealed: str) -> None:
        values = (organization_id, key, status, sealed)
        await self._writer.run(lambda db: db.execute(queries()["answer_finish"], values).rowcount)

    async def drop(self, organization_id: str, key: str) -> None:
        await self._writer.run(lambda db: db.execute(queries()["answer_drop"], (organization_id, key)).rowcount)
