"""The queue as an engine asks it: who may begin now, each organization under its limit of runs at once."""

from __future__ import annotations

import time
from typing import Final

from executor.domain.execution.queue import Admitted, Line, admit
from executor.domain.values import Instant
from executor.ports import Organizations, Reads

_TRUSTED_SECONDS: Final = 2.0
"""How long a limit is believed before the ledger is asked again."""
_FEWEST_OF_EACH: Final = 20


class Queue:
    """Answers from the rows, and takes nothing: a place is taken by the append that begins the run."""

    def __init__(self, reads: Reads, organizations: Organizations) -> None:
        self._reads = reads
        self._organizations = organizations
        self._limits: dict[str, tuple[int | None, float]] = {}

    async def next(self, now: Instant, room: int) -> list[Admitted]:
        """At most `room` runs, in the order in which they should begin."""
        running = await self._reads.queues()
        of_each = max(_FEWEST_OF_EACH, 2 * room // max(1, len(running)))
        return admit([await self._line(id, begun, now, of_each) for id, begun in running.items()], room)

    async def _line(self, id: str, running: int, now: Instant, most: int) -> Line:
        limit = await self._limit(id)
        if limit is not None and running >= limit:
            return Line(id, running, limit, ())
        waiting = await self._reads.in_queue(id, now, most)
        has_places = limit is not None or any(each.concurrency_key is not None for each in waiting)
        return Line(id, running, limit, waiting, await self._reads.places(id) if waiting and has_places else ())

    async def _limit(self, id: str) -> int | None:
        known = self._limits.get(id)
        if known is None or known[1] < time.monotonic():
            organization = await self._organizations.get(id)
            limit = organization.runs_at_once if organization is not None else None
            known = self._limits[id] = limit, time.monotonic() + _TRUSTED_SECONDS
        return known[0]
