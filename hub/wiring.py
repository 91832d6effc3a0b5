"""The composition root: the one place that knows all the rooms, opens them in order and closes them in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import structlog
from redis.asyncio import Redis

from executor.attempt import Attempts
from executor.components.registry import Registry
from executor.domain import workflow
from executor.domain.execution import rows as execution
from executor.egress import Egress
from executor.engine import Engine
from executor.ports import Aggregate, Clock
from executor.sealing import Sealer, SecretKey
from hub.auth import apikeys
from hub.auth.authenticate import Authenticator
from hub.credentials import secret_key
from hub.feed import Feed
from hub.held import once_ours, require_ours
from hub.lookups import is_lost, is_there
from hub.retention import Archivist
from hub.services import Services
from hub.settings import VERSION, Network, Settings
from hub.socket.endpoint import Sockets
from hub.sse import Streams
from storage.errors import StorageError
from storage.open import open_store
from storage.sqlite.store import SqliteStore
from webhooks import delivery, endpoint
from webhooks.assembly import Webhooks

AGGREGATES: tuple[Aggregate[Any], ...] = (
    workflow.AGGREGATE,
    execution.AGGREGATE,
    apikeys.AGGREGATE,
    endpoint.AGGREGATE,
    delivery.AGGREGATE,
)
LOOPBACK: tuple[Network, ...] = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
_RESTART_SECONDS = 1.0
_logger = structlog.get_logger(__name__)


def database_url(settings: Settings) -> str:
    """The log of the settings, by default in the data directory."""
    return settings.database_url or f"sqlite:///{quote(str((settings.data_dir / 'runcast.db').resolve()))}"


def egress_networks(settings: Settings) -> tuple[Network, ...]:
    """What may be reached although private; a hub that only this machine reaches may reach this machine."""
    return settings.egress_allow + (LOOPBACK if settings.is_loopback else ())


@contextlib.asynccontextmanager
async def opened_store(settings: Settings, clock: Clock) -> AsyncIterator[tuple[SqliteStore, SecretKey]]:
    """The store, for writing. Raises `storage.errors.Locked` where another process has it, and `StorageError` where
    the data directory cannot be used, or nobody may work on what is in it."""
    with usable(settings.data_dir):
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        store = await open_store(database_url(settings), AGGREGATES, clock=clock)
    if not isinstance(store, SqliteStore):
        await store.close()
        raise StorageError("a hub on PostgreSQL is not in this version")
    try:
        with usable(settings.data_dir):
            key = secret_key(settings, is_new=store.log.head == 0)
        await require_ours(store, takes_over=settings.take_over)
        yield store, key
    finally:
        await store.close()


@contextlib.contextmanager
def usable(data_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"'{error.filename or data_dir}' cannot be used: {error.strerror}") from None


@contextlib.asynccontextmanager
async def opened(
    settings: Settings, clock: Clock, store: SqliteStore, key: SecretKey, redis_url: str
) -> AsyncIterator[Services]:
    """A whole hub over an opened store: engine, feed, sockets and deliveries run while the context is open."""
    async with contextlib.AsyncExitStack() as stack:
        sealer = Sealer(key, store.ledgers.organizations)
        egress = Egress(egress_networks(settings), user_agent=f"Runcast/{VERSION}")
        stack.push_async_callback(egress.close)
        registry = Registry.installed()
        redis = Redis.from_url(redis_url, socket_timeout=2, socket_connect_timeout=2)
        stack.push_async_callback(redis.aclose)
        authenticator = Authenticator(store, key, clock)
        engine = Engine(
            clock.new_id(),
            store.log,
            store.reads,
            store.ledgers.engines,
            clock,
            Attempts(registry, egress, sealer),
        )
        feed = Feed(store.log)
        webhooks = Webhooks(store, sealer, egress, clock, redis_url)
        services = Services(
            settings=settings,
            clock=clock,
            store=store,
            secret_key=key,
            sealer=sealer,
            registry=registry,
            egress=egress,
            authenticator=authenticator,
            engine=engine,
            feed=feed,
            sockets=Sockets(
                feed,
                store.log,
                authenticator.authenticate,
                is_there(store),
                is_lost(store.ledgers.retention),
                clock,
                settings.allowed_origins,
            ),
            streams=Streams(feed, clock),
            webhooks=webhooks.commands,
            redis_ping=lambda: _ping(redis),
            started=time.monotonic(),
        )
        await store.ledgers.engines.leave_all()
        tasks: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "feed": feed.run,
            "engine": once_ours(store, engine.run),
            "webhooks": once_ours(store, lambda: webhooks.run(is_alone=True)),
            "key use": authenticator.keep_use,
        }
        if (days := settings.retention_days) is not None:
            tasks["retention"] = once_ours(store, lambda: Archivist(store, clock, settings.archive).keep(days))
        for name, run in tasks.items():
            await stack.enter_async_context(_running(name, run))
        yield services


@contextlib.asynccontextmanager
async def _running(name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Keeps a part of the hub running: one that breaks is logged and started again."""
    task = asyncio.create_task(_kept(name, run), name=name)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _kept(name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
    while True:
        try:
            await run()
            return
        except Exception:
            _logger.exception("part.broke", part=name)
            await asyncio.sleep(_RESTART_SECONDS)


async def _ping(redis: Redis) -> None:
    """Raises `OSError` where Redis does not answer."""
    try:
        await redis.ping()
    except Exception as error:
        raise OSError(str(error)) from None
