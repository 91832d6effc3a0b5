"""All attempts under way in this process: started as they are claimed, settled in batches, ended with the process.

Each is held by a short lease, and all leases are prolonged together for as long as their exchanges last: what a
killed process was sending is another's within seconds, however long its endpoint may take to answer.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import time
from collections.abc import Callable, Sequence

from executor.domain.errors import Unavailable
from executor.domain.values import plus
from executor.ports import Clock, Deliveries, Delivery, EndpointLimits, Settled
from webhooks.deliver import DELETED, Attempts, Made
from webhooks.directory import Directory
from webhooks.doorbell import Doorbell
from webhooks.endpoint import State
from webhooks.health import Lanes
from webhooks.meter import DeliveryMeter

Limits = Callable[[str], EndpointLimits | None]

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
        directory: Directory,
        doorbell: Doorbell,
        clock: Clock,
        meter: DeliveryMeter,
        lanes: Lanes,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._attempts, self._deliveries, self._directory = attempts, deliveries, directory
        self._doorbell, self._clock, self._meter = doorbell, clock, meter
        self._lanes = lanes
        self.lease_seconds = lease_seconds
        self._renewed = 0.0
        self._renewing = asyncio.Lock()
        self._keeping: asyncio.Task[None] | None = None
        self._under_way: dict[asyncio.Task[None], Delivery] = {}
        self._settlement = _Settlement(deliveries)
        self._is_closed = False
        directory.watch(self._changed)

    @property
    def room(self) -> int:
        """How many more attempts may start now."""
        return 0 if self._is_closed else self._lanes.room(time.monotonic())

    def limits(self, of: Limits) -> Limits:
        """What a claim may take now of each endpoint, by what it wants and how it does."""
        return self._lanes.limits(of, time.monotonic())

    async def dispatch(self, claimed: Sequence[Delivery]) -> None:
        """Starts an attempt of each. Raises `Unavailable`; then they wait for the end of their lease."""
        states = await self._directory.all_current({delivery.webhook_id for delivery in claimed})
        now = time.monotonic()
        for delivery in claimed:
            self._lanes.began(delivery.webhook_id, delivery.id, now)
            state = states.get(delivery.webhook_id)
            task = asyncio.create_task(self._carry(delivery, state), name=f"delivery-{delivery.id}")
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

    def _changed(self, webhook_id: str, is_deleted: bool) -> None:
        """A changed endpoint is met without prejudice; what is on its way to one that was deleted is cut off."""
        self._lanes.forget(webhook_id)
        if is_deleted:
            for task, delivery in self._under_way.items():
                if delivery.webhook_id == webhook_id:
                    task.cancel(DELETED)

    def _done(self, task: asyncio.Task[None]) -> None:
        delivery = self._under_way.pop(task)
        self._lanes.withdrawn(delivery.webhook_id, delivery.id)
        self._doorbell.hear(delivery.shard)

    async def _carry(self, delivery: Delivery, state: State | None) -> None:
        try:
            made = None if state is None else await self._attempts.make(delivery, state)
            if made is not None:
                self._learn(delivery, made)
                await self._settlement.write(made.settled)
        except Unavailable as error:
            log.warning("delivery %s waits for the end of its lease: %s", delivery.id, error)
        except Exception:
            log.exception("delivery %s failed within; it waits for the end of its lease", delivery.id)

    def _learn(self, delivery: Delivery, made: Made) -> None:
        """What an attempt says of its endpoint."""
        now, is_success = time.monotonic(), made.settled.status == "succeeded"
        chance = random.uniform(-1, 1)  # noqa: S311  (spreads probes; nobody gains by guessing it)
        self._lanes.ended(delivery.webhook_id, delivery.id, now, is_success=is_success, chance=chance)
        if made.held_seconds is not None:
            self._lanes.hold(delivery.webhook_id, made.held_seconds, now)
        self._meter.attempted(delivery, made.settled)


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
