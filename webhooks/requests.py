"""The bodies of POST and PUT `/webhooks`, and what is wrong with them beyond their shape.

Fields that are not in this version yet (`rate_limit_per_second`, `ed25519`, `oauth2`) are known and refused by name.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType

from executor.domain.errors import Code, Problem
from executor.domain.events.webhook import Endpoint
from executor.domain.secrets import REDACTED
from executor.domain.values import RetryPolicy
from executor.egress import Egress, header_problem
from executor.expressions import ExpressionError
from executor.expressions import check as check_expression
from webhooks.matching import CONDITION_VARIABLES, types_of
from webhooks.signing import WHSEC

T = TypeVar("T")

_KEY_BYTES = range(24, 65)
_OUR_PREFIXES = ("webhook-", "x-webhook-", "proxy-")
_OUR_HEADERS = frozenset(
    {
        *("connection", "content-encoding", "content-length", "content-type", "expect", "host", "idempotency-key"),
        *("keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "user-agent", "x-runcast-attempt"),
    }
)

Text = Annotated[str, Meta(min_length=1, max_length=512)]
Name = Annotated[str, Meta(min_length=1, max_length=256)]
Url = Annotated[str, Meta(min_length=1, max_length=2048)]
Patterns = Annotated[tuple[Name, ...], Meta(min_length=1, max_length=100)]
Ids = Annotated[tuple[Name, ...], Meta(max_length=1000)]
PriorityWord = Literal["low", "medium", "normal", "high", "critical", "urgent"]
Priority = Annotated[int, Meta(ge=1, le=10)] | PriorityWord
Headers = Annotated[
    dict[
        Annotated[str, Meta(min_length=1, max_length=128)],
        Annotated[str, Meta(max_length=4096)],
    ],
    Meta(max_length=50),
]


class DeliveryPolicy(RetryPolicy, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A webhook's policy: twelve attempts unless said, over about three days."""

    max_attempts: Annotated[int, Meta(ge=1, le=100)] = 12


class Filters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    workflow_ids: Ids = ()
    project_ids: Ids = ()
    priority_levels: Annotated[tuple[Priority, ...], Meta(max_length=20)] = ()
    condition: Annotated[str, Meta(min_length=1, max_length=4096)] | None = None


class Authentication(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """bearer: token; basic: username, password; header: name, value."""

    type: Literal["none", "bearer", "basic", "header", "oauth2"]
    token: Annotated[str, Meta(min_length=1, max_length=4096)] | None = None
    username: Text | None = None
    password: Annotated[str, Meta(max_length=512)] | None = None
    name: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    value: Annotated[str, Meta(min_length=1, max_length=4096)] | None = None


class UpdateWebhook(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """PUT: fields that are left out keep their value, `[REDACTED]` keeps a secret. Null means the default, but for
    `secret`, where it means to keep it."""

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
    signing: Literal["hmac", "ed25519"] | UnsetType | None = UNSET
    rate_limit_per_second: Annotated[float, Meta(gt=0)] | UnsetType | None = UNSET


class CreateWebhook(UpdateWebhook, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST: `url` and `events` must be there; a secret is made where none is given."""

    url: Url
    events: Patterns


def given(value: T | UnsetType | None) -> T | None:
    """A field that has a value, else null."""
    return None if value is UNSET else value


async def check(request: UpdateWebhook, egress: Egress, stored: Endpoint | None = None) -> list[Problem]:
    """Everything that is wrong with a request, at once. `stored` is what a PUT changes."""
    problems = [*_events(request), *_secret(request, stored), *_authentication(request, stored)]
    problems += [*_headers(request, stored), *_condition(request), *_later(request)]
    url = given(request.url)
    if url is not None:
        problems += [_problem("url", each) for each in await egress.check_reachable(url)]
    return problems


def _events(request: UpdateWebhook) -> Iterator[Problem]:
    for index, pattern in enumerate(given(request.events) or ()):
        if not types_of((pattern,)):
            message = f"'{pattern}' matches no event; known are types such as execution.completed, execution.* or *"
            yield _problem(f"events[{index}]", message)


def _secret(request: UpdateWebhook, stored: Endpoint | None) -> Iterator[Problem]:
    secret = given(request.secret)
    if secret == REDACTED and stored is None:
        yield _problem("secret", f"{REDACTED} is what a secret is shown as; give one, or leave it out")
    elif secret is not None and secret.startswith(WHSEC) and _key(secret) is None:
        yield _problem("secret", f"after {WHSEC} comes the base64 of 24 to 64 bytes (Standard Webhooks)")


def _key(secret: str) -> bytes | None:
    try:
        key = base64.b64decode(secret.removeprefix(WHSEC), validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if len(key) in _KEY_BYTES else None


_SETS: Final = {"bearer": "Authorization", "basic": "Authorization"}
_CREDENTIALS: Final[dict[str, tuple[str, ...]]] = {
    "none": (),
    "bearer": ("token",),
    "basic": ("username", "password"),
    "header": ("name", "value"),
}


def _authentication(request: UpdateWebhook, stored: Endpoint | None) -> Iterator[Problem]:
    wanted = given(request.authentication)
    if wanted is None or wanted.type == "oauth2":
        return
    needed = _CREDENTIALS[wanted.type]
    for field in ("token", "username", "password", "name", "value"):
        value: Any = getattr(wanted, field)
        at = f"authentication.{field}"
        if field in needed and value is None:
            yield _problem(at, f"'{at}' is required where the type is {wanted.type}")
        elif field not in needed and value is not None:
            yield _problem(at, f"'{at}' does not go with the type {wanted.type}")
    if wanted.username is not None and ":" in wanted.username:
        yield _problem("authentication.username", "a user name of basic authentication holds no colon (RFC 7617)")
    if wanted.token is not None and (problem := header_problem("Authorization", wanted.token)):
        yield _problem("authentication.token", problem)
    if wanted.type == "header" and wanted.name is not None and wanted.value is not None:
        yield from _header(wanted.name, wanted.value, "authentication.name", "authentication.value")
    credential = wanted.token or wanted.password or wanted.value
    kept = stored.authentication if stored else None
    if credential == REDACTED and (kept is None or kept.type != wanted.type):
        yield _problem(f"authentication.{needed[-1]}", _nothing_stored())


def _headers(request: UpdateWebhook, stored: Endpoint | None) -> Iterator[Problem]:
    kept = {name.lower() for name in stored.sealed_headers} if stored else set()
    seen: set[str] = set()
    for name, value in (given(request.headers) or {}).items():
        at, low = f"headers.{name}", name.lower()
        yield from _header(name, value, at, at)
        if low in seen:
            yield _problem(at, f"the header {name} is there twice")
        if value == REDACTED and low not in kept:
            yield _problem(at, _nothing_stored())
        seen.add(low)
    authentication = given(request.authentication)
    taken = None if authentication is None else _header_of(authentication)
    if taken is not None and taken.lower() in seen:
        yield _problem("headers", f"the header {taken} is set by 'authentication' already")


def _header_of(authentication: Authentication) -> str | None:
    return authentication.name if authentication.type == "header" else _SETS.get(authentication.type)


def _header(name: str, value: str, at_name: str, at_value: str) -> Iterator[Problem]:
    if problem := header_problem(name, ""):
        yield _problem(at_name, problem)
    elif name.lower() in _OUR_HEADERS or name.lower().startswith(_OUR_PREFIXES):
        yield _problem(at_name, f"the header {name} is ours to set")
    elif problem := header_problem(name, value):
        yield _problem(at_value, problem)


def _condition(request: UpdateWebhook) -> Iterator[Problem]:
    filters = given(request.filters)
    if filters is None or filters.condition is None:
        return
    try:
        check_expression(filters.condition, CONDITION_VARIABLES, is_condition=True)
    except ExpressionError as error:
        yield _problem("filters.condition", str(error))


def _later(request: UpdateWebhook) -> Iterator[Problem]:
    """What the contract names and this version does not do: better refused than ignored."""
    authentication = given(request.authentication)
    if authentication is not None and authentication.type == "oauth2":
        yield _problem("authentication.type", "oauth2 is not available in this version; bearer, basic and header are")
    if given(request.signing) == "ed25519":
        yield _problem("signing", "ed25519 is not available in this version; hmac is")
    if given(request.rate_limit_per_second) is not None:
        message = "a rate limit is not available in this version; max_in_flight bounds what is under way at once"
        yield _problem("rate_limit_per_second", message)


def _nothing_stored() -> str:
    return f"{REDACTED} keeps what is stored, but nothing is stored here; give the value"


def _problem(field: str, message: str) -> Problem:
    return Problem(Code.VALIDATION_ERROR, message, field)
