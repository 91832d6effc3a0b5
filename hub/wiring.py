"""The composition root: the one place that knows all the rooms, opens them in order and closes them in reverse."""

from __future__ import annotations

import contextlib
import ipaddress
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import structlog
from redis.asyncio import Redis

from executor.agents import AgentDirectory
from executor.attempt import Attempts
from executor.children import Children, WorkflowDirectory
from executor.components.registry import Registry
from executor.consequences import Consequences
from executor.egress import Egress
from executor.engine import TTL_SECONDS, Engine
from executor.firing import Firing
from executor.ports import Clock, Store
from executor.queue import Queue
from executor.scheduler import Scheduler
from executor.sealing import Sealer, SecretKey
from executor.task_sweep import TaskSweep
from executor.tasks import TaskHandler, Tasks
from hub.agents.commands import AgentCommands
from hub.aggregates import AGGREGATES
from hub.auth.authenticate import Authenticator
from hub.credentials import ensure_secret_key
from hub.feed import Feed
from hub.held import once_ours, require_ours, require_whole
from hub.hints import Hints
from hub.idempotency import Idempotency
from hub.lookups import is_lost, is_there
from hub.loop_lag import LoopLag
from hub.meter import RequestMeter
from hub.metrics import Metrics
from hub.parts import Parts, Run
from hub.replayed import ChannelReplayer, ReplayChannels
from hub.replays import ReplayCommands
from hub.retention import Archivist
from hub.roles import ALL, Role, Roles
from hub.schedules.commands import ScheduleCommands
from hub.services import Services
from hub.settings import VERSION, Network, Settings
from hub.socket.connection import Doors
from hub.socket.endpoint import Sockets
from hub.socket.limits import Quotas, limits_of
from hub.sse import Streams
from hub.tasks.claims import Claims
from hub.tasks.commands import TaskCommands
from hub.webhook_metrics import WebhookMetrics
from storage.errors import StorageError
from storage.open import open_store
from storage.projections import projections, stale
from webhooks.assembly import Webhooks
from webhooks.doorbell import Doorbell

_logger = structlog.get_logger(__name__)
LOOPBACK: tuple[Network, ...] = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


def database_url(settings: Settings) -> str:
    """The log of the settings, by default in the data directory."""
    return settings.database_url or f"sqlite:///{quote(str((settings.data_dir / 'runcast.db').resolve()))}"


def egress_networks(settings: Settings, roles: Roles = ALL) -> tuple[Network, ...]:
    """What may be reached although private; a hub that only this machine reaches may reach this machine. A process
    with one role does not know who reaches the others."""
    return settings.egress_allow + (LOOPBACK if roles == ALL and settings.is_loopback else ())


@contextlib.asynccontextmanager
async def opened_store(
    settings: Settings, clock: Clock, *, makes: bool = True
) -> AsyncIterator[tuple[Store, SecretKey]]:
    """The store, for writing; where there is none yet it is made if this `makes` anything. Raises
    `storage.errors.Locked` where another process has it, and `StorageError` where the data directory cannot be used,
    or nobody may work on what is in it."""
    with usable(settings.data_dir):
        if makes:
            settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        store: Store = await open_store(database_url(settings), AGGREGATES, clock=clock, makes=makes)
    try:
        await require_whole(store)
        with usable(settings.data_dir):
            key = await ensure_secret_key(store, clock, settings)
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
    settings: Settings, clock: Clock, store: Store, key: SecretKey, redis_url: str, roles: Roles = ALL
) -> AsyncIterator[Services]:
    """A process of a hub over an opened store: all parts are made, those of its roles run while this is open."""
    if tables := stale(projections(AGGREGATES).values(), await store.projections.notes()):
        _logger.warning("rows.stale", tables=tables, hint="an earlier version's; 'runcast migrate' rebuilds them")
    async with contextlib.AsyncExitStack() as stack:
        sealer = Sealer(key, store.ledgers.organizations)
        egress = Egress(
            egress_networks(settings, roles), user_agent=f"Runcast/{VERSION}", proxy=settings.egress_proxy
        )
        stack.push_async_callback(egress.close)
        registry = Registry.installed()
        redis = Redis.from_url(redis_url, socket_timeout=2, socket_connect_timeout=2)
        stack.push_async_callback(redis.aclose)
        authenticator = Authenticator(store, key, clock)
        running = _running(store, sealer, registry, egress, clock)
        feed = Feed(store.log)
        doorbell = Doorbell()
        webhooks = Webhooks(store, sealer, egress, clock, redis_url, doorbell=doorbell)
        handler = TaskHandler(store.log, clock)
        tasks = TaskCommands(store.log, store.reads, store.ledgers.task_leases, handler, sealer, clock)
        claims = Claims(tasks, feed)
        replays = ReplayChannels(feed, store.log, store.ledgers.replays, clock)
        quotas = Quotas(limits_of(settings))
        sockets = _sockets(store, feed, replays, authenticator, clock, settings, quotas)
        streams, requests, lag = Streams(feed, replays, clock, quotas=quotas), RequestMeter(), LoopLag()
        engine = running.engine if Role.EXECUTOR in roles else None
        delivering = webhooks if Role.WORKER in roles else None
        deliveries = WebhookMetrics(store.ledgers.deliveries, clock, delivering)
        hints = _hints(store, doorbell, redis_url, clock)
        runs: dict[str, Run] = {}
        if Role.WEB in roles:
            runs |= _runs_of_web(store, clock, feed, authenticator, claims, sockets, lag)
        if Role.EXECUTOR in roles:
            await _announce(store, running.engine)
            runs |= _runs_of_executor(store, running, handler, clock)
        if Role.WORKER in roles:
            runs |= _runs_of_worker(store, webhooks, settings, clock)
        await stack.enter_async_context(Parts({"hints": hints.run} if store.is_shared else {}))
        parts = await stack.enter_async_context(Parts(runs))
        yield Services(
            settings=settings,
            roles=roles,
            clock=clock,
            store=store,
            secret_key=key,
            sealer=sealer,
            registry=registry,
            egress=egress,
            authenticator=authenticator,
            engine=running.engine,
            consequences=running.consequences,
            idempotency=Idempotency(store.ledgers.first_answers, sealer, clock),
            feed=feed,
            sockets=sockets,
            streams=streams,
            webhooks=webhooks.commands,
            redeliveries=webhooks.redeliveries,
            callbacks=webhooks.callbacks,
            agents=AgentCommands(store.log, sealer, egress, clock),
            schedules=ScheduleCommands(store, sealer, clock, running.firing),
            tasks=tasks,
            claims=claims,
            replays=ReplayCommands(store),
            requests=requests,
            metrics=Metrics(store.log, feed, sockets, streams, requests, lag, engine, deliveries),
            redis_ping=lambda: _ping(redis),
            end_work=lambda: _end_work(parts, claims),
            started=time.monotonic(),
        )


class _Running(NamedTuple):
    """What drives executions, and begins those of schedules."""

    engine: Engine
    consequences: Consequences
    firing: Firing
    scheduler: Scheduler


def _running(store: Store, sealer: Sealer, registry: Registry, egress: Egress, clock: Clock) -> _Running:
    agents = AgentDirectory(store.reads, sealer)
    workflows = WorkflowDirectory(store.log, store.reads, sealer, clock)
    attempts = Attempts(registry, egress, sealer, agents.of, workflows.of)
    consequences = Consequences(store.log, clock, (Children(), Tasks()))
    queue = Queue(store.reads, store.ledgers.organizations)
    ledger = store.ledgers.engines
    engine = Engine(clock.new_id(), store.log, store.reads, ledger, clock, attempts, consequences, queue)
    firing = Firing(store.log, store.reads, sealer, clock, consequences)
    return _Running(engine, consequences, firing, Scheduler(store.log, store.reads, clock, firing))


def _runs_of_web(
    store: Store,
    clock: Clock,
    feed: Feed,
    authenticator: Authenticator,
    claims: Claims,
    sockets: Sockets,
    lag: LoopLag,
) -> dict[str, Run]:
    counter = ChannelReplayer(store.log, store.ledgers.replays, store.ledgers.leases, clock)
    return {
        "feed": feed.run,
        "key use": authenticator.keep_use,
        "claims": claims.run,
        "sockets": sockets.run,
        "loop lag": lag.run,
        "replays": once_ours(store, lambda: counter.run(is_alone=not store.is_shared)),
    }


def _runs_of_executor(store: Store, running: _Running, handler: TaskHandler, clock: Clock) -> dict[str, Run]:
    sweep = TaskSweep(handler, store.reads, store.ledgers.task_leases, clock)
    return {
        "engine": once_ours(store, running.engine.run),
        "scheduler": once_ours(store, running.scheduler.run),
        "tasks": once_ours(store, sweep.run),
    }


def _runs_of_worker(store: Store, webhooks: Webhooks, settings: Settings, clock: Clock) -> dict[str, Run]:
    runs = {"webhooks": once_ours(store, lambda: webhooks.run(is_alone=not store.is_shared))}
    if (days := settings.retention_days) is not None:
        runs["retention"] = once_ours(store, lambda: Archivist(store, clock, settings.archive).keep(days))
    return runs


def _sockets(
    store: Store,
    feed: Feed,
    replays: ReplayChannels,
    authenticator: Authenticator,
    clock: Clock,
    settings: Settings,
    quotas: Quotas,
) -> Sockets:
    is_gone = is_lost(store.ledgers.retention)
    authenticate, origins = authenticator.authenticate, settings.allowed_origins
    doors = Doors(feed, store.log, authenticate, is_there(store), is_gone, replays, clock, quotas)
    return Sockets(doors, origins)


def _end_work(parts: Parts, claims: Claims) -> None:
    """Workers that wait for tasks are answered: no request holds up the end."""
    claims.close()
    parts.end(("engine", "scheduler", "webhooks", "tasks"))


def _hints(store: Store, doorbell: Doorbell, redis_url: str, clock: Clock) -> Hints:
    """Between the processes that share the store; where nobody else has it, there is nobody to tell."""
    hints = Hints(redis_url, store.log.epoch, clock.new_id(), noticed=store.log.notice, rung=doorbell.hear)
    if store.is_shared:
        store.log.on_append(hints.moved)
        doorbell.forward = hints.ring
    return hints


async def _announce(store: Store, engine: Engine) -> None:
    """The engine lives before the first request comes. Where nobody else has the store, those of before are dead."""
    if not store.is_shared:
        await store.ledgers.engines.leave_all()
    await store.ledgers.engines.beat(engine.id, TTL_SECONDS)


async def _ping(redis: Redis) -> None:
    """Raises `OSError` where Redis does not answer."""
    try:
        await redis.ping()
    except Exception as error:
        raise OSError(str(error)) from None
