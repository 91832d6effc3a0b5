"""What clients do with endpoints: every command of the routes, and the sealing of what is secret in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from executor.domain.errors import Invalid, NotFound, ResourceConflict
from executor.domain.events import Event
from executor.egress import Egress
from executor.handle import handle
from executor.ports import Clock, Deliveries, Delivery, EventLog, Metadata
from executor.sealing import Sealer
from webhooks import endpoint
from webhooks.body import TEST_EVENT, body_of_test
from webhooks.doorbell import Doorbell
from webhooks.endpoint import State
from webhooks.requests import CreateWebhook, UpdateWebhook, check, given
from webhooks.secrets import EndpointSecrets
from webhooks.signing import new_secret


class Created(NamedTuple):
    """A new endpoint, and its secret in clear: to show once."""

    state: State
    secret: str


class Caller(NamedTuple):
    """For whom, and how the log names them."""

    organization_id: str
    metadata: Metadata


class Commands:
    """Webhooks as the routes use them. Raises `NotFound` also for another organization's, `Invalid` with all problems
    at once, and `Unavailable`."""

    def __init__(
        self, log: EventLog, deliveries: Deliveries, sealer: Sealer, egress: Egress, clock: Clock, doorbell: Doorbell
    ) -> None:
        self._log, self._deliveries = log, deliveries
        self._secrets, self._egress = EndpointSecrets(sealer), egress
        self._clock, self._doorbell = clock, doorbell

    async def create(self, caller: Caller, request: CreateWebhook) -> Created:
        problems = await check(request, self._egress)
        if problems:
            raise Invalid(problems)
        id = self._clock.new_id()
        secret = given(request.secret) or new_secret()
        change = await self._secrets.sealed(caller.organization_id, id, request, secret)
        state = await self._handle(caller, id, partial(endpoint.decide_create, change=change))
        return Created(state, secret)

    async def update(self, caller: Caller, id: str, request: UpdateWebhook) -> State:
        stored = await self.get(caller, id)
        problems = await check(request, self._egress, stored.endpoint)
        if problems:
            raise Invalid(problems)
        change = await self._secrets.sealed(caller.organization_id, id, request, given(request.secret))
        return await self._handle(caller, id, partial(endpoint.decide_update, change=change))

    async def enable(self, caller: Caller, id: str) -> State:
        await self.get(caller, id)
        return await self._handle(caller, id, endpoint.decide_enable)

    async def delete(self, caller: Caller, id: str) -> None:
        """Nothing more is sent to it from here on; what waits is cancelled."""
        await self.get(caller, id)
        await self._handle(caller, id, endpoint.decide_delete)

    async def test(self, caller: Caller, id: str) -> Delivery:
        """Puts a test event on its way. Raises `ResourceConflict` for an endpoint that is switched off."""
        state = await self.get(caller, id)
        if not state.is_active:
            raise ResourceConflict("the webhook is not active; enable it first", "active")
        delivery = delivery_of_test(state, self._clock)
        await self._deliveries.add([delivery])
        self._doorbell.ring(delivery.shard)
        return delivery

    async def get(self, caller: Caller, id: str) -> State:
        """The newest fold, not a row. Raises `NotFound`."""
        return await stored(self._log, id, caller.organization_id)

    async def _handle(self, caller: Caller, id: str, decide: Callable[[State], Sequence[Event]]) -> State:
        appended = await handle(
            self._log,
            self._clock,
            endpoint.stream(id),
            decide,
            organization_id=caller.organization_id,
            metadata=caller.metadata,
        )
        state: State = appended.state
        return state


async def stored(log: EventLog, id: str, organization_id: str) -> State:
    """The newest fold of an endpoint. Raises `NotFound`."""
    state, _ = await log.load(endpoint.stream(id))
    if not isinstance(state, State) or state.organization_id != organization_id or state.deleted:
        raise NotFound("webhook", id)
    return state


def delivery_of_test(state: State, clock: Clock) -> Delivery:
    """A delivery of an event that is not in the log: it has no position, and its body with it."""
    now, event_id = clock.now(), clock.new_id()
    return Delivery(
        id=clock.new_id(),
        organization_id=state.organization_id,
        webhook_id=state.id,
        shard=state.shard,
        event_id=event_id,
        event=TEST_EVENT,
        position=None,
        next_attempt_at=now,
        created_at=now,
        body=body_of_test(state.id, event_id, now),
    )
