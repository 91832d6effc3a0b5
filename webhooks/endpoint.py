"""A webhook endpoint: its fold, its decider, its row. Pure; what is secret arrives here sealed.

Deleted endpoints stay in the log and in the table, and are gone for everybody else.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import msgspec
from msgspec import UNSET, Struct, UnsetType, structs

from executor.domain.aggregate import Aggregate, Row
from executor.domain.errors import Code, Invalid, NotFound, Problem
from executor.domain.events import Event, Fact, Stamp
from executor.domain.events.webhook import (
    Endpoint,
    EndpointAuthentication,
    EndpointFilters,
    RetiredSecret,
    WebhookCreated,
    WebhookDeleted,
    WebhookDisabled,
    WebhookEnabled,
    WebhookUpdated,
)
from executor.domain.secrets import REDACTED
from executor.domain.values import Instant, RetryPolicy

SHARDS: Final = 8
"""Pumps work side by side, each a shard of endpoints. Stored in rows and deliveries: it never changes."""

DEFAULT_POLICY: Final = RetryPolicy(
    max_attempts=12, initial_delay_seconds=5.0, max_delay_seconds=36_000.0, backoff_multiplier=3.0
)
DEFAULT_TIMEOUT_SECONDS: Final = 15.0
DEFAULT_MAX_IN_FLIGHT: Final = 10
MOST_RETIRED: Final = 5
"""Secrets that sign beside the newest: each makes the header longer. The oldest go first."""

_PUBLIC_NAMES = {"sealed_secret": "secret", "sealed_headers": "headers"}


ENDS: Final = frozenset({"execution.completed", "execution.failed", "execution.cancelled", "execution.terminated"})
"""What the webhook of a run is for."""

STREAMS: Final = "webhook:"
"""How the names of the endpoints' streams begin."""


def stream(id: str) -> str:
    return f"{STREAMS}{id}"


def shard_of(id: str) -> int:
    return zlib.crc32(id.encode()) % SHARDS


class State(Struct, frozen=True, kw_only=True):
    """`endpoint` is null before creation. `disabled_reason` says why we switched it off, null where a client did."""

    id: str = ""
    organization_id: str = ""
    endpoint: Endpoint | None = None
    deleted: bool = False
    disabled_reason: str | None = None
    created_by: str = ""
    created_at: Instant = Instant("")
    updated_at: Instant = Instant("")
    version: int = 0

    @property
    def is_active(self) -> bool:
        return self.endpoint is not None and self.endpoint.active and not self.deleted

    @property
    def shard(self) -> int:
        return shard_of(self.id)


class EndpointChange(Struct, frozen=True, kw_only=True):
    """What a client may set, sealed where it is secret; a field left out keeps its value, and so does `[REDACTED]` in
    place of a sealed text."""

    url: str | UnsetType = UNSET
    events: tuple[str, ...] | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    sealed_secret: str | UnsetType = UNSET
    active: bool | UnsetType = UNSET
    filters: EndpointFilters | UnsetType = UNSET
    authentication: EndpointAuthentication | UnsetType = UNSET
    sealed_headers: dict[str, str] | UnsetType = UNSET
    timeout_seconds: float | UnsetType = UNSET
    retry_policy: RetryPolicy | UnsetType = UNSET
    max_in_flight: int | UnsetType = UNSET
    ordered: bool | UnsetType = UNSET
    signing: str | UnsetType = UNSET
    public_key: str | UnsetType | None = UNSET
    rate_limit_per_second: float | UnsetType | None = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET
    is_callback: bool | UnsetType = UNSET

    def given(self) -> dict[str, Any]:
        fields = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return {name: value for name, value in fields if value is not UNSET}


_DEFAULTS: dict[str, Any] = {
    "description": None,
    "active": True,
    "filters": EndpointFilters(),
    "authentication": EndpointAuthentication(),
    "sealed_headers": {},
    "timeout_seconds": DEFAULT_TIMEOUT_SECONDS,
    "retry_policy": DEFAULT_POLICY,
    "max_in_flight": DEFAULT_MAX_IN_FLIGHT,
    "ordered": False,
}


def initial() -> State:
    return State()


def evolve(state: State, facts: Sequence[Fact]) -> State:
    for event, stamp in facts:
        state = _fold(state, event, stamp)
    return state


def _fold(state: State, event: Event, stamp: Stamp) -> State:
    state = structs.replace(state, version=stamp.version, updated_at=stamp.time)
    match event:
        case WebhookCreated(endpoint=endpoint):
            return structs.replace(
                state,
                id=stamp.id,
                organization_id=stamp.organization_id,
                endpoint=endpoint,
                deleted=False,
                disabled_reason=None,
                created_by=stamp.actor.rpartition(":")[2],
                created_at=stamp.time,
            )
        case WebhookUpdated(endpoint=endpoint):
            reason = None if endpoint.active else state.disabled_reason
            return structs.replace(state, endpoint=endpoint, disabled_reason=reason)
        case WebhookDisabled(reason=reason):
            return structs.replace(state, endpoint=_switched(state, on=False), disabled_reason=reason)
        case WebhookEnabled():
            return structs.replace(state, endpoint=_switched(state, on=True), disabled_reason=None)
        case WebhookDeleted():
            return structs.replace(state, deleted=True)
        case _:
            raise TypeError(f"a webhook does not fold {event.type}")


def decide_create(state: State, change: EndpointChange) -> list[Event]:
    """`change` has at least url, events and sealed_secret."""
    return [WebhookCreated(endpoint=Endpoint(**(_DEFAULTS | change.given())))]


def decide_update(
    state: State, change: EndpointChange, now: Instant, retire_until: Instant | None = None
) -> list[Event]:
    """Nothing for a change that changes nothing. A secret that is replaced signs beside the new one `retire_until`
    then, where that is said. Raises `NotFound`, and `Invalid` for a `[REDACTED]` with nothing stored behind it."""
    before = _alive(state)
    after = structs.replace(before, **change.given())
    after = structs.replace(
        after,
        authentication=_kept_authentication(before.authentication, after.authentication),
        sealed_headers=_kept_headers(before.sealed_headers, after.sealed_headers),
    )
    changed = tuple(
        _PUBLIC_NAMES.get(name, name)
        for name in after.__struct_fields__
        if getattr(before, name) != getattr(after, name)
    )
    is_replaced = before.sealed_secret != after.sealed_secret
    retired = _retired(before, now, retire_until if is_replaced else None)
    return [WebhookUpdated(endpoint=structs.replace(after, retired=retired), changed=changed)] if changed else []


def _retired(before: Endpoint, now: Instant, until: Instant | None) -> tuple[RetiredSecret, ...]:
    """Those that still sign, the newest first; with `until`, the secret of `before` too."""
    own = RetiredSecret(sealed=before.sealed_secret, expires_at=until or now, public_key=before.public_key)
    return tuple(old for old in (own, *before.retired) if now < old.expires_at)[:MOST_RETIRED]


def decide_enable(state: State) -> list[Event]:
    """Nothing where it is enabled."""
    return [] if _alive(state).active else [WebhookEnabled()]


def decide_disable(state: State, reason: str) -> list[Event]:
    """By us, not by a client. Nothing where it is disabled or deleted already."""
    return [WebhookDisabled(reason=reason)] if state.is_active else []


def decide_delete(state: State) -> list[Event]:
    _alive(state)
    return [WebhookDeleted()]


def _alive(state: State) -> Endpoint:
    if state.endpoint is None or state.deleted:
        raise NotFound("webhook", state.id)
    return state.endpoint


def _switched(state: State, *, on: bool) -> Endpoint | None:
    return None if state.endpoint is None else structs.replace(state.endpoint, active=on)


def _kept_authentication(before: EndpointAuthentication, after: EndpointAuthentication) -> EndpointAuthentication:
    if after.sealed != REDACTED:
        return after
    if before.sealed is None or before.type != after.type:
        raise _nothing_stored("authentication")
    return structs.replace(after, sealed=before.sealed)


def _kept_headers(before: dict[str, str], after: dict[str, str]) -> dict[str, str]:
    stored = {name.lower(): sealed for name, sealed in before.items()}
    kept = {}
    for name, sealed in after.items():
        if sealed == REDACTED and name.lower() not in stored:
            raise _nothing_stored(f"headers.{name}")
        kept[name] = stored[name.lower()] if sealed == REDACTED else sealed
    return kept


def _nothing_stored(field: str) -> Invalid:
    message = f"'{field}' is {REDACTED}, which keeps what is stored, but nothing is stored for it; give the value"
    return Invalid([Problem(Code.VALIDATION_ERROR, message, field)])


class WebhookRow(Row, frozen=True, kw_only=True):
    """`document` is the whole `State` as JSON, sealed texts included: to deliver by, not to show. See `view`."""

    table: ClassVar[str] = "webhooks"
    id: str
    organization_id: str
    url: str
    active: int
    deleted: int
    shard: int
    created_at: Instant
    updated_at: Instant
    version: int
    document: bytes


def rows(before: State, after: State) -> Sequence[Row]:
    if after.endpoint is None:
        return ()
    return (
        WebhookRow(
            id=after.id,
            organization_id=after.organization_id,
            url=after.endpoint.url,
            active=int(after.is_active),
            deleted=int(after.deleted),
            shard=after.shard,
            created_at=after.created_at,
            updated_at=after.updated_at,
            version=after.version,
            document=msgspec.json.encode(after),
        ),
    )


_STATE = msgspec.json.Decoder(State)


def state_of(row: WebhookRow) -> State:
    return _STATE.decode(row.document)


AGGREGATE: Aggregate[State] = Aggregate(
    prefix="webhook", initial=initial, evolve=evolve, rows=rows, kinds=(WebhookRow,)
)
