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
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

from executor.addresses import Network, literal
from executor.connecting import Connector, judged
from executor.connection import Connection, Unheard
from executor.exchange import (
    Course,
    EgressError,
    EgressFailed,
    EgressRefused,
    EgressTimeout,
    Failure,
    Kind,
    Refusal,
    Reply,
    Timings,
)
from executor.http1 import Request, request
from executor.lookups import Lookups, Resolver, ThreadResolver
from executor.pool import Pool
from executor.proxy import Proxy, parse
from executor.targets import Target, are_proper, examine, header_problem, is_token

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
_REPEATABLE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""Idempotent methods (RFC 9110, section 9.2.2)."""
_OURS: Final = {"Accept": "*/*", "Accept-Encoding": "gzip, deflate"}
_FINAL: Final = frozenset({Kind.INVALID, Kind.NOT_ALLOWED})


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
        resolver: Resolver | None = None,
        trusted: Path | None = None,
    ) -> None:
        self._allow = tuple(allow)
        self._ours = _OURS | {"User-Agent": user_agent}
        self._proxy = None if proxy is None else parse(proxy)
        self._lookups = Lookups(resolver or ThreadResolver())
        self._connector = Connector(self._lookups, self._allow, self._proxy, user_agent, trusted)
        self._pool = Pool()
        self._unknown_here: dict[str, float] = {}
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
        repeatable: bool = False,
    ) -> Reply:
        """Sends one request and reads its answer. Any status is an answer, a redirect too.

        `timeout` is seconds over the whole exchange. Where a connection that had been kept turns out to be closed,
        a request of an idempotent method goes out once more on a new one; `repeatable` says that any may, as the
        receiver tells repetitions apart. Raises `EgressRefused`, `EgressTimeout`, `EgressFailed`.
        """
        given = headers or {}
        target = self._sendable(method, url, given)
        if target.origin.is_tls:
            await self._connector.load_tls()  # The first to come shall not pay for it out of its own time.
        course = Course()
        deadline = asyncio.timeout(timeout)
        try:
            async with deadline:
                if self._proxy is not None:
                    given = await self._proxied(self._proxy, target, given, course)
                path = target.path if self._proxy is None or target.origin.is_tls else target.url
                asked = request(method, path, {"Host": target.authority, **self._ours}, given, body, max_bytes)
                return await self._exchange(target, asked, course, repeatable or method in _REPEATABLE)
        except TimeoutError:
            said = f"no complete answer within {timeout:g} s (it was {course.phase()})"
            raise EgressTimeout(said, Kind.TIMEOUT, course.timings(time.monotonic())) from None
        except Refusal as error:
            raise EgressRefused(str(error), Kind.NOT_ALLOWED, course.timings(time.monotonic())) from None
        except Failure as error:
            raised = EgressRefused if error.kind in _FINAL else EgressFailed
            raise raised(str(error), error.kind, course.timings(time.monotonic())) from None

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
        host = self._examined(url).origin.host
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
        await self._pool.close()
        await self._lookups.close()

    def _examine(self, url: str) -> Target:
        return examine(url, self._allow)

    def _sendable(self, method: str, url: str, headers: Mapping[str, str]) -> Target:
        target = self._examined(url)
        wrong: list[str] = []
        if not are_proper(headers):
            wrong = [problem for each in headers.items() if (problem := header_problem(*each)) is not None]
        if target.problems or wrong:
            said = "; ".join((*target.problems, *wrong))
            raise EgressRefused(said, target.kind if target.problems else Kind.INVALID)
        if method == "CONNECT" or not is_token(method):
            raise EgressRefused("this is not a method of HTTP that is sent", Kind.INVALID)
        return target

    async def _exchange(self, target: Target, asked: Request, course: Course, may_repeat: bool) -> Reply:
        kept = self._pool.take(target.origin)
        if kept is not None:
            try:
                return await self._over(kept, asked, course)
            except Unheard:
                if not may_repeat:
                    raise
        course.connected = 0.0
        fresh = await self._connector.connect(target.origin, course, self._pool.forget)
        self._pool.add(fresh)
        return await self._over(fresh, asked, course)

    async def _over(self, connection: Connection, asked: Request, course: Course) -> Reply:
        course.connected = time.monotonic()
        try:
            answer = await connection.exchange(asked, course)
        except BaseException:
            connection.abort()
            raise
        if answer.is_reusable:
            self._pool.keep(connection)
        else:
            connection.abort()
        if self._proxy is not None and answer.status == 407:
            raise Failure("the proxy answered 407 instead of connecting", Kind.CONNECT)
        now = time.monotonic()
        return Reply(
            status=answer.status,
            headers=answer.headers,
            body=answer.body,
            truncated=answer.is_truncated,
            duration=now - course.started,
            timings=course.timings(now),
        )

    async def _proxied(
        self, proxy: Proxy, target: Target, given: Mapping[str, str], course: Course
    ) -> Mapping[str, str]:
        """The headers of a request that goes to the proxy, once our own look-up has nothing against the host."""
        host = target.origin.host
        if literal(host) is None and self._unknown_here.get(host, 0.0) < time.monotonic():
            try:
                async with asyncio.timeout(PROXIED_LOOKUP_SECONDS):
                    await self._connector.judge(host, course)
            except Refusal:
                raise
            except (OSError, TimeoutError, UnicodeError):
                self._remember_unknown(host)
        return given if target.origin.is_tls else {**given, **proxy.headers()}

    def _remember_unknown(self, host: str) -> None:
        """Where only the proxy knows names, not every request shall wait for that."""
        if len(self._unknown_here) >= _KNOWN_URLS:
            self._unknown_here.clear()
        self._unknown_here[host] = time.monotonic() + _UNKNOWN_SECONDS
