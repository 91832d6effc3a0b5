"""What may happen to a schedule: commands in, events out, or a refusal.

The caller brings the time, what the timetable says (`executor/timetable.py`), and what became of the executions and
the workflow. What happens to an execution is part of the same append (`executor/firing.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET, Struct, UnsetType, structs

from executor.domain.errors import NotFound, ResourceConflict
from executor.domain.events import Event
from executor.domain.events import schedule as events
from executor.domain.events.schedule import Overlap, ScheduleFired, SkipReason
from executor.domain.schedule import FIELDS, Next, State, Turn
from executor.domain.secrets import REDACTED
from executor.domain.values import Instant

Coming = Callable[[State], Next]
"""The next time of a schedule from now on."""

_TIMING: Final = frozenset({"cron", "interval_seconds", "timezone", "start_at", "end_at", "jitter_seconds"})
_NEVER: Final = Next(None, None)


class Change(Struct, frozen=True, kw_only=True):
    """What a client may set; a field left out keeps its value, and so does a parameter that is `[REDACTED]`."""

    name: str | UnsetType = UNSET
    workflow_id: str | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    cron: str | UnsetType | None = UNSET
    interval_seconds: int | UnsetType | None = UNSET
    timezone: str | UnsetType = UNSET
    parameters: dict[str, Any] | UnsetType = UNSET
    priority: int | UnsetType | None = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    project_id: str | UnsetType | None = UNSET
    overlap_policy: str | UnsetType = UNSET
    queue_limit: int | UnsetType = UNSET
    catch_up: str | UnsetType = UNSET
    catch_up_window_seconds: int | UnsetType = UNSET
    jitter_seconds: int | UnsetType = UNSET
    start_at: Instant | UnsetType | None = UNSET
    end_at: Instant | UnsetType | None = UNSET
    is_paused: bool | UnsetType = UNSET


class Refused(NamedTuple):
    """Why nothing can run: for this time, or for good."""

    reason: SkipReason
    message: str
    is_final: bool = False


class Found(NamedTuple):
    """What is so around a schedule: which of its executions are live, in order, and whether it can run at all."""

    live: tuple[str, ...] = ()
    refused: Refused | None = None


def changed(state: State, change: Change) -> dict[str, Any]:
    """The fields that a change really changes. One way to say the times replaces the other."""
    given = {name: value for name in change.__struct_fields__ if (value := getattr(change, name)) is not UNSET}
    for one, other in (("cron", "interval_seconds"), ("interval_seconds", "cron")):
        if given.get(one) is not None:
            given.setdefault(other, None)
    if "parameters" in given:
        given["parameters"] = parameters_after(state, change)
    return {name: value for name, value in given.items() if not _same(value, getattr(state, name))}


def parameters_after(state: State, change: Change) -> dict[str, Any]:
    """All of them, once a change is made."""
    if isinstance(change.parameters, UnsetType):
        return state.parameters
    return {
        name: state.parameters.get(name, value) if value == REDACTED else value
        for name, value in change.parameters.items()
    }


def _same(one: Any, other: Any) -> bool:
    """The same JSON: to Python `1`, `1.0` and `true` are equal, to a workflow they are not."""
    return msgspec.json.encode(one, order="deterministic") == msgspec.json.encode(other, order="deterministic")


def decide_create(state: State, change: Change, id: str, now: Instant, coming: Coming) -> list[Event]:
    if state.version:
        raise ResourceConflict("the schedule exists already")
    after = structs.replace(state, id=id, **changed(state, change))
    after = structs.replace(after, anchor=after.start_at or now)
    next = _NEVER if after.is_paused else coming(after)
    return [events.ScheduleCreated(**_facts(after, next), is_paused=after.is_paused)]


def decide_update(state: State, change: Change, now: Instant, coming: Coming) -> list[Event]:
    """Nothing for a change that changes nothing. The next time is another only where the times are."""
    _alive(state)
    given = changed(state, change)
    is_paused = given.pop("is_paused", state.is_paused)
    after = structs.replace(state, **given)
    if given.keys() & _TIMING:
        after = structs.replace(after, anchor=after.start_at or now)
        if not state.is_paused:
            after = _with(after, coming(after))
    decided: list[Event] = []
    if given:
        next = Next(after.next_time, after.next_run_at)
        decided.append(events.ScheduleUpdated(**_facts(after, next), changed=tuple(given)))
    if is_paused != state.is_paused:
        decided += decide_pause(after, None) if is_paused else decide_resume(after, coming)
    return decided


def decide_pause(state: State, reason: str | None) -> list[Event]:
    """No time runs until it is resumed; what waits in its queue goes on."""
    _alive(state)
    if state.is_paused:
        raise ResourceConflict("the schedule is paused already", "status", current_status=str(state.status))
    return [events.SchedulePaused(name=state.name, reason=reason)]


def decide_resume(state: State, coming: Coming) -> list[Event]:
    """From now on: what passed meanwhile is not caught up with."""
    _alive(state)
    if not state.is_paused:
        raise ResourceConflict(
            f"the schedule is {state.status}, not paused", "status", current_status=str(state.status)
        )
    next = coming(state)
    return [events.ScheduleResumed(name=state.name, next_time=next.time, next_run_at=next.run_at)]


def decide_delete(state: State) -> list[Event]:
    _alive(state)
    return [events.ScheduleDeleted(name=state.name)]


def decide_due(state: State, turn: Turn, found: Found, execution_id: str) -> list[Event]:
    """What becomes of a time that has come, and of those that were missed. A schedule that can never run again is
    paused."""
    decided: list[Event] = []
    if turn.missed is not None:
        refused = Refused(SkipReason.MISSED, "nobody was there to run it in time")
        decided.append(_skipped(state, turn.missed, refused, turn.next, turn.until))
    if turn.runs is None:
        return decided
    refusal = found.refused or _overlapping(state, found.live)
    if refusal is None:
        return [*decided, _fired(state, turn.runs, found.live, execution_id, turn.next)]
    decided.append(_skipped(state, turn.runs, refusal, turn.next))
    if refusal.is_final:
        decided.append(events.SchedulePaused(name=state.name, reason=refusal.message))
    return decided


def decide_trigger(state: State, now: Instant, live: tuple[str, ...], execution_id: str) -> list[Event]:
    """Now, beside its times, also while it is paused; what overlaps is treated as at any time."""
    _alive(state)
    if (refused := _overlapping(state, live)) is not None:
        raise ResourceConflict(refused.message, "overlap_policy", executions=list(live))
    next = Next(state.next_time, state.next_run_at)
    return [structs.replace(_fired(state, now, live, execution_id, next), is_manual=True)]


def decide_release(state: State, live: tuple[str, ...]) -> list[events.ScheduleReleased]:
    """The first of the queue that is still there starts, where nothing that was before it runs."""
    if not state.queue or (state.current is not None and state.current in live):
        return []
    first = next((id for id in state.queue if id in live), None)
    return [events.ScheduleReleased(name=state.name, execution_id=first)]


def _overlapping(state: State, live: tuple[str, ...]) -> Refused | None:
    """Why nothing more may run beside what is live."""
    if live and state.overlap_policy == Overlap.SKIP:
        return Refused(SkipReason.OVERLAP, f"the execution '{live[0]}' still runs, and the overlap policy is skip")
    waiting = len(set(live) & set(state.queue))
    if live and state.overlap_policy == Overlap.QUEUE and waiting >= state.queue_limit:
        return Refused(SkipReason.QUEUE_FULL, f"{waiting} executions wait already, and queue_limit allows no more")
    return None


def _fired(state: State, at: Instant, live: tuple[str, ...], execution_id: str, next: Next) -> ScheduleFired:
    return ScheduleFired(
        name=state.name,
        workflow_id=state.workflow_id,
        scheduled_time=at,
        execution_id=execution_id,
        waits=bool(live) and state.overlap_policy == Overlap.QUEUE,
        cancelled=live if state.overlap_policy == Overlap.CANCEL else (),
        next_time=next.time,
        next_run_at=next.run_at,
    )


def _skipped(
    state: State, at: Instant, refused: Refused, next: Next, until: Instant | None = None
) -> events.ScheduleSkipped:
    return events.ScheduleSkipped(
        name=state.name,
        scheduled_time=at,
        until=until,
        reason=str(refused.reason),
        message=refused.message,
        next_time=next.time,
        next_run_at=next.run_at,
    )


def _alive(state: State) -> None:
    if not state.is_there:
        raise NotFound("schedule", state.id)


def _with(state: State, next: Next) -> State:
    return structs.replace(state, next_time=next.time, next_run_at=next.run_at)


def _facts(state: State, next: Next) -> dict[str, Any]:
    return {name: getattr(_with(state, next), name) for name in FIELDS}
