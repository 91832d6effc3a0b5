"""Facts about API keys. The key itself is never in them, only its keyed hash."""

from __future__ import annotations

from typing import ClassVar

from executor.domain.events.base import Event
from executor.domain.values import Instant


class ApiKeyCreated(Event, frozen=True, kw_only=True):
    type: ClassVar[str] = "apikey.created"
    name: str
    description: str | None
    prefix: str
    digest: str
    role: str | None
    permissions: tuple[str, ...]
    expires_at: Instant | None
    created_by: str | None


class ApiKeyRevoked(Event, frozen=True, kw_only=True):
    type: ClassVar[str] = "apikey.revoked"
    name: str
    reason: str | None = None
