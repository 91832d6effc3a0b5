"""Event × endpoint → deliveries, behind a durable checkpoint.

It folds `webhook.*` events as it passes them, so that a change of an endpoint holds exactly from its position on. A
delivery's id is derived from its event and endpoint: what a crash made it do twice changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final

import msgspec

from executor.domain.errors import Unavailable
from executor.domain.events import Fact, Stamp
from executor.domain.events.webhook import DeliveryExhausted, WebhookDeleted
from executor.domain.values import Instant, placed_id
from executor.ports import CheckpointMoved, Clock, Deliveries, Delivery, EventLog, EventQuery, Recorded
from webhooks import endpoint
from webhooks.doorbell import Doorbell
from webhooks.endpoint import State
from webhooks.facts import Facts
from webhooks.matching import Audience, Matcher
from webhooks.turn import Turn

CHECKPOINT: Final = "fanout"

_FLUSH_SECONDS = 1.0
_AGAIN_SECONDS = 0.5
_PAGE = 500

log = logging.getLogger(__name__)


class Fanout:
    """`run` it once in a process. It rings for the shards whose deliveries it wrote."""

    def __init__(
        self,
        log: EventLog,
        deliveries: Deliveries,
        facts: Facts,
        doorbell: Doorbell,
        clock: Clock,
    ) -> None:
        self._log, self._deliveries, self._facts = log, deliveries, facts
        self._doorbell, self._clock = doorbell, clock
        self._endpoints: dict[str, State] = {}
        self._audiences: dict[str, Audience] = {}
        self._written = 0
        self._passed = 0
        self._done = 0

    @property
    def position(self) -> int:
        """Everything up to here has its deliveries."""
        return self._done

    async def run(self, turn: Turn | None = None) -> None:
        """Goes on until it is cancelled or the log closes; a store that is away only delays it.

        `turn` where other processes fan out too: then only one of them does at a time.
        """
        while True:
            try:
                if turn is None:
                    await self._work()
                    return
                if await turn.work(self._work):
                    return
            except CheckpointMoved:
                log.info("another process fans out; this one begins again at its checkpoint")
            except Unavailable as error:
                log.warning("the fan-out waits for the store: %s", error)
            except Exception:
                log.exception("the fan-out failed after position %d; it begins again there", self._passed)
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _work(self) -> None:
        await self._restore()
        await self._follow()

    async def _restore(self) -> None:
        """The endpoints as they were at the checkpoint."""
        self._endpoints, self._audiences = {}, {}
        self._written = self._passed = self._done = await self._deliveries.checkpoint(CHECKPOINT)
        after = 0
        while True:
            query = EventQuery(after=after, before=self._passed + 1, types=("webhook.*",), limit=_PAGE)
            page = await self._log.read(query)
            for recorded in page:
                self._fold(recorded)
            if len(page) < _PAGE:
                return
            after = page[-1].position

    async def _follow(self) -> None:
        batches = self._log.tail(self._passed)
        coming: asyncio.Task[Sequence[Recorded] | None] | None = None
        try:
            while True:
                coming = coming or asyncio.create_task(_next(batches))
                done, _ = await asyncio.wait([coming], timeout=_FLUSH_SECONDS)
                if not done:
                    await self._write([])
                    continue
                batch, coming = coming.result(), None
                if batch is None:
                    return
                await self._cast(batch)
        finally:
            if coming is not None:
                coming.cancel()
                await asyncio.wait([coming])

    async def _cast(self, batch: Sequence[Recorded]) -> None:
        found: list[Delivery] = []
        for recorded in batch:
            if recorded.stream.startswith(endpoint.STREAMS):
                # What it had before this position is written first: only then can it be cancelled.
                if self._ends(recorded):
                    await self._write(found)
                    found = []
                    await self._deliveries.cancel_waiting(
                        recorded.stream.removeprefix(endpoint.STREAMS),
                        self._clock.now(),
                        (recorded.position, recorded.time),
                    )
                self._fold(recorded)
            wanted = await self._wanting(recorded)
            if wanted:
                now = self._clock.now()
                self._facts.keep(recorded)
                found += [live(recorded, matcher, now) for matcher in wanted]
            self._passed = recorded.position
        if found or self._passed - self._written >= _PAGE:
            await self._write(found)
        self._done = self._passed

    async def _write(self, found: Sequence[Delivery]) -> None:
        """Deliveries and how far they go, together."""
        if found or self._passed > self._written:
            await self._deliveries.fan_out(CHECKPOINT, self._written, self._passed, found)
            self._written = self._passed
        for shard in {delivery.shard for delivery in found}:
            self._doorbell.ring(shard)

    def _fold(self, recorded: Recorded) -> None:
        id = recorded.stream.removeprefix(endpoint.STREAMS)
        fact = Fact(self._facts.event(recorded), _stamp(recorded, id))
        state = endpoint.evolve(self._endpoints.get(id, endpoint.initial()), [fact])
        self._endpoints[id] = state
        audience = self._audiences.setdefault(state.organization_id, Audience())
        if state.is_active:
            audience.set(Matcher(state))
        else:
            audience.drop(id)
        if state.deleted:
            del self._endpoints[id]

    def _ends(self, recorded: Recorded) -> bool:
        """Whether this event switches an endpoint off that was on."""
        id = recorded.stream.removeprefix(endpoint.STREAMS)
        before = self._endpoints.get(id)
        if before is None or not before.is_active:
            return recorded.type == WebhookDeleted.type
        return not endpoint.evolve(before, [Fact(self._facts.event(recorded), _stamp(recorded, id))]).is_active

    async def _wanting(self, recorded: Recorded) -> list[Matcher]:
        audience = self._audiences.get(recorded.organization_id)
        if audience is None:
            return []
        found = audience.of(recorded.type, recorded.workflow_id)
        if audience.callbacks and recorded.type in endpoint.ENDS:
            header = await self._facts.header(recorded.execution_id)
            named = audience.callbacks.get(header.created.callback_id or "") if header else None
            found += [named] if named is not None else []
        return await wanting(found, recorded, self._facts)


def live(recorded: Recorded, matcher: Matcher, now: Instant) -> Delivery:
    """The one delivery of an event to an endpoint, however often it is written. It was created when the event was,
    and its id sorts as the log does."""
    return Delivery(
        id=placed_id(recorded.time, recorded.position, recorded.id, matcher.webhook_id),
        organization_id=recorded.organization_id,
        webhook_id=matcher.webhook_id,
        shard=matcher.shard,
        event_id=recorded.id,
        event=recorded.type,
        position=recorded.position,
        next_attempt_at=now,
        created_at=recorded.time,
    )


async def wanting(matchers: Iterable[Matcher], recorded: Recorded, facts: Facts) -> list[Matcher]:
    """Endpoints that get an event. Decoding, the run's header and the body come only where a filter asks."""
    wanting = [m for m in matchers if m.wants_type(recorded.type, recorded.workflow_id)]
    if not wanting:
        return []
    subject = _about(recorded, facts)
    wanting = [] if subject is None else [m for m in wanting if m.webhook_id != subject]
    if any(m.is_callback for m in wanting):
        header = await facts.header(recorded.execution_id)
        callback = header.created.callback_id if header else None
        wanting = [m for m in wanting if not m.is_callback or m.webhook_id == callback]
    if any(m.has_priorities for m in wanting):
        event = facts.event(recorded)
        wanting = [m for m in wanting if m.wants_event(event)]
    if any(m.has_projects for m in wanting):
        header = await facts.header(recorded.execution_id)
        project = header.created.project_id if header else None
        wanting = [m for m in wanting if m.wants_project(project)]
    if any(m.has_condition for m in wanting):
        data = msgspec.json.decode(await facts.data(recorded))
        wanting = [m for m in wanting if m.wants_body(recorded.type, data)]
    return wanting


def _about(recorded: Recorded, facts: Facts) -> str | None:
    """The endpoint that an event is about, which never hears of it; empty for none. Null for what nobody hears of:
    that telling of a failed delivery failed too, or two endpoints would tell each other for ever."""
    if recorded.stream.startswith(endpoint.STREAMS):
        return recorded.stream.removeprefix(endpoint.STREAMS)
    if recorded.type == DeliveryExhausted.type:
        event = facts.event(recorded)
        if isinstance(event, DeliveryExhausted):
            return None if event.event_type == DeliveryExhausted.type else event.webhook_id
    return ""


def _stamp(recorded: Recorded, id: str) -> Stamp:
    return Stamp(recorded.time, recorded.organization_id, id, recorded.version, recorded.metadata.actor)


async def _next(batches: AsyncIterator[Sequence[Recorded]]) -> Sequence[Recorded] | None:
    """The next batch; null where the log has closed."""
    return await anext(batches, None)
