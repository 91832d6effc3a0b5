"""Takes the replays on that have not ended, and brings each to its end.

A replay moves on in small steps, each with all that it writes in one transaction behind its position; so whoever dies
in between leaves one that another process, or the next start, goes on with.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Final

from msgspec.structs import replace

from executor.domain.errors import Unavailable
from executor.domain.values import placed_id
from executor.ports import Clock, Delivery, EventLog, EventQuery, Leases, Recorded, Replay, Replays
from webhooks.directory import Directory
from webhooks.doorbell import Doorbell
from webhooks.endpoint import State
from webhooks.facts import Facts
from webhooks.fanout import live, wanting
from webhooks.matching import Matcher, types_of
from webhooks.turn import TTL_SECONDS, Turn

MOST_WAITING: Final = 200
"""Deliveries of one replay that have not ended."""
INTERNAL_ERROR: Final = "an internal error; the hub's log says which"

_LOOK_SECONDS = (0.25, 1.0)
"""Between looks for new ones: where this process is alone, and where others have the store too."""
_PAUSE_SECONDS = (0.02, 0.5)
_AGAIN_SECONDS = 0.5
_FIRST_PAGE = 16
_LARGEST_PAGE = 1000
_PAGE_BYTES = 2 * 1024 * 1024

log = logging.getLogger(__name__)


class Replayer(ABC):
    """Works on the replays of one kind of target. `run` it in each process that serves that kind."""

    most_waiting: int = _LARGEST_PAGE

    def __init__(
        self, log: EventLog, replays: Replays, leases: Leases, clock: Clock, turn_seconds: float = TTL_SECONDS
    ) -> None:
        self._log, self._replays, self._leases, self._clock = log, replays, leases, clock
        self._holder = clock.new_id()
        self._turn_seconds = turn_seconds
        self._under_way: dict[str, asyncio.Task[None]] = {}

    @abstractmethod
    def takes(self, replay: Replay) -> bool:
        """Whether it is of this kind."""

    @abstractmethod
    async def obstacle(self, replay: Replay) -> str | None:
        """Why a replay cannot go on."""

    @abstractmethod
    async def waiting(self, replay: Replay) -> int:
        """How many of the events that it has passed keep it from its end, never more than `most_waiting`."""

    @abstractmethod
    async def step(self, replay: Replay, found: Sequence[Recorded], position: int) -> None:
        """Moves it on over what was found, to a position."""

    async def run(self, *, is_alone: bool) -> None:
        """Goes on until it is cancelled; a store that is away only delays it. Unless this process `is_alone`, each
        replay is one process's at a time, by a lease."""
        try:
            while True:
                try:
                    for replay in await self._replays.open():
                        if replay.id not in self._under_way and self.takes(replay):
                            self._start(replay.id, is_alone)
                except Unavailable as error:
                    log.warning("replays wait for the store: %s", error)
                await asyncio.sleep(_LOOK_SECONDS[0 if is_alone else 1])
        finally:
            left = list(self._under_way.values())
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    def _start(self, id: str, is_alone: bool) -> None:
        task = asyncio.create_task(self._keep(id, is_alone), name=f"replay-{id}")
        self._under_way[id] = task
        task.add_done_callback(lambda _: self._under_way.pop(id, None))

    async def _keep(self, id: str, is_alone: bool) -> None:
        """To its end, or until another process has it."""
        turn = Turn(self._leases, f"replay:{id}", self._holder, self._turn_seconds)
        try:
            if is_alone:
                await self._work(id)
            else:
                await turn.work(partial(self._work, id))
        except Unavailable as error:
            log.warning("replay %s waits for the store: %s", id, error)
            await asyncio.sleep(_AGAIN_SECONDS)
        except Exception:
            log.exception("replay %s failed within", id)
            with contextlib.suppress(Unavailable):
                await self._replays.end(id, "failed", self._clock.now(), INTERNAL_ERROR)

    async def _work(self, id: str) -> None:
        shortest, longest = _PAUSE_SECONDS
        page, pause = _FIRST_PAGE, shortest
        while (replay := await self._replays.get(id)) is not None and not replay.is_ended:
            if (error := await self.obstacle(replay)) is not None:
                await self._replays.end(id, "failed", self._clock.now(), error)
                return
            waiting = await self.waiting(replay)
            if replay.position >= replay.last and not waiting:
                await self._replays.end(id, "completed", self._clock.now())
                return
            if replay.position < replay.last and waiting < self.most_waiting:
                limit = min(page, self.most_waiting - waiting)
                page, pause = _next_page(page, await self.read_on(replay, limit)), shortest
                await asyncio.sleep(0)
            else:
                await asyncio.sleep(pause)
                pause = min(pause * 2, longest)

    async def read_on(self, replay: Replay, limit: int) -> int:
        """Answers how many bytes of data were read."""
        found = await self._log.read(matching(replay, after=replay.position, limit=limit))
        await self.step(replay, found, found[-1].position if len(found) == limit else replay.last)
        return sum(len(recorded.data) for recorded in found)


class WebhookJobs(Replayer):
    """Jobs that write the deliveries of a webhook."""

    def __init__(
        self,
        log: EventLog,
        replays: Replays,
        leases: Leases,
        directory: Directory,
        clock: Clock,
        turn_seconds: float = TTL_SECONDS,
    ) -> None:
        super().__init__(log, replays, leases, clock, turn_seconds)
        self._directory = directory

    async def obstacle(self, replay: Replay) -> str | None:
        state = await self.state(replay)
        if state is None or state.deleted:
            return "the webhook was deleted"
        return None if state.is_active else "the webhook was switched off"

    async def state(self, replay: Replay) -> State | None:
        return None if replay.webhook_id is None else await self._directory.current(replay.webhook_id)


class WebhookReplayer(WebhookJobs):
    """Writes the deliveries of replays that go to a webhook. Each never has more than some of them waiting, and the
    claim lets what is live go first."""

    most_waiting = MOST_WAITING

    def __init__(
        self,
        log: EventLog,
        replays: Replays,
        leases: Leases,
        directory: Directory,
        facts: Facts,
        doorbell: Doorbell,
        clock: Clock,
        turn_seconds: float = TTL_SECONDS,
    ) -> None:
        super().__init__(log, replays, leases, directory, clock, turn_seconds)
        self._facts, self._doorbell = facts, doorbell

    def takes(self, replay: Replay) -> bool:
        return replay.webhook_id is not None and replay.kind == "replay"

    async def waiting(self, replay: Replay) -> int:
        return await self._replays.waiting(replay.id)

    async def step(self, replay: Replay, found: Sequence[Recorded], position: int) -> None:
        state = await self.state(replay)
        if state is None or state.endpoint is None:
            return
        matcher, now = Matcher(state, replay.types), self._clock.now()
        deliveries = [
            _replayed(live(recorded, matcher, now), replay)
            for recorded in found
            if recorded.data and await wanting([matcher], recorded, self._facts)
        ]
        moved = await self._replays.advance(replay.id, replay.position, position, len(deliveries), deliveries)
        if moved and deliveries:
            self._doorbell.ring(state.shard)


def _replayed(live: Delivery, replay: Replay) -> Delivery:
    """A delivery of its own, beside the live one of that event."""
    id = placed_id(replay.created_at, live.position or 0, replay.id, live.event_id, live.webhook_id)
    return replace(live, id=id, replay_id=replay.id, created_at=replay.created_at)


def matching(replay: Replay, *, after: int, limit: int) -> EventQuery:
    """A page of a replay's events after a position."""
    return EventQuery(
        after=max(after, replay.first - 1),
        before=replay.last + 1,
        types=tuple(sorted(types_of(replay.types))),
        organization_id=replay.organization_id,
        workflow_id=replay.workflow_id,
        execution_id=replay.execution_id,
        limit=limit,
    )


def _next_page(page: int, size: int) -> int:
    """How many events to read after a page of some bytes: pages grow, but not beyond `_PAGE_BYTES`."""
    return max(1, min(page * 2, page * _PAGE_BYTES // max(size, 1), _LARGEST_PAGE))
