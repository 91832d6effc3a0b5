"""What may happen to a run: commands in, events out, or a refusal. Pure: the caller brings time, chance and CEL.

An engine's decision goes: take what arrived (`Completed`, `Failed`, `Suspended`, `TimerDue`), then go on as far as
the rules lead: skip the dead, end the run, or start what is ready; all of it one append.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from executor.domain.definition import ComponentSpec, Definition
from executor.domain.errors import Code, ResourceConflict, Stale
from executor.domain.events import Event, Failure, Stamp
from executor.domain.events import execution as events
from executor.domain.execution.references import lookup_in
from executor.domain.execution.state import ComponentState, State, apply, copied
from executor.domain.references import resolve
from executor.domain.secrets import redact
from executor.domain.values import (
    ComponentStatus,
    ExecutionStatus,
    Instant,
    LogLevel,
    Progress,
    RetryPolicy,
    plus,
    seconds_between,
)

_ONE_ATTEMPT = RetryPolicy()
_INPUT_SHOWN_BYTES = 16 * 1024
MAX_RESULTS_BYTES = 1024 * 1024
"""Of all results together: they are in one event and one row."""


class LogLine(NamedTuple):
    level: LogLevel
    message: str
    metadata: dict[str, Any] | None = None


class Completed(NamedTuple):
    """A component's run() answered. `taken` are the connections whose conditions the engine found true."""

    component_id: str
    attempt: int
    output: Any
    taken: tuple[int, ...]
    logs: tuple[LogLine, ...] = ()


class Failed(NamedTuple):
    """A component's run() failed. `temporary` failures are tried again while the policy allows; `taken` counts only
    where this one is final. `jitter` is -1 to 1."""

    component_id: str
    attempt: int
    failure: Failure
    temporary: bool
    taken: tuple[int, ...]
    jitter: float = 0.0
    logs: tuple[LogLine, ...] = ()


class Suspended(NamedTuple):
    """A component waits for a time and needs nobody until then."""

    component_id: str
    attempt: int
    until: Instant


class TimerDue(NamedTuple):
    """The time of a suspended component has come; it ends with `output`, or fails where there is a `failure`."""

    component_id: str
    output: Any
    taken: tuple[int, ...]
    failure: Failure | None = None


Input = Completed | Failed | Suspended | TimerDue


class Creation(NamedTuple):
    """All that a new run starts from."""

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


def decide_create(state: State, creation: Creation, now: Instant) -> list[Event]:
    if state.status is not None:
        raise ResourceConflict("the execution exists already")
    is_later = creation.scheduled_at is not None and creation.scheduled_at > now
    return [
        events.ExecutionCreated(
            **creation._asdict(),
            status=ExecutionStatus.PENDING if is_later else ExecutionStatus.QUEUED,
            progress=Progress(
                current_component=None,
                completed_components=0,
                total_components=len(creation.definition.components),
                percentage=0,
            ),
        )
    ]


def decide_claim(state: State, engine: str, now: Instant) -> list[Event]:
    """An engine takes the run: the next epoch, and whatever can start at once."""
    if state.is_ended or state.status is None:
        return []
    decision = _Decision(state, now)
    event = events.ExecutionStarted if state.started_at is None else events.ExecutionReclaimed
    facts = decision.facts() | {
        "status": ExecutionStatus.RUNNING,
        "started_at": state.started_at or now,
        "duration": decision.state.elapsed(now) or 0.0,
    }
    decision.emit(event(**facts, engine=engine, epoch=state.epoch + 1))
    decision.advance()
    return decision.events


def decide_advance(
    state: State, epoch: int, inputs: Sequence[Input], now: Instant, *, may_start: bool = True
) -> list[Event]:
    """What follows from what arrived. Late results of a run that has ended change nothing.

    An owner that is about to leave may start nothing: what is ready stays so, for the next owner to start.
    Raises `Stale` for another epoch or attempt than the run's: who says so no longer owns it.
    """
    if state.is_ended:
        return []
    if state.epoch != epoch:
        raise Stale(f"the run is at epoch {state.epoch}, not {epoch}")
    decision = _Decision(state, now, may_start)
    for input in inputs:
        decision.take(input)
    decision.advance()
    return decision.events


def decide_cancel(state: State, by: str, reason: str | None, now: Instant) -> list[Event]:
    """Ends the run at once: nothing more starts, and what still comes in changes nothing."""
    if state.status is None:
        return []
    if state.is_ended:
        raise ResourceConflict(
            f"the execution is {state.status} and cannot be cancelled", "status", current_status=str(state.status)
        )
    decision = _Decision(state, now)
    decision.cancel_components()
    facts = decision.facts() | {"status": ExecutionStatus.CANCELLED}
    decision.emit(events.ExecutionCancelled(**facts, cancelled_by=by, reason=reason))
    return decision.events


def is_due(state: State, now: Instant) -> bool:
    """Something of the run can happen at this time without anything arriving."""
    at = state.runnable_at
    return at is not None and at <= now


class _Decision:
    """A decision in the making: the events so far, and the state as they leave it."""

    def __init__(self, state: State, now: Instant, may_start: bool = True) -> None:
        self.state = copied(state)
        self.now = now
        self.may_start = may_start
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)
        run = self.state.run
        apply(self.state, event, Stamp(self.now, run.organization_id, run.id, self.state.version + 1))

    # what every event says

    def facts(self) -> dict[str, Any]:
        state = self.state
        return {
            "workflow_name": state.run.workflow_name,
            "status": state.status,
            "priority": state.priority,
            "progress": state.progress,
            "duration": state.elapsed(self.now),
            "started_at": state.started_at,
        }

    def _component_facts(self, id: str, status: ComponentStatus, settles: int = 0) -> dict[str, Any]:
        """`settles` is 1 where the event settles its component, so that its progress counts it."""
        state, known = self.state, self.state.components.get(id)
        progress = state.progress
        began = known.started_at if known and settles else None
        total, done = progress.total_components, progress.completed_components + settles
        running = {**state.timers, **state.running}
        if settles:
            running.pop(id, None)
        elif status is ComponentStatus.RUNNING:
            running[id] = None
        return {
            "workflow_name": state.run.workflow_name,
            "status": status,
            "priority": state.priority,
            "progress": Progress(
                current_component=next(reversed(running), None),
                completed_components=done,
                total_components=total,
                percentage=done * 100 // total,
            ),
            "duration": seconds_between(began, self.now) if began else None,
            "started_at": known.started_at if known else None,
            "execution_status": state.status,
            "execution_started_at": state.started_at,
            "execution_duration": state.elapsed(self.now),
            "component_id": id,
            "component_type": state.map.components[id].type,
            "attempt": known.attempt if known else 0,
        }

    # taking what arrived

    def take(self, input: Input) -> None:
        match input:
            case Completed():
                self._at(input.component_id, input.attempt)
                self._write(input.component_id, input.logs)
                self._complete(input.component_id, input.output, input.taken)
            case Failed():
                component = self._at(input.component_id, input.attempt)
                self._write(input.component_id, input.logs)
                self._fail(component, input)
            case Suspended():
                self._at(input.component_id, input.attempt)
                self.emit(events.TimerScheduled(component_id=input.component_id, fires_at=input.until))
            case TimerDue():
                self._fire(input)

    def _at(self, id: str, attempt: int) -> ComponentState:
        """The running component that an input is about."""
        component = self.state.components.get(id)
        if component is None or id not in self.state.running or component.attempt != attempt:
            at = f"attempt {component.attempt}, {component.status}" if component else "not started"
            raise Stale(f"component '{id}' is not running attempt {attempt} ({at})")
        return component

    def _write(self, id: str, lines: Sequence[LogLine]) -> None:
        for line in lines:
            self.emit(
                events.LogWritten(level=line.level, message=line.message, component_id=id, metadata=line.metadata)
            )

    def _complete(self, id: str, output: Any, taken: tuple[int, ...]) -> None:
        facts = self._component_facts(id, ComponentStatus.COMPLETED, settles=1)
        self.emit(events.ComponentCompleted(**facts, output_data=output, taken=taken))

    def _fail(self, component: ComponentState, input: Failed) -> None:
        policy = self.state.map.components[component.id].retry or _ONE_ATTEMPT
        failures = component.failures + 1
        if input.temporary and failures < policy.max_attempts:
            facts = self._component_facts(component.id, ComponentStatus.PENDING)
            retry_at = plus(self.now, policy.delay(failures, input.jitter))
            self.emit(
                events.ComponentRetryScheduled(**facts, error=input.failure, retry_count=failures, retry_at=retry_at)
            )
            return
        facts = self._component_facts(component.id, ComponentStatus.FAILED, settles=1)
        self.emit(events.ComponentFailed(**facts, error=input.failure, retry_count=failures - 1, taken=input.taken))

    def _fire(self, input: TimerDue) -> None:
        fires_at = self.state.timers.get(input.component_id)
        if fires_at is None or fires_at > self.now:
            return None
        self.emit(events.TimerFired(component_id=input.component_id, fires_at=fires_at))
        if input.failure is None:
            return self._complete(input.component_id, input.output, input.taken)
        component = self.state.components[input.component_id]
        failed = Failed(component.id, component.attempt, input.failure, False, input.taken)
        return self._fail(component, failed)

    # going on

    def advance(self) -> None:
        """Goes on until nothing more follows without something new arriving."""
        while not self.state.is_ended:
            if self.state.failure is not None and self.state.map.definition.fail_fast:
                return self._end_failed(self.state.failure)
            if self.state.deadline is not None and self.state.deadline <= self.now:
                return self._end_failed(self._too_long())
            if self.state.dead:
                self._skip(next(iter(self.state.dead)))
            elif startable := self._startable():
                self._start(startable)
            elif self.state.is_busy or self.state.timers or self.state.retries:
                return None
            elif self.state.failure is not None:
                return self._end_failed(self.state.failure)
            else:
                return self._end_completed()
        return None

    def _startable(self) -> str | None:
        if not self.may_start:
            return None
        due = (id for id, at in self.state.retries.items() if at <= self.now)
        return next(iter(self.state.ready), None) or next(due, None)

    def _skip(self, id: str) -> None:
        self.emit(events.ComponentSkipped(**self._component_facts(id, ComponentStatus.SKIPPED, settles=1)))

    def _start(self, id: str) -> None:
        known = self.state.components.get(id)
        facts = self._component_facts(id, ComponentStatus.RUNNING) | {
            "started_at": self.now,
            "attempt": known.attempt + 1 if known else 1,
        }
        spec = self.state.map.components[id]
        generation = known.generation if known else 0
        self.emit(events.ComponentStarted(**facts, generation=generation, input_data=shown_input(self.state, spec)))

    def cancel_components(self) -> None:
        """Whatever has started and not ended: also what a takeover found running and has not started again."""
        for id in [known.id for known in self.state.components.values() if not known.status.is_settled]:
            facts = self._component_facts(id, ComponentStatus.CANCELLED, settles=1)
            self.emit(events.ComponentCancelled(**facts))

    def _too_long(self) -> Failure:
        limit = self.state.map.definition.max_execution_time
        return Failure(code=Code.TIMEOUT_ERROR, message=f"the execution ran longer than {limit:g} seconds")

    def _end_failed(self, failure: Failure) -> None:
        self.cancel_components()
        self.emit(events.ExecutionFailed(**(self.facts() | {"status": ExecutionStatus.FAILED}), error=failure))

    def _end_completed(self) -> None:
        progress = msgspec.structs.replace(self.state.progress, percentage=100)
        facts = self.facts() | {"status": ExecutionStatus.COMPLETED, "progress": progress}
        merged = results(self.state)
        size = len(msgspec.json.encode(merged))
        if size > MAX_RESULTS_BYTES:
            message = f"the results have {size} bytes together, more than {MAX_RESULTS_BYTES}"
            return self._end_failed(Failure(code=Code.OUTPUT_TOO_LARGE, message=message))
        return self.emit(events.ExecutionCompleted(**facts, results=merged))


def shown_input(state: State, spec: ComponentSpec) -> dict[str, Any] | None:
    """The config as it will run, without secrets; None where that is too much to keep beside the outputs."""
    resolved: dict[str, Any] = redact(resolve(spec.config, lookup_in(state)))
    return resolved if len(msgspec.json.encode(resolved)) <= _INPUT_SHOWN_BYTES else None


def results(state: State) -> dict[str, Any]:
    """The outputs of the completed `end` components, merged; else of those completed that led no further, by id."""
    completed = [c for c in state.components.values() if c.status is ComponentStatus.COMPLETED]
    ends = [c.output_data for c in completed if c.type == "end"]
    if ends:
        return {key: value for output in ends if isinstance(output, dict) for key, value in output.items()}
    return {c.id: c.output_data for c in completed if not c.taken}
