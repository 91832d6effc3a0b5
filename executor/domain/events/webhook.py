"""Facts about webhook endpoints and their deliveries.

What is secret in them (`secret`, header values, credentials) is sealed text: see `executor/sealing.py`.
"""

from __future__ import annotations

from typing import Any, ClassVar

from msgspec import Struct

from executor.domain.events.base import Event
from executor.domain.values import Instant, RetryPolicy


class EndpointFilters(Struct, frozen=True, kw_only=True):
    """Empty lists let everything through; `condition` is CEL over the body of the request."""

    workflow_ids: tuple[str, ...] = ()
    project_ids: tuple[str, ...] = ()
    priority_levels: tuple[int, ...] = ()
    condition: str | None = None


class ClientCredentials(Struct, frozen=True, kw_only=True):
    """Where and for what a token is asked (OAuth 2.0, RFC 6749, section 4.4). `client_auth` is basic or body."""

    token_url: str
    scope: str | None = None
    audience: str | None = None
    client_auth: str = "basic"


class EndpointAuthentication(Struct, frozen=True, kw_only=True):
    """`type` is none, bearer, basic, header or oauth2; `sealed` holds the credential, `name` is that of a header, a
    user or a client."""

    type: str = "none"
    name: str | None = None
    sealed: str | None = None
    grant: ClientCredentials | None = None


class RetiredSecret(Struct, frozen=True, kw_only=True):
    """One that was replaced, and signs beside the new one until then. `public_key` where it is an ed25519 key."""

    sealed: str
    expires_at: Instant
    public_key: str | None = None


class Endpoint(Struct, frozen=True, kw_only=True):
    """An endpoint as the log keeps it. `signing` is hmac or ed25519, and `public_key` (`whpk_…`) is there for the
    second; `retired` secrets are the newest first. A callback gets the ends of the runs that name its URL."""

    url: str
    events: tuple[str, ...]
    description: str | None
    sealed_secret: str
    active: bool
    filters: EndpointFilters
    authentication: EndpointAuthentication
    sealed_headers: dict[str, str]
    timeout_seconds: float
    retry_policy: RetryPolicy
    max_in_flight: int
    ordered: bool
    signing: str = "hmac"
    public_key: str | None = None
    retired: tuple[RetiredSecret, ...] = ()
    rate_limit_per_second: float | None = None
    metadata: dict[str, Any] = {}
    is_callback: bool = False


class WebhookCreated(Event, frozen=True, kw_only=True):
    type: ClassVar[str] = "webhook.created"
    endpoint: Endpoint


class WebhookUpdated(Event, frozen=True, kw_only=True):
    """The whole endpoint after the change; `changed` names the fields that differ."""

    type: ClassVar[str] = "webhook.updated"
    endpoint: Endpoint
    changed: tuple[str, ...]


class WebhookDisabled(Event, frozen=True, kw_only=True):
    type: ClassVar[str] = "webhook.disabled"
    reason: str


class WebhookEnabled(Event, frozen=True, kw_only=True):
    type: ClassVar[str] = "webhook.enabled"


class WebhookDeleted(Event, frozen=True, kw_only=True):
    type: ClassVar[str] = "webhook.deleted"


class DeliveryExhausted(Event, frozen=True, kw_only=True):
    """Every attempt at a delivery failed. `event_position` is the position of the event that it carried."""

    type: ClassVar[str] = "delivery.exhausted"
    delivery_id: str
    webhook_id: str
    event_id: str
    event_type: str
    event_position: int | None
    attempt_count: int
    last_error: str
