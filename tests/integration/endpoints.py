"""Endpoints whose secrets are as a test says, also such as were replaced a while ago, in a whole hub."""

from __future__ import annotations

from executor.domain.events.webhook import Endpoint, EndpointAuthentication, EndpointFilters, RetiredSecret
from executor.domain.events.webhook import WebhookCreated as Created
from executor.domain.values import Instant, RetryPolicy
from executor.handle import handle
from executor.ports import Metadata
from executor.sealing import Sealer
from tests.integration.hubs import Client, Hub
from webhooks import endpoint
from webhooks.signing import is_signing_key, public_key

NEVER = Instant("9999-12-31T00:00:00.000Z")


async def endpoint_with(
    hub: Hub,
    owner: Client,
    url: str,
    secret: str,
    *retired: str,
    events: tuple[str, ...] = ("*",),
    until: Instant = NEVER,
) -> str:
    """Its id. `secret` signs, and those that were replaced by it, the newest first, sign too `until` then."""
    services = hub.services
    sealer, id = Sealer(services.secret_key, services.store.ledgers.organizations), services.clock.new_id()

    async def sealed(plain: str) -> str:
        return await sealer.seal(owner.organization_id, plain, f"webhook:{id}:secret")

    stored = Endpoint(
        url=url,
        events=events,
        description=None,
        sealed_secret=await sealed(secret),
        active=True,
        filters=EndpointFilters(),
        authentication=EndpointAuthentication(),
        sealed_headers={},
        timeout_seconds=15.0,
        retry_policy=RetryPolicy(),
        max_in_flight=10,
        ordered=False,
        signing="ed25519" if is_signing_key(secret) else "hmac",
        public_key=_public(secret),
        retired=tuple(
            [RetiredSecret(sealed=await sealed(old), expires_at=until, public_key=_public(old)) for old in retired]
        ),
    )  # fmt: skip
    await handle(
        services.store.log,
        services.clock,
        endpoint.stream(id),
        lambda state: [Created(endpoint=stored)],
        organization_id=owner.organization_id,
        metadata=Metadata(),
    )
    return id


def _public(secret: str) -> str | None:
    return public_key(secret) if is_signing_key(secret) else None
