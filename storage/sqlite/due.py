"""What a claim finds due on SQLite, before it takes it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from executor.domain.values import Instant
from executor.ports import EndpointLimits
from storage.rooms import Rooms
from storage.sqlite.statements import queries
from storage.turns import Found, after, in_turn, of_endpoint


class Due:
    """Which deliveries of a shard may be taken now."""

    def __init__(self, db: sqlite3.Connection, shard: int, now: Instant, through: int) -> None:
        self._db, self._shard, self._now, self._through = db, shard, now, through
        self._rooms = Rooms(now)
        self.ids: list[str] = []
        self.paced: list[tuple[str, int]] = []
        self.again_at: Instant | None = None
        self.last = ""

    def of(self, limits: Callable[[str], EndpointLimits | None], limit: int, last: str = "") -> Due:
        """Behind the `last` endpoint that was looked at before, one endpoint after another until there is enough to
        take one of each: a thousand that wait cost a claim no more than a hundred."""
        due = [id for (id,) in self._rows("due_endpoints", self._shard, self._now)]
        found: dict[str, list[Found]] = {}
        for webhook_id in after(due, last):
            if len(found) >= limit:
                break
            self.last = webhook_id
            if rows := self._of(limits(webhook_id), limit):
                found[webhook_id] = rows
        chosen = in_turn(found, limit)
        self.ids = [id for _, id in chosen]
        self.paced = self._rooms.paced(webhook_id for webhook_id, _ in chosen)
        self.again_at = self._rooms.again_at
        return self

    def _of(self, wanted: EndpointLimits | None, limit: int) -> list[Found]:
        room = 0 if wanted is None else min(self._room(wanted), limit)
        return [] if wanted is None or room <= 0 else self._look_up(wanted, room)

    def _room(self, wanted: EndpointLimits) -> int:
        under_way = self._value("in_flight", wanted.webhook_id, self._now) or 0
        paced_until = None if wanted.rate_per_second is None else self._value("paced_until", wanted.webhook_id)
        return self._rooms.of(wanted, under_way, paced_until)

    def _look_up(self, wanted: EndpointLimits, room: int) -> list[Found]:
        """What is live, as many as there is room for; of what is replayed one at a time, in room that is left. An
        ordered endpoint gets one of either, so a long replay holds nothing up."""
        of = wanted.webhook_id
        if wanted.ordered:
            rows = self._rows("due_in_order", of, self._now, self._through)
            room = 1
        else:
            rows = self._rows("due_of_endpoint", self._shard, of, self._now, self._through, room)
        if len(rows) < room:
            rows += self._rows("replayed_due_in_order", of, self._now, self._through)
        return of_endpoint(rows, room)

    def _rows(self, name: str, *params: Any) -> list[tuple[Any, ...]]:
        return self._db.execute(queries()[name], params).fetchall()

    def _value(self, name: str, *params: Any) -> int | None:
        row = self._db.execute(queries()[name], params).fetchone()
        return None if row is None else int(row[0])
