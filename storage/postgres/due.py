"""What a claim finds due on PostgreSQL, before it takes it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from executor.domain.values import Instant
from executor.ports import EndpointLimits
from storage.postgres.connection import Connection
from storage.rooms import Rooms
from storage.sql import named
from storage.turns import Found, after, in_turn, of_endpoint


class Due:
    """Which deliveries of a shard may be taken now, looked up in the transaction that takes them."""

    def __init__(self, connection: Connection, shard: int, now: Instant, through: int) -> None:
        self._connection, self._shard, self._now, self._through = connection, shard, now, through
        self._rooms = Rooms(now)
        self.ids: list[str] = []
        self.paced: list[tuple[str, int]] = []
        self.again_at: Instant | None = None
        self.last = ""

    async def of(self, limits: Callable[[str], EndpointLimits | None], limit: int, last: str = "") -> Due:
        """Behind the `last` endpoint that was looked at before, some endpoints after others until there is enough to
        take one of each: a thousand that wait cost a claim no more than a hundred."""
        due = await self._connection.fetch(_sql("due_endpoints"), self._shard, self._now)
        ids = after([id for (id,) in due], last)
        found: dict[str, list[Found]] = {}
        for start in range(0, len(ids), limit):
            if len(found) >= limit:
                break
            some = ids[start : start + limit]
            self.last = some[-1]
            found |= await self._of({id: wanted for id in some if (wanted := limits(id)) is not None}, limit)
        chosen = in_turn(found, limit)
        self.ids = [id for _, id in chosen]
        self.paced = self._rooms.paced(webhook_id for webhook_id, _ in chosen)
        self.again_at = self._rooms.again_at
        return self

    async def _of(self, of: Mapping[str, EndpointLimits], limit: int) -> dict[str, list[Found]]:
        room: dict[str, int] = {}
        for id, under_way, paced_until in await self._connection.fetch(_sql("under_way"), list(of), self._now):
            room[id] = min(self._rooms.of(of[id], under_way, paced_until), limit)
        rows: defaultdict[str, list[Any]] = defaultdict(list)
        for id, *row in await self._look_up({id: of[id] for id in of if room[id] > 0}, room):
            rows[id].append(row)
        return {id: of_endpoint(found, 1 if of[id].ordered else room[id]) for id, found in rows.items()}

    async def _look_up(self, of: Mapping[str, EndpointLimits], room: Mapping[str, int]) -> list[Any]:
        ordered = [id for id in of if of[id].ordered]
        others = [id for id in of if not of[id].ordered]
        rows: list[Any] = []
        if others:
            free = [room[id] for id in others]
            rows += await self._connection.fetch(
                _sql("due_of_endpoints"), others, free, self._now, self._shard, self._through
            )
        if ordered:
            rows += await self._connection.fetch(_sql("due_in_order"), ordered, self._now, self._through)
        return rows


def _sql(name: str) -> str:
    return named("storage.postgres")[name]
