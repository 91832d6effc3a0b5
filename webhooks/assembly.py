"""The room's parts put together, for the composition root."""

from __future__ import annotations

import asyncio

from executor.egress import Egress
from executor.ports import Clock, Store
from executor.sealing import Sealer
from webhooks.body import decoded
from webhooks.callbacks import Callbacks
from webhooks.commands import Commands
from webhooks.courier import LEASE_SECONDS, Courier
from webhooks.deliver import Attempts
from webhooks.directory import Directory
from webhooks.doorbell import Doorbell
from webhooks.facts import Decode, Facts
from webhooks.fanout import CHECKPOINT, Fanout
from webhooks.health import Lanes
from webhooks.meter import DeliveryMeter
from webhooks.pump import Pump
from webhooks.recovery import Recoverer
from webhooks.redelivery import Redeliveries
from webhooks.replays import WebhookReplayer
from webhooks.secrets import EndpointSecrets
from webhooks.sweep import Sweep
from webhooks.turn import TTL_SECONDS, Turn
from webhooks.worker import Worker


class Webhooks:
    """`commands` for the doors; `run` for who delivers. The store must have been opened with `endpoint.AGGREGATE` and
    `delivery.AGGREGATE`. `doorbell`, where other processes are to hear it too."""

    def __init__(
        self,
        store: Store,
        sealer: Sealer,
        egress: Egress,
        clock: Clock,
        redis_url: str,
        *,
        decode: Decode = decoded,
        doorbell: Doorbell | None = None,
        lease_seconds: float = LEASE_SECONDS,
        turn_seconds: float = TTL_SECONDS,
    ) -> None:
        deliveries, doorbell = store.ledgers.deliveries, doorbell or Doorbell()
        facts, directory = Facts(store.log, decode), Directory(store.log, store.reads)
        attempts = Attempts(store.log, deliveries, facts, EndpointSecrets(sealer), egress, clock)
        self.meter, self.lanes = DeliveryMeter(), Lanes()
        courier = Courier(
            attempts,
            deliveries,
            directory,
            facts,
            doorbell,
            clock,
            self.meter,
            self.lanes,
            is_shared=store.is_shared,
            lease_seconds=lease_seconds,
        )
        self._sweep = Sweep(store.log, deliveries, directory, clock, lease_seconds)
        pump = Pump(deliveries, directory, courier, doorbell, clock)
        self._deliveries, self._clock, self._directory = deliveries, clock, directory
        self._turn = Turn(store.ledgers.leases, CHECKPOINT, clock.new_id(), turn_seconds)
        self.commands = Commands(store.log, store.reads, deliveries, sealer, egress, clock, doorbell)
        self.callbacks = Callbacks(store.log, store.reads, sealer, egress, clock)
        self.redeliveries = Redeliveries(store.log, deliveries, store.ledgers.redelivery, clock, doorbell)
        self.fanout = Fanout(store.log, deliveries, facts, doorbell, clock)
        self.replayer = WebhookReplayer(
            store.log,
            store.ledgers.replays,
            store.ledgers.leases,
            directory,
            facts,
            doorbell,
            clock,
            turn_seconds,
        )
        self.recoverer = Recoverer(
            store.log,
            store.ledgers.replays,
            store.ledgers.leases,
            deliveries,
            directory,
            facts,
            doorbell,
            clock,
            turn_seconds,
        )
        self.worker = Worker(redis_url, pump, courier, doorbell)

    async def run(self, *, is_alone: bool) -> None:
        """Fans out, replays and delivers until it is cancelled; ends within some ten seconds then.

        `is_alone` says that no other process delivers from this store: what is in flight there was being sent by one
        that died, and is sent again at once. Else one of them fans out at a time, and all deliver.
        """
        if is_alone:
            await self._deliveries.release_all(self._clock.now())
        async with asyncio.TaskGroup() as all:
            all.create_task(self._directory.run(), name="webhook-directory")
            all.create_task(self.fanout.run(None if is_alone else self._turn), name="webhook-fanout")
            all.create_task(self.replayer.run(is_alone=is_alone), name="webhook-replays")
            all.create_task(self.recoverer.run(is_alone=is_alone), name="webhook-recoveries")
            all.create_task(self._sweep.run(), name="webhook-sweep")
            all.create_task(self.worker.run(), name="webhook-worker")
