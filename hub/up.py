"""`runcast up`: the whole hub in one process, with the Valkey that it needs."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator

import structlog

from executor.clock import SystemClock
from executor.domain.errors import Unavailable
from executor.sealing import SecretKey
from hub import control
from hub.app import create_app
from hub.credentials import Credentials, credentials_path, ensure_first_key
from hub.held import take_over, why_held
from hub.logging import configure
from hub.operator import Site, served_by
from hub.server import Server, bound, url_of
from hub.services import Services
from hub.settings import VERSION, Settings
from hub.valkey import EmbeddedValkey, ValkeyFailed
from hub.wiring import opened, opened_store
from storage.errors import Locked, StorageError
from storage.sqlite.store import SqliteStore

_logger = structlog.get_logger(__name__)


_PATIENCE_SECONDS = 3.0
_PAUSE_SECONDS = 0.1


class UpError(Exception):
    """The hub cannot start; says why, and what would help."""


def run(settings: Settings) -> None:
    """Serves until SIGINT or SIGTERM. Raises `UpError`."""
    configure(settings.log_level)
    if (settings.database_url or "").startswith("postgresql"):
        raise UpError(
            "the PostgreSQL store is not in this version; leave RUNCAST_DATABASE_URL out, or use sqlite:///"
        )
    try:
        import uvloop
    except ImportError:
        asyncio.run(_up(settings))
    else:
        uvloop.run(_up(settings))


async def _up(settings: Settings) -> None:
    clock = SystemClock()
    try:
        async with contextlib.AsyncExitStack() as stack:
            store, key = await stack.enter_async_context(_patiently_opened(settings, clock))
            listener = stack.enter_context(contextlib.closing(_listener(settings)))
            await _serve(settings, clock, store, key, listener)
    except Locked as locked:
        raise UpError(f"a hub runs on this data already: {locked}") from None
    except (StorageError, Unavailable, ValkeyFailed) as error:
        raise UpError(str(error)) from None
    except PermissionError as error:
        raise UpError(f"'{error.filename or settings.data_dir}' cannot be used: {error.strerror}") from None


@contextlib.asynccontextmanager
async def _patiently_opened(settings: Settings, clock: SystemClock) -> AsyncIterator[tuple[SqliteStore, SecretKey]]:
    """The store; a holder without an address is a command that is done in a moment, or a hub that will soon say."""
    for _ in range(int(_PATIENCE_SECONDS / _PAUSE_SECONDS)):
        async with contextlib.AsyncExitStack() as stack:
            try:
                opened = await stack.enter_async_context(opened_store(settings, clock))
            except Locked as locked:
                if locked.address is not None:
                    raise
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            yield opened
            return
    async with opened_store(settings, clock) as opened:
        yield opened


def _listener(settings: Settings) -> socket.socket:
    try:
        return bound(settings.host, settings.port)
    except OSError as error:
        where, why = f"{settings.host}:{settings.port}", error.strerror or str(error)
        raise UpError(f"cannot listen on {where}: {why}; choose another --port") from None


async def _serve(
    settings: Settings, clock: SystemClock, store: SqliteStore, key: SecretKey, listener: socket.socket
) -> None:
    credentials, is_new = await ensure_first_key(store, clock, key, settings)
    url, held = url_of(listener), await why_held(store)
    services: Services | None = None

    @contextlib.asynccontextmanager
    async def hub() -> AsyncIterator[Services]:
        nonlocal services
        async with _redis(settings) as redis_url, opened(settings, clock, store, key, redis_url) as services:
            yield services

    def site() -> Site:
        return Site(settings, store, clock, key, services.sealer.forget if services is not None else lambda id: None)

    async def taken_over(_: dict[str, object]) -> bool:
        return await take_over(store)

    def ready() -> None:
        store.lock.set_address(url)
        with contextlib.suppress(OSError):
            # Nobody may be reading any more; the hub serves all the same.
            _greet(settings, url, credentials, is_new, held)

    async def before_close() -> None:
        if services is not None:
            await asyncio.gather(services.sockets.close_all(), services.streams.close_all())

    server = Server(create_app(hub, clock), ready, before_close)
    async with control.served(settings.data_dir, served_by(site) | {"take_over": taken_over}):
        await server.serve([listener])
    if not server.started:
        raise UpError("the hub did not start; the log above says why")
    _logger.info("hub.stopped")


@contextlib.asynccontextmanager
async def _redis(settings: Settings) -> AsyncIterator[str]:
    """The Redis of the settings, or an embedded one that lives as long as the hub."""
    if settings.redis_url is not None:
        yield settings.redis_url
        return
    valkey = EmbeddedValkey(settings.data_dir)
    await valkey.start()
    try:
        yield valkey.url
    finally:
        await valkey.stop()


def _greet(settings: Settings, url: str, credentials: Credentials, is_new: bool, held: str | None) -> None:
    """What a person needs to begin; on standard output, once."""
    kept = credentials_path(settings.data_dir)
    lines = [f"Runcast {VERSION} listens on {url}"]
    if is_new:
        lines.append(f"  API key   {credentials.api_key}   (shown this once; kept in {kept})")
    elif settings.bootstrap_api_key is None:
        lines.append(f"  API key   in {kept}")
    lines.append(f"  data      {settings.data_dir.resolve()}")
    if settings.is_loopback:
        lines.append("  egress    webhooks and http_request may reach this machine, since only it reaches the hub")
    if held is not None:
        lines.append(f"  held      {held}: runs, deliveries and schedules wait until 'runcast up --take-over'")
    lines.append("Ctrl-C stops it.")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
