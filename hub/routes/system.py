"""Is the hub alive, is it ready, and what it counts."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import structlog
from msgspec import UNSET, Struct, UnsetType
from starlette.responses import Response

from executor.domain.errors import Unavailable
from hub.envelope import Answer
from hub.held import why_held
from hub.operation import OPEN, Call, NoBody, Resource
from hub.queries import NoQuery
from hub.roles import ALL, Role
from hub.services import Services
from hub.settings import VERSION

RESOURCE = Resource("system")
_WITHOUT_REDIS = "webhook deliveries wait until it is back"
_WITHOUT_REDIS_SHARED = f"{_WITHOUT_REDIS}, and processes hear of each other's news a second late"
_logger = structlog.get_logger(__name__)


class ComponentHealth(Struct, frozen=True, kw_only=True):
    """`status` is healthy, unhealthy, or of the engine held; `message` says what follows from it, or how many run."""

    status: str
    response_time_ms: float | None = None
    message: str | UnsetType = UNSET
    queue_depth: int | UnsetType = UNSET


class Health(Struct, frozen=True, kw_only=True):
    """`status` is healthy, degraded (it works, something waits) or unhealthy (it does not)."""

    status: str
    version: str
    uptime_seconds: int
    components: dict[str, ComponentHealth]


@RESOURCE.route("GET", "/health", needs=OPEN)
async def health(call: Call[NoBody, NoQuery]) -> Answer:
    """How the hub and its parts are; 200 also while degraded."""
    found = await _health(call.hub)
    return Answer(found, f"The hub is {found.status}", status=503 if found.status == "unhealthy" else 200)


@RESOURCE.route("GET", "/health/ready", needs=OPEN)
async def ready(call: Call[NoBody, NoQuery]) -> Answer:
    """Can the hub take requests now? 503 where not."""
    found = await _health(call.hub)
    is_ready = found.status != "unhealthy"
    return Answer({"ready": is_ready} | {"status": found.status}, status=200 if is_ready else 503)


@RESOURCE.route("GET", "/metrics", needs="system.read")
async def metrics(call: Call[NoBody, NoQuery]) -> Response:
    """What this process counts, for Prometheus: totals over all organizations."""
    body, media_type = await call.hub.metrics.exposed(call.headers.get("accept", ""))
    return Response(body, headers={"Content-Type": media_type, "Cache-Control": "no-store"})


async def _health(hub: Services) -> Health:
    database = await _timed("database", hub.store.ping, "nothing can be written or read")
    redis = await _timed("redis", hub.redis_ping, _WITHOUT_REDIS_SHARED if hub.store.is_shared else _WITHOUT_REDIS)
    engine = await _engines(hub)
    if database.status == "healthy" and (held := await why_held(hub.store)) is not None:
        engine = ComponentHealth(status="held", message=f"{held}: runs and deliveries wait for a take-over")
    broken = [part for part in (database, redis, engine) if part.status != "healthy"]
    status = "unhealthy" if database in broken else "degraded" if broken else "healthy"
    return Health(
        status=status,
        version=VERSION,
        uptime_seconds=int(time.monotonic() - hub.started),
        components={"database": database, "redis": redis, "workflow_engine": engine},
    )


async def _engines(hub: Services) -> ComponentHealth:
    """Of all processes that share the store; the depth is that of this one."""
    depth = hub.engine.owned if Role.EXECUTOR in hub.roles else UNSET
    try:
        alive = await hub.store.ledgers.engines.alive()
    except Unavailable:
        return ComponentHealth(status="unhealthy", message="not known while the database is away", queue_depth=depth)
    if not alive:
        return ComponentHealth(
            status="unhealthy", message="no executor runs; executions wait until an executor runs", queue_depth=depth
        )
    said = UNSET if hub.roles == ALL and alive == 1 else f"{alive} executor{'s' if alive > 1 else ''} running"
    return ComponentHealth(status="healthy", message=said, queue_depth=depth)


async def _timed(name: str, ping: Callable[[], Awaitable[None]], without: str) -> ComponentHealth:
    start = time.perf_counter()
    try:
        await ping()
    except (Unavailable, OSError, TimeoutError) as error:
        _logger.warning("health.unhealthy", component=name, error=str(error))
        return ComponentHealth(status="unhealthy", message=without)
    return ComponentHealth(status="healthy", response_time_ms=round((time.perf_counter() - start) * 1000, 2))
