"""Tasks beside their runs: how they begin and are given up with the component that waits for them, and how their end
and the word of it to the run become one append."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

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

_ATTEMPTS = 20


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


async def handle_task(
    log: EventLog, clock: Clock, id: str, decide: Callable[[State], Sequence[Event]], metadata: Metadata
) -> State:
    """The task after a command on it; where that ends it, its run hears of that in the same append. Raises what
    `decide` raises, `ResourceConflict` where the run does not wait for it any more, and `Unavailable`."""
    for _ in range(_ATTEMPTS):
        state, version = await log.load(stream(id))
        decided = decide(state)
        if not decided:
            return _of(state)
        parts = [_part(clock, stream(id), version, state, decided, state)]
        ended = ending(decided[-1])
        if ended is not None:
            parts.append(await _telling(log, clock, state, msgspec.to_builtins(ended)))
        try:
            done, *_ = await log.append(parts, metadata)
            return _of(done.state)
        except Conflict:
            continue
    raise Unavailable(f"the task '{id}' is changing too fast; try again")


async def _telling(log: EventLog, clock: Clock, task: State, data: Any) -> StreamAppend:
    run, version = await log.load(f"execution:{task.execution_id}")
    told = decide_told(run, stream(task.id), data, clock.now())
    if not told:
        message = f"the execution is {run.status} and does not wait for the task any more"
        raise ResourceConflict(message, "status", current_status=task.status)
    return _part(clock, f"execution:{task.execution_id}", version, run, told, task)


def _part(clock: Clock, name: str, version: int, state: Any, decided: Sequence[Event], task: State) -> StreamAppend:
    return StreamAppend(
        stream=name,
        expected=version,
        state=state,
        events=tuple(NewEvent(clock.new_id(), event) for event in decided),
        organization_id=task.organization_id,
        workflow_id=task.workflow_id,
        execution_id=task.execution_id,
    )


def _of(state: Any) -> State:
    assert isinstance(state, State)
    return state
