"""A decision over a run in the making: the events so far, and the state as they leave it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from executor.domain.definition import Graph, own_config
from executor.domain.errors import Code, ResourceConflict, Stale
from executor.domain.events import Event, Failure, Stamp
from executor.domain.events import execution as events
from executor.domain.events.loop import IterationCompleted, IterationFailed, LoopStarted
from executor.domain.execution import loops
from executor.domain.execution.folds import apply
from executor.domain.execution.inputs import (
    Completed,
    Failed,
    Input,
    IterationDue,
    LogLine,
    LoopDue,
    Looped,
    SignalDue,
    Suspended,
    TimerDue,
)
from executor.domain.execution.parts import ComponentState
from executor.domain.execution.references import lookup_in
from executor.domain.execution.state import State, copied
from executor.domain.references import TooLarge, resolve
from executor.domain.secrets import redact
from executor.domain.values import (
    ComponentStatus,
    ExecutionStatus,
    Instant,
    Progress,
    RetryPolicy,
    component_key,
    plus,
    seconds_between,
    split_key,
)

_ONE_ATTEMPT = RetryPolicy()
_INPUT_SHOWN_BYTES = 16 * 1024
MAX_RESULTS_BYTES = 1024 * 1024
"""Of all results together, of the run or of a loop: they are in one event and one row."""
MOST_COMPONENTS = 1_000_000
"""How many components one run begins, each once for each iteration: loops in loops come to an end."""


MOST_EVENTS: Final = 512
"""Of one decision, and so of one append: what is left of a wide run follows in the next."""


def illegal(state: State, what: str) -> ResourceConflict:
    """`what` cannot be done with the run as it stands."""
    message = f"the execution is {state.status} and cannot be {what}"
    return ResourceConflict(message, "status", current_status=str(state.status))


class Decision:
    """Take what arrived, then `advance`. With `may_start` false nothing is started on the way. One that `is_cut`
    stopped before there was nothing more to decide."""

    def __init__(self, state: State, now: Instant, may_start: bool = True) -> None:
        self.state = copied(state)
        self.now = now
        self.may_start = may_start
        self.events: list[Event] = []
        self.is_cut = False

    def emit(self, event: Event) -> None:
        self.events.append(event)
        run = self.state.run
        apply(self.state, event, Stamp(self.now, run.organization_id, run.id, self.state.version + 1))

    def go_on(self, inputs: Sequence[Input]) -> None:
        """Takes what arrived, and goes on as far as the rules lead."""
        for input in inputs:
            self.take(input)
        self.advance()

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

    def _component_facts(self, key: str, status: ComponentStatus, settles: int = 0) -> dict[str, Any]:
        """`settles` is 1 where the event settles its component, so that its progress counts it. What is in a loop
        does not count, as the loop's body does not in the run's total."""
        state, known = self.state, self.state.components.get(key)
        (id, iteration), progress = split_key(key), state.progress
        began = known.started_at if known and settles else None
        total = progress.total_components
        done = progress.completed_components + (0 if iteration else settles)
        current = id if status is ComponentStatus.RUNNING else state.current(without=key if settles else None)
        return {
            "workflow_name": state.run.workflow_name,
            "status": status,
            "priority": state.priority,
            "progress": Progress(
                current_component=current,
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
            "component_type": state.map.spec(id).type,
            "iteration": iteration,
            "attempt": known.attempt if known else 0,
        }

    # taking what arrived

    def take(self, input: Input) -> None:
        match input:
            case TimerDue():
                self._fire(input)
            case SignalDue():
                self._wake(input)
            case IterationDue():
                self._turn(input)
            case LoopDue():
                if input.result.key in self.state.finished:
                    self._end(input.result)
            case _ if not self._is_gone(input.key):
                self._hear(input)

    def _is_gone(self, key: str) -> bool:
        """Its iteration has ended without waiting for it."""
        return key not in self.state.components and split_key(key)[1] != ""

    def _hear(self, input: Completed | Failed | Suspended | Looped) -> None:
        """From a component that runs."""
        key = input.key
        self._require_running(key, input.attempt)
        id, iteration = split_key(key)
        match input:
            case Suspended():
                self.emit(
                    events.TimerScheduled(
                        component_id=id, iteration=iteration, fires_at=input.until, signal=input.signal
                    )
                )
            case Looped():
                self.emit(
                    LoopStarted(
                        component_id=id,
                        iteration=iteration,
                        count=input.times,
                        max_concurrency=input.max_concurrency,
                        fires_at=input.until,
                    )
                )
            case _:
                self._end(input)

    def _require_running(self, key: str, attempt: int) -> None:
        component = self.state.components.get(key)
        if component is None or key not in self.state.running or component.attempt != attempt:
            at = f"attempt {component.attempt}, {component.status}" if component else "not started"
            raise Stale(f"component '{key}' is not running attempt {attempt} ({at})")

    def _end(self, result: Completed | Failed) -> None:
        self._write(result.key, result.logs)
        if isinstance(result, Completed):
            self._complete(result.key, result.output, result.taken)
        else:
            self._fail(self.state.components[result.key], result)

    def _write(self, key: str, lines: Sequence[LogLine]) -> None:
        id, iteration = split_key(key)
        for line in lines:
            self.emit(
                events.LogWritten(
                    level=line.level,
                    message=line.message,
                    component_id=id,
                    iteration=iteration,
                    metadata=line.metadata,
                )
            )

    def _complete(self, key: str, output: Any, taken: tuple[int, ...]) -> None:
        facts = self._component_facts(key, ComponentStatus.COMPLETED, settles=1)
        self.emit(events.ComponentCompleted(**facts, output_data=output, taken=taken))

    def _fail(self, component: ComponentState, input: Failed) -> None:
        self._cancel_inside(component.key)
        policy = self.state.spec(component.key).retry or _ONE_ATTEMPT
        failures = component.failures + 1
        if input.temporary and failures < policy.max_attempts:
            facts = self._component_facts(component.key, ComponentStatus.PENDING)
            retry_at = plus(self.now, policy.delay(failures, input.jitter))
            self.emit(
                events.ComponentRetryScheduled(**facts, error=input.failure, retry_count=failures, retry_at=retry_at)
            )
            return
        facts = self._component_facts(component.key, ComponentStatus.FAILED, settles=1)
        self.emit(events.ComponentFailed(**facts, error=input.failure, retry_count=failures - 1, taken=input.taken))

    def _fire(self, input: TimerDue) -> None:
        fires_at = self.state.timers.get(input.key)
        if fires_at is None or fires_at > self.now or self.state.is_paused:
            return None
        id, iteration = split_key(input.key)
        self.emit(events.TimerFired(component_id=id, iteration=iteration, fires_at=fires_at))
        if input.failure is None:
            return self._complete(input.key, input.output, input.taken)
        component = self.state.components[input.key]
        failed = Failed(component.key, component.attempt, input.failure, input.temporary, input.taken)
        return self._fail(component, failed)

    def _wake(self, input: SignalDue) -> None:
        """Only by the very signal that `result` was made of: another may have been first."""
        if (input.result.key, input.number) in [(key, signal.number) for key, signal in self.state.signalled]:
            self._end(input.result)

    def _turn(self, input: IterationDue) -> None:
        if input.iteration in self.state.asking:
            if input.failure is None:
                self._close(input.iteration, goes_on=input.goes_on)
            else:
                self._close_failed(input.iteration, input.failure)

    def _close(self, at: str, goes_on: bool = False) -> None:
        """An iteration has nothing left to do."""
        found = self.state.iterations[at]
        id, iteration = split_key(found.loop)
        output = results(self.state, loops.body_of(self.state, found.loop), found.path)
        if self.state.loops[found.loop].size + loops.size_of(output) > MAX_RESULTS_BYTES:
            message = f"the results of the loop have more than {MAX_RESULTS_BYTES} bytes together"
            return self._close_failed(at, Failure(code=Code.OUTPUT_TOO_LARGE, message=message, component_id=id))
        return self.emit(
            IterationCompleted(
                component_id=id, iteration=iteration, index=found.index, output_data=output, goes_on=goes_on
            )
        )

    def _close_failed(self, at: str, failure: Failure) -> None:
        found = self.state.iterations[at]
        id, iteration = split_key(found.loop)
        self._cancel(self.state.inside(found.loop, found.index))
        self.emit(IterationFailed(component_id=id, iteration=iteration, index=found.index, error=failure))

    # going on

    def advance(self) -> None:
        """Goes on until nothing more follows without something new arriving, or until there are too many events. A
        paused run stays as it is."""
        while not (self.state.is_ended or self.state.is_paused):
            if len(self.events) >= MOST_EVENTS:
                self.is_cut = True
                return None
            if self.state.failure is not None and self.state.map.definition.fail_fast:
                return self.end_failed(self.state.failure)
            if self.state.deadline is not None and self.state.deadline <= self.now:
                return self.end_failed(self._too_long())
            if self.state.dead:
                self._skip(next(iter(self.state.dead)))
            elif self.state.over:
                self._finish(next(iter(self.state.over)))
            elif startable := self._startable():
                if self.state.begun >= MOST_COMPONENTS and startable not in self.state.components:
                    return self.end_failed(_too_many())
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

    def _skip(self, key: str) -> None:
        self.emit(events.ComponentSkipped(**self._component_facts(key, ComponentStatus.SKIPPED, settles=1)))

    def _finish(self, at: str) -> None:
        failure = self.state.iterations[at].failure
        if failure is None:
            self._close(at)
        else:
            self._close_failed(at, failure)

    def _start(self, key: str) -> None:
        known = self.state.components.get(key)
        facts = self._component_facts(key, ComponentStatus.RUNNING) | {
            "started_at": self.now,
            "attempt": known.attempt + 1 if known else 1,
        }
        generation = known.generation if known else self._generation(key)
        self.emit(events.ComponentStarted(**facts, generation=generation, input_data=shown_input(self.state, key)))

    def _generation(self, key: str) -> int:
        """That of the loop around it, which a retry of the run raises."""
        at = loops.iteration_of(self.state, key)
        return 0 if at is None else self.state.components[self.state.iterations[at].loop].generation

    def cancel_components(self) -> None:
        """Whatever has started and not ended: also what a takeover found running and has not started again. What is
        in a loop comes before it: with the loop it would be gone."""
        home = self.state.map.home
        known = [each for each in self.state.in_order() if each.id in home]
        self._cancel(each.key for each in sorted(known, key=lambda each: -home[each.id].depth))

    def _cancel_inside(self, loop: str) -> None:
        for index in self.state.open_in(loop) if loop in self.state.loops else ():
            self._cancel(self.state.inside(loop, index))

    def _cancel(self, keys: Iterable[str]) -> None:
        for key in list(keys):
            known = self.state.components.get(key)
            if known is not None and not known.status.is_settled:
                facts = self._component_facts(key, ComponentStatus.CANCELLED, settles=1)
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
        merged = results(self.state, self.state.map)
        size = len(msgspec.json.encode(merged))
        if size > MAX_RESULTS_BYTES:
            message = f"the results have {size} bytes together, more than {MAX_RESULTS_BYTES}"
            return self.end_failed(Failure(code=Code.OUTPUT_TOO_LARGE, message=message))
        return self.emit(events.ExecutionCompleted(**facts, results=merged))


def _too_many() -> Failure:
    message = (
        f"the execution has begun {MOST_COMPONENTS} components, those of all iterations counted, which is the most"
    )
    return Failure(code=Code.EXECUTION_FAILED, message=message)


def shown_input(state: State, key: str) -> dict[str, Any] | None:
    """The config as it will run, without secrets; None where that is too much to keep beside the outputs."""
    try:
        resolved: dict[str, Any] = redact(resolve(own_config(state.spec(key)), lookup_in(state, key)))
    except TooLarge:
        return None
    return resolved if len(msgspec.json.encode(resolved)) <= _INPUT_SHOWN_BYTES else None


def results(state: State, graph: Graph, path: str = "") -> dict[str, Any]:
    """What the run came to, or an iteration (by its path) of a body: the outputs of the completed `end` components,
    merged; else of those completed that led no further, by id."""
    found = [state.components.get(component_key(id, path)) for id in graph.components]
    completed = sorted(
        (known for known in found if known is not None and known.status is ComponentStatus.COMPLETED),
        key=lambda known: known.sequence,
    )
    ends = [known.output_data for known in completed if known.type == "end"]
    if ends:
        return {key: value for output in ends if isinstance(output, dict) for key, value in output.items()}
    return {known.id: known.output_data for known in completed if not known.taken}
