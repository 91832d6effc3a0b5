"""What clients do with endpoints: every command of the routes, and the sealing of what is secret in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

from executor.domain.errors import Code, Invalid, NotFound, Problem, ResourceConflict
from executor.domain.events import Event
from executor.domain.secrets import REDACTED
from executor.domain.values import Instant, plus
from executor.egress import Egress
from executor.handle import handle
from executor.ports import Clock, Deliveries, Delivery, Eq, EventLog, Metadata, Reads
from executor.sealing import Sealer
from webhooks import endpoint
from webhooks.body import TEST_EVENT, body_of_test
from webhooks.checks import check, secret_problem, signing_after
from webhooks.doorbell import Doorbell
from webhooks.endpoint import EndpointChange, State, WebhookRow
from webhooks.requests import DEFAULT_OVERLAP_SECONDS, CreateWebhook, RotateSecret, UpdateWebhook, given
from webhooks.secrets import EndpointSecrets
from webhooks.signing import new_secret

MOST_WEBHOOKS: Final = 10_000
"""Of an organization, those of its runs included: each is kept in memory by whoever fans out."""


class Created(NamedTuple):
    """A new endpoint, and its secret in clear: to show once."""

    state: State
    secret: str


class Changed(NamedTuple):
    """An endpoint after a change; `secret` in clear where one was made or asked for: to show once."""

    state: State
    secret: str | None = None


class Caller(NamedTuple):
    """For whom, and how the log names them."""

    organization_id: str
    metadata: Metadata


class Commands:
    """Webhooks as the routes use them. Raises `NotFound` also for another organization's, `Invalid` with all problems
    at once, and `Unavailable`."""

    def __init__(
        self,
        log: EventLog,
        reads: Reads,
        deliveries: Deliveries,
        sealer: Sealer,
        egress: Egress,
        clock: Clock,
        doorbell: Doorbell,
    ) -> None:
        self._log, self._reads, self._deliveries = log, reads, deliveries
        self._secrets, self._egress = EndpointSecrets(sealer), egress
        self._clock, self._doorbell = clock, doorbell

    async def create(self, caller: Caller, request: CreateWebhook) -> Created:
        problems = await check(request, self._egress)
        if problems:
            raise Invalid(problems)
        await require_room(self._reads, caller.organization_id)
        id = self._clock.new_id()
        secret = given(request.secret) or new_secret(signing_after(request, None))
        change = await self._secrets.sealed(caller.organization_id, id, request, secret)
        state = await self._handle(caller, id, partial(endpoint.decide_create, change=change))
        return Created(state, secret)

    async def update(self, caller: Caller, id: str, request: UpdateWebhook) -> Changed:
        """Another way of signing brings another secret, made unless given; the old one signs on for a day."""
        before = await self.get(caller, id)
        problems = await check(request, self._egress, before.endpoint)
        if problems:
            raise Invalid(problems)
        secret, made, until = given(request.secret), None, None
        signing = signing_after(request, before.endpoint)
        if before.endpoint is not None and signing != before.endpoint.signing:
            until = plus(self._clock.now(), DEFAULT_OVERLAP_SECONDS)
            if secret is None:
                secret = made = new_secret(signing)
        if given(request.active) and not before.is_active:
            await self._deliveries.forgive(id)
        change = await self._secrets.sealed(caller.organization_id, id, request, secret)
        return Changed(await self._change(caller, id, change, until), made)

    async def rotate(self, caller: Caller, id: str, request: RotateSecret) -> Changed:
        """Raises `Invalid` for a secret of another kind, and for one that the endpoint has."""
        before = await self.get(caller, id)
        signing = signing_after(UpdateWebhook(), before.endpoint)
        secret = request.secret or new_secret(signing)
        problem = secret_problem(secret, signing)
        if secret == REDACTED or await self._secrets.is_newest(before, secret):
            problem = "this is the secret that it has; give another one, or none, and one is made"
        if problem is not None:
            raise Invalid([Problem(Code.VALIDATION_ERROR, problem, "secret")])
        change = await self._secrets.sealed_secret(caller.organization_id, id, secret)
        until = plus(self._clock.now(), request.overlap_seconds)
        return Changed(await self._change(caller, id, change, until), secret)

    async def enable(self, caller: Caller, id: str) -> State:
        """For how long it has failed is forgotten too, or it would be switched off again at once."""
        await self.get(caller, id)
        await self._deliveries.forgive(id)
        return await self._handle(caller, id, endpoint.decide_enable)

    async def disable(self, caller: Caller, id: str) -> State:
        """As `active: false` does: what waits is cancelled."""
        await self.get(caller, id)
        return await self._change(caller, id, EndpointChange(active=False))

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

    async def _change(
        self, caller: Caller, id: str, change: EndpointChange, retire_until: Instant | None = None
    ) -> State:
        now = self._clock.now()
        decide = partial(endpoint.decide_update, change=change, now=now, retire_until=retire_until)
        return await self._handle(caller, id, decide)

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


async def require_room(reads: Reads, organization_id: str) -> None:
    """Raises `ResourceConflict` where an organization has as many webhooks as it may have."""
    where = (Eq("organization_id", organization_id), Eq("deleted", 0))
    if await reads.count(WebhookRow, where) >= MOST_WEBHOOKS:
        raise ResourceConflict(f"there are {MOST_WEBHOOKS:,} webhooks already; delete some first")


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
