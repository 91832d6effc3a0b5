"""The one way out over HTTP: webhooks, `http_request` and all that follows go through `Egress.send`.

It holds three promises. An address that may not be reached is never connected to: names are filtered as they are
resolved, and the address of each socket is judged again before it connects, so that neither an IP literal nor a
second look-up slips past. One deadline covers DNS, connect, TLS, headers and body. At most `max_bytes` of an answer
are taken into memory, compressed or not.

No redirects, no cookies, no proxy from the environment.
"""

from __future__ import annotations

import asyncio
import re
import socket
import time
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from msgspec import Struct
from yarl import URL

from executor.addresses import Network, literal, refused, refused_host

_RESOLVERS = 16
_LOOKUP_SECONDS = 5.0
_KEEP_ALIVE_SECONDS = 4.0  # Shorter than the five seconds after which common servers close an idle connection.
_LONGEST_URL = 2048
_HOST = re.compile(r"[A-Za-z0-9._-]+")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_ENCODINGS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 47}
"""Content codings that we ask for, and zlib's `wbits` for each (47: zlib or gzip header, found out by itself)."""


def header_problem(name: str, value: str) -> str | None:
    """What keeps a header from being sent (RFC 9110, section 5), without showing its value."""
    if not _TOKEN.fullmatch(name):
        return "a header's name holds characters that HTTP does not allow"
    if not _FIELD_VALUE.fullmatch(value):
        return f"the value of header {name} holds characters that HTTP does not allow"
    return None


class EgressError(Exception):
    """A request that got no answer. Its text names no path, query, header or credential."""


class EgressRefused(EgressError):
    """We do not send this: the address may not be reached, or it is no request. Final, unless settings change."""


class EgressTimeout(EgressError):
    """The exchange was not over in time."""


class EgressFailed(EgressError):
    """No look-up, connection, TLS session or proper HTTP answer. May work another time."""


class Reply(Struct, frozen=True, kw_only=True):
    """An answer. Header names are in lower case (repeated ones joined by `, `); `body` is decoded, and `truncated`
    if it went on after `max_bytes`; `duration` is seconds from start to the end of reading."""

    status: int
    headers: dict[str, str]
    body: bytes
    truncated: bool
    duration: float


class _Refused(OSError):
    """How a refusal passes through aiohttp, which lets only OSErrors of a resolver or a socket through."""


class Egress:
    """A pool of connections to the outside, shared by all who send. Use it on one event loop, and `close` it.

    `allow` are networks that may be reached although they are private. `resolver` is for tests of what DNS may do.
    """

    def __init__(
        self, allow: Sequence[Network] = (), *, user_agent: str = "Runcast", resolver: AbstractResolver | None = None
    ) -> None:
        self._allow = tuple(allow)
        self._user_agent = user_agent
        self._resolver = _GuardedResolver(self._allow, resolver or _ThreadResolver())
        self._session: aiohttp.ClientSession | None = None

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
        problems = self.check_url(url) + [each for item in (headers or {}).items() if (each := header_problem(*item))]
        if problems or not _TOKEN.fullmatch(method):
            raise EgressRefused("; ".join(problems) or "this is not an HTTP method")
        started = time.monotonic()
        try:
            async with asyncio.timeout(timeout):
                return await self._exchange(method, URL(url), dict(headers or {}), body, max_bytes, started)
        except TimeoutError:
            raise EgressTimeout(f"no complete answer within {timeout:g} s") from None
        except _Refused as error:
            raise EgressRefused(str(error)) from None
        except (aiohttp.ClientError, OSError, zlib.error) as error:
            raise _ours(error) from None
        except ValueError as error:
            # aiohttp refuses to write it; its text may hold a value of ours.
            raise EgressRefused(f"the request cannot be written as HTTP ({type(error).__name__})") from None

    def check_url(self, url: str) -> list[str]:
        """What is wrong with a URL as far as its text says: scheme, host, port, credentials, an address in any
        spelling that may not be reached. Empty where it may be tried."""
        if len(url) > _LONGEST_URL:
            return [f"the URL is longer than {_LONGEST_URL} characters"]
        try:
            parsed = URL(url)
            host, port = parsed.raw_host, parsed.port
        except (ValueError, UnicodeError):
            return ["this is not a URL"]
        problems = []
        if parsed.scheme not in ("http", "https"):
            problems.append("the URL must begin with http:// or https://")
        elif not host:
            problems.append("the URL has no host")
        elif not (_HOST.fullmatch(host) or ":" in host):
            problems.append("the URL's host is not a valid name")
        elif port == 0:
            problems.append("the URL's port must be 1 to 65535")
        if parsed.raw_user is not None or parsed.raw_password is not None:
            problems.append("the URL must not hold credentials; use 'authentication' or a header")
        if host and (reason := refused_host(host, self._allow)) is not None:
            problems.append(f"{reason}, which may not be reached (RUNCAST_EGRESS_ALLOW)")
        return problems

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
                found = await self._resolver.inner.resolve(host, parsed.port or 0, socket.AF_UNSPEC)
        except (OSError, TimeoutError, UnicodeError):
            return []
        kinds = {reason for each in found if (reason := _judged(each["host"], self._allow)) is not None}
        return [f"{host} resolves to an address that is {kind}, which may not be reached" for kind in sorted(kinds)]

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()
        await self._resolver.close()

    async def _exchange(
        self, method: str, url: URL, headers: dict[str, str], body: bytes | None, max_bytes: int, started: float
    ) -> Reply:
        session = self._session or self._open()
        async with session.request(method, url, headers=headers, data=body, allow_redirects=False) as response:
            kept, truncated = await _read(response, max_bytes)
            if truncated:
                response.close()
            return Reply(
                status=response.status,
                headers=_joined(response.headers.items()),
                body=kept,
                truncated=truncated,
                duration=time.monotonic() - started,
            )

    def _open(self) -> aiohttp.ClientSession:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=self._resolver,
                socket_factory=self._socket,
                limit=0,
                keepalive_timeout=_KEEP_ALIVE_SECONDS,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": self._user_agent, "Accept-Encoding": "gzip, deflate"},
            skip_auto_headers=("Content-Type",),
            timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
            auto_decompress=False,
            trust_env=False,
        )
        return self._session

    def _socket(self, info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, address = info
        reason = _judged(address[0], self._allow)
        if reason is not None:
            raise _Refused(f"the host's address is {reason}, which may not be reached")
        return socket.socket(family=family, type=kind, proto=protocol)


class _GuardedResolver(AbstractResolver):
    """Lets only addresses through that may be reached."""

    def __init__(self, allow: Sequence[Network], inner: AbstractResolver) -> None:
        self._allow = allow
        self.inner = inner

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self.inner.resolve(host, port, family)
        reasons = [_judged(each["host"], self._allow) for each in found]
        reachable = [each for each, reason in zip(found, reasons, strict=True) if reason is None]
        if found and not reachable:
            raise _Refused(f"the host resolves to an address that is {reasons[0]}, which may not be reached")
        return reachable

    async def close(self) -> None:
        await self.inner.close()


class _ThreadResolver(AbstractResolver):
    """getaddrinfo on threads of its own, so that names that hang keep nobody else's thread."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="egress-dns")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
        )
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            ResolveResult(hostname=host, host=str(at[0]), port=port, family=kind, proto=protocol, flags=flags)
            for kind, _, protocol, _, at in found
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _judged(address: str, allow: Sequence[Network]) -> str | None:
    parsed = literal(address)
    return "unreadable" if parsed is None else refused(parsed, allow)


async def _read(response: aiohttp.ClientResponse, max_bytes: int) -> tuple[bytes, bool]:
    """At most `max_bytes` of the decoded body, and whether there was more."""
    wbits = _ENCODINGS.get(response.headers.get("Content-Encoding", "").strip().lower())
    decoder = None if wbits is None else zlib.decompressobj(wbits)
    kept = bytearray()
    # The budget given to zlib bounds what a bomb can make of a chunk.
    async for chunk in response.content.iter_any():
        room = max_bytes + 1 - len(kept)
        kept += chunk[:room] if decoder is None else decoder.decompress(chunk, room)
        if len(kept) > max_bytes:
            return bytes(kept[:max_bytes]), True
    return bytes(kept), False


def _joined(headers: Any) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in headers:
        low = name.lower()
        joined[low] = f"{joined[low]}, {value}" if low in joined else value
    return joined


def _ours(error: Exception) -> EgressError:
    """A failure of aiohttp, the system or zlib, as ours; with the cause, without anything of the request."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, _Refused):
        return EgressRefused(str(cause))
    if isinstance(error, aiohttp.InvalidURL):
        return EgressRefused("this is not a URL that can be requested")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return EgressFailed("the host's name does not resolve")
    if isinstance(error, aiohttp.ClientSSLError):
        return EgressFailed("no TLS session: the certificate or the protocol was not accepted")
    if isinstance(error, ConnectionRefusedError) or isinstance(cause, ConnectionRefusedError):
        return EgressFailed("the connection was refused")
    if isinstance(error, aiohttp.ClientConnectorError):
        return EgressFailed(f"no connection: {error.os_error.strerror or type(cause).__name__}")
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionResetError):
        return EgressFailed("the connection was closed before a complete answer came")
    if isinstance(error, zlib.error):
        return EgressFailed("the answer's compressed body is damaged")
    return EgressFailed(f"no proper HTTP answer ({type(error).__name__})")
