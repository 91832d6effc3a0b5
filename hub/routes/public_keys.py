"""Where receivers find the public keys of webhooks: open, since they have no credentials for the hub."""

from __future__ import annotations

from typing import Final

import msgspec
from starlette.responses import Response

from executor.domain.errors import NotFound
from executor.domain.values import Instant, is_ulid
from hub.operation import OPEN, Call, NoBody, Resource
from hub.queries import NoQuery
from webhooks import endpoint
from webhooks.endpoint import State
from webhooks.jwks import jwks
from webhooks.view import JWKS_URL

RESOURCE = Resource("webhooks")
PATH: Final = JWKS_URL

_HEADERS: Final = {"Cache-Control": "public, max-age=300"}


@RESOURCE.route("GET", PATH, needs=OPEN)
async def public_keys(call: Call[NoBody, NoQuery]) -> Response:
    """The public keys that verify what a webhook is sent now, as a JWK Set."""
    id = call.path["id"]
    state, _ = await call.hub.store.log.load(endpoint.stream(id)) if is_ulid(id) else (None, 0)
    keys = _signing(state, call.now) if isinstance(state, State) else []
    if not keys:
        raise NotFound("public key of webhook", id)
    body = msgspec.json.encode(jwks(keys))
    return Response(body, headers=_HEADERS, media_type="application/jwk-set+json")


def _signing(state: State, now: Instant) -> list[str]:
    """The newest first; those too that were replaced, while they sign beside it."""
    stored = state.endpoint
    if stored is None or state.deleted:
        return []
    retiring = (old.public_key for old in stored.retired if now < old.expires_at)
    return [key for key in (stored.public_key, *retiring) if key is not None]
