"""One attempt at one component: resolve its config, check it, run it under its deadline, judge what came of it.

Whatever happens becomes an input to the decider; nothing here touches the log. Conditions of the connections that
lead on are evaluated here, once, and recorded with the result as `taken`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
import structlog

from executor.components.base import Component, ComponentError, Context, Output, Suspend, no_agent
from executor.components.registry import Registry
from executor.domain.definition import ConnectionType, Definition, Graph
from executor.domain.errors import Code, Unavailable
from executor.domain.events import Failure
from executor.domain.execution.inputs import Completed, Failed, Input, SignalDue, Suspended, TimerDue
from executor.domain.execution.references import facts_of, input_of, lookup_in, output_of, steps_of
from executor.domain.execution.retry import same
from executor.domain.execution.state import ComponentState, Signal, State, copied
from executor.domain.references import resolve
from executor.domain.secrets import redact
from executor.domain.values import DEEPEST, ComponentStatus, is_deep
from executor.egress import Egress
from executor.expressions import CONDITION_VARIABLES, ExpressionError, Scope, is_true
from executor.ports import AgentsOf
from executor.sealing import Unsealable
from executor.secrets import Opener, open_config
from executor.shapes import problems_of

MAX_OUTPUT_BYTES = 1024 * 1024
_logger = structlog.get_logger(__name__)


class Attempts:
    """Runs components. Holds what they need from outside."""

    def __init__(
        self, registry: Registry, egress: Egress, opener: Opener, agents: AgentsOf = lambda *_: no_agent
    ) -> None:
        self._registry = registry
        self._egress = egress
        self._opener = opener
        self._agents = agents

    async def attempt(self, state: State, id: str) -> Input:
        """What comes of the component that `state` says is running. Raises only `CancelledError`."""
        known, opened = state.components[id], set[str]()
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

    def timer_due(self, state: State, id: str) -> Input:
        """The input for a suspended component whose time has come. One that waited for a signal has failed."""
        if id in state.waits:
            message = f"the signal '{state.waits[id]}' did not come in time"
            late = Failure(code=Code.TIMEOUT_ERROR, message=message, component_id=id)
            return TimerDue(id, None, taken_on_failure(state, id), late)
        try:
            return TimerDue(id, None, taken_on_completion(state, id, None))
        except ExpressionError as error:
            failure = Failure(code=Code.COMPONENT_ERROR, message=str(error), component_id=id)
            return TimerDue(id, None, taken_on_failure(state, id), failure)

    def signal_due(self, state: State, id: str, signal: Signal) -> Input:
        """The input for a suspended component whose signal is there."""
        known = state.components[id]
        try:
            answer = self._component(known.type).signalled(signal.data)
            result = self._completed(state, known, answer, set())
        except ComponentError as error:
            return SignalDue(signal.number, self._failed(state, known, error, set()))
        except Exception:
            return SignalDue(signal.number, self._crashed(state, known, set()))
        return SignalDue(signal.number, result)

    def _component(self, type: str) -> Component:
        if type not in self._registry:
            raise ComponentError(f"there is no component type '{type}' here any more")
        return self._registry[type]

    async def _run(
        self, component: Component, state: State, known: ComponentState, opened: set[str]
    ) -> Output | Suspend:
        spec = state.map.components[known.id]
        config = resolve(spec.config, lookup_in(state))
        if component.goes_outside:
            config = await self._opened(state.run.organization_id, config, opened)
        problems = problems_of(self._registry.validator(known.type), config, "config")
        if problems:
            raise ComponentError("; ".join(problem.message for problem, _ in problems))
        context = Context(
            execution_id=state.run.id,
            component_id=known.id,
            attempt=known.attempt,
            idempotency_key=f"{state.run.id}/{known.id}/{known.iteration or '-'}/{known.generation}",
            config=config,
            input=input_of(state),
            variables=Variables(state, _source_output(state, known.id)),
            first_started_at=known.first_started_at or state.run.created_at,
            egress=self._egress,
            agents=self._agents(state.run.organization_id, opened),
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
            message = f"'{known.id}' did not end within {limit:g} seconds"
            raise ComponentError(message, code=Code.TIMEOUT_ERROR, temporary=True) from None

    async def _opened(self, organization_id: str, config: Any, opened: set[str]) -> Any:
        try:
            return await open_config(self._opener, organization_id, config, opened)
        except Unavailable as error:
            raise ComponentError(f"a secret cannot be opened for now: {error}", temporary=True) from None
        except Unsealable as error:
            raise ComponentError(f"a secret cannot be opened: {error}") from None

    def _judged(self, state: State, known: ComponentState, answer: Output | Suspend, opened: set[str]) -> Input:
        if isinstance(answer, Suspend):
            return Suspended(known.id, known.attempt, answer.until, answer.signal)
        return self._completed(state, known, answer, opened)

    def _completed(self, state: State, known: ComponentState, answer: Output, opened: set[str]) -> Completed:
        value = _as_logged(redact(answer.value, opened) if opened else answer.value)
        try:
            taken = taken_on_completion(state, known.id, value)
        except ExpressionError as error:
            raise ComponentError(str(error)) from None
        logs = tuple(line._replace(message=redact(line.message, opened)) for line in answer.logs)
        return Completed(known.id, known.attempt, value, taken, logs)

    def _crashed(self, state: State, known: ComponentState, opened: set[str]) -> Failed:
        """Of an exception that is being handled."""
        _logger.exception(
            "component.crashed", execution_id=state.run.id, component_id=known.id, component_type=known.type
        )
        return self._failed(state, known, ComponentError(f"the component '{known.type}' crashed"), opened)

    def _failed(self, state: State, known: ComponentState, error: ComponentError, opened: set[str]) -> Failed:
        message = redact(error.message, opened)
        details = None if is_deep(error.details) else redact(error.details, opened)
        failure = Failure(code=error.code, message=message, component_id=known.id, details=details)
        return Failed(
            known.id,
            known.attempt,
            failure,
            error.temporary,
            taken_on_failure(state, known.id),
            jitter=random.uniform(-1, 1),  # noqa: S311
        )


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


class Variables(Mapping[str, Any]):
    """What CEL sees of a run, each made only when an expression names it (`steps` of a long run is large).

    `ended` is the component that just ended, which the state does not know yet, and how.
    """

    def __init__(self, state: State, output: Any, ended: tuple[str, ComponentStatus] | None = None) -> None:
        self._state = state
        self._output = output
        self._ended = ended

    def __getitem__(self, name: str) -> Any:
        match name:
            case "input":
                return input_of(self._state)
            case "steps":
                return steps_of(self._state) | self._just_ended()
            case "execution":
                return facts_of(self._state)
            case "output":
                return self._output
        raise KeyError(name)

    def _just_ended(self) -> dict[str, Any]:
        if self._ended is None:
            return {}
        id, status = self._ended
        return {id: {"status": str(status), "output": self._output}}

    def __iter__(self) -> Iterator[str]:
        return iter(CONDITION_VARIABLES)

    def __len__(self) -> int:
        return len(CONDITION_VARIABLES)


def taken_on_completion(state: State, source: str, output: Any) -> tuple[int, ...]:
    """The connections that are taken when `source` completes. Raises `ExpressionError` for a condition that errs."""
    variables = Variables(state, output, (source, ComponentStatus.COMPLETED))
    return _taken(state, source, variables, lambda kind: kind is not ConnectionType.ERROR)


def taken_on_failure(state: State, source: str) -> tuple[int, ...]:
    """The error connections that are taken when `source` fails; one whose condition errs is not."""
    variables = Variables(state, None, (source, ComponentStatus.FAILED))
    try:
        return _taken(state, source, variables, lambda kind: kind is ConnectionType.ERROR)
    except ExpressionError:
        return ()


def taken_elsewhere(state: State, definition: Definition) -> dict[str, tuple[int, ...]]:
    """What the completed components of a run take in another version, where they are the same. One whose condition
    errs there is left out: it has to run again."""
    there, found = copied(state), dict[str, tuple[int, ...]]()
    there.graph = Graph(definition)
    for known in same(state, there.graph):
        with contextlib.suppress(ExpressionError):
            found[known.id] = taken_on_completion(there, known.id, known.output_data)
    return found


def _taken(
    state: State, source: str, variables: Variables, applies: Callable[[ConnectionType], bool]
) -> tuple[int, ...]:
    found, scope = [], Scope(variables)
    for index in state.map.outgoing[source]:
        connection = state.map.connections[index]
        if not applies(connection.type):
            continue
        try:
            condition = (connection.condition or "").strip()
            if not condition or is_true(condition, scope):
                found.append(index)
        except ExpressionError as error:
            raise ExpressionError(f"the condition of {source} → {connection.target} failed: {error}") from None
    return tuple(found)


def _source_output(state: State, id: str) -> Any:
    """`output` in a component's own expression: that of the one component whose connection led here, else null."""
    graph, sources = state.map, set[str]()
    for index in graph.incoming[id]:
        source = graph.connections[index].source
        known = state.components.get(source)
        if known is not None and index in known.taken:
            sources.add(source)
    return output_of(state, sources.pop()) if len(sources) == 1 else None
