"""The one way out over HTTP: webhooks, `http_request`, agents and all that follows go through `Egress.send`.

It holds three promises. An address that may not be reached is never connected to: names are filtered as they are
resolved, and the address of each socket is judged again before it connects, so that neither an IP literal nor a
second look-up slips past. One deadline covers DNS, connect, TLS, headers and body. At most `max_bytes` of an answer
are taken into memory, compressed or not.

No redirects, no cookies. A proxy only where the operator named one for this hub: variables of the environment that
other programs obey are not.
"""

from __future__ import annotations

import asyncio
import ssl
import time
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from executor.addresses import Network, literal
from executor.connecting import COURSE, Connector, GuardedResolver, judged, tls_context
from executor.exchange import (
    Course,
    EgressError,
    EgressFailed,
    EgressRefused,
    EgressTimeout,
    Kind,
    Refusal,
    Reply,
    Timings,
    failure,
)
from executor.lookups import Lookups, ThreadResolver
from executor.proxy import Proxy, parse
from executor.targets import Target, examine, header_problem, is_token

__all__ = [
    "Egress",
    "EgressError",
    "EgressFailed",
    "EgressRefused",
    "EgressTimeout",
    "Kind",
    "Reply",
    "Timings",
    "header_problem",
]

_LOOKUP_SECONDS = 5.0
PROXIED_LOOKUP_SECONDS = 1.0
_UNKNOWN_SECONDS = 60.0
_KNOWN_URLS = 4096
_LONGEST_AT_ONCE = 1024 * 1024  # A longer body is handed to the socket in pieces, so that the loop goes on.
_ENCODINGS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 47}
"""Content codings that we ask for, and zlib's `wbits` for each (47: zlib or gzip header, found out by itself)."""


class Egress:
    """A pool of connections to the outside, shared by all who send. Use it on one event loop, and `close` it.

    `allow` are networks that may be reached although they are private. With a `proxy` (see `executor/proxy.py`) all
    requests go through it, and it has the last word on addresses: a name is still judged by what it resolves to here,
    but the proxy looks it up again. `resolver` is for tests of what DNS may do,
    `trusted` for certificates of theirs.
    """

    def __init__(
        self,
        allow: Sequence[Network] = (),
        *,
        user_agent: str = "Runcast",
        proxy: str | None = None,
        resolver: AbstractResolver | None = None,
        trusted: Path | None = None,
    ) -> None:
        self._allow = tuple(allow)
        self._user_agent = user_agent
        self._proxy = None if proxy is None else parse(proxy)
        self._lookups = Lookups(resolver or ThreadResolver())
        self._resolver = GuardedResolver(self._allow, self._lookups)
        self._unknown_here: dict[str, float] = {}
        self._trusted = trusted
        self._tls: ssl.SSLContext | None = None
        self._session: aiohttp.ClientSession | None = None
        self._examined = lru_cache(_KNOWN_URLS)(self._examine)

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float,
        max_bytes: int,
    ) -> Reply:
        """Sends one request and reads its answer. Any status is an answer, a redirect too.

        `timeout` is seconds over the whole exchange. Raises `EgressRefused`, `EgressTimeout`, `EgressFailed`.
        """
        target = self._sendable(method, url, headers or {})
        tls = True if target.scheme == "http" else self._tls or await self._load_tls()
        course = Course()
        COURSE.set(course)
        deadline = asyncio.timeout(timeout)
        try:
            async with deadline:
                return await self._exchange(course, method, target, headers, body, max_bytes, tls)
        except (aiohttp.ClientError, OSError, zlib.error, ValueError) as error:
            timings = course.timings(time.monotonic())
            if isinstance(error, TimeoutError) and deadline.expired():
                said = f"no complete answer within {timeout:g} s (it was {course.phase()})"
                raise EgressTimeout(said, Kind.TIMEOUT, timings) from None
            raise failure(error, timings, is_proxied=self._proxy is not None) from None

    def check_url(self, url: str) -> list[str]:
        """What is wrong with a URL as far as its text says: scheme, host, port, credentials, an address in any
        spelling that may not be reached. Empty where it may be tried."""
        return list(self._examined(url).problems)

    async def check_reachable(self, url: str) -> list[str]:
        """`check_url`, and then what the host resolves to now: refused if any of its addresses may not be reached.
        Names that do not resolve (yet) are accepted, every connection is checked again anyway."""
        problems = self.check_url(url)
        if problems:
            return problems
        parsed = URL(url)
        host = parsed.raw_host or ""
        if literal(host) is not None:
            return []
        try:
            async with asyncio.timeout(_LOOKUP_SECONDS):
                found = await self._lookups.afresh(host)
        except (OSError, TimeoutError, UnicodeError):
            return []
        kinds = {reason for each in found if (reason := judged(each["host"], self._allow)) is not None}
        return [f"{host} resolves to an address that is {kind}, which may not be reached" for kind in sorted(kinds)]

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()
        await self._lookups.close()

    def _examine(self, url: str) -> Target:
        return examine(url, self._allow)

    def _sendable(self, method: str, url: str, headers: Mapping[str, str]) -> URL:
        target = self._examined(url)
        wrong = [problem for each in headers.items() if (problem := header_problem(*each)) is not None]
        if target.problems or wrong:
            said = "; ".join((*target.problems, *wrong))
            raise EgressRefused(said, target.kind if target.problems else Kind.INVALID)
        if target.url is None or not is_token(method):
            raise EgressRefused("this is not an HTTP method", Kind.INVALID)
        return target.url

    async def _exchange(
        self,
        course: Course,
        method: str,
        url: URL,
        headers: Mapping[str, str] | None,
        body: bytes | None,
        max_bytes: int,
        tls: ssl.SSLContext | bool,
    ) -> Reply:
        session = self._session or self._open()
        data = body if body is None or len(body) <= _LONGEST_AT_ONCE else BytesIO(body)
        more = {} if self._proxy is None else await self._proxied(self._proxy, url, headers)
        options = {"headers": headers, "data": data, "allow_redirects": False, "ssl": tls} | more
        response = await session.request(method, url, **options)
        course.answered = time.monotonic()
        is_whole = False
        try:
            kept, is_whole = await _read(response, max_bytes)
        finally:
            if not is_whole:
                response.close()
        if self._proxy is not None and response.status == 407:
            raise aiohttp.ClientHttpProxyError(response.request_info, (), status=407)
        now = time.monotonic()
        return Reply(
            status=response.status,
            headers=_joined(response.headers.items()),
            body=kept,
            truncated=not is_whole,
            duration=now - course.started,
            timings=course.timings(now),
        )

    async def _proxied(self, proxy: Proxy, url: URL, headers: Mapping[str, str] | None) -> dict[str, Any]:
        """How aiohttp is told to go through the proxy, once our own look-up has nothing against the host."""
        host = url.raw_host or ""
        if literal(host) is None and self._unknown_here.get(host, 0.0) < time.monotonic():
            try:
                async with asyncio.timeout(PROXIED_LOOKUP_SECONDS):
                    await self._resolver.judge(host)
            except Refusal:
                raise
            except (OSError, TimeoutError, UnicodeError):
                self._remember_unknown(host)
        if url.scheme == "https":
            return {"proxy": proxy.url, "proxy_headers": proxy.headers()}
        return {"proxy": proxy.url, "headers": {**(headers or {}), **proxy.headers()}}

    def _remember_unknown(self, host: str) -> None:
        """Where only the proxy knows names, not every request shall wait for that."""
        if len(self._unknown_here) >= _KNOWN_URLS:
            self._unknown_here.clear()
        self._unknown_here[host] = time.monotonic() + _UNKNOWN_SECONDS

    def _open(self) -> aiohttp.ClientSession:
        self._session = aiohttp.ClientSession(
            connector=Connector(*((self._resolver, self._allow) if self._proxy is None else (self._lookups, None))),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": self._user_agent, "Accept-Encoding": "gzip, deflate"},
            skip_auto_headers=("Content-Type",),
            timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
            auto_decompress=False,
            trust_env=False,
        )
        return self._session

    async def _load_tls(self) -> ssl.SSLContext:
        self._tls = await asyncio.to_thread(tls_context, self._trusted)
        return self._tls


async def _read(response: aiohttp.ClientResponse, max_bytes: int) -> tuple[bytes, bool]:
    """At most `max_bytes` of the decoded body, and whether that is all of it."""
    content = response.content
    coding = response.headers.get("Content-Encoding")
    wbits = None if coding is None else _ENCODINGS.get(coding.strip().lower())
    decoder = None if wbits is None else zlib.decompressobj(wbits)
    kept = bytearray()
    # The budget given to zlib bounds what a bomb can make of a chunk.
    while not content.at_eof():
        chunk = await content.readany()
        room = max_bytes + 1 - len(kept)
        kept += chunk[:room] if decoder is None else decoder.decompress(chunk, room)
        if len(kept) > max_bytes:
            return bytes(kept[:max_bytes]), False
    return bytes(kept), True


def _joined(headers: Any) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in headers:
        low = name.lower()
        joined[low] = f"{joined[low]}, {value}" if low in joined else value
    return joined
