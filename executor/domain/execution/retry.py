"""A run that failed or was cancelled runs again: from a component, or from where it stopped.

What completed is kept as far as nothing before it runs again; so every component that is kept, or that will run, has
before it what the graph says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from executor.domain.definition import Definition, Graph
from executor.domain.errors import Code, Invalid, Problem
from executor.domain.events import Event
from executor.domain.events import execution as events
from executor.domain.execution.decision import illegal
from executor.domain.execution.parts import ComponentState
from executor.domain.execution.state import State
from executor.domain.values import ComponentStatus, ExecutionStatus, Progress

_RETRIED = (ExecutionStatus.FAILED, ExecutionStatus.CANCELLED)
Taken = Mapping[str, tuple[int, ...]]
"""Of components that completed: the indices of the connections that they took."""


class Retry(NamedTuple):
    """`definition` is that of another version than the run has, and `taken` what its completed components take
    there; without one the run keeps its own. `parameters` replace those of the same names."""

    by: str
    reason: str | None
    from_component: str | None
    parameters: dict[str, Any]
    version: int
    definition: Definition | None
    taken: Taken


def decide_retry(state: State, retry: Retry) -> list[Event]:
    require_retriable(state)
    graph = state.map if retry.definition is None else Graph(retry.definition)
    if retry.from_component is not None and retry.from_component not in graph.components:
        raise _wrong(f"there is no component '{retry.from_component}'")
    kept = _kept(state, graph, retry)
    done, total = len(kept), len(graph.components)
    return [
        events.ExecutionRetried(
            workflow_name=state.run.workflow_name,
            status=ExecutionStatus.QUEUED,
            priority=state.priority,
            progress=Progress(None, done, total, done * 100 // total),
            workflow_version=retry.version,
            definition=retry.definition,
            parameters=state.run.parameters | retry.parameters,
            from_component=retry.from_component,
            kept=tuple(kept),
            taken={} if retry.definition is None else dict(kept),
            retried_by=retry.by,
            reason=retry.reason,
        )
    ]


def require_retriable(state: State) -> None:
    """Raises `ResourceConflict` unless the run failed or was cancelled."""
    if state.status not in _RETRIED:
        raise illegal(state, "retried")


def same(state: State, graph: Graph) -> Iterator[ComponentState]:
    """The components that completed and are in another version what they were."""
    for known in state.components.values():
        spec, other = state.map.components.get(known.id), graph.components.get(known.id)
        is_same = spec is not None and other is not None and (spec.type, spec.config) == (other.type, other.config)
        if known.status is ComponentStatus.COMPLETED and is_same:
            yield known


def _kept(state: State, graph: Graph, retry: Retry) -> dict[str, tuple[int, ...]]:
    """What does not run again, and what it took."""
    taken = _taken(state) if retry.definition is None else retry.taken
    kept: dict[str, tuple[int, ...]] = {}
    again: set[str] = set()
    for id in _in_order(graph):
        is_behind = any(source in again for source in graph.sources(id))
        if id == retry.from_component and is_behind:
            missing = next(each for each in _in_order(graph) if each in again and graph.is_ancestor(each, id))
            raise _wrong(f"'{missing}' comes before '{id}' and has not completed; retry from there")
        if is_behind or id == retry.from_component:
            again.add(id)
        elif not _is_led_to(graph, id, kept):
            if _is_skipped(state, id):
                kept[id] = ()
        elif id in taken:
            kept[id] = taken[id]
        else:
            again.add(id)
    return kept


def _taken(state: State) -> Taken:
    """A failure that was handled is as good as a completion: the run went on from it."""
    return {
        known.id: known.taken
        for known in state.components.values()
        if known.status is ComponentStatus.COMPLETED or (known.status is ComponentStatus.FAILED and known.taken)
    }


def _is_led_to(graph: Graph, id: str, kept: Taken) -> bool:
    if not graph.incoming[id]:
        return graph.components[id].type == "start"
    return any(index in kept.get(graph.connections[index].source, ()) for index in graph.incoming[id])


def _is_skipped(state: State, id: str) -> bool:
    known = state.components.get(id)
    return known is not None and known.status is ComponentStatus.SKIPPED


def _in_order(graph: Graph) -> Iterator[str]:
    """Every component after all that lead to it."""
    left, free = dict(graph.inbound), graph.roots
    while free:
        yield (source := free.pop())
        for target in graph.targets(source):
            left[target] -= 1
            if left[target] == 0:
                free.append(target)


def _wrong(message: str) -> Invalid:
    return Invalid([Problem(Code.VALIDATION_ERROR, f"from_component: {message}", "from_component")])
