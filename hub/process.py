"""One process of a hub, with all roles (`runcast up`) or one of them: from its start to its end by a signal."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial

import structlog
from starlette.applications import Starlette

from executor.clock import SystemClock
from executor.domain.errors import Unavailable
from executor.ports import Store
from executor.sealing import SecretKey
from hub import control
from hub.app import PROBES, create_app
from hub.credentials import FirstKey, credentials_path, ensure_first_key
from hub.held import take_over, why_held
from hub.logging import configure
from hub.operator import Site, served_by
from hub.roles import ALL, Role, RoleRefused, Roles, require_room
from hub.server import Server, bound, ended_by_signals, url_of
from hub.services import Services
from hub.settings import VERSION, Settings, misspelt
from hub.valkey import EmbeddedValkey, ValkeyFailed
from hub.wiring import database_url, opened, opened_store
from storage.errors import Locked, StorageError
from storage.lock import FileLock
from storage.sqlite.store import SqliteStore
from storage.urls import shown

_logger = structlog.get_logger(__name__)

_PATIENCE_SECONDS = 3.0
_GC = (10_000, 20, 50)
"""Most garbage goes by its reference count; a full collection walks every open connection."""
_PAUSE_SECONDS = 0.1
_OPEN_FILES = 65_536


class StartError(Exception):
    """The process cannot start; says why, and what would help. `code` is the exit code that says so."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def run(settings: Settings, roles: Roles = ALL) -> None:
    """Serves until SIGINT or SIGTERM. Raises `StartError`."""
    configure(settings.log_level)
    for name, meant in misspelt(os.environ).items():
        _logger.warning("setting.unknown", name=name, hint=f"is {meant} meant?")
    gc.set_threshold(*_GC)
    _raise_open_files()
    try:
        import uvloop
    except ImportError:
        asyncio.run(_run(settings, roles))
    else:
        uvloop.run(_run(settings, roles))


def _raise_open_files() -> None:
    """Each client and each request to an endpoint is an open file; what a shell allows first is often 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _run(settings: Settings, roles: Roles) -> None:
    clock = SystemClock()
    with _explained(settings):
        require_room(settings, roles)
        async with contextlib.AsyncExitStack() as stack:
            store, key = await stack.enter_async_context(_patiently_opened(settings, clock))
            port = settings.port if Role.WEB in roles else settings.metrics_port
            listener = None if port is None else _listener(settings.host, port, stack)
            redis_url = await stack.enter_async_context(_redis(settings, store))
            process = Process(settings, clock, store, key, redis_url, roles)
            if listener is None:
                await process.work()
            else:
                await (process.serve(listener) if Role.WEB in roles else process.work_watched(listener))
    _logger.info("hub.stopped")


@contextlib.contextmanager
def _explained(settings: Settings) -> Iterator[None]:
    """What is the matter, as a `StartError`."""
    try:
        yield
    except Locked as locked:
        raise StartError(f"a hub runs on this data already: {locked}") from None
    except RoleRefused as refused:
        raise StartError(str(refused), 2) from None
    except (StorageError, Unavailable, ValkeyFailed) as error:
        raise StartError(str(error)) from None
    except PermissionError as error:
        raise StartError(f"'{error.filename or settings.data_dir}' cannot be used: {error.strerror}") from None


@contextlib.asynccontextmanager
async def _patiently_opened(settings: Settings, clock: SystemClock) -> AsyncIterator[tuple[Store, SecretKey]]:
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


def _listener(host: str, port: int, stack: contextlib.AsyncExitStack) -> socket.socket:
    try:
        return stack.enter_context(contextlib.closing(bound(host, port)))
    except OSError as error:
        where, why = f"{host}:{port}", error.strerror or str(error)
        raise StartError(f"cannot listen on {where}: {why}; choose another port") from None


class Process:
    """A process with its store open. Call `serve` or `work`, once."""

    def __init__(
        self, settings: Settings, clock: SystemClock, store: Store, key: SecretKey, redis_url: str, roles: Roles
    ) -> None:
        self._settings, self._clock, self._roles = settings, clock, roles
        self._store, self._key, self._redis_url = store, key, redis_url
        self._services: Services | None = None

    async def serve(self, listener: socket.socket) -> None:
        """The roles behind an HTTP server."""
        first = await ensure_first_key(self._store, self._clock, self._key, self._settings)
        url, held = url_of(listener), await why_held(self._store)

        def ready() -> None:
            if isinstance(self._store, SqliteStore):
                self._store.lock.set_address(url)
            _say(*greeting(self._settings, self._roles, url, first, held))

        async with self._control():
            await self._serve(create_app(self._hub, self._clock), listener, ready)

    async def work(self) -> None:
        """The roles by themselves."""
        with ended_by_signals() as ended:
            async with self._hub():
                self._say_that_it_runs(await why_held(self._store))
                await ended.wait()

    async def work_watched(self, listener: socket.socket) -> None:
        """The roles, behind a server that answers for their health and metrics."""
        held = await why_held(self._store)
        ready = partial(self._say_that_it_runs, held, f"  metrics   {url_of(listener)}/metrics")
        await self._serve(create_app(self._hub, self._clock, PROBES), listener, ready)

    async def _serve(self, app: Starlette, listener: socket.socket, ready: Callable[[], None]) -> None:
        server = Server(app, ready, self._before_close)
        await server.serve([listener])
        if not server.started:
            raise StartError("the hub did not start; the log above says why")

    def _say_that_it_runs(self, held: str | None, *more: str) -> None:
        _say(f"Runcast {VERSION} {' and '.join(sorted(self._roles))} runs", *more, *held_lines(held))

    @contextlib.asynccontextmanager
    async def _hub(self) -> AsyncIterator[Services]:
        made = opened(self._settings, self._clock, self._store, self._key, self._redis_url, self._roles)
        async with made as self._services:
            yield self._services

    async def _before_close(self) -> None:
        if self._services is not None:
            self._services.end_work()
            await asyncio.gather(self._services.sockets.close_all(), self._services.streams.close_all())

    def _control(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Where commands that write ask for it; a store that is shared they open themselves."""
        if self._store.is_shared:
            return contextlib.nullcontext()
        return control.served(self._settings.data_dir, served_by(self._site) | {"take_over": self._take_over})

    async def _take_over(self, _: dict[str, object]) -> bool:
        return await take_over(self._store)

    def _site(self) -> Site:
        forget = self._services.sealer.forget if self._services is not None else lambda organization_id: None
        return Site(self._settings, self._store, self._clock, self._key, forget, is_served=True)


@contextlib.asynccontextmanager
async def _redis(settings: Settings, store: Store) -> AsyncIterator[str]:
    """The Redis of the settings, or an embedded one that lives as long as the hub."""
    if settings.redis_url is not None:
        yield settings.redis_url
        return
    with _room_for_valkey(settings) if store.is_shared else contextlib.nullcontext():
        valkey = EmbeddedValkey(settings.data_dir)
        await valkey.start()
        try:
            yield valkey.url
        finally:
            await valkey.stop()


@contextlib.contextmanager
def _room_for_valkey(settings: Settings) -> Iterator[None]:
    """A data directory has room for one Valkey. An embedded log has one hub by itself, a shared one may have many."""
    try:
        lock = FileLock(settings.data_dir / "valkey.lock")
    except Locked as locked:
        raise StartError(
            f"the Valkey of another hub (process {locked.pid}) runs in '{settings.data_dir}'; set RUNCAST_REDIS_URL "
            "to one that all of them share, or choose another --data-dir"
        ) from None
    try:
        yield
    finally:
        lock.release()


def greeting(settings: Settings, roles: Roles, url: str, first: FirstKey, held: str | None) -> list[str]:
    """What a person needs to begin."""
    is_whole = roles == ALL
    name = "" if is_whole else " " + " and ".join(sorted(roles))
    lines = [f"Runcast {VERSION}{name} listens on {url}"]
    kept = credentials_path(settings.data_dir)
    if first.is_new and first.credentials is not None:
        lines.append(f"  API key   {first.credentials.api_key}   (shown this once; kept in {kept})")
    if first.credentials is None:
        lines.append("  API key   there is one already, made elsewhere; 'runcast keys create' makes another")
    elif not first.is_new and settings.bootstrap_api_key is None:
        lines.append(f"  API key   in {kept}")
    lines.append(f"  log       {shown(database_url(settings))}")
    if is_whole:
        lines.append(f"  data      {settings.data_dir.resolve()}")
    if is_whole and settings.is_loopback:
        lines.append("  egress    webhooks and http_request may reach this machine, since only it reaches the hub")
    lines += held_lines(held)
    if is_whole:
        lines.append("Ctrl-C stops it.")
    return lines


def held_lines(held: str | None) -> list[str]:
    if held is None:
        return []
    return [f"  held      {held}: runs, deliveries and schedules wait until 'runcast take-over'"]


def _say(*lines: str) -> None:
    # Nobody may be reading any more; the hub serves all the same.
    with contextlib.suppress(OSError):
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()
