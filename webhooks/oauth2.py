"""Tokens by OAuth 2.0 client credentials (RFC 6749, section 4.4): each is asked for once, and kept while it holds."""

from __future__ import annotations

import asyncio
import base64
from asyncio import Task
from collections import OrderedDict
from time import monotonic
from typing import Any, Final, Literal
from urllib.parse import quote_plus, urlencode

import msgspec
from msgspec import Struct
from yarl import URL

from executor.egress import Egress, EgressError, Kind, Reply

Key = tuple[str, int]
"""Whose token: an endpoint, and the version of it that the grant was read from."""

DEFAULT_SECONDS: Final = 300.0
"""How long a token is used whose answer does not say how long it holds."""
MARGIN_SECONDS: Final = 30.0
"""How long before its end a token is used no more: it has to hold at the receiver, after the way there."""
LONGEST_SECONDS: Final = 86_400.0
MOST_KEPT: Final = 4096
_MOST_BYTES = 64 * 1024
_LONGEST_CODE = 100


class Grant(Struct, frozen=True, kw_only=True):
    """What is asked for, and by whom."""

    token_url: str
    client_id: str
    client_secret: str
    scope: str | None = None
    audience: str | None = None
    client_auth: Literal["basic", "body"] = "basic"
    """How the client says who it is (RFC 6749, section 2.3.1): by HTTP Basic, which every server must take, or among
    the parameters."""

    def __repr__(self) -> str:
        return f"Grant(client_id={self.client_id!r}, [REDACTED])"


class TokenRefused(EgressError):
    """No token. Its text names the token endpoint's host, never its answer but for RFC 6749's `error` code."""


class _Kept(Struct, frozen=True):
    token: str
    until: float


class Tokens:
    """Tokens by key. Use it on one event loop, and `close` it. Time is counted by the monotonic clock: setting the
    system's makes no token hold longer."""

    def __init__(self, egress: Egress) -> None:
        self._egress = egress
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self._asked: dict[Key, Task[str]] = {}

    async def token(self, key: Key, grant: Grant, deadline_seconds: float) -> str:
        """The one that is kept, else a new one: however many wait for it, it is asked for once, and a failure is
        everybody's who waited, and nobody's after. Who is cancelled does not end it for others.

        `deadline_seconds` is over the request, as the first who asks for it says. Raises `TokenRefused`.
        """
        kept = self._kept.get(key)
        if kept is not None and kept.until > monotonic():
            self._kept.move_to_end(key)
            return kept.token
        task = self._asked.get(key)
        if task is None:
            task = self._asked[key] = asyncio.create_task(self._fetch(key, grant, deadline_seconds))
            task.add_done_callback(lambda ended: self._ended(key, ended))
        return await asyncio.shield(task)

    def forget(self, key: Key) -> None:
        """The receiver did not take it (401). One that is being asked for is not kept either."""
        self._kept.pop(key, None)
        self._asked.pop(key, None)

    async def close(self) -> None:
        tasks = list(self._asked.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _fetch(self, key: Key, grant: Grant, deadline_seconds: float) -> str:
        asked = monotonic()
        headers, body = _request(grant)
        try:
            reply = await self._egress.send(
                "POST", grant.token_url, headers=headers, body=body, timeout=deadline_seconds, max_bytes=_MOST_BYTES
            )
        except EgressError as error:
            raise _refused(grant, f"gave no answer: {error}", error) from None
        token, seconds = _token(grant, reply)
        if self._asked.get(key) is asyncio.current_task():
            self._keep(key, _Kept(token, asked + max(seconds - MARGIN_SECONDS, seconds / 2)))
        return token

    def _keep(self, key: Key, kept: _Kept) -> None:
        self._kept[key] = kept
        self._kept.move_to_end(key)
        if len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)

    def _ended(self, key: Key, task: Task[str]) -> None:
        if self._asked.get(key) is task:
            del self._asked[key]
        if not task.cancelled():
            task.exception()  # Seen, though everybody who waited may be gone.


def _request(grant: Grant) -> tuple[dict[str, str], bytes]:
    parameters = {"grant_type": "client_credentials"}
    parameters |= {
        name: value for name, value in (("scope", grant.scope), ("audience", grant.audience)) if value is not None
    }
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    if grant.client_auth == "body":
        parameters |= {"client_id": grant.client_id, "client_secret": grant.client_secret}
    else:
        pair = f"{quote_plus(grant.client_id)}:{quote_plus(grant.client_secret)}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return headers, urlencode(parameters).encode()


def _token(grant: Grant, reply: Reply) -> tuple[str, float]:
    """The token, and for how many seconds it holds (RFC 6749, sections 5.1 and 5.2)."""
    answer = _decoded(reply.body)
    if reply.status != 200:
        code = answer.get("error")
        said = f" ({_printable(code)})" if isinstance(code, str) and code else ""
        raise _refused(grant, f"answered {reply.status}{said}")
    token, kind, seconds = answer.get("access_token"), answer.get("token_type", "bearer"), answer.get("expires_in")
    if not isinstance(token, str) or not (token.isascii() and token.isprintable() and token.strip()):
        raise _refused(grant, "answered without an access_token that can be sent")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise _refused(grant, "answered with a token that is not of the type Bearer")
    return token, _seconds(seconds)


def _seconds(given: Any) -> float:
    """Some servers write the number as a text; what is none counts as not said."""
    try:
        return DEFAULT_SECONDS if given is None else min(max(float(given), 0.0), LONGEST_SECONDS)
    except (TypeError, ValueError, OverflowError):
        return DEFAULT_SECONDS


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _refused(grant: Grant, what: str, cause: EgressError | None = None) -> TokenRefused:
    try:
        host = URL(grant.token_url).raw_host
    except ValueError:
        host = None
    said = f"the token endpoint {host or '(no URL)'} {what}"
    return TokenRefused(said, Kind.OAUTH2) if cause is None else TokenRefused(said, Kind.OAUTH2, cause.timings)


def _printable(text: str) -> str:
    """RFC 6749's codes are printable ASCII; what is not, and what is long, is somebody's trick."""
    return "".join(each if each.isascii() and each.isprintable() else "?" for each in text[:_LONGEST_CODE])
