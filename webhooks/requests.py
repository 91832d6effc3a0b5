"""The bodies of requests about webhooks: their shapes. What else can be wrong with them: `webhooks/checks.py`."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType

from executor.domain.values import RetryPolicy
from webhooks.signing import Signing

T = TypeVar("T")

Text = Annotated[str, Meta(min_length=1, max_length=512)]
Name = Annotated[str, Meta(min_length=1, max_length=256)]
Url = Annotated[str, Meta(min_length=1, max_length=2048)]
Patterns = Annotated[tuple[Name, ...], Meta(min_length=1, max_length=100)]
Ids = Annotated[tuple[Name, ...], Meta(max_length=1000)]
PriorityWord = Literal["low", "medium", "normal", "high", "critical", "urgent"]
Priority = Annotated[
    Annotated[int, Meta(ge=1, le=10)] | PriorityWord,
    Meta(description="must be 1 to 10, or low, medium, normal, high, critical or urgent"),
]
Headers = Annotated[
    dict[
        Annotated[str, Meta(min_length=1, max_length=128)],
        Annotated[str, Meta(max_length=4096)],
    ],
    Meta(max_length=50),
]

Metadata = dict[Annotated[str, Meta(min_length=1, max_length=128)], Any]

DEFAULT_OVERLAP_SECONDS = 86_400.0


class DeliveryPolicy(RetryPolicy, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A webhook's policy: twelve attempts unless said, over about three days."""

    max_attempts: Annotated[int, Meta(ge=1, le=100)] = 12


class Filters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    workflow_ids: Ids = ()
    project_ids: Ids = ()
    priority_levels: Annotated[tuple[Priority, ...], Meta(max_length=20)] = ()
    condition: Annotated[str, Meta(min_length=1, max_length=4096)] | None = None


class Authentication(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """bearer: token; basic: username, password; header: name, value; oauth2 (client credentials, RFC 6749, 4.4):
    token_url, client_id, client_secret, and if need be scope, audience, client_auth."""

    type: Literal["none", "bearer", "basic", "header", "oauth2"]
    token: Annotated[str, Meta(min_length=1, max_length=4096)] | None = None
    username: Text | None = None
    password: Annotated[str, Meta(max_length=512)] | None = None
    name: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    value: Annotated[str, Meta(min_length=1, max_length=4096)] | None = None
    token_url: Url | None = None
    client_id: Text | None = None
    client_secret: Annotated[str, Meta(min_length=1, max_length=4096)] | None = None
    scope: Annotated[str, Meta(min_length=1, max_length=1000)] | None = None
    audience: Annotated[str, Meta(min_length=1, max_length=2048)] | None = None
    client_auth: Literal["basic", "body"] | None = None


class UpdateWebhook(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """PUT: fields that are left out keep their value, `[REDACTED]` keeps a secret. Null means the default, but for
    `secret`, where it means to keep it. Another `signing` brings another secret."""

    url: Url | UnsetType = UNSET
    events: Patterns | UnsetType = UNSET
    description: Annotated[str, Meta(max_length=1000)] | UnsetType | None = UNSET
    secret: Text | UnsetType | None = UNSET
    active: bool | UnsetType = UNSET
    filters: Filters | UnsetType | None = UNSET
    authentication: Authentication | UnsetType | None = UNSET
    headers: Headers | UnsetType | None = UNSET
    timeout_seconds: Annotated[float, Meta(ge=1, le=60)] | UnsetType | None = UNSET
    retry_policy: DeliveryPolicy | UnsetType | None = UNSET
    max_in_flight: Annotated[int, Meta(ge=1, le=1000)] | UnsetType | None = UNSET
    ordered: bool | UnsetType = UNSET
    signing: Signing | UnsetType | None = UNSET
    rate_limit_per_second: Annotated[float, Meta(ge=0.01, le=10_000)] | UnsetType | None = UNSET
    metadata: Metadata | UnsetType | None = UNSET


class CreateWebhook(UpdateWebhook, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST: `url` and `events` must be there; a secret is made where none is given."""

    url: Url
    events: Patterns


class RotateSecret(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A secret is made where none is given. Both sign until the overlap is over; 0 retires the old one at once."""

    secret: Text | None = None
    overlap_seconds: Annotated[float, Meta(ge=0, le=604_800)] = DEFAULT_OVERLAP_SECONDS


def given(value: T | UnsetType | None) -> T | None:
    """A field that has a value, else null."""
    return None if value is UNSET else value
