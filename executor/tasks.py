"""Tasks beside their runs: how they begin and are given up with the component that waits for them, and how their end
and the word of it to the run become one append."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final
from weakref import WeakValueDictionary

import msgspec

from executor.components.tasks import OpensTask
from executor.domain.errors import ResourceConflict, Unavailable
from executor.domain.events import Event
from executor.domain.events import execution as runs
from executor.domain.execution.lifecycle import decide_told
from executor.domain.execution.state import State as Run
from executor.domain.task.decide import Origin, decide_abandon, decide_create, ending
from executor.domain.task.state import State, initial, stream
from executor.domain.values import Instant
from executor.ports import Clock, Conflict, EventLog, Metadata, NewEvent, StreamAppend

_ATTEMPTS: Final = 20
_KEPT_RUNS: Final = 16


class Tasks:
    """Implements `Kind`."""

    prefix = "task"

    def opened(self, opens: OpensTask, parent: Run, component: str, now: Instant) -> Sequence[Event]:
        known, run = parent.components[component], parent.run
        origin = Origin(
            workflow_id=run.workflow_id,
            workflow_name=run.workflow_name,
            execution_id=run.id,
            component_id=known.id,
            iteration=known.iteration,
            attempt=known.attempt,
            priority=parent.priority,
        )
        return decide_create(initial(), opens.opening, origin, now)

    def followed(self, state: State, parent: Run, event: Event, now: Instant) -> Sequence[Event]:
        """A pause changes nothing: people and workers go on, and the run hears of it when it does."""
        match event:
            case runs.ExecutionPaused() | runs.ExecutionResumed():
                return ()
            case runs.ExecutionCancelled() | runs.ExecutionTerminated():
                return decide_abandon(state, event.reason or f"the execution was {event.status}", now)
            case runs.ExecutionFailed():
                return decide_abandon(state, f"the execution failed: {event.error.message}", now)
        return decide_abandon(state, "the component does not wait for it any more", now)

    def place(self, of: OpensTask | State, run: Run) -> tuple[str | None, str | None]:
        return run.run.workflow_id, run.run.id


class TaskHandler:
    """The way of every command on a task to the log: load, decide, append; again on a conflict.

    Those that end tasks of one run go one after the other in a process: each has to say so in the run's stream. The
    last folds of a few runs are kept, so that the end of each of many tasks of a large run costs the same.
    """

    def __init__(self, log: EventLog, clock: Clock) -> None:
        self._log, self._clock = log, clock
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._runs: OrderedDict[str, tuple[Any, int]] = OrderedDict()

    async def handle(self, id: str, decide: Callable[[State], Sequence[Event]], metadata: Metadata) -> State:
        """The task after a command on it; where that ends it, its run hears of that in the same append. Raises what
        `decide` raises, `ResourceConflict` where the run does not wait for it any more, and `Unavailable`."""
        for _ in range(_ATTEMPTS):
            state, version = await self._log.load(stream(id))
            decided = decide(state)
            if not decided:
                return _of(state)
            part = self._part(stream(id), version, state, decided, state)
            ended = ending(decided[-1])
            with contextlib.suppress(Conflict):
                if ended is None:
                    return _of((await self._log.append((part,), metadata))[0].state)
                return await self._end(part, state, msgspec.to_builtins(ended), metadata)
        raise Unavailable(f"the task '{id}' is changing too fast; try again")

    async def _end(self, part: StreamAppend, task: State, told: Any, metadata: Metadata) -> State:
        """Raises `Conflict` where the task has moved; where its run has, that is looked at again."""
        turn = self._turns.setdefault(task.execution_id, asyncio.Lock())
        async with turn:
            for _ in range(_ATTEMPTS):
                telling = await self._telling(task, told)
                try:
                    done, run = await self._log.append((part, telling), metadata)
                except Conflict as conflict:
                    if conflict.stream == part.stream:
                        raise
                else:
                    self._keep(task.execution_id, run.state, run.version)
                    return _of(done.state)
        raise Unavailable(f"the execution of the task '{task.id}' is changing too fast; try again")

    async def _telling(self, task: State, data: Any) -> StreamAppend:
        name, known = f"execution:{task.execution_id}", self._runs.get(task.execution_id)
        run, version = await self._log.load(name, known)
        self._keep(task.execution_id, run, version)
        told = decide_told(run, stream(task.id), data, self._clock.now())
        if not told:
            message = f"the execution is {run.status} and does not wait for the task any more"
            raise ResourceConflict(message, "status", current_status=task.status)
        return self._part(name, version, run, told, task)

    def _keep(self, execution_id: str, run: Any, version: int) -> None:
        self._runs[execution_id] = (run, version)
        self._runs.move_to_end(execution_id)
        if len(self._runs) > _KEPT_RUNS:
            self._runs.popitem(last=False)

    def _part(self, name: str, version: int, state: Any, decided: Sequence[Event], task: State) -> StreamAppend:
        return StreamAppend(
            stream=name,
            expected=version,
            state=state,
            events=tuple(NewEvent(self._clock.new_id(), event) for event in decided),
            organization_id=task.organization_id,
            workflow_id=task.workflow_id,
            execution_id=task.execution_id,
        )


def _of(state: Any) -> State:
    assert isinstance(state, State)
    return state
