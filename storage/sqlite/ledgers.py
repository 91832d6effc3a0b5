"""The small ledgers on SQLite: engines, organizations, key use. Written through the one writer."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from msgspec.structs import astuple

from executor.domain.plans import Plan
from executor.domain.values import Instant, plus
from executor.ports import Clock, Organization
from storage.errors import Unstorable
from storage.organizations import organization_of
from storage.sqlite.answers import SqliteFirstAnswers
from storage.sqlite.deliveries import SqliteDeliveries
from storage.sqlite.errors import ours
from storage.sqlite.redelivery import SqliteRedelivery
from storage.sqlite.replays import SqliteReplays
from storage.sqlite.retention import SqliteRetention
from storage.sqlite.statements import insert, queries, select_in
from storage.sqlite.tasks import SqliteTaskLeases
from storage.sqlite.writer import Writer

T = TypeVar("T")


class SqliteEngines:
    """Implements `ports.Engines`; lives are measured by this process's clock, the only one there is. `connection` is
    used only on the loop's thread."""

    def __init__(self, writer: Writer, connection: sqlite3.Connection, clock: Clock) -> None:
        self._writer = writer
        self._connection = connection
        self._clock = clock

    async def beat(self, engine: str, ttl_seconds: float) -> None:
        expires_at = plus(self._clock.now(), ttl_seconds)
        await self._writer.run(lambda db: _run(db, "engine_beat", (engine, expires_at)))

    async def alive(self) -> int:
        with ours():
            (found,) = self._connection.execute(queries()["engines_alive"], (self._clock.now(),)).fetchone()
        return int(found)

    async def leave(self, engine: str) -> None:
        await self._writer.run(lambda db: _run(db, "engine_leave", (engine,)))

    async def leave_all(self) -> None:
        await self._writer.run(lambda db: _run(db, "engine_leave_all", ()))


class SqliteLeases:
    """Implements `ports.Leases`, by this process's clock."""

    def __init__(self, writer: Writer, clock: Clock) -> None:
        self._writer = writer
        self._clock = clock

    async def take(self, name: str, holder: str, ttl_seconds: float) -> bool:
        now = self._clock.now()
        values = (name, holder, plus(now, ttl_seconds), now)
        return await self._writer.run(lambda db: db.execute(queries()["lease_take"], values).rowcount > 0)

    async def drop(self, name: str, holder: str) -> None:
        await self._writer.run(lambda db: _run(db, "lease_drop", (name, holder)))


class SqliteOrganizations:
    """Implements `ports.Organizations`. `connection` is used only on the loop's thread."""

    def __init__(self, writer: Writer, connection: sqlite3.Connection) -> None:
        self._writer = writer
        self._connection = connection

    async def get(self, id: str) -> Organization | None:
        with ours():
            return _organization(self._connection, "organization", id)

    async def by_name(self, name: str) -> Organization | None:
        with ours():
            return _organization(self._connection, "organization_by_name", name)

    async def add(self, organization: Organization) -> Organization:
        def keep(db: sqlite3.Connection) -> Organization:
            _run(db, "organization_add", astuple(organization))
            kept = _organization(db, "organization_by_name", organization.name)
            if kept is None:
                raise Unstorable(f"the organization id {organization.id} belongs to another name")
            return kept

        return await self._writer.run(keep)

    async def all(self) -> list[Organization]:
        with ours():
            return [organization_of(row) for row in self._connection.execute(queries()["organizations"])]

    async def replace_key(self, id: str, former: str, sealed_key: str) -> bool:
        def replace(db: sqlite3.Connection) -> bool:
            db.execute("PRAGMA secure_delete = ON")
            try:
                return db.execute(queries()["organization_replace_key"], (id, former, sealed_key)).rowcount > 0
            finally:
                db.execute("PRAGMA secure_delete = OFF")

        return await self._writer.run(replace)

    async def set_plan(self, id: str, plan: Plan, own_runs_at_once: int | None) -> None:
        await self._writer.run(lambda db: _run(db, "organization_set_plan", (id, plan, own_runs_at_once)))


class SqliteKeyUse:
    """Implements `ports.KeyUse`. `connection` is used only on the loop's thread."""

    def __init__(self, writer: Writer, connection: sqlite3.Connection) -> None:
        self._writer = writer
        self._connection = connection

    async def touch(self, used: dict[str, Instant]) -> None:
        rows = list(used.items())
        newest = "ON CONFLICT (id) DO UPDATE SET used_at = max(used_at, excluded.used_at)"
        await self._writer.run(lambda db: insert(db, "key_use(id, used_at)", rows, newest))

    async def last_used(self, ids: Sequence[str]) -> dict[str, Instant]:
        with ours():
            rows = select_in(self._connection, queries()["last_used"], ids)
        return {id: Instant(used_at) for id, used_at in rows}


class SqliteLedgers(NamedTuple):
    """Implements `ports.Ledgers`."""

    engines: SqliteEngines
    leases: SqliteLeases
    task_leases: SqliteTaskLeases
    organizations: SqliteOrganizations
    key_use: SqliteKeyUse
    first_answers: SqliteFirstAnswers
    deliveries: SqliteDeliveries
    redelivery: SqliteRedelivery
    replays: SqliteReplays
    retention: SqliteRetention


def _organization(connection: sqlite3.Connection, query: str, key: str) -> Organization | None:
    row = connection.execute(queries()[query], (key,)).fetchone()
    return organization_of(row) if row is not None else None


def _run(connection: sqlite3.Connection, query: str, params: Sequence[object]) -> None:
    connection.execute(queries()[query], params)
