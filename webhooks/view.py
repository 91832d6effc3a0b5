"""Endpoints and deliveries as clients see them. Nothing secret is ever in these, but a new secret, once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET, Struct, UnsetType, structs

from executor.domain.events.webhook import ClientCredentials, Endpoint, EndpointAuthentication, EndpointFilters
from executor.domain.secrets import REDACTED
from executor.domain.values import Instant, RetryPolicy
from executor.ports import Attempt, Delivery
from webhooks.endpoint import State, WebhookRow, state_of

_RECEIVERS_FAULT: Final = frozenset(range(400, 500)) - {408, 425, 429}
JWKS_URL: Final = "/.well-known/runcast/webhooks/{id}/jwks.json"


class EndpointView(Struct, frozen=True, kw_only=True):
    """What a client set, as it may be sent back: `[REDACTED]` keeps what is stored."""

    url: str
    events: tuple[str, ...]
    description: str | None
    active: bool
    filters: EndpointFilters
    authentication: dict[str, str]
    headers: dict[str, str]
    timeout_seconds: float
    retry_policy: RetryPolicy
    max_in_flight: int
    ordered: bool
    signing: str
    rate_limit_per_second: float | None


class RetiredView(Struct, frozen=True, kw_only=True):
    """A secret that was replaced, and signs beside the new one until then."""

    expires_at: Instant
    public_key: str | None


class WebhookView(EndpointView, frozen=True, kw_only=True):
    """`secret` is there only in the answer that brings it. `disabled_reason` says why we switched it off, if we did.
    Where private keys sign: `public_key` of the newest, and the address of all of them. `callback`: it gets the ends
    of runs that named its URL."""

    id: str
    metadata: dict[str, Any]
    public_key: str | None
    jwks_url: str | None
    retired_secrets: tuple[RetiredView, ...]
    callback: bool
    created_by: str
    created_at: Instant
    updated_at: Instant
    disabled_reason: str | None
    secret: str | UnsetType = UNSET


class AttemptView(Struct, frozen=True, kw_only=True):
    """`duration_ms` covers the whole exchange, `timings` its parts in milliseconds; `error` is null where an answer
    came, `error_class` where it was a success. `receiver_fault`: the receiver refused it, and will again."""

    attempt: int
    started_at: Instant
    duration_ms: int
    status_code: int | None
    error: str | None
    response_body: str | None
    error_class: str | None
    receiver_fault: bool
    request_headers: dict[str, str] | None
    timings: dict[str, float | None] | None


class DeliveryView(Struct, frozen=True, kw_only=True):
    """`attempts` in their order; left out where nobody asked for them. `replay_id` is not there for what is live."""

    id: str
    webhook_id: str
    event_id: str
    event: str
    position: int | None
    status: str
    attempt_count: int
    next_attempt_at: Instant | None
    created_at: Instant
    completed_at: Instant | None
    replay_id: str | UnsetType = UNSET
    attempts: tuple[AttemptView, ...] | UnsetType = UNSET


def view(webhook: State | WebhookRow, secret: str | None = None) -> WebhookView:
    """`secret`, in clear, only in the answer that creates it. Raises `ValueError` for what was never created."""
    state = state_of(webhook) if isinstance(webhook, WebhookRow) else webhook
    if state.endpoint is None:
        raise ValueError("there is no endpoint to show")
    return WebhookView(
        id=state.id,
        created_by=state.created_by,
        created_at=state.created_at,
        updated_at=state.updated_at,
        disabled_reason=state.disabled_reason,
        secret=UNSET if secret is None else secret,
        metadata=state.endpoint.metadata,
        public_key=state.endpoint.public_key,
        jwks_url=JWKS_URL.format(id=state.id) if _has_public_keys(state.endpoint) else None,
        retired_secrets=tuple(
            RetiredView(expires_at=old.expires_at, public_key=old.public_key) for old in state.endpoint.retired
        ),
        callback=state.endpoint.is_callback,
        **shown(state.endpoint),
    )


def _has_public_keys(endpoint: Endpoint) -> bool:
    return endpoint.public_key is not None or any(old.public_key is not None for old in endpoint.retired)


def shown(endpoint: Endpoint) -> dict[str, Any]:
    """The fields of an `EndpointView`."""
    return {
        "url": endpoint.url,
        "events": endpoint.events,
        "description": endpoint.description,
        "active": endpoint.active,
        "filters": endpoint.filters,
        "authentication": _authentication(endpoint.authentication),
        "headers": dict.fromkeys(endpoint.sealed_headers, REDACTED),
        "timeout_seconds": endpoint.timeout_seconds,
        "retry_policy": endpoint.retry_policy,
        "max_in_flight": endpoint.max_in_flight,
        "ordered": endpoint.ordered,
        "signing": endpoint.signing,
        "rate_limit_per_second": endpoint.rate_limit_per_second,
    }


def delivery_view(delivery: Delivery, attempts: Sequence[Attempt] | None = None) -> DeliveryView:
    return DeliveryView(
        id=delivery.id,
        webhook_id=delivery.webhook_id,
        event_id=delivery.event_id,
        event=delivery.event,
        position=delivery.position,
        status=delivery.status,
        attempt_count=delivery.attempt_count,
        next_attempt_at=delivery.next_attempt_at,
        created_at=delivery.created_at,
        completed_at=delivery.completed_at,
        replay_id=UNSET if delivery.replay_id is None else delivery.replay_id,
        attempts=UNSET if attempts is None else tuple(_attempt(attempt) for attempt in attempts),
    )


def _attempt(attempt: Attempt) -> AttemptView:
    return AttemptView(
        attempt=attempt.attempt,
        started_at=attempt.started_at,
        duration_ms=attempt.duration_ms,
        status_code=attempt.status_code,
        error=attempt.error,
        response_body=attempt.response_body,
        error_class=attempt.error_class,
        receiver_fault=attempt.status_code in _RECEIVERS_FAULT,
        request_headers=_object(attempt.request_headers),
        timings=_object(attempt.timings),
    )


def _object(text: str | None) -> Any:
    return None if text is None else msgspec.json.decode(text)


def _authentication(authentication: EndpointAuthentication) -> dict[str, str]:
    name = authentication.name or ""
    match authentication.type:
        case "bearer":
            return {"type": "bearer", "token": REDACTED}
        case "basic":
            return {"type": "basic", "username": name, "password": REDACTED}
        case "header":
            return {"type": "header", "name": name, "value": REDACTED}
        case "oauth2":
            return {"type": "oauth2", "client_id": name, "client_secret": REDACTED} | _asked(authentication.grant)
        case _:
            return {"type": "none"}


def _asked(grant: ClientCredentials | None) -> dict[str, str]:
    return {} if grant is None else {key: value for key, value in structs.asdict(grant).items() if value is not None}
