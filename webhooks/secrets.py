"""An endpoint's secrets: sealed as they come in with a request, opened as they go outside with a delivery."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence

from msgspec import UNSET, Struct, UnsetType, structs

from executor.domain.events.webhook import ClientCredentials, Endpoint, EndpointAuthentication, EndpointFilters
from executor.domain.secrets import REDACTED
from executor.domain.values import PRIORITY_WORDS, Instant, RetryPolicy
from executor.sealing import Sealer, Unsealable
from webhooks import endpoint
from webhooks.endpoint import EndpointChange, State
from webhooks.requests import Authentication, Filters, T, UpdateWebhook
from webhooks.signing import is_signing_key, public_key


class Opened(Struct, frozen=True, kw_only=True):
    """In clear, for one attempt: secrets to sign with, the newest first, the client's own headers, and where a token
    has to be asked for, by what."""

    secrets: tuple[str, ...]
    headers: dict[str, str]
    client_secret: str | None = None

    def __repr__(self) -> str:
        return f"Opened({REDACTED})"


class EndpointSecrets:
    """Seals and opens. Each text is bound to its endpoint and its use: moved elsewhere, it does not open."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    async def sealed(
        self, organization_id: str, id: str, request: UpdateWebhook, secret: str | None
    ) -> EndpointChange:
        """A request that was checked, as a change. Null means the default. `[REDACTED]` stays what it is: the decider
        knows what is stored. A `secret` brings its way of signing with it."""
        change = EndpointChange(
            url=request.url,
            events=request.events,
            description=request.description,
            active=request.active,
            filters=UNSET if request.filters is UNSET else _filters(request.filters),
            authentication=UNSET
            if request.authentication is UNSET
            else await self._authentication(organization_id, id, request.authentication),
            sealed_headers=UNSET
            if request.headers is UNSET
            else {
                name: await self._seal(organization_id, id, f"header:{name.lower()}", value)
                for name, value in (request.headers or {}).items()
            },
            timeout_seconds=_or(request.timeout_seconds, endpoint.DEFAULT_TIMEOUT_SECONDS),
            retry_policy=_policy(request.retry_policy),
            max_in_flight=_or(request.max_in_flight, endpoint.DEFAULT_MAX_IN_FLIGHT),
            ordered=request.ordered,
            rate_limit_per_second=request.rate_limit_per_second,
            metadata=_or(request.metadata, {}),
        )
        if secret is None or secret == REDACTED:
            return change
        return structs.replace(change, **(await self.sealed_secret(organization_id, id, secret)).given())

    async def sealed_secret(self, organization_id: str, id: str, secret: str) -> EndpointChange:
        """Another secret, and how it signs."""
        is_private = is_signing_key(secret)
        return EndpointChange(
            sealed_secret=await self._seal(organization_id, id, "secret", secret),
            signing="ed25519" if is_private else "hmac",
            public_key=public_key(secret) if is_private else None,
        )

    async def is_newest(self, state: State, secret: str) -> bool:
        """Whether it signs with this one already. One that does not open any more can be replaced by any."""
        try:
            newest = await self._open(state, "secret", _endpoint(state).sealed_secret)
        except Unsealable:
            return False
        return hmac.compare_digest(newest.encode(), secret.encode())

    async def key_in_use(self, state: State) -> str:
        """What opens of it, opens under this key. Raises `Unsealable`."""
        return await self._sealer.key_in_use(state.organization_id)

    async def opened(self, state: State, now: Instant) -> Opened:
        """Raises `Unsealable`. While one secret replaces another both are answered."""
        stored = _endpoint(state)
        sealed = [stored.sealed_secret, *(old.sealed for old in stored.retired if now < old.expires_at)]
        headers = {
            name: await self._open(state, f"header:{name.lower()}", text)
            for name, text in stored.sealed_headers.items()
        }
        kept = stored.authentication.sealed
        credential = None if kept is None else await self._open(state, "authentication", kept)
        return Opened(
            secrets=tuple([await self._open(state, "secret", text) for text in sealed]),
            headers=headers | self._header(stored.authentication, credential),
            client_secret=credential if stored.authentication.type == "oauth2" else None,
        )

    @staticmethod
    def _header(authentication: EndpointAuthentication, credential: str | None) -> dict[str, str]:
        if credential is None:
            return {}
        match authentication.type:
            case "oauth2":
                return {}
            case "bearer":
                return {"Authorization": f"Bearer {credential}"}
            case "basic":
                pair = f"{authentication.name}:{credential}".encode()
                return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
            case _:
                return {authentication.name or "Authorization": credential}

    async def _authentication(
        self, organization_id: str, id: str, wanted: Authentication | None
    ) -> EndpointAuthentication:
        if wanted is None or wanted.type == "none":
            return EndpointAuthentication()
        name, credential = _pair(wanted)
        sealed = await self._seal(organization_id, id, "authentication", credential or "")
        return EndpointAuthentication(type=wanted.type, name=name, sealed=sealed, grant=_grant(wanted))

    async def _seal(self, organization_id: str, id: str, what: str, plain: str) -> str:
        return REDACTED if plain == REDACTED else await self._sealer.seal(organization_id, plain, _context(id, what))

    async def _open(self, state: State, what: str, sealed: str) -> str:
        return await self._sealer.open(state.organization_id, sealed, _context(state.id, what))


def _context(id: str, what: str) -> str:
    return f"webhook:{id}:{what}"


def _endpoint(state: State) -> Endpoint:
    if state.endpoint is None:
        raise ValueError("an endpoint that was never created has no secrets")
    return state.endpoint


def _or(value: T | UnsetType | None, default: T) -> T | UnsetType:
    return default if value is None else value


def _policy(policy: RetryPolicy | UnsetType | None) -> RetryPolicy | UnsetType:
    if policy is None:
        return endpoint.DEFAULT_POLICY
    return UNSET if policy is UNSET else RetryPolicy(**structs.asdict(policy))


def _filters(wanted: Filters | UnsetType | None) -> EndpointFilters:
    if not isinstance(wanted, Filters):
        return EndpointFilters()
    return EndpointFilters(
        workflow_ids=wanted.workflow_ids,
        project_ids=wanted.project_ids,
        priority_levels=_numbers(wanted.priority_levels),
        condition=wanted.condition,
    )


def _pair(wanted: Authentication) -> tuple[str | None, str | None]:
    """What is shown of a credential, and what is not."""
    match wanted.type:
        case "bearer":
            return None, wanted.token
        case "basic":
            return wanted.username, wanted.password
        case "oauth2":
            return wanted.client_id, wanted.client_secret
        case _:
            return wanted.name, wanted.value


def _grant(wanted: Authentication) -> ClientCredentials | None:
    if wanted.type != "oauth2":
        return None
    return ClientCredentials(
        token_url=wanted.token_url or "",
        scope=wanted.scope,
        audience=wanted.audience,
        client_auth=wanted.client_auth or "basic",
    )


def _numbers(levels: Sequence[int | str]) -> tuple[int, ...]:
    numbers = (PRIORITY_WORDS[level] if isinstance(level, str) else level for level in levels)
    return tuple(dict.fromkeys(numbers))
