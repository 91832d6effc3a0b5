"""What may happen to a run: commands in, events out, or a refusal. Pure: the caller brings time, chance and CEL.

An engine's decision goes: take what arrived (`inputs`), then go on as far as the rules lead: skip the dead, end the
run, or start what is ready; all of it one append. What people may do to a run is in `lifecycle` and `retry`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from executor.domain.definition import Definition
from executor.domain.errors import Code, ResourceConflict, Stale
from executor.domain.events import Event, Failure
from executor.domain.events import execution as events
from executor.domain.events.execution import Parent
from executor.domain.execution.decision import MAX_RESULTS_BYTES, Decision, results, shown_input
from executor.domain.execution.inputs import Completed, Failed, Input, LogLine, SignalDue, Suspended, TimerDue
from executor.domain.execution.queue import NO_SLOTS, Slots
from executor.domain.execution.state import State
from executor.domain.values import ExecutionStatus, Instant, Progress


class Creation(NamedTuple):
    """All that a new run starts from. `is_held` ones wait to be started by somebody."""

    workflow_id: str
    workflow_name: str
    workflow_version: int
    workflow_status: str
    definition: Definition
    parameters: dict[str, Any]
    priority: int
    tags: tuple[str, ...]
    project_id: str | None
    scheduled_at: Instant | None
    created_by: str
    triggered_by: str | None = None
    parent: Parent | None = None
    is_held: bool = False
    callback_id: str | None = None


def decide_create(state: State, creation: Creation, now: Instant) -> list[Event]:
    if state.status is not None:
        raise ResourceConflict("the execution exists already")
    is_later = creation.is_held or (creation.scheduled_at is not None and creation.scheduled_at > now)
    said = creation._asdict()
    del said["is_held"]
    return [
        events.ExecutionCreated(
            **said,
            status=ExecutionStatus.PENDING if is_later else ExecutionStatus.QUEUED,
            progress=Progress(
                current_component=None,
                completed_components=0,
                total_components=len(creation.definition.components),
                percentage=0,
            ),
        )
    ]


def decide_claim(state: State, engine: str, now: Instant, slots: Slots | None = NO_SLOTS) -> list[Event]:
    """The events of `claim`."""
    decision = claim(state, engine, now, slots)
    return decision.events if decision is not None else []


def decide_advance(
    state: State, epoch: int, inputs: Sequence[Input], now: Instant, *, may_start: bool = True
) -> list[Event]:
    """The events of `advance`. Raises `Stale`."""
    decision = advance(state, epoch, inputs, now, may_start=may_start)
    return decision.events if decision is not None else []


def claim(state: State, engine: str, now: Instant, slots: Slots | None = NO_SLOTS) -> Decision | None:
    """An engine takes the run: the next epoch, and whatever can start at once. A run that waited for longer than it
    may has failed. `slots` are the places that one in the queue gets; without them it is not its turn."""
    if state.is_ended or state.is_paused or state.status is None:
        return None
    decision = Decision(state, now)
    if state.queue_deadline is not None and state.queue_deadline <= now:
        decision.end_failed(_waited_too_long(state))
        return decision
    facts = decision.facts() | {
        "status": ExecutionStatus.RUNNING,
        "started_at": state.started_at or now,
        "duration": decision.state.elapsed(now) or 0.0,
    }
    if state.started_at is None:
        if slots is None and state.is_in_queue:
            return None
        slots = slots or NO_SLOTS
        facts |= {"slot": slots[0], "concurrency_slot": slots[1]}
        decision.emit(events.ExecutionStarted(**facts, engine=engine, epoch=state.epoch + 1))
    else:
        decision.emit(events.ExecutionReclaimed(**facts, engine=engine, epoch=state.epoch + 1))
    decision.advance()
    return decision


def advance(
    state: State, epoch: int, inputs: Sequence[Input], now: Instant, *, may_start: bool = True
) -> Decision | None:
    """What follows from what arrived. Late results of a run that has ended change nothing.

    An owner that is about to leave may start nothing: what is ready stays so, for the next owner to start.
    Raises `Stale` for another epoch or attempt than the run's: who says so no longer owns it.
    """
    if state.is_ended:
        return None
    if state.started_at is None:
        raise Stale("the run has not started since it was retried")
    if state.epoch != epoch:
        raise Stale(f"the run is at epoch {state.epoch}, not {epoch}")
    decision = Decision(state, now, may_start)
    decision.go_on(inputs)
    return decision


def is_due(state: State, now: Instant) -> bool:
    """Something of the run can happen at this time without anything arriving."""
    at = state.runnable_at
    return at is not None and at <= now


def _waited_too_long(state: State) -> Failure:
    limit = state.map.definition.queue_timeout
    return Failure(
        code=Code.TIMEOUT_ERROR, message=f"the execution waited longer than {limit:g} seconds in the queue"
    )


__all__ = [
    "MAX_RESULTS_BYTES",
    "Completed",
    "Creation",
    "Failed",
    "Input",
    "LogLine",
    "SignalDue",
    "Suspended",
    "TimerDue",
    "decide_advance",
    "decide_claim",
    "decide_create",
    "is_due",
    "results",
    "shown_input",
]
