"""All attempts under way in this process: started as they are claimed, settled in batches, ended with the process.

Each is held by a short lease, and all leases are prolonged together for as long as their exchanges last: what a
killed process was sending is another's within seconds, however long its endpoint may take to answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from msgspec import structs

from executor.domain.errors import Unavailable
from executor.domain.values import moment, plus
from executor.ports import Clock, Deliveries, Delivery, EndpointLimits, Settled
from webhooks.deliver import DELETED, STOPPED, Attempts, Made
from webhooks.directory import Directory
from webhooks.doorbell import Doorbell
from webhooks.endpoint import State
from webhooks.facts import Facts
from webhooks.health import Lanes
from webhooks.meter import DeliveryMeter

Limits = Callable[[str], EndpointLimits | None]
Held = tuple[str, int]
"""A delivery as it was claimed: its id, and the number of the attempt."""


LEASE_SECONDS = 5.0
"""From the last sign of a process to when others may take what it was sending for lost."""
_AGAIN_SECONDS = 0.5
_RELEASE_SECONDS = 2.0
_NOT_KEPT = "what came of it cannot be stored, see the log"

log = logging.getLogger(__name__)


class Courier:
    """Attempts outlive the pump that claimed them. Rings for a shard whenever one of its deliveries has ended."""

    def __init__(
        self,
        attempts: Attempts,
        deliveries: Deliveries,
        directory: Directory,
        facts: Facts,
        doorbell: Doorbell,
        clock: Clock,
        meter: DeliveryMeter,
        lanes: Lanes,
        *,
        is_shared: bool,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        """`is_shared`: other processes claim from the same ledger."""
        self._attempts, self._deliveries = attempts, deliveries
        self._directory, self._facts = directory, facts
        self._doorbell, self._clock, self._meter = doorbell, clock, meter
        self._lanes, self._is_shared = lanes, is_shared
        self.lease_seconds = lease_seconds
        self._renewed = self._renewed_at = 0.0
        self._renewing = asyncio.Lock()
        self._keeping: asyncio.Task[None] | None = None
        self._under_way: dict[Held, Delivery] = {}
        self._held_until: dict[Held, float] = {}
        self._tasks: dict[asyncio.Task[None], Delivery] = {}
        self._made: dict[Held, Settled] = {}
        self._settling: asyncio.Task[None] | None = None
        self._all_landed = asyncio.Event()
        self._is_closed = self._is_giving_back = False
        directory.watch(self._changed)

    @property
    def room(self) -> int:
        """How many more attempts may start now."""
        return 0 if self._is_closed else self._lanes.room(time.monotonic())

    def limits(self, of: Limits) -> Limits:
        """What a claim may take now of each endpoint, by what it wants and how it does.

        What was answered and is not settled yet is under way for the ledger, and no more for the endpoint. Where
        others claim too it stays so: it may be settled while the ledger counts."""
        limited = self._lanes.limits(of, time.monotonic())
        if self._is_shared:
            return limited
        unsettled = Counter(settled.webhook_id for settled in self._made.values())

        def with_unsettled(webhook_id: str) -> EndpointLimits | None:
            wanted = limited(webhook_id)
            if wanted is None or webhook_id not in unsettled:
                return wanted
            return wanted._replace(max_in_flight=wanted.max_in_flight + unsettled[webhook_id])

        return with_unsettled

    async def dispatch(self, claimed: Sequence[Delivery], since: float) -> None:
        """Starts an attempt of each; `since`, by the monotonic clock, their leases began or later. Raises
        `Unavailable`; then they wait for the end of their lease."""
        states = await self._directory.all_current({delivery.webhook_id for delivery in claimed})
        await self._facts.load([delivery.position for delivery in claimed if delivery.position is not None])
        now = time.monotonic()
        for delivery in claimed:
            self._lanes.began(delivery.webhook_id, delivery.id, now)
            self._under_way[_held(delivery)] = delivery
            self._held_until[_held(delivery)] = since + self.lease_seconds
            task = asyncio.create_task(self._carry(delivery, states.get(delivery.webhook_id)))
            self._tasks[task] = delivery
            task.add_done_callback(self._landed)

    def _landed(self, task: asyncio.Task[None]) -> None:
        """One that was cut off before it could say so has ended too; at the end of the process it is given back."""
        delivery = self._tasks.pop(task)
        if task.cancelled() and not self._is_giving_back:
            self._ended([_held(delivery)])

    def open(self) -> None:
        """Takes deliveries, and keeps their leases; again after `close`."""
        self._is_closed = self._is_giving_back = False
        self._keeping = self._keeping or asyncio.create_task(self._keep(), name="delivery leases")

    async def close(self, grace: float) -> None:
        """Starts nothing more, lets what flies land for some seconds, cuts the rest off, and gives back what was not
        sent."""
        self._is_closed = True
        self._all_landed.clear()
        try:
            if self._under_way:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(grace):
                        await self._all_landed.wait()
        finally:
            if self._keeping is not None:
                self._keeping.cancel()
                self._keeping = None
            await self._give_back()
            await self._attempts.close()

    async def renew_if_late(self) -> None:
        """To be called before a claim: where this process was away, or the clock was set, its own deliveries would
        look like lost ones. Raises `Unavailable`."""
        async with self._renewing:
            away = time.monotonic() - self._renewed
            if max(away, abs(self._seconds_of_day() - self._renewed_at - away)) > self.lease_seconds / 2:
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
        """A lease that ran out before this was done may be another's: it counts as lost."""
        began, now, held = time.monotonic(), self._clock.now(), dict(self._under_way)
        lease_until = plus(now, self.lease_seconds)
        await self._deliveries.renew(list(held.values()), lease_until)
        for one in held:
            if self._is_held(one):
                self._held_until[one] = began + self.lease_seconds
        self._renewed, self._renewed_at = began, moment(now).timestamp()

    def _seconds_of_day(self) -> float:
        return moment(self._clock.now()).timestamp()

    def _is_held(self, held: Held) -> bool:
        return time.monotonic() < self._held_until.get(held, 0.0)

    async def _give_back(self) -> None:
        """What was sent is settled if the store answers soon, and never given back as unsent."""
        self._is_giving_back = True
        left = list(self._tasks)
        for task in left:
            task.cancel(STOPPED)
        if left:
            await asyncio.wait(left)
        if self._settling is not None:
            _, left_over = await asyncio.wait([self._settling], timeout=_RELEASE_SECONDS)
            for settling in left_over:
                settling.cancel()
                await asyncio.wait([settling])
        held = list(self._under_way.values())
        unsent = [delivery for one, delivery in self._under_way.items() if one not in self._made]
        try:
            async with asyncio.timeout(_RELEASE_SECONDS):
                await self._deliveries.release(unsent, self._clock.now())
        except (Unavailable, TimeoutError) as error:
            log.warning("%d deliveries wait for the end of their lease: %s", len(held), error)
        self._made.clear()
        self._ended(list(self._under_way))
        for shard in {delivery.shard for delivery in held}:
            self._doorbell.ring(shard)

    def _changed(self, webhook_id: str, is_deleted: bool) -> None:
        """A changed endpoint is met without prejudice; what is on its way to one that was deleted is cut off."""
        self._lanes.forget(webhook_id)
        if is_deleted:
            for task, delivery in self._tasks.items():
                if delivery.webhook_id == webhook_id:
                    task.cancel(DELETED)

    async def _carry(self, delivery: Delivery, state: State | None) -> None:
        try:
            is_held = partial(self._is_held, _held(delivery))
            made = None if state is None else await self._attempts.make(delivery, state, is_held)
        except Unavailable as error:
            log.warning("delivery %s waits for the end of its lease: %s", delivery.id, error)
            made = None
        except Exception:
            log.exception("delivery %s failed within; it waits for the end of its lease", delivery.id)
            made = None
        if made is None:
            self._ended([_held(delivery)])
            return
        self._learn(delivery, made)
        self._made[_held(delivery)] = made.settled
        self._doorbell.hear(delivery.shard)
        if self._settling is None:
            self._settling = asyncio.create_task(self._settle(), name="delivery attempts")

    async def _settle(self) -> None:
        """A group commit: all attempts that were made while the one before was written. A store that is away only
        delays it."""
        try:
            while self._made:
                try:
                    await self._write(dict(self._made))
                except Unavailable as error:
                    log.warning("attempts wait for the store: %s", error)
                    await asyncio.sleep(_AGAIN_SECONDS)
        finally:
            self._settling = None

    async def _write(self, batch: Mapping[Held, Settled]) -> None:
        """Where the store refuses what is in one attempt, the others do not wait for it, and its end is kept without
        that. Raises `Unavailable`."""
        try:
            await self._deliveries.settle(list(batch.values()))
        except Unavailable:
            raise
        except Exception:
            if len(batch) > 1:
                for held, settled in batch.items():
                    await self._write({held: settled})
                return
            log.exception("an attempt cannot be written as it is: %s", next(iter(batch)))
            await self._write_bare(batch)
        for held in batch:
            del self._made[held]
        self._ended(batch)

    async def _write_bare(self, batch: Mapping[Held, Settled]) -> None:
        try:
            await self._deliveries.settle([_bare(settled) for settled in batch.values()])
        except Unavailable:
            raise
        except Exception:
            log.exception("it waits for the end of its lease")

    def _ended(self, held: Iterable[Held]) -> None:
        ended = [delivery for one in held if (delivery := self._under_way.pop(one, None)) is not None]
        for delivery in ended:
            self._held_until.pop(_held(delivery), None)
            self._lanes.withdrawn(delivery.webhook_id, delivery.id)
        for shard in {delivery.shard for delivery in ended}:
            self._doorbell.hear(shard)
        if not self._under_way:
            self._all_landed.set()

    def _learn(self, delivery: Delivery, made: Made) -> None:
        """What an attempt says of its endpoint."""
        now, is_success = time.monotonic(), made.settled.status == "succeeded"
        chance = random.uniform(-1, 1)  # noqa: S311  (spreads probes; nobody gains by guessing it)
        self._lanes.ended(delivery.webhook_id, delivery.id, now, is_success=is_success, chance=chance)
        if made.held_seconds is not None:
            self._lanes.hold(delivery.webhook_id, made.held_seconds, now)
        self._meter.attempted(made.settled, made.event_time)


def _bare(settled: Settled) -> Settled:
    attempt = structs.replace(
        settled.attempt, error=_NOT_KEPT, response_body=None, request_headers=None, timings=None
    )
    return structs.replace(settled, attempt=attempt)


def _held(delivery: Delivery) -> Held:
    return delivery.id, delivery.attempt_count
