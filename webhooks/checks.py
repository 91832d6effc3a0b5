"""What is wrong with a request about a webhook beyond its shape: everything at once, each with its path."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from msgspec import UNSET

from executor.domain.errors import Code, Problem
from executor.domain.events.webhook import Endpoint
from executor.domain.secrets import REDACTED
from executor.egress import Egress, header_problem
from executor.expressions import ExpressionError
from executor.expressions import check as check_expression
from webhooks.matching import CONDITION_VARIABLES, types_of
from webhooks.requests import Authentication, UpdateWebhook, given
from webhooks.signing import WHSEC, WHSK, Signing, is_signing_key

MOST_METADATA_BYTES: Final = 16 * 1024

_KEY_BYTES = range(24, 65)
_OUR_PREFIXES = ("webhook-", "x-webhook-", "proxy-")
_OUR_HEADERS = frozenset(
    {
        *("connection", "content-encoding", "content-length", "content-type", "expect", "host", "idempotency-key"),
        *("keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "user-agent", "x-runcast-attempt"),
    }
)


async def check(request: UpdateWebhook, egress: Egress, stored: Endpoint | None = None) -> list[Problem]:
    """Everything that is wrong with a request, at once. `stored` is what a PUT changes."""
    problems = [*_events(request), *_secret(request, stored), *_authentication(request, stored)]
    problems += [*_headers(request, stored), *_condition(request), *_metadata(request)]
    authentication = given(request.authentication)
    token_url = None if authentication is None else authentication.token_url
    urls = {"url": given(request.url), "authentication.token_url": token_url}
    for field, url in urls.items():
        if url is not None:
            problems += [_problem(field, each) for each in await egress.check_reachable(url)]
    return problems


def signing_after(request: UpdateWebhook, stored: Endpoint | None) -> Signing:
    """How an endpoint signs once the request is done."""
    if request.signing is UNSET:
        return "ed25519" if stored is not None and stored.signing == "ed25519" else "hmac"
    return request.signing or "hmac"


def secret_problem(secret: str, signing: Signing) -> str | None:
    """Why a text can be no secret of this kind."""
    if signing == "ed25519":
        said = f"ed25519 signs with a private key: {WHSK} and the base64 of 32 bytes; one is made where none is given"
        return None if is_signing_key(secret) else said
    if secret.startswith(WHSK):
        return f"{WHSK} begins a private key, and goes with the signing ed25519; hmac takes {WHSEC}… or another text"
    if secret.startswith(WHSEC) and _key(secret) is None:
        return f"after {WHSEC} comes the base64 of 24 to 64 bytes (Standard Webhooks)"
    return None


def _events(request: UpdateWebhook) -> Iterator[Problem]:
    for index, pattern in enumerate(given(request.events) or ()):
        if not types_of((pattern,)):
            message = f"'{pattern}' matches no event; known are types such as execution.completed, execution.* or *"
            yield _problem(f"events[{index}]", message)


def _secret(request: UpdateWebhook, stored: Endpoint | None) -> Iterator[Problem]:
    secret, signing = given(request.secret), signing_after(request, stored)
    if secret == REDACTED:
        if stored is None:
            yield _problem("secret", f"{REDACTED} is what a secret is shown as; give one, or leave it out")
        elif signing != stored.signing:
            yield _problem(
                "secret", f"{REDACTED} keeps what is stored, which is no secret of {signing}; leave it out"
            )
    elif secret is not None and (problem := secret_problem(secret, signing)):
        yield _problem("secret", problem)


def _key(secret: str) -> bytes | None:
    try:
        key = base64.b64decode(secret.removeprefix(WHSEC), validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if len(key) in _KEY_BYTES else None


_SETS: Final = {"bearer": "Authorization", "basic": "Authorization", "oauth2": "Authorization"}
_CREDENTIALS: Final[dict[str, tuple[str, ...]]] = {
    "none": (),
    "bearer": ("token",),
    "basic": ("username", "password"),
    "header": ("name", "value"),
    "oauth2": ("token_url", "client_id", "client_secret"),
}
_OPTIONAL: Final[dict[str, tuple[str, ...]]] = {"oauth2": ("scope", "audience", "client_auth")}


def _authentication(request: UpdateWebhook, stored: Endpoint | None) -> Iterator[Problem]:
    wanted = given(request.authentication)
    if wanted is None:
        return
    needed = _CREDENTIALS[wanted.type]
    for field in wanted.__struct_fields__[1:]:
        value: Any = getattr(wanted, field)
        at = f"authentication.{field}"
        if field in needed and value is None:
            yield _problem(at, f"'{at}' is required where the type is {wanted.type}")
        elif field not in (*needed, *_OPTIONAL.get(wanted.type, ())) and value is not None:
            yield _problem(at, f"'{at}' does not go with the type {wanted.type}")
    if wanted.username is not None and ":" in wanted.username:
        yield _problem("authentication.username", "a user name of basic authentication holds no colon (RFC 7617)")
    if wanted.token is not None and (problem := header_problem("Authorization", wanted.token)):
        yield _problem("authentication.token", problem)
    if wanted.type == "header" and wanted.name is not None and wanted.value is not None:
        yield from _header(wanted.name, wanted.value, "authentication.name", "authentication.value")
    credential = getattr(wanted, needed[-1]) if needed else None
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


def _metadata(request: UpdateWebhook) -> Iterator[Problem]:
    size = len(msgspec.json.encode(given(request.metadata) or {}))
    if size > MOST_METADATA_BYTES:
        yield _problem("metadata", f"metadata has {size} bytes as JSON; at most {MOST_METADATA_BYTES} are kept")


def _nothing_stored() -> str:
    return f"{REDACTED} keeps what is stored, but nothing is stored here; give the value"


def _problem(field: str, message: str) -> Problem:
    return Problem(Code.VALIDATION_ERROR, message, field)
