"""Workers that claim external tasks, and wait for some: woken by the log, one for each task that is to be had.

Who waits asks the store only when there may be something for it: the feed says when a task of one of its types was
created or released. What no event tells (a lease that ran out before its claim was in the log, a word that got lost)
is looked for every few seconds, once for all who wait for the same.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from msgspec import Struct

from executor.domain.errors import Code, NotFound, Problem, Refusal, ResourceConflict
from executor.domain.events.task import TaskCreated, TaskReleased
from executor.domain.task.rows import view
from executor.domain.task.state import State, TaskKind
from executor.domain.values import plus
from executor.ports import Metadata, Recorded, TaskLease
from executor.sealing import Unsealable
from executor.secrets import open_config
from hub.feed import Feed
from hub.tasks.commands import TaskCommands, lease_seconds
from hub.tasks.requests import ClaimTasks

MOST_WAITING: Final = 1000
"""Claims of one organization that wait at a time, in one process."""
_LOOK_SECONDS: Final = 5.0
_TAKING_SECONDS: Final = 5.0
"""A task is held for so long until its claim is in the log, and its lease as long as the task says."""

Gone = Callable[[], Awaitable[None]]
"""Returns when the client has gone."""


class _Facts(Struct):
    kind: str
    task_type: str | None = None


class _Waiter:
    def __init__(self, organization_id: str, types: frozenset[str]) -> None:
        self.organization_id, self.types = organization_id, types
        self.woken = asyncio.Event()


class Claims:
    """Every claim that waits in this process."""

    def __init__(self, commands: TaskCommands, feed: Feed) -> None:
        self._commands = commands
        self._waiting: dict[str, dict[_Waiter, None]] = {}
        self._is_closing = False
        for type in (TaskCreated.type, TaskReleased.type):
            feed.watch(type, self._hear)

    def __len__(self) -> int:
        return sum(len(waiting) for waiting in self._waiting.values())

    async def run(self) -> None:
        """Lets those who wait look again now and then."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            for waiting in self._waiting.values():
                for waiter in {waiter.types: waiter for waiter in reversed(waiting)}.values():
                    waiter.woken.set()

    def close(self) -> None:
        """Whoever waits is answered now, and nobody waits any more."""
        self._is_closing = True
        for waiting in self._waiting.values():
            for waiter in waiting:
                waiter.woken.set()

    async def claim(
        self, organization_id: str, request: ClaimTasks, metadata: Metadata, gone: Gone
    ) -> list[dict[str, Any]]:
        """Tasks for a worker, urgent ones first, then the oldest, each with its secrets opened; none where none came
        in time, or where the client has gone."""
        if not request.wait_seconds:
            found = await self._take(organization_id, request, metadata)
            return [await self.shown(state, request.lease_seconds) for state in found]
        left = asyncio.ensure_future(gone())
        try:
            found = await self._wait(organization_id, request, metadata, left)
            if left.done():
                await asyncio.gather(*(self._give_back(state, metadata) for state in found))
                return []
            return [await self.shown(state, request.lease_seconds) for state in found]
        finally:
            left.cancel()
            await asyncio.gather(left, return_exceptions=True)

    async def _wait(
        self, organization_id: str, request: ClaimTasks, metadata: Metadata, left: asyncio.Future[None]
    ) -> list[State]:
        waiter, found = self._enter(organization_id, frozenset(request.types)), list[State]()
        loop = asyncio.get_running_loop()
        until = loop.time() + request.wait_seconds
        try:
            while not left.done():
                waiter.woken.clear()
                found = await self._take(organization_id, request, metadata)
                pause = until - loop.time()
                if found or self._is_closing or pause <= 0:
                    break
                await _either(waiter.woken, left, pause)
        finally:
            self._leave(waiter, passes_on=waiter.woken.is_set() or not found)
        return found

    def _enter(self, organization_id: str, types: frozenset[str]) -> _Waiter:
        waiting = self._waiting.setdefault(organization_id, {})
        if len(waiting) >= MOST_WAITING:
            message = f"{MOST_WAITING} claims of the organization wait already; wait with fewer"
            raise Refusal([Problem(Code.RATE_LIMIT_EXCEEDED, message)])
        waiter = _Waiter(organization_id, types)
        waiting[waiter] = None
        return waiter

    def _leave(self, waiter: _Waiter, passes_on: bool) -> None:
        """What it was woken for may still be there, for another one."""
        waiting = self._waiting[waiter.organization_id]
        del waiting[waiter]
        if not waiting:
            del self._waiting[waiter.organization_id]
        elif passes_on:
            self._wake(waiter.organization_id, waiter.types)

    def _hear(self, recorded: Recorded) -> None:
        if recorded.organization_id in self._waiting:
            facts = msgspec.json.decode(recorded.data, type=_Facts)
            if facts.kind == TaskKind.EXTERNAL and facts.task_type is not None:
                self._wake(recorded.organization_id, frozenset({facts.task_type}))

    def _wake(self, organization_id: str, types: frozenset[str]) -> None:
        """The one that has waited longest for one of the types and was not woken yet."""
        for waiter in self._waiting.get(organization_id, ()):
            if not waiter.woken.is_set() and waiter.types & types:
                waiter.woken.set()
                return

    async def _take(self, organization_id: str, request: ClaimTasks, metadata: Metadata) -> list[State]:
        lease_id, seconds = self._commands.clock.new_id(), request.lease_seconds or _TAKING_SECONDS
        ids = await self._commands.leases.claim(
            organization_id, request.types, request.worker_id, lease_id, seconds, request.max
        )
        leases = [TaskLease(id, request.worker_id, lease_id) for id in ids]
        begun = await asyncio.gather(*(self._begin(lease, request.lease_seconds, metadata) for lease in leases))
        return sorted(filter(None, begun), key=lambda state: (-state.priority, state.created_at, state.id))

    async def _begin(self, lease: TaskLease, wanted: float | None, metadata: Metadata) -> State | None:
        with contextlib.suppress(ResourceConflict, NotFound):
            state = await self._commands.begin(lease, wanted, metadata)
            if wanted is None:
                await self._commands.leases.renew(lease.task_id, lease.worker_id, lease_seconds(state, None))
            return state
        return None

    async def _give_back(self, state: State, metadata: Metadata) -> None:
        """The worker will never know that it has it."""
        with contextlib.suppress(ResourceConflict):
            await self._commands.give_back(state, "the worker has gone", metadata)

    async def shown(self, state: State, wanted: float | None) -> dict[str, Any]:
        """A task as the worker gets it that has it: with what it needs to know in clear."""
        shown: dict[str, Any] = msgspec.to_builtins(view(state))
        with contextlib.suppress(Unsealable):
            shown["input"] = await open_config(self._commands.sealer, state.organization_id, state.input, set[str]())
        seconds = lease_seconds(state, wanted)
        return shown | {"lease_seconds": seconds, "lease_expires_at": plus(state.updated_at, seconds)}


async def _either(woken: asyncio.Event, left: asyncio.Future[None], seconds: float) -> None:
    """Until one of them, and no longer than some seconds."""
    waking = asyncio.ensure_future(woken.wait())
    try:
        await asyncio.wait((waking, left), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waking.cancel()
        await asyncio.gather(waking, return_exceptions=True)
