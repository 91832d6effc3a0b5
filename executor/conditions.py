"""What expressions see of a run, and which connections their conditions take.

Conditions are evaluated once, when their source ends, and what they came to is recorded with that; again only where a
run goes on in another version of its workflow.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from executor.domain.definition import ConnectionType, Definition, Graph
from executor.domain.execution.references import facts_of, input_of, output_of, steps_of, variable_of, variables_of
from executor.domain.execution.retry import same
from executor.domain.execution.state import State, copied
from executor.domain.values import ComponentStatus, component_key, split_key
from executor.expressions import CONDITION_VARIABLES, ExpressionError, Scope, is_true


class Variables(Mapping[str, Any]):
    """What CEL sees of a run, each made only when an expression names it (`steps` of a long run is large).

    `at` is the key of the component where the expression stands: inside of loops there are more `names`. `ended` is
    the component that just ended, which the state does not know yet, and how.
    """

    def __init__(
        self, state: State, output: Any, at: str = "", ended: tuple[str, ComponentStatus] | None = None
    ) -> None:
        self._state = state
        self._output = output
        self._at = at
        self._ended = ended
        self.names = names_in(state.map.home[split_key(at)[0]] if at else state.map)

    def without_output(self) -> Variables:
        return Variables(self._state, None, self._at, self._ended)

    def __getitem__(self, name: str) -> Any:
        match name:
            case "input":
                return input_of(self._state)
            case "steps":
                return steps_of(self._state, self._at) | self._just_ended()
            case "execution":
                return facts_of(self._state)
            case "output":
                return self._output
        return variable_of(self._state, name, self._at)

    def _just_ended(self) -> dict[str, Any]:
        if self._ended is None:
            return {}
        id, status = self._ended
        return {id: {"status": str(status), "output": self._output}}

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def names_in(graph: Graph) -> tuple[str, ...]:
    """The variables of expressions in a graph, which may be the body of a loop."""
    return tuple(dict.fromkeys((*CONDITION_VARIABLES, *variables_of(graph))))


def taken_on_completion(state: State, source: str, output: Any) -> tuple[int, ...]:
    """The connections that are taken when `source` completes. Raises `ExpressionError` for a condition that errs."""
    variables = Variables(state, output, source, (split_key(source)[0], ComponentStatus.COMPLETED))
    return _taken(state, source, variables, lambda kind: kind is not ConnectionType.ERROR)


def taken_on_failure(state: State, source: str) -> tuple[int, ...]:
    """The error connections that are taken when `source` fails; one whose condition errs is not."""
    variables = Variables(state, None, source, (split_key(source)[0], ComponentStatus.FAILED))
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
    found, scope = [], Scope(variables, variables.names)
    id, _ = split_key(source)
    graph = state.map.home[id]
    for index in graph.outgoing[id]:
        connection = graph.connections[index]
        if not applies(connection.type):
            continue
        try:
            condition = (connection.condition or "").strip()
            if not condition or is_true(condition, scope):
                found.append(index)
        except ExpressionError as error:
            raise ExpressionError(f"the condition of {id} → {connection.target} failed: {error}") from None
    return tuple(found)


def source_output(state: State, key: str) -> Any:
    """`output` in a component's own expression: that of the one component whose connection led here, else null."""
    id, path = split_key(key)
    graph, sources = state.map.home[id], set[str]()
    for index in graph.incoming[id]:
        source = component_key(graph.connections[index].source, path)
        known = state.components.get(source)
        if known is not None and index in known.taken:
            sources.add(source)
    return output_of(state, sources.pop()) if len(sources) == 1 else None
