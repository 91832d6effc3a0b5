"""Who asks: what authentication answers, and what every door checks."""

from __future__ import annotations

from msgspec import Struct

from executor.domain.values import Instant


class Principal(Struct, frozen=True, kw_only=True):
    """An authenticated caller. `type` is `api_key`; users come with the login."""

    type: str
    id: str
    name: str
    organization_id: str
    organization_name: str
    role: str | None
    permissions: frozenset[str]
    expires_at: Instant | None

    @property
    def actor(self) -> str:
        """How events name the caller."""
        return f"{self.type}:{self.id}"

    def allows(self, permission: str) -> bool:
        return permission in self.permissions
