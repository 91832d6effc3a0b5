"""How connections to the outside are made: every address judged before it is connected to, every step timed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import aiohappyeyeballs

from executor.addresses import Network, literal, refused
from executor.connection import Connection
from executor.exchange import Course, Failure, Kind, Refusal
from executor.http1 import request
from executor.lookups import Resolved, Resolver
from executor.proxy import Proxy
from executor.targets import Origin

_NEXT_ADDRESS_SECONDS = 0.25  # RFC 8305, section 5.
_NO_TLS = "no TLS session: the certificate or the protocol was not accepted"

AddrInfo = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]
"""As getaddrinfo has them."""


class Connector:
    """Makes connections, straight or by way of the proxy. With one, `allow` does not rule over its address, which the
    operator chose."""

    def __init__(
        self, resolver: Resolver, allow: Sequence[Network], proxy: Proxy | None, user_agent: str, trusted: Path | None
    ) -> None:
        self._resolver, self._allow, self._proxy = resolver, allow, proxy
        self._user_agent, self._trusted = user_agent, trusted
        self._tls: ssl.SSLContext | None = None

    async def load_tls(self) -> ssl.SSLContext:
        """Once, before the first connection that needs it: certificates are many files."""
        if self._tls is None:
            self._tls = await asyncio.to_thread(tls_context, self._trusted)
        return self._tls

    async def connect(self, origin: Origin, course: Course, ended: Callable[[Connection], None]) -> Connection:
        """Raises `Refusal` and `Failure`, and leaves no socket behind, nor when it is cancelled."""
        tls = await self.load_tls() if origin.is_tls else None
        made = partial(Connection, origin, ended)
        if self._proxy is None:
            infos = await self._infos(origin, course)
            return await _attached(made, await _connected(infos, self._allow, course), tls, origin.host, course)
        connection = await self._to_proxy(self._proxy, made, course)
        if tls is not None:
            try:
                await self._tunnel(connection, self._proxy, origin, tls, course)
            except BaseException:
                connection.abort()
                raise
        return connection

    async def judge(self, host: str, course: Course) -> None:
        """For what somebody else connects to, who may take any of its addresses: raises `Refusal` if one of them may
        not be reached, and OSError if it does not resolve."""
        for each in await self._found(host, course):
            if (reason := judged(each["host"], self._allow)) is not None:
                raise _refusal(reason)

    async def _infos(self, origin: Origin, course: Course) -> list[AddrInfo]:
        """Where to connect to, of what may be reached. The very socket is judged again."""
        if _is_address(origin.host):
            return [_info(origin.host, origin.port)]
        try:
            found = await self._found(origin.host, course)
        except UnicodeError:
            raise Failure("the URL's host is not a valid name", Kind.INVALID) from None
        except OSError:
            found = []
        if not found:
            raise Failure("the host's name does not resolve", Kind.DNS)
        reasons = [judged(each["host"], self._allow) for each in found]
        may = [each for each, reason in zip(found, reasons, strict=True) if reason is None]
        if not may:
            raise _refusal(reasons[0])
        return [_info(each["host"], origin.port, each["proto"]) for each in may]

    async def _found(self, host: str, course: Course) -> list[Resolved]:
        course.asked = time.monotonic()
        found = await self._resolver.resolve(host)
        course.found = time.monotonic()
        return found

    async def _to_proxy(self, proxy: Proxy, made: Callable[[], Connection], course: Course) -> Connection:
        host, port = proxy.url.raw_host or "", proxy.url.port or 0
        found = [host]
        if not _is_address(host):
            try:
                found = [each["host"] for each in await self._resolver.resolve(host)]
            except (OSError, UnicodeError):
                found = []
        if not found:
            raise Failure("the proxy's name does not resolve", Kind.CONNECT)
        connected = await _connected([_info(each, port) for each in found], None, course, to=" to the proxy")
        return await _attached(made, connected, None, host, course)

    async def _tunnel(
        self, connection: Connection, proxy: Proxy, origin: Origin, tls: ssl.SSLContext, course: Course
    ) -> None:
        """CONNECT (RFC 9110, section 9.3.6), and TLS inside of it."""
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        authority = f"{host}:{origin.port}"
        ours = {"Host": authority, "User-Agent": self._user_agent}
        asked = request("CONNECT", authority, ours, proxy.headers(), None, 0)
        try:
            answer = await connection.exchange(asked, Course())
        except Failure as failure:
            raise Failure(f"no connection through the proxy: {failure}", Kind.CONNECT) from None
        if not 200 <= answer.status < 300:
            raise Failure(f"the proxy answered {answer.status} instead of connecting", Kind.CONNECT)
        loop, raw = asyncio.get_running_loop(), connection.transport
        course.tls = time.monotonic()
        with _handshake():
            secure = await loop.start_tls(raw, connection, tls, server_hostname=origin.host.rstrip("."))
        if secure is None:  # Closed meanwhile.
            raise Failure(_NO_TLS, Kind.TLS)
        connection.secure(secure)


async def _connected(
    infos: Sequence[AddrInfo], allow: Sequence[Network] | None, course: Course, to: str = ""
) -> socket.socket:
    """To the first address that answers (RFC 8305)."""
    try:
        return await aiohappyeyeballs.start_connection(
            infos,
            happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS,
            socket_factory=lambda info: guarded_socket(info, allow, course),
        )
    except Refusal:
        raise
    except ConnectionRefusedError as error:
        said = f"no connection{to}: {_said(error)}" if to else "the connection was refused"
        raise Failure(said, Kind.CONNECT) from None
    except (OSError, RuntimeError) as error:
        raise Failure(f"no connection{to}: {_said(error)}", Kind.CONNECT) from None


async def _attached(
    made: Callable[[], Connection], connected: socket.socket, tls: ssl.SSLContext | None, host: str, course: Course
) -> Connection:
    """The socket in the hands of the loop, and of TLS if it is to be."""
    loop = asyncio.get_running_loop()
    try:
        if tls is None:
            return (await loop.create_connection(made, sock=connected))[1]
        course.tls = time.monotonic()
        with _handshake():
            return (await loop.create_connection(made, sock=connected, ssl=tls, server_hostname=host.rstrip(".")))[1]
    except BaseException as error:
        with contextlib.suppress(OSError):
            connected.close()
        if isinstance(error, OSError | RuntimeError):
            raise Failure(f"no connection: {_said(error)}", Kind.CONNECT) from None
        raise


@contextlib.contextmanager
def _handshake() -> Iterator[None]:
    try:
        yield
    except (ssl.SSLError, ValueError):
        raise Failure(_NO_TLS, Kind.TLS) from None
    except (OSError, RuntimeError):
        raise Failure("no TLS session: the connection was closed in the handshake", Kind.TLS) from None


def guarded_socket(
    info: tuple[Any, ...], allow: Sequence[Network] | None, course: Course | None = None
) -> socket.socket:
    """For the very address that is connected to next."""
    family, kind, protocol, _, address = info
    reason = None if allow is None else judged(address[0], allow)
    if reason is not None:
        raise Refusal(f"the host's address is {reason}, which may not be reached")
    if course is not None:
        course.opened = course.opened or time.monotonic()
    return socket.socket(family=family, type=kind, proto=protocol)


@cache
def tls_context(trusted: Path | None = None) -> ssl.SSLContext:
    """What checks certificates, also by those in `trusted`. The first call reads some 150 files: 50 ms."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    if trusted is not None:
        context.load_verify_locations(trusted)
    context.set_alpn_protocols(["http/1.1"])
    return context


def judged(address: str, allow: Sequence[Network]) -> str | None:
    """Why an address may not be reached, or null if it may."""
    parsed = literal(address)
    return "unreadable" if parsed is None else refused(parsed, allow)


def _refusal(reason: str | None) -> Refusal:
    return Refusal(f"the host resolves to an address that is {reason}, which may not be reached")


def _is_address(host: str) -> bool:
    """As it is written everywhere; other spellings are for the resolver."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _info(address: str, port: int, protocol: int = 0) -> AddrInfo:
    if ":" in address:
        return socket.AF_INET6, socket.SOCK_STREAM, protocol, "", (address, port, 0, 0)
    return socket.AF_INET, socket.SOCK_STREAM, protocol, "", (address, port)


def _said(error: Exception) -> str:
    """Without the address that asyncio writes into it."""
    number = error.errno if isinstance(error, OSError) else None
    return os.strerror(number) if number else type(error).__name__
