"""uvicorn around the app: one loop, the sockets told before they are closed, signals that end it with exit code 0."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator

import uvicorn
from starlette.applications import Starlette

from hub.socket.transport import Transport

MAX_MESSAGE_BYTES = 64 * 1024
GRACE_SECONDS = 5
_BACKLOG = 2048


class Server(uvicorn.Server):
    """`on_ready` is called once, when requests are taken; `before_close` before any connection is closed."""

    def __init__(
        self, app: Starlette, on_ready: Callable[[], None], before_close: Callable[[], Awaitable[None]]
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                ws=Transport,
                ws_ping_interval=None,
                ws_max_size=MAX_MESSAGE_BYTES,
                ws_per_message_deflate=False,
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="on",
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )
        self._on_ready = on_ready
        self._before_close = before_close

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        await self._before_close()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM end the server; a second one no longer waits for anybody."""
        with _on_signals(self._end):
            yield

    def _end(self) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True


@contextlib.contextmanager
def ended_by_signals() -> Iterator[asyncio.Event]:
    """An event that SIGINT and SIGTERM set, for what runs without a server."""
    ended = asyncio.Event()
    with _on_signals(ended.set):
        yield ended


@contextlib.contextmanager
def _on_signals(call: Callable[[], object]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, call)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def bound(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `OSError` where the address is taken or not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    address = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)[0][4]
    # The protocol is named because asyncio switches Nagle's delay (40 ms an answer) off only where it sees TCP.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
