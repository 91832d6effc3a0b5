"""The endpoints as a pump needs them: how a shard's want to be served, and one as it is at this moment."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from executor.domain.errors import Unavailable
from executor.domain.events.webhook import WebhookDeleted
from executor.ports import EndpointLimits, Eq, EventLog, In, Order, Reads, Recorded, RowQuery
from webhooks import endpoint
from webhooks.endpoint import State, WebhookRow, state_of
from webhooks.facts import Kept

_PAGE = 500
_KEPT_STATES = 5000
_AGAIN_SECONDS = 0.5

log = logging.getLogger(__name__)


class Limits(NamedTuple):
    """Of a shard's active endpoints, as they are at a position of the log or later."""

    endpoints: Mapping[str, EndpointLimits]
    position: int


class Directory:
    """Reads rows, and follows the log to know when they change, whichever process changes them."""

    def __init__(self, log: EventLog, reads: Reads) -> None:
        self._log, self._reads = log, reads
        self._position = log.head
        self._limits: dict[int, Mapping[str, EndpointLimits]] = {}
        self._changes: Counter[int] = Counter()
        self._states: Kept[tuple[str, int], State] = Kept(_KEPT_STATES)
        self._watchers: list[Callable[[str, bool], None]] = []

    def watch(self, watcher: Callable[[str, bool], None]) -> None:
        """Calls it with the id of each endpoint that was changed, and whether it was deleted."""
        self._watchers.append(watcher)

    async def run(self) -> None:
        """Goes on until it is cancelled or the log closes; while the store is away, limits stay as they are."""
        while True:
            try:
                async for batch in self._log.tail(self._position):
                    self._notice(batch)
                return
            except Unavailable as error:
                log.warning("what is known of endpoints waits for the store: %s", error)
                await asyncio.sleep(_AGAIN_SECONDS)

    async def limits(self, shard: int) -> Limits:
        kept = self._limits.get(shard)
        if kept is not None:
            return Limits(kept, self._position)
        position, changes = self._position, self._changes[shard]
        read = await self._read(shard)
        if self._changes[shard] != changes:
            return Limits(read, position)
        self._limits[shard] = read
        return Limits(read, self._position)

    async def current(self, webhook_id: str) -> State | None:
        """The endpoint by its newest row, deleted or not."""
        row = await self._reads.get(WebhookRow, webhook_id)
        return None if row is None else self._state(row)

    async def all_current(self, webhook_ids: Collection[str]) -> dict[str, State]:
        """Those of these that there are, by their newest rows."""
        if len(webhook_ids) == 1:
            (id,) = webhook_ids
            row = await self._reads.get(WebhookRow, id)
            return {} if row is None else {id: self._state(row)}
        query = RowQuery(where=(In("id", tuple(webhook_ids)),), order=(Order("id"),), limit=len(webhook_ids))
        return {row.id: self._state(row) for row in await self._reads.find(WebhookRow, query)}

    def _state(self, row: WebhookRow) -> State:
        key = (row.id, row.version)
        return self._states.get(key) or self._states.keep(key, state_of(row))

    def _notice(self, batch: Sequence[Recorded]) -> None:
        for recorded in batch:
            if recorded.stream.startswith(endpoint.STREAMS):
                id = recorded.stream.removeprefix(endpoint.STREAMS)
                shard = endpoint.shard_of(id)
                self._changes[shard] += 1
                self._limits.pop(shard, None)
                for watcher in self._watchers:
                    watcher(id, recorded.type == WebhookDeleted.type)
        self._position = batch[-1].position

    async def _read(self, shard: int) -> Mapping[str, EndpointLimits]:
        found: dict[str, EndpointLimits] = {}
        after: tuple[str, ...] | None = None
        while True:
            query = RowQuery(
                where=(Eq("shard", shard), Eq("active", 1)), order=(Order("id"),), after=after, limit=_PAGE
            )
            page = await self._reads.find(WebhookRow, query)
            for row in page:
                wanted = state_of(row).endpoint
                if wanted is not None:
                    found[row.id] = EndpointLimits(
                        row.id, wanted.max_in_flight, wanted.ordered, wanted.rate_limit_per_second
                    )
            if len(page) < _PAGE:
                return found
            after = (page[-1].id,)
