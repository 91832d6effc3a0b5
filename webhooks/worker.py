"""The pumps as arq jobs: a few seconds each, renewed under a new id, re-armed by every worker on its own clock.

arq and Redis carry only "look at this shard". A flushed or restarted Redis, a killed worker, a swallowed job delay by
seconds; what is to be delivered stands in the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, cast

import arq
import msgspec
from arq.connections import ArqRedis
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

from executor.domain.errors import Unavailable
from webhooks.courier import Courier
from webhooks.doorbell import Doorbell
from webhooks.endpoint import SHARDS
from webhooks.pump import Pump

if TYPE_CHECKING:
    from arq.typing import WorkerCoroutine

QUEUE: Final = "runcast:webhooks"
JOB: Final = "pump"

_RENEWED_AFTER_SECONDS = 5.0
_OVER_AFTER_SECONDS = 8.0
_JOB_TIMEOUT_SECONDS = 10
_ARM_SECONDS = 1.0
_POLL_SECONDS = 0.5
_REDIS_SECONDS = 3.0
_CANCEL_SECONDS = 1.0
_GRACE_SECONDS = 8.0
_BACKOFF_SECONDS = (0.1, 2.0)

log = logging.getLogger(__name__)


class Term:
    """One pump's time at a shard. From `is_ending` on a successor may start; with it, this one is over."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self.is_succeeded = False

    @property
    def is_ending(self) -> bool:
        return time.monotonic() - self._started >= _RENEWED_AFTER_SECONDS

    def seconds_left(self) -> float:
        """None or less once it is over."""
        return 0.0 if self.is_succeeded else self._started + _OVER_AFTER_SECONDS - time.monotonic()


class Worker:
    """Runs inside of an existing loop. Any number of them work together, in one process or many."""

    def __init__(
        self, redis_url: str, pump: Pump, courier: Courier, doorbell: Doorbell, grace: float = _GRACE_SECONDS
    ) -> None:
        self._redis_url = redis_url
        self._pump, self._courier, self._doorbell = pump, courier, doorbell
        self._is_waiting = False
        self._grace = grace
        self._terms: dict[int, Term] = {}

    async def run(self) -> None:
        """Works until it is cancelled; then starts nothing more and gives what flies `grace` seconds to land.

        Redis may come and go.
        """
        _quiet_arq()
        self._courier.open()
        backoff, longest = _BACKOFF_SECONDS
        try:
            while True:
                since = time.monotonic()
                try:
                    await self._serve()
                except (RedisError, OSError, TimeoutError) as error:
                    log.warning("webhooks wait for Redis: %s", error)
                except Exception:
                    log.exception("the webhook worker failed; it starts again")
                backoff = _BACKOFF_SECONDS[0] if time.monotonic() - since > longest else min(backoff * 2, longest)
                await asyncio.sleep(backoff)
        finally:
            await self._pump.close()
            await self._courier.close(self._grace)

    async def _serve(self) -> None:
        """One life of an arq worker: until Redis goes away."""
        connections = ConnectionPool.from_url(
            self._redis_url, socket_timeout=_REDIS_SECONDS, socket_connect_timeout=_REDIS_SECONDS
        )
        redis = ArqRedis(connections, _serialized, _deserialized, QUEUE)
        worker = self._arq(redis)
        tasks = {asyncio.create_task(worker.main()), asyncio.create_task(self._arm(redis))}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await _to_its_end(self._leave(worker, tasks, connections))

    async def _leave(self, worker: _Arq, tasks: set[asyncio.Task[None]], connections: ConnectionPool) -> None:
        worker.allow_pick_jobs = False
        await _cancelled(list(tasks))
        await _cancelled(list(worker.tasks.values()))
        with contextlib.suppress(RedisError, OSError):
            await connections.disconnect()

    def _arq(self, redis: ArqRedis) -> _Arq:
        return _Arq(
            functions=[
                arq.func(cast("WorkerCoroutine", self._job), name=JOB, timeout=_JOB_TIMEOUT_SECONDS, keep_result=0)
            ],
            redis_pool=redis,
            queue_name=QUEUE,
            handle_signals=False,
            max_jobs=4 * SHARDS,
            job_timeout=_JOB_TIMEOUT_SECONDS,
            keep_result=0,
            poll_delay=_POLL_SECONDS,
            log_results=False,
            job_serializer=_serialized,
            job_deserializer=_deserialized,
        )

    async def _arm(self, redis: ArqRedis) -> None:
        """Sees to it that every shard has a pump here, whatever became of the jobs in Redis."""
        while True:
            for shard in range(SHARDS):
                if shard not in self._terms:
                    await redis.enqueue_job(JOB, shard)
            await asyncio.sleep(_ARM_SECONDS)

    async def _job(self, context: dict[str, Any], shard: int) -> None:
        before = self._terms.get(shard)
        if before is not None and not before.is_ending:
            return  # One too many: the shard is in good hands.
        term = self._terms[shard] = Term()
        if before is not None:
            before.is_succeeded = True
        self._doorbell.hear(shard)
        renewing = asyncio.create_task(_renew(context["redis"], shard, term.seconds_left))
        try:
            await self._pump.work(shard, term.seconds_left)
            self._is_waiting = False
        except Unavailable as error:
            if not self._is_waiting:
                log.warning("deliveries wait: %s", error)
            self._is_waiting = True
            await asyncio.sleep(_ARM_SECONDS)
        finally:
            if self._terms.get(shard) is term:
                del self._terms[shard]
            await _cancelled([renewing])


class _Arq(arq.Worker):
    """arq's worker, that at its end leaves its jobs in Redis as they are. arq would tell Redis of each one, shielded
    from cancellation, and where Redis hangs, so would our end. What is left runs once more: one pump too many."""

    async def finish_job(self, *args: Any, **kwargs: Any) -> None:
        if self.allow_pick_jobs:
            await super().finish_job(*args, **kwargs)


async def _renew(redis: ArqRedis, shard: int, seconds_left: Callable[[], float]) -> None:
    """Asks for a successor under a new job id, and again until it has come: a flushed Redis forgets."""
    await asyncio.sleep(_RENEWED_AFTER_SECONDS)
    while seconds_left() > 0:
        try:
            await redis.enqueue_job(JOB, shard)
        except (RedisError, OSError) as error:
            log.debug("no successor for the pump of shard %d: %s", shard, error)
        await asyncio.sleep(_ARM_SECONDS)


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Clearing away that is not left half done where who waits for it is cancelled; that is said afterwards."""
    task, cancelled = asyncio.ensure_future(work), False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
    task.result()
    if cancelled:
        raise asyncio.CancelledError


async def _cancelled(tasks: list[asyncio.Task[Any]]) -> None:
    """Cancels until it holds: the Redis client swallows a cancellation where a connection breaks at that moment."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_CANCEL_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)


def _quiet_arq() -> None:
    """arq tells of each job and of each one that a flush took away; neither is news here."""
    logging.getLogger("arq").setLevel(logging.ERROR)


def _serialized(job: dict[str, Any]) -> bytes:
    """Jobs as JSON: arq's pickle would run whatever stands in Redis. An exception in a result becomes its text."""
    return msgspec.json.encode(job, enc_hook=str)


def _deserialized(data: bytes) -> dict[str, Any]:
    return msgspec.json.decode(data, type=dict[str, Any])
