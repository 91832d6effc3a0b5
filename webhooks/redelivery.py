"""What clients do with deliveries: ask for one again, cancel what waits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct, structs

from executor.domain.errors import Code, Invalid, NotFound, Problem, ResourceConflict
from executor.domain.events import CATALOGUE
from executor.domain.values import Instant, is_ulid
from executor.ports import Attempt, Clock, Deliveries, Delivery, DeliveryQuery, EventLog, Redelivery
from webhooks.body import TEST_EVENT
from webhooks.commands import Caller, stored
from webhooks.doorbell import Doorbell
from webhooks.matching import matches

WAITING: Final = ("pending", "retrying")
"""What has not ended and is not being sent."""

_STEP = 1000
"""Deliveries of one transaction: a long one would keep everybody else from writing."""


class Waiting(Struct, frozen=True, kw_only=True):
    """Which deliveries to cancel, empty for any; the start of their creation is inclusive, the end exclusive."""

    statuses: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    start_time: Instant | None = None
    end_time: Instant | None = None


class Redeliveries:
    """As the routes use them. Raises `NotFound` also for another organization's, and `Unavailable`."""

    def __init__(
        self, log: EventLog, deliveries: Deliveries, redelivery: Redelivery, clock: Clock, doorbell: Doorbell
    ) -> None:
        self._log, self._deliveries, self._redelivery = log, deliveries, redelivery
        self._clock, self._doorbell = clock, doorbell

    async def get(self, caller: Caller, id: str) -> tuple[Delivery, list[Attempt]]:
        found = await self._deliveries.get(id) if is_ulid(id) else None
        if found is None or found[0].organization_id != caller.organization_id:
            raise NotFound("delivery", id)
        return found

    async def resend(self, caller: Caller, id: str) -> Delivery:
        """Due at once, with all attempts of the policy before it. Raises `ResourceConflict` for what is being sent,
        for an endpoint that is switched off, and for what has no data any more."""
        found, _ = await self.get(caller, id)
        state = await stored(self._log, found.webhook_id, caller.organization_id)
        if not state.is_active:
            raise ResourceConflict(f"the webhook {state.id} is not active; enable it first", "active")
        if found.position is not None:
            recorded = await self._log.at(found.position)
            if recorded is None or not recorded.data:
                raise ResourceConflict("the event was archived: there is no data any more that could be sent")
        again = await self._redelivery.resend(id, self._clock.now())
        if again is None:
            raise ResourceConflict("the delivery is being sent at this moment; see what comes of it", "status")
        if not (await stored(self._log, found.webhook_id, caller.organization_id)).is_active:
            # Switched off in between: whoever comes last, this or the fan-out, cancels it.
            await self._redelivery.cancel([id], self._clock.now())
            raise ResourceConflict(f"the webhook {state.id} is not active; enable it first", "active")
        self._doorbell.ring(again.shard)
        return again

    async def cancel(self, caller: Caller, webhook_id: str, wanted: Waiting) -> int:
        """What waits, the newest first; what is being sent goes on. Answers how many."""
        await stored(self._log, webhook_id, caller.organization_id)
        query = DeliveryQuery(
            organization_id=caller.organization_id,
            webhook_id=webhook_id,
            statuses=wanted.statuses or WAITING,
            events=types_delivered(wanted.events, "events"),
            start_time=wanted.start_time,
            end_time=wanted.end_time,
            limit=_STEP,
        )
        cancelled, before = 0, None
        while True:
            page = await self._deliveries.find(_before(query, before))
            cancelled += await self._redelivery.cancel([each.id for each in page], self._clock.now())
            if len(page) < _STEP:
                return cancelled
            before = page[-1].id


def types_delivered(patterns: Sequence[str], field: str) -> tuple[str, ...]:
    """The types of deliveries that match any of the patterns; empty, which is no filter, for none and for `*`. Raises
    `Invalid` for a pattern that no type matches."""
    known = (*CATALOGUE, TEST_EVENT)
    wrong = [pattern for pattern in patterns if not any(matches(pattern, type) for type in known)]
    if wrong:
        raise Invalid([Problem(Code.VALIDATION_ERROR, f"no type of event matches '{each}'", field) for each in wrong])
    if "*" in patterns:
        return ()
    return tuple(type for type in known if any(matches(pattern, type) for pattern in patterns))


def _before(query: DeliveryQuery, id: str | None) -> DeliveryQuery:
    return query if id is None else structs.replace(query, before_id=id)
