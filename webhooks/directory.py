"""The endpoints as a pump needs them: how a shard's want to be served, and one as it is at this moment."""

from __future__ import annotations

import time
from collections import Counter
from typing import NamedTuple

from executor.ports import EndpointLimits, Eq, Order, Reads, RowQuery
from webhooks.endpoint import DEFAULT_TIMEOUT_SECONDS, State, WebhookRow, state_of
from webhooks.facts import Kept

_FRESH_SECONDS = 2.0
_PAGE = 500
_KEPT_STATES = 1000


class Limits(NamedTuple):
    """`longest_timeout` is seconds, of all endpoints of the shard."""

    endpoints: tuple[EndpointLimits, ...]
    longest_timeout: float


class Directory:
    """Reads rows. Limits may be some seconds old, unless told of a change; `current` never is."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self._limits: dict[int, tuple[float, Limits]] = {}
        self._changes: Counter[int] = Counter()
        self._states: Kept[tuple[str, int], State] = Kept(_KEPT_STATES)

    async def limits(self, shard: int) -> Limits:
        """Of the shard's active endpoints."""
        read_at, limits = self._limits.get(shard, (-_FRESH_SECONDS, Limits((), DEFAULT_TIMEOUT_SECONDS)))
        now = time.monotonic()
        if now - read_at < _FRESH_SECONDS:
            return limits
        changes = self._changes[shard]
        limits = await self._read(shard)
        if self._changes[shard] == changes:
            self._limits[shard] = (now, limits)
        return limits

    def changed(self, shard: int) -> None:
        """An endpoint of the shard is new or other than it was."""
        self._changes[shard] += 1
        self._limits.pop(shard, None)

    async def current(self, webhook_id: str) -> State | None:
        """The endpoint by its newest row, deleted or not."""
        row = await self._reads.get(WebhookRow, webhook_id)
        if row is None:
            return None
        key = (row.id, row.version)
        return self._states.get(key) or self._states.keep(key, state_of(row))

    async def _read(self, shard: int) -> Limits:
        found: list[EndpointLimits] = []
        longest = 1.0
        after: tuple[str, ...] | None = None
        while True:
            query = RowQuery(
                where=(Eq("shard", shard), Eq("active", 1)), order=(Order("id"),), after=after, limit=_PAGE
            )
            page = await self._reads.find(WebhookRow, query)
            for row in page:
                wanted = state_of(row).endpoint
                if wanted is not None:
                    found.append(EndpointLimits(row.id, wanted.max_in_flight, wanted.ordered))
                    longest = max(longest, wanted.timeout_seconds)
            if len(page) < _PAGE:
                return Limits(tuple(found), longest)
            after = (page[-1].id,)
