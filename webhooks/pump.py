"""A pump works one shard of endpoints for some seconds: claims what is due, hands it over, waits for more.

Order and limits are enforced by the claim, in the database, never by there being one pump: two of the same shard at
once are harmless.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

from executor.domain.values import Instant, moment, plus
from executor.ports import Clock, Deliveries
from webhooks.courier import Courier
from webhooks.directory import Directory
from webhooks.doorbell import Doorbell

_MOST_CLAIMED = 100
_LONGEST_PAUSE_SECONDS = 5.0
_CLOSE_SECONDS = 2.0
_BLOCKED_PAUSE_SECONDS = 0.05
_LONGEST_BLOCKED_SECONDS = 1.0


class _Taken(NamedTuple):
    """How many a claim took, and when a rate lets more through, if one held back."""

    many: int
    again_at: Instant | None = None


class Pump:
    def __init__(
        self,
        deliveries: Deliveries,
        directory: Directory,
        courier: Courier,
        doorbell: Doorbell,
        clock: Clock,
    ) -> None:
        self._deliveries, self._directory, self._courier = deliveries, directory, courier
        self._doorbell, self._clock = doorbell, clock
        self._claiming: set[asyncio.Task[_Taken]] = set()

    async def work(self, shard: int, seconds_left: Callable[[], float]) -> None:
        """Works until no seconds are left, which may come early: a ring ends a pause."""
        blocked = 0
        while seconds_left() > 0:
            bell = self._doorbell.listen(shard)
            # Shielded: what is claimed must be handed over, or it would lie until its lease ends.
            claiming = asyncio.create_task(self._claim(shard))
            self._claiming.add(claiming)
            claiming.add_done_callback(self._claiming.discard)
            taken = await asyncio.shield(claiming)
            if taken.many < _MOST_CLAIMED:
                is_blocked = await self._pause(shard, bell, blocked, taken.again_at, seconds_left())
                blocked = blocked + 1 if is_blocked and not taken.many else 0

    async def close(self) -> None:
        """Waits for claims whose pump was cancelled; where the database does not answer, not for long."""
        if self._claiming:
            await asyncio.wait(list(self._claiming), timeout=_CLOSE_SECONDS)
        left = list(self._claiming)
        for claiming in left:
            claiming.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _claim(self, shard: int) -> _Taken:
        limits = await self._directory.limits(shard)
        await self._courier.renew_if_late()
        room = min(self._courier.room, _MOST_CLAIMED)
        if room <= 0 or not limits.endpoints:
            return _Taken(0)
        now, since = self._clock.now(), time.monotonic()
        claimed = await self._deliveries.claim(
            shard,
            self._courier.limits(limits.endpoints.get),
            now,
            plus(now, self._courier.lease_seconds),
            room,
            through=limits.position,
        )
        if claimed.deliveries:
            await self._courier.dispatch(claimed.deliveries, since)
        return _Taken(len(claimed.deliveries), claimed.again_at)

    async def _pause(
        self, shard: int, bell: asyncio.Event, blocked: int, again_at: Instant | None, longest: float
    ) -> bool:
        """Until a ring, or until something is due. True where something is due, but held back by its endpoint's order
        or limits, and nobody rang: a ring is the better sign, and looking again becomes rarer."""
        due = await self._deliveries.next_due(shard)
        left = _LONGEST_PAUSE_SECONDS if due is None else self._seconds_until(due)
        pause = min(left + 0.001, _LONGEST_PAUSE_SECONDS)
        if left <= 0:
            pause = min(_BLOCKED_PAUSE_SECONDS * float(2 ** min(blocked, 10)), _LONGEST_BLOCKED_SECONDS)
        if again_at is not None:
            pause = min(pause, max(0.001, self._seconds_until(again_at)))
        try:
            async with asyncio.timeout(min(pause, longest)):
                await bell.wait()
        except TimeoutError:
            return left <= 0
        return False

    def _seconds_until(self, due: str) -> float:
        if not due:
            return 0.0  # Never tried: due whatever the clock says.
        return (moment(Instant(due)) - moment(self._clock.now())).total_seconds()
