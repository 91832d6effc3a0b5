"""How connections to the outside are made: every address judged before it is connected to, every step timed."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Sequence
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from executor.addresses import Network, literal, refused
from executor.exchange import Course, Refusal

_KEEP_ALIVE_SECONDS = 4.0  # Shorter than the five seconds after which common servers close an idle connection.

COURSE: ContextVar[Course] = ContextVar("egress_course")
"""Of the exchange that the current task is at. Tasks and callbacks that it starts inherit it."""


class Connector(aiohttp.TCPConnector):
    """Says in the course of an exchange when it has its connection. `allow` is null where all connections are to a
    proxy, whose address the operator chose."""

    def __init__(self, resolver: AbstractResolver, allow: Sequence[Network] | None) -> None:
        def guarded(info: tuple[Any, ...]) -> socket.socket:
            return guarded_socket(info, allow)

        super().__init__(
            resolver=resolver,
            use_dns_cache=False,  # That is up to the resolver.
            socket_factory=guarded,
            limit=0,
            keepalive_timeout=_KEEP_ALIVE_SECONDS,
        )

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout
    ) -> aiohttp.connector.Connection:
        connection = await super().connect(req, traces, timeout)
        COURSE.get().connected = time.monotonic()
        return connection


@cache
def tls_context(trusted: Path | None = None) -> ssl.SSLContext:
    """What checks certificates, also by those in `trusted`. The first call reads some 150 files: 50 ms."""
    context = _TimedTls(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    if trusted is not None:
        context.load_verify_locations(trusted)
    context.set_alpn_protocols(["http/1.1"])
    return context


class _TimedTls(ssl.SSLContext):
    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        COURSE.get().tls = (
            time.monotonic()
        )  # Every handshake begins with this call, once TCP (and a proxy) is through.
        return super().wrap_bio(*arguments, **options)


def guarded_socket(info: tuple[Any, ...], allow: Sequence[Network] | None) -> socket.socket:
    """For the very address that is connected to next."""
    family, kind, protocol, _, address = info
    reason = None if allow is None else judged(address[0], allow)
    if reason is not None:
        raise Refusal(f"the host's address is {reason}, which may not be reached")
    course = COURSE.get()
    course.opened = course.opened or time.monotonic()
    return socket.socket(family=family, type=kind, proto=protocol)


class GuardedResolver(AbstractResolver):
    """Lets only addresses through that may be reached."""

    def __init__(self, allow: Sequence[Network], lookups: AbstractResolver) -> None:
        self._allow, self._lookups = allow, lookups

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._found(host, port)
        reasons = [judged(each["host"], self._allow) for each in found]
        reachable = [each for each, reason in zip(found, reasons, strict=True) if reason is None]
        if found and not reachable:
            raise Refusal(f"the host resolves to an address that is {reasons[0]}, which may not be reached")
        return reachable

    async def judge(self, host: str) -> None:
        """For what somebody else connects to, who may take any of its addresses: raises `Refusal` if one of them may
        not be reached, and OSError if it does not resolve."""
        for each in await self._found(host, 0):
            if (reason := judged(each["host"], self._allow)) is not None:
                raise Refusal(f"the host resolves to an address that is {reason}, which may not be reached")

    async def _found(self, host: str, port: int) -> list[ResolveResult]:
        course = COURSE.get()
        course.asked = time.monotonic()
        found = await self._lookups.resolve(host, port)
        course.found = time.monotonic()
        return found

    async def close(self) -> None:
        await self._lookups.close()


def judged(address: str, allow: Sequence[Network]) -> str | None:
    """Why an address may not be reached, or null if it may."""
    parsed = literal(address)
    return "unreadable" if parsed is None else refused(parsed, allow)
