"""The room's parts put together, for the composition root."""

from __future__ import annotations

import asyncio

from executor.egress import Egress
from executor.ports import Clock, Store
from executor.sealing import Sealer
from webhooks.body import decoded
from webhooks.commands import Commands
from webhooks.courier import Courier
from webhooks.deliver import Attempts
from webhooks.directory import Directory
from webhooks.doorbell import Doorbell
from webhooks.facts import Decode, Facts
from webhooks.fanout import Fanout
from webhooks.pump import LEASE_MARGIN_SECONDS, Pump
from webhooks.secrets import EndpointSecrets
from webhooks.worker import Worker


class Webhooks:
    """`commands` for the doors; `run` for who delivers. The store must have been opened with `endpoint.AGGREGATE` and
    `delivery.AGGREGATE`."""

    def __init__(
        self,
        store: Store,
        sealer: Sealer,
        egress: Egress,
        clock: Clock,
        redis_url: str,
        *,
        decode: Decode = decoded,
        lease_margin: float = LEASE_MARGIN_SECONDS,
    ) -> None:
        deliveries, doorbell = store.ledgers.deliveries, Doorbell()
        facts, directory = Facts(store.log, decode), Directory(store.reads)
        attempts = Attempts(store.log, deliveries, directory, facts, EndpointSecrets(sealer), egress, clock)
        courier = Courier(attempts, deliveries, doorbell, clock)
        pump = Pump(deliveries, directory, courier, doorbell, clock, lease_margin)
        self._deliveries, self._clock = deliveries, clock
        self.commands = Commands(store.log, deliveries, sealer, egress, clock, doorbell)
        self.fanout = Fanout(store.log, deliveries, facts, directory, doorbell, clock)
        self.worker = Worker(redis_url, pump, courier, doorbell)

    async def run(self, *, is_alone: bool) -> None:
        """Fans out and delivers until it is cancelled; ends within some ten seconds then.

        `is_alone` says that no other process delivers from this store: what is in flight there was being sent by one
        that died, and is sent again at once.
        """
        if is_alone:
            await self._deliveries.release_all(self._clock.now())
        async with asyncio.TaskGroup() as both:
            both.create_task(self.fanout.run(), name="webhook-fanout")
            both.create_task(self.worker.run(), name="webhook-worker")
