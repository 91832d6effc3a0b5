"""Requests to the REST API: one envelope in, typed data or an error out, tried again where that is safe.

Every POST has an `Idempotency-Key` of its own, the same at all its tries, so that it is done once however often it is
sent. GET, PUT and DELETE may be repeated by what they are.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from time import time
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode
from uuid import uuid4

import aiohttp
import msgspec
from yarl import URL

from hub.client.backoff import Backoff, Chance
from hub.client.credentials import Credentials, headers
from hub.client.errors import ApiError, ClientClosed, Misused, NoEnvelope, Problem, Unreachable, error_of
from hub.client.types import Envelope

PATIENCE_SECONDS: Final = 90.0
"""How long a request is tried again at most, from its beginning."""
_CONNECT_SECONDS: Final = 10.0
_AGAIN: Final = frozenset({429, 502, 503, 504})
_KEY: Final = "Idempotency-Key"
_logger = logging.getLogger(__name__)

Query = Mapping[str, Any]


class Request(NamedTuple):
    """`seconds` is how long one try may take."""

    method: str
    path: str
    query: str
    body: bytes | None
    key: str | None
    seconds: float

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class _Retry(Exception):
    """A try that may be made again: after at least `least` seconds. `is_lost` where it may have been done."""

    def __init__(self, cause: Exception, least: float = 0.0, *, is_lost: bool = False) -> None:
        self.cause, self.least, self.is_lost = cause, least, is_lost


class Http:
    """Opens its session at the first request, and is to be closed."""

    def __init__(
        self,
        api: str,
        credentials: Credentials,
        *,
        seconds: float,
        retries: int,
        ssl_context: ssl.SSLContext | None,
        uses_proxies: bool,
        chance: Chance,
    ) -> None:
        self.api, self.credentials = api, credentials
        self._seconds, self._retries, self._chance = seconds, retries, chance
        self._ssl, self._uses_proxies = ssl_context, uses_proxies
        self._session: aiohttp.ClientSession | None = None
        self._is_closed = False

    async def send(
        self,
        method: str,
        *path: str,
        query: Query | None = None,
        body: Any = None,
        key: str | None = None,
        changes: bool = True,
        seconds: float | None = None,
    ) -> Envelope:
        """The envelope of a success; parts of `path` are ids and names, which may hold anything. A POST that changes
        nothing, or the same again, needs no key. Raises `ApiError`, `Unreachable`, `NoEnvelope`, `ClientClosed`."""
        request = Request(
            method,
            "".join(f"/{_segment(part)}" for part in path),
            urlencode(pairs(query or {}), quote_via=quote, safe=","),
            None if body is None else msgspec.json.encode(body),
            key or uuid4().hex if method == "POST" and changes else None,
            self._seconds if seconds is None else seconds,
        )
        loop = asyncio.get_running_loop()
        backoff, deadline, is_lost = Backoff(self._chance), loop.time() + PATIENCE_SECONDS, False
        while True:
            try:
                return await self._tried(request, is_repeated=is_lost)
            except _Retry as retry:
                pause = backoff.next(least=retry.least)
                if backoff.failures > self._retries or loop.time() + pause > deadline:
                    raise retry.cause from None
                is_lost |= retry.is_lost
                _logger.info("%s: %s; trying again in %.1f s", request, retry.cause, pause)
            await asyncio.sleep(pause)

    async def close(self) -> None:
        self._is_closed = True
        if self._session is not None:
            await self._session.close()

    async def _tried(self, request: Request, *, is_repeated: bool) -> Envelope:
        token = await self.credentials.current()
        answer = await self._exchanged(request, token)
        if answer.status == 401 and self.credentials.is_renewable:
            answer = await self._exchanged(request, await self.credentials.renewed(token))
        if answer.status == 404 and request.method == "DELETE" and is_repeated:
            return Envelope(success=True)
        return _understood(request, answer, is_repeated=is_repeated)

    async def _exchanged(self, request: Request, token: str) -> _Answer:
        """One request and its answer. Raises `_Retry` where there was none."""
        sent = headers(token) | {"Accept": "application/json", "User-Agent": "runcast-client"}
        if request.body is not None:
            sent["Content-Type"] = "application/json"
        if request.key is not None:
            sent[_KEY] = request.key
        timeout = aiohttp.ClientTimeout(total=request.seconds, sock_connect=_CONNECT_SECONDS)
        try:
            async with self._opened().request(
                request.method,
                URL(f"{self.api}{request.path}?{request.query}".rstrip("?"), encoded=True),
                data=request.body,
                headers=sent,
                timeout=timeout,
                allow_redirects=False,
            ) as answer:
                return _Answer(str(answer.url.with_query(None)), answer.status, answer.headers, await answer.read())
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError):
            raise Unreachable(f"{self.api}: its certificate cannot be trusted, or it does not speak TLS") from None
        except aiohttp.ClientConnectorError as error:
            raise _Retry(Unreachable(f"{self.api} cannot be reached: {error.os_error}")) from None
        except TimeoutError:
            message = f"{request}: no answer within {request.seconds:g} seconds"
            raise _Retry(Unreachable(message), is_lost=True) from None
        except aiohttp.ClientError as error:
            message = f"{request}: the connection broke ({type(error).__name__})"
            raise _Retry(Unreachable(message), is_lost=True) from None

    def _opened(self) -> aiohttp.ClientSession:
        if self._is_closed:
            raise ClientClosed("the client was closed")
        if self._session is None:
            connector = aiohttp.TCPConnector(ssl=True if self._ssl is None else self._ssl, limit=100)
            self._session = aiohttp.ClientSession(connector=connector, trust_env=self._uses_proxies)
            # It would repeat a DELETE without telling, and then a 404 could not be understood.
            self._session._retry_connection = False
        return self._session


class _Answer(NamedTuple):
    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes


def _segment(part: str) -> str:
    """A part of a path, whatever it holds. Raises `Misused` for none: it would be another route."""
    if not part:
        raise Misused("an id is empty")
    return part.replace(".", "%2E") if part in (".", "..") else quote(part, safe="")


def pairs(query: Query) -> list[tuple[str, str]]:
    """As the hub reads them: what is None is left out, several values are joined by commas."""
    said = []
    for name, value in query.items():
        if isinstance(value, bool):
            said.append((name, "true" if value else "false"))
        elif isinstance(value, list | tuple):
            if value:
                said.append((name, ",".join(map(str, value))))
        elif value is not None:
            said.append((name, str(value)))
    return said


def _understood(request: Request, answer: _Answer, *, is_repeated: bool) -> Envelope:
    """Raises `_Retry` for what says that it may go better later, else the error that the answer is."""
    error: ApiError | NoEnvelope
    least = _retry_after(answer.headers)
    try:
        envelope = msgspec.json.decode(answer.body, type=Envelope)
    except (msgspec.DecodeError, UnicodeDecodeError):
        error = NoEnvelope(answer.status, answer.url)
    else:
        if envelope.success and answer.status < 400:
            return envelope
        problems = tuple(map(_problem, envelope.errors))
        kind, request_id = error_of(answer.status), envelope.metadata.request_id
        error = kind(answer.status, problems, envelope.message, request_id, least)
    is_under_way = is_repeated and answer.status == 409 and isinstance(error, ApiError) and error.field == _KEY
    # A hub says what failed; a server that breaks off in the middle, such as at its end, does not.
    is_broken_off = isinstance(error, NoEnvelope) and answer.status >= 500
    if answer.status in _AGAIN or is_under_way or is_broken_off:
        raise _Retry(error, least or 0.0, is_lost=is_broken_off or answer.status in (502, 504))
    raise error


def _problem(said: Any) -> Problem:
    try:
        return msgspec.convert(said, Problem)
    except msgspec.ValidationError:
        return Problem(code="SYSTEM_ERROR", message=str(said))


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, from seconds or a date (RFC 9110, section 10.2.3)."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time()) if text else None
    except ValueError:
        return None
