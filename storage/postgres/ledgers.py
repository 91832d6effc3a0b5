"""The small ledgers on PostgreSQL: engines, leases, organizations, key use. Lives are measured by its clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import astuple

from executor.domain.plans import Plan
from executor.domain.values import Instant
from executor.ports import Organization
from storage.errors import Unstorable
from storage.organizations import organization_of
from storage.postgres.answers import PostgresFirstAnswers
from storage.postgres.connection import Pool
from storage.postgres.deliveries import PostgresDeliveries
from storage.postgres.redelivery import PostgresRedelivery
from storage.postgres.replays import PostgresReplays
from storage.postgres.retention import PostgresRetention
from storage.postgres.tasks import PostgresTaskLeases
from storage.postgres.values import columns
from storage.sql import named


class PostgresEngines:
    """Implements `ports.Engines`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def beat(self, engine: str, ttl_seconds: float) -> None:
        await self._pool.execute(_sql("engine_beat"), engine, ttl_seconds)

    async def alive(self) -> int:
        return int(await self._pool.value(_sql("engines_alive")))

    async def leave(self, engine: str) -> None:
        await self._pool.execute(_sql("engine_leave"), engine)

    async def leave_all(self) -> None:
        await self._pool.execute(_sql("engine_leave_all"))


class PostgresLeases:
    """Implements `ports.Leases`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def take(self, name: str, holder: str, ttl_seconds: float) -> bool:
        return bool(await self._pool.value(_sql("lease_take"), name, holder, ttl_seconds))

    async def drop(self, name: str, holder: str) -> None:
        await self._pool.execute(_sql("lease_drop"), name, holder)


class PostgresOrganizations:
    """Implements `ports.Organizations`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def get(self, id: str) -> Organization | None:
        return await self._one("organization", id)

    async def by_name(self, name: str) -> Organization | None:
        return await self._one("organization_by_name", name)

    async def add(self, organization: Organization) -> Organization:
        await self._pool.execute(_sql("organization_add"), *astuple(organization))
        kept = await self.by_name(organization.name)
        if kept is None:
            raise Unstorable(f"the organization id {organization.id} belongs to another name")
        return kept

    async def all(self) -> list[Organization]:
        return [organization_of(row) for row in await self._pool.rows(_sql("organizations"))]

    async def replace_key(self, id: str, former: str, sealed_key: str) -> bool:
        return await self._pool.execute(_sql("organization_replace_key"), id, former, sealed_key) > 0

    async def set_plan(self, id: str, plan: Plan, own_runs_at_once: int | None) -> None:
        await self._pool.execute(_sql("organization_set_plan"), id, plan, own_runs_at_once)

    async def _one(self, query: str, key: str) -> Organization | None:
        row = await self._pool.row(_sql(query), key)
        return organization_of(row) if row is not None else None


class PostgresKeyUse:
    """Implements `ports.KeyUse`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def touch(self, used: dict[str, Instant]) -> None:
        if used:
            await self._pool.execute(_sql("touch"), *columns(sorted(used.items()), 2))

    async def last_used(self, ids: Sequence[str]) -> dict[str, Instant]:
        return {id: Instant(at) for id, at in await self._pool.rows(_sql("last_used"), list(ids))}


class PostgresLedgers(NamedTuple):
    """Implements `ports.Ledgers`."""

    engines: PostgresEngines
    leases: PostgresLeases
    task_leases: PostgresTaskLeases
    organizations: PostgresOrganizations
    key_use: PostgresKeyUse
    first_answers: PostgresFirstAnswers
    deliveries: PostgresDeliveries
    redelivery: PostgresRedelivery
    replays: PostgresReplays
    retention: PostgresRetention


def _sql(name: str) -> str:
    return named("storage.postgres")[name]
