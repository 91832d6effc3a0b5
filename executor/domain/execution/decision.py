"""A decision over a run in the making: the events so far, and the state as they leave it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from executor.domain.definition import ComponentSpec
from executor.domain.errors import Code, ResourceConflict, Stale
from executor.domain.events import Event, Failure, Stamp
from executor.domain.events import execution as events
from executor.domain.execution.folds import apply
from executor.domain.execution.inputs import Completed, Failed, Input, LogLine, SignalDue, Suspended, TimerDue
from executor.domain.execution.references import lookup_in
from executor.domain.execution.state import ComponentState, State, copied
from executor.domain.references import resolve
from executor.domain.secrets import redact
from executor.domain.values import (
    ComponentStatus,
    ExecutionStatus,
    Instant,
    Progress,
    RetryPolicy,
    plus,
    seconds_between,
)

_ONE_ATTEMPT = RetryPolicy()
_INPUT_SHOWN_BYTES = 16 * 1024
MAX_RESULTS_BYTES = 1024 * 1024
"""Of all results together: they are in one event and one row."""


def illegal(state: State, what: str) -> ResourceConflict:
    """`what` cannot be done with the run as it stands."""
    message = f"the execution is {state.status} and cannot be {what}"
    return ResourceConflict(message, "status", current_status=str(state.status))


class Decision:
    """Take what arrived, then `advance`. With `may_start` false nothing is started on the way."""

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
        running = {**state.waits, **state.timers, **state.running}
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
                self.emit(
                    events.TimerScheduled(component_id=input.component_id, fires_at=input.until, signal=input.signal)
                )
            case TimerDue():
                self._fire(input)
            case SignalDue():
                self._wake(input)

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
        if fires_at is None or fires_at > self.now or self.state.is_paused:
            return None
        self.emit(events.TimerFired(component_id=input.component_id, fires_at=fires_at))
        if input.failure is None:
            return self._complete(input.component_id, input.output, input.taken)
        component = self.state.components[input.component_id]
        failed = Failed(component.id, component.attempt, input.failure, input.temporary, input.taken)
        return self._fail(component, failed)

    def _wake(self, input: SignalDue) -> None:
        """Only by the very signal that `result` was made of: another may have been first."""
        result = input.result
        if (result.component_id, input.number) not in [(id, signal.number) for id, signal in self.state.signalled]:
            return None
        self._write(result.component_id, result.logs)
        if isinstance(result, Completed):
            return self._complete(result.component_id, result.output, result.taken)
        return self._fail(self.state.components[result.component_id], result)

    # going on

    def advance(self) -> None:
        """Goes on until nothing more follows without something new arriving. A paused run stays as it is."""
        while not (self.state.is_ended or self.state.is_paused):
            if self.state.failure is not None and self.state.map.definition.fail_fast:
                return self.end_failed(self.state.failure)
            if self.state.deadline is not None and self.state.deadline <= self.now:
                return self.end_failed(self._too_long())
            if self.state.dead:
                self._skip(next(iter(self.state.dead)))
            elif startable := self._startable():
                self._start(startable)
            elif self.state.is_busy or self.state.is_waiting:
                return None
            elif self.state.failure is not None:
                return self.end_failed(self.state.failure)
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
        started = [known for known in self.state.components.values() if known.id in self.state.map.components]
        for id in [known.id for known in started if not known.status.is_settled]:
            facts = self._component_facts(id, ComponentStatus.CANCELLED, settles=1)
            self.emit(events.ComponentCancelled(**facts))

    def _too_long(self) -> Failure:
        limit = self.state.map.definition.max_execution_time
        return Failure(code=Code.TIMEOUT_ERROR, message=f"the execution ran longer than {limit:g} seconds")

    def end_failed(self, failure: Failure) -> None:
        self.cancel_components()
        self.emit(events.ExecutionFailed(**(self.facts() | {"status": ExecutionStatus.FAILED}), error=failure))

    def _end_completed(self) -> None:
        progress = msgspec.structs.replace(self.state.progress, percentage=100)
        facts = self.facts() | {"status": ExecutionStatus.COMPLETED, "progress": progress}
        merged = results(self.state)
        size = len(msgspec.json.encode(merged))
        if size > MAX_RESULTS_BYTES:
            message = f"the results have {size} bytes together, more than {MAX_RESULTS_BYTES}"
            return self.end_failed(Failure(code=Code.OUTPUT_TOO_LARGE, message=message))
        return self.emit(events.ExecutionCompleted(**facts, results=merged))


def shown_input(state: State, spec: ComponentSpec) -> dict[str, Any] | None:
    """The config as it will run, without secrets; None where that is too much to keep beside the outputs."""
    resolved: dict[str, Any] = redact(resolve(spec.config, lookup_in(state)))
    return resolved if len(msgspec.json.encode(resolved)) <= _INPUT_SHOWN_BYTES else None


def results(state: State) -> dict[str, Any]:
    """The outputs of the completed `end` components, merged; else of those completed that led no further, by id."""
    there = state.map.components
    completed = [c for c in state.components.values() if c.status is ComponentStatus.COMPLETED and c.id in there]
    ends = [c.output_data for c in completed if c.type == "end"]
    if ends:
        return {key: value for output in ends if isinstance(output, dict) for key, value in output.items()}
    return {c.id: c.output_data for c in completed if not c.taken}
