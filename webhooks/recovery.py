"""Makes due again what a webhook should have had and did not get: jobs, as replays are.

What is recovered is live: the deliveries are those that the fan-out wrote or would have written, under the same ids.
What had succeeded is never sent again, and what waits is left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from executor.ports import Clock, Deliveries, Delivery, DeliveryQuery, EventLog, Leases, Recorded, Replay, Replays
from webhooks.directory import Directory
from webhooks.doorbell import Doorbell
from webhooks.facts import Facts
from webhooks.fanout import CHECKPOINT, live, wanting
from webhooks.matching import Matcher
from webhooks.replays import WebhookJobs
from webhooks.turn import TTL_SECONDS

FAILED: Final = "failed"
UNDELIVERED: Final = "undelivered"


class Recoverer(WebhookJobs):
    """`failed` goes by the ledger: what was given up before the job began. `undelivered` goes by the log."""

    def __init__(
        self,
        log: EventLog,
        replays: Replays,
        leases: Leases,
        deliveries: Deliveries,
        directory: Directory,
        facts: Facts,
        doorbell: Doorbell,
        clock: Clock,
        turn_seconds: float = TTL_SECONDS,
    ) -> None:
        super().__init__(log, replays, leases, directory, clock, turn_seconds)
        self._deliveries, self._facts, self._doorbell = deliveries, facts, doorbell
        self._before: dict[str, str] = {}

    def takes(self, replay: Replay) -> bool:
        return replay.kind in (FAILED, UNDELIVERED)

    async def waiting(self, replay: Replay) -> int:
        """Until the fan-out has passed the span: an endpoint that was switched off in it has what waits cancelled
        when the fan-out comes there, and what is recovered is not to be cancelled so."""
        return 0 if await self._deliveries.checkpoint(CHECKPOINT) >= replay.last else self.most_waiting

    async def read_on(self, replay: Replay, limit: int) -> int:
        if replay.kind == UNDELIVERED:
            return await super().read_on(replay, limit)
        query = DeliveryQuery(
            organization_id=replay.organization_id,
            webhook_id=replay.webhook_id,
            statuses=("exhausted",),
            before_id=self._before.get(replay.id),
            limit=limit,
        )
        found = await self._deliveries.find(query)
        wanted = [each for each in found if await self._is_wanted(replay, each)]
        is_last = len(found) < limit
        await self._recover(replay, wanted, replay.last if is_last else replay.position)
        if is_last:
            self._before.pop(replay.id, None)
        else:
            self._before[replay.id] = found[-1].id
        return 0

    async def step(self, replay: Replay, found: Sequence[Recorded], position: int) -> None:
        state = await self.state(replay)
        if state is None or state.endpoint is None:
            return
        matcher, now = Matcher(state), self._clock.now()
        wanted = [
            live(recorded, matcher, now)
            for recorded in found
            if recorded.data and await wanting([matcher], recorded, self._facts)
        ]
        await self._recover(replay, wanted, position)

    async def _recover(self, replay: Replay, wanted: Sequence[Delivery], position: int) -> None:
        now = self._clock.now()
        due = [replace(each, status="pending", next_attempt_at=now, completed_at=None) for each in wanted]
        if await self._replays.recover(replay.id, replay.position, position, due):
            for shard in {each.shard for each in due}:
                self._doorbell.ring(shard)

    async def _is_wanted(self, replay: Replay, given_up: Delivery) -> bool:
        """What was given up since the job began is not: a receiver that still refuses would never end it."""
        if given_up.replay_id is not None or given_up.position is None:
            return False
        if not replay.first <= given_up.position <= replay.last or (given_up.completed_at or "") > replay.created_at:
            return False
        recorded = await self._facts.at(given_up.position)
        return recorded is not None and bool(recorded.data)
