"""All attempts under way in this process: started as they are claimed, settled in batches, ended with the process.

Each is held by a short lease, and all leases are prolonged together for as long as their exchanges last: what a
killed process was sending is another's within seconds, however long its endpoint may take to answer.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Sequence

from executor.domain.errors import Unavailable
from executor.domain.values import plus
from executor.ports import Clock, Deliveries, Delivery, Settled
from webhooks.deliver import Attempts
from webhooks.doorbell import Doorbell

MOST_UNDER_WAY = 1000
LEASE_SECONDS = 5.0
"""From the last sign of a process to when others may take what it was sending for lost."""
_AGAIN_SECONDS = 0.5
_RELEASE_SECONDS = 2.0

log = logging.getLogger(__name__)


class Courier:
    """Attempts outlive the pump that claimed them. Rings for a shard whenever one of its deliveries has ended."""

    def __init__(
        self,
        attempts: Attempts,
        deliveries: Deliveries,
        doorbell: Doorbell,
        clock: Clock,
        most: int = MOST_UNDER_WAY,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._attempts, self._deliveries = attempts, deliveries
        self._doorbell, self._clock = doorbell, clock
        self._most = most
        self.lease_seconds = lease_seconds
        self._renewed = 0.0
        self._renewing = asyncio.Lock()
        self._keeping: asyncio.Task[None] | None = None
        self._under_way: dict[asyncio.Task[None], Delivery] = {}
        self._settlement = _Settlement(deliveries)
        self._is_closed = False

    @property
    def room(self) -> int:
        """How many more attempts may start now."""
        return 0 if self._is_closed else self._most - len(self._under_way)

    def dispatch(self, claimed: Sequence[Delivery]) -> None:
        for delivery in claimed:
            task = asyncio.create_task(self._carry(delivery), name=f"delivery-{delivery.id}")
            self._under_way[task] = delivery
            task.add_done_callback(self._done)

    def open(self) -> None:
        """Takes deliveries, and keeps their leases; again after `close`."""
        self._is_closed = False
        self._keeping = self._keeping or asyncio.create_task(self._keep(), name="delivery leases")

    async def close(self, grace: float) -> None:
        """Starts nothing more, lets what flies land for some seconds, and gives the rest back unsent."""
        self._is_closed = True
        try:
            if self._under_way:
                await asyncio.wait(list(self._under_way), timeout=grace)
        finally:
            if self._keeping is not None:
                self._keeping.cancel()
                self._keeping = None
            await self._give_back()

    async def renew_if_late(self) -> None:
        """To be called before a claim: where this process was away, its own deliveries would look like lost ones.
        Raises `Unavailable`."""
        async with self._renewing:
            if time.monotonic() - self._renewed > self.lease_seconds / 2:
                await self._renew()

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self.lease_seconds / 3)
            try:
                async with self._renewing:
                    await self._renew()
            except Unavailable as error:
                log.warning("the leases of %d deliveries are not prolonged: %s", len(self._under_way), error)

    async def _renew(self) -> None:
        now = time.monotonic()
        lease_until = plus(self._clock.now(), self.lease_seconds)
        await self._deliveries.renew(list(self._under_way.values()), lease_until)
        self._renewed = now

    async def _give_back(self) -> None:
        left = dict(self._under_way)
        for task in left:
            task.cancel()
        if not left:
            return
        await asyncio.wait(list(left))
        try:
            async with asyncio.timeout(_RELEASE_SECONDS):
                await self._deliveries.release(list(left.values()), self._clock.now())
        except (Unavailable, TimeoutError) as error:
            log.warning("%d deliveries wait for the end of their lease: %s", len(left), error)
        for shard in {delivery.shard for delivery in left.values()}:
            self._doorbell.ring(shard)

    def _done(self, task: asyncio.Task[None]) -> None:
        delivery = self._under_way.pop(task)
        self._doorbell.hear(delivery.shard)

    async def _carry(self, delivery: Delivery) -> None:
        try:
            settled = await self._attempts.make(delivery)
            if settled is not None:
                await self._settlement.write(settled)
        except Unavailable as error:
            log.warning("delivery %s waits for the end of its lease: %s", delivery.id, error)
        except Exception:
            log.exception("delivery %s failed within; it waits for the end of its lease", delivery.id)


class _Settlement:
    """A group commit: whoever comes first writes for all who wait."""

    def __init__(self, deliveries: Deliveries) -> None:
        self._deliveries = deliveries
        self._waiting: dict[int, Settled] = {}
        self._numbers = itertools.count()
        self._lock = asyncio.Lock()

    async def write(self, settled: Settled) -> None:
        """Returns once it is on disk; a store that is away only delays it."""
        number = next(self._numbers)
        self._waiting[number] = settled
        while number in self._waiting:
            try:
                async with self._lock:
                    await self._write_all()
            except Unavailable as error:
                log.warning("attempts wait for the store: %s", error)
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _write_all(self) -> None:
        batch = dict(self._waiting)
        if batch:
            await self._deliveries.settle(list(batch.values()))
            for number in batch:
                del self._waiting[number]
