"""One attempt at one component: resolve its config, check it, run it under its deadline, judge what came of it.

Whatever happens becomes an input to the decider; nothing here touches the log. Which of the connections that lead on
are taken is found here, once, and recorded with the result.
"""

from __future__ import annotations

import asyncio
import random
import traceback
from typing import Any, NamedTuple

import msgspec
import structlog

from executor.components.base import (
    Answer,
    Component,
    ComponentError,
    Context,
    Iterate,
    Output,
    Suspend,
    no_agent,
    no_workflow,
)
from executor.components.loop import DEFAULT_MOST, Turn
from executor.components.registry import Registry
from executor.conditions import Variables, source_output, taken_on_completion, taken_on_failure
from executor.domain.definition import LOOP, own_config
from executor.domain.errors import Code, Unavailable
from executor.domain.events import Failure
from executor.domain.execution.decision import results
from executor.domain.execution.inputs import (
    Completed,
    Failed,
    Input,
    IterationDue,
    LoopDue,
    Looped,
    SignalDue,
    Suspended,
    TimerDue,
)
from executor.domain.execution.loops import body_of
from executor.domain.execution.parts import ComponentState, Signal
from executor.domain.execution.references import input_of, lookup_in
from executor.domain.execution.state import State
from executor.domain.references import TooLarge, resolve
from executor.domain.secrets import redact
from executor.domain.values import DEEPEST, Instant, is_deep, plus, split_key
from executor.egress import Egress
from executor.excerpts import LONGEST_LINE, LONGEST_MESSAGE, cut, shortened
from executor.expressions import ExpressionError, is_true
from executor.ports import AgentsOf, WorkflowsOf
from executor.sealing import Unsealable
from executor.secrets import Opener, open_config
from executor.shapes import problems_of

MAX_OUTPUT_BYTES = 1024 * 1024
_logger = structlog.get_logger(__name__)


class Attempts:
    """Runs components. Holds what they need from outside."""

    def __init__(
        self,
        registry: Registry,
        egress: Egress,
        opener: Opener,
        agents: AgentsOf = lambda *_: no_agent,
        workflows: WorkflowsOf = lambda *_: no_workflow,
    ) -> None:
        self._registry = registry
        self._egress = egress
        self._opener = opener
        self._agents = agents
        self._workflows = workflows

    def is_instant(self, state: State, key: str) -> bool:
        type = state.components[key].type
        return type in self._registry and self._registry[type].is_instant

    async def attempt(self, state: State, key: str) -> Input:
        """What comes of the component that `state` says is running. Raises only `CancelledError`."""
        known, opened = state.components[key], set[str]()
        try:
            component = self._component(known.type)
            answer = await self._run(component, state, known, opened)
            return self._judged(state, known, answer, opened)
        except ComponentError as error:
            return self._failed(state, known, error, opened)
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                raise
            return self._crashed(state, known, opened)

    def timer_due(self, state: State, key: str) -> Input:
        """The input for a suspended component whose time has come. One that waited for a signal has failed, and so
        has one whose attempt may take no longer."""
        limit, fires_at = _limit(state, key), state.timers.get(key)
        if limit is not None and fires_at is not None and fires_at >= limit.at:
            return _late(state, key, limit.message, temporary=True)
        if key in state.waits:
            return _late(state, key, f"the signal '{state.waits[key]}' did not come in time")
        try:
            return TimerDue(key, None, taken_on_completion(state, key, None))
        except ExpressionError as error:
            failure = Failure(code=Code.COMPONENT_ERROR, message=str(error), component_id=split_key(key)[0])
            return TimerDue(key, None, taken_on_failure(state, key), failure)

    def signal_due(self, state: State, key: str, signal: Signal) -> Input:
        """The input for a suspended component whose signal is there."""
        known = state.components[key]
        try:
            answer = self._component(known.type).signalled(signal.data)
            result = self._completed(state, known, answer, set())
        except ComponentError as error:
            return SignalDue(signal.number, self._failed(state, known, error, set()))
        except Exception:
            return SignalDue(signal.number, self._crashed(state, known, set()))
        return SignalDue(signal.number, result)

    def due_inside(self, state: State) -> list[Input]:
        """The inputs for loops that wait for an answer: whether they go on, and what they have come to."""
        asked: list[Input] = [self._turn(state, at) for at in state.asking]
        return asked + [LoopDue(self._loop_result(state, key)) for key in state.finished]

    def _turn(self, state: State, at: str) -> IterationDue:
        """Whether a loop that runs while a condition holds goes on after an iteration."""
        found = state.iterations[at]
        output = results(state, body_of(state, found.loop), found.path)
        config, done = state.spec(found.loop).config, found.index + 1
        most = config.get("max_iterations", DEFAULT_MOST)
        variables = Turn(Variables(state, output, found.loop), done)
        try:
            holds = is_true(config["while"], variables, variables.names)
        except ExpressionError as error:
            return IterationDue(at, False, _wrong_loop(f"the condition of the loop failed: {error}", found.loop))
        if holds and done >= most:
            message = f"the condition still holds after {most} iterations, which is the most"
            return IterationDue(at, False, _wrong_loop(message, found.loop))
        return IterationDue(at, holds)

    def _loop_result(self, state: State, key: str) -> Completed | Failed:
        """Failures of iterations are temporary: with a policy the loop begins again, without what it completed."""
        known, loop = state.components[key], state.loops[key]
        if loop.failure is not None:
            error = ComponentError(loop.failure.message, code=loop.failure.code, temporary=True)
            return self._failed(state, known, error, set())._replace(failure=loop.failure)
        outputs = [state.output_of(key, index) for index in range(loop.count or 0)]
        try:
            return self._completed(state, known, Output({"results": outputs}), set())
        except ComponentError as error:
            return self._failed(state, known, error, set())

    def _component(self, type: str) -> Component:
        if type not in self._registry:
            raise ComponentError(f"there is no component type '{type}' here any more")
        return self._registry[type]

    async def _run(self, component: Component, state: State, known: ComponentState, opened: set[str]) -> Answer:
        spec = state.spec(known.key)
        try:
            config = resolve(own_config(spec), lookup_in(state, known.key))
        except TooLarge as error:
            raise ComponentError(f"the config is too large: {error}") from None
        if component.goes_outside:
            config = await self._opened(state.run.organization_id, config, opened)
        validator, schema = self._registry.validator(known.type), component.config_schema
        given = config | {"body": spec.config["body"]} if spec.type == LOOP else config
        problems = problems_of(validator, given, "config", schema=schema)
        if problems:
            raise ComponentError("; ".join(problem.message for problem, _ in problems))
        context = Context(
            execution_id=state.run.id,
            component_id=known.id,
            attempt=known.attempt,
            idempotency_key=f"{state.run.id}/{known.id}/{known.iteration or '-'}/{known.generation}",
            config=config,
            input=input_of(state),
            variables=Variables(state, source_output(state, known.key), known.key),
            first_started_at=known.first_started_at or state.run.created_at,
            egress=self._egress,
            agents=self._agents(state.run.organization_id, opened),
            workflows=self._workflows(state.run),
            retry=spec.retry,
            timeout_seconds=spec.timeout_seconds,
        )
        limit = spec.timeout_seconds or component.default_timeout
        if limit is None:
            return await component.run(context)
        try:
            async with asyncio.timeout(limit):
                return await component.run(context)
        except TimeoutError:
            message = _too_long(known.id, limit)
            raise ComponentError(message, code=Code.TIMEOUT_ERROR, temporary=True) from None

    async def _opened(self, organization_id: str, config: Any, opened: set[str]) -> Any:
        try:
            return await open_config(self._opener, organization_id, config, opened)
        except Unavailable as error:
            raise ComponentError(f"a secret cannot be opened for now: {error}", temporary=True) from None
        except Unsealable as error:
            raise ComponentError(f"a secret cannot be opened: {error}") from None

    def _judged(self, state: State, known: ComponentState, answer: Answer, opened: set[str]) -> Input:
        limit = _limit(state, known.key)
        if isinstance(answer, Iterate):
            until = None if limit is None else limit.at
            return Looped(known.key, known.attempt, answer.times, answer.max_concurrency, until)
        if isinstance(answer, Suspend):
            times = [at for at in (answer.until, limit and limit.at) if at is not None]
            return Suspended(known.key, known.attempt, min(times, default=None), answer.signal, answer.opens)
        return self._completed(state, known, answer, opened)

    def _completed(self, state: State, known: ComponentState, answer: Output, opened: set[str]) -> Completed:
        value = _as_logged(redact(answer.value, opened) if opened else answer.value)
        try:
            taken = taken_on_completion(state, known.key, value)
        except ExpressionError as error:
            raise ComponentError(str(error)) from None
        logs = tuple(line._replace(message=cut(redact(line.message, opened), LONGEST_LINE)) for line in answer.logs)
        return Completed(known.key, known.attempt, value, taken, logs)

    def _crashed(self, state: State, known: ComponentState, opened: set[str]) -> Failed:
        """Of an exception that is being handled."""
        _logger.error(
            "component.crashed",
            execution_id=state.run.id,
            component_id=known.id,
            component_type=known.type,
            exception=redact(traceback.format_exc(), opened),
        )
        return self._failed(state, known, ComponentError(f"the component '{known.type}' crashed"), opened)

    def _failed(self, state: State, known: ComponentState, error: ComponentError, opened: set[str]) -> Failed:
        message = cut(redact(error.message, opened), LONGEST_MESSAGE)
        details = None if is_deep(error.details) else shortened(redact(error.details, opened))
        failure = Failure(code=error.code, message=message, component_id=known.id, details=details)
        return Failed(
            known.key,
            known.attempt,
            failure,
            error.temporary,
            taken_on_failure(state, known.key),
            jitter=random.uniform(-1, 1),  # noqa: S311
        )


class _Limit(NamedTuple):
    """When an attempt has taken as long as it may, what it waits for included; and what is said then."""

    at: Instant
    message: str


def _limit(state: State, key: str) -> _Limit | None:
    seconds, known = state.spec(key).timeout_seconds, state.components[key]
    if seconds is None or known.started_at is None:
        return None
    return _Limit(plus(known.started_at, seconds), _too_long(known.id, seconds))


def _too_long(id: str, seconds: float) -> str:
    return f"'{id}' did not end within {seconds:g} seconds"


def _late(state: State, key: str, message: str, temporary: bool = False) -> TimerDue:
    failure = Failure(code=Code.TIMEOUT_ERROR, message=message, component_id=split_key(key)[0])
    return TimerDue(key, None, taken_on_failure(state, key), failure, temporary)


def _wrong_loop(message: str, key: str) -> Failure:
    return Failure(code=Code.COMPONENT_ERROR, message=message, component_id=split_key(key)[0])


def _is_cancelled() -> bool:
    """We are told to stop, not only something that the component waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _as_logged(value: Any) -> Any:
    """The output as the log will give it back: whoever goes on from memory must see what whoever folds it sees."""
    try:
        encoded = msgspec.json.encode(value)
        logged = msgspec.json.decode(encoded)
    except (TypeError, ValueError, OverflowError, RecursionError):
        raise ComponentError("the output is not JSON") from None
    if len(encoded) > MAX_OUTPUT_BYTES:
        raise ComponentError(
            f"the output has {len(encoded)} bytes, more than {MAX_OUTPUT_BYTES}", code=Code.OUTPUT_TOO_LARGE
        )
    if is_deep(logged):
        raise ComponentError(f"the output is nested more than {DEEPEST} levels deep", code=Code.OUTPUT_TOO_LARGE)
    return logged
