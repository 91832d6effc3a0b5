"""From a credential to who asks."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec

from executor.domain.errors import Unavailable
from executor.domain.values import Instant
from executor.ports import Clock, Organization, Store
from executor.sealing import SecretKey
from hub.auth.apikeys import KEY, ApiKeyRow, ApiKeyView
from hub.auth.permissions import granted
from hub.auth.principal import Principal

FLUSH_SECONDS = 5.0


class Authenticator:
    """Knows API keys by their keyed hash: one point read for each request, so that a revoked key ends at once."""

    def __init__(self, store: Store, key: SecretKey, clock: Clock) -> None:
        self._store = store
        self._key = key
        self._clock = clock
        self._organizations: dict[str, Organization] = {}
        self._used: dict[str, Instant] = {}

    async def authenticate(self, credential: str) -> Principal | None:
        """None for what is unknown, expired or revoked."""
        if KEY.fullmatch(credential) is None:
            return None
        row = await self._store.reads.get(ApiKeyRow, self._key.digest(credential))
        if row is None or row.revoked:
            return None
        view, now = msgspec.json.decode(row.document, type=ApiKeyView), self._clock.now()
        if view.expires_at is not None and view.expires_at <= now:
            return None
        self._used[view.id] = now
        return Principal(
            type="api_key",
            id=view.id,
            name=view.name,
            organization_id=row.organization_id,
            organization_name=(await self._organization(row.organization_id)).name,
            role=view.role,
            permissions=granted(view.role, view.permissions),
            expires_at=view.expires_at,
        )

    async def _organization(self, id: str) -> Organization:
        known = self._organizations.get(id) or await self._store.ledgers.organizations.get(id)
        if known is None:
            raise Unavailable(f"organization '{id}' is not in the ledger")
        self._organizations[id] = known
        return known

    async def last_used(self, ids: list[str]) -> dict[str, Instant]:
        flushed = await self._store.ledgers.key_use.last_used(ids)
        return flushed | {id: at for id, at in self._used.items() if id in ids}

    async def keep_use(self) -> None:
        """Writes when keys were last used, now and then, until cancelled; then once more."""
        try:
            while True:
                await asyncio.sleep(FLUSH_SECONDS)
                await self._flush()
        finally:
            await self._flush()

    async def _flush(self) -> None:
        used, self._used = self._used, {}
        if used:
            with contextlib.suppress(Unavailable):
                await self._store.ledgers.key_use.touch(used)
