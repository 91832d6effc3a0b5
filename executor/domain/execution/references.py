"""What references and conditions see of a run, from where they stand: the run itself, or an iteration of a loop."""

from __future__ import annotations

import hashlib
from typing import Any, Final

import msgspec
from msgspec import UNSET

from executor.domain.definition import Graph
from executor.domain.execution.state import State
from executor.domain.references import Lookup, Reference, Root, TooLarge, resolve, walk
from executor.domain.values import ComponentStatus, component_key, split_key

ITERATION: Final = "iteration"
"""The innermost iteration, seen from inside: `iteration.index`, `iteration.item`. (`loop` is reserved in CEL.)"""
DEFAULT_ITEM: Final = "item"


def item_name(graph: Graph) -> str:
    """What the body that this is calls its item."""
    assert graph.above is not None
    return str(graph.above.components[graph.loop].config.get("as", DEFAULT_ITEM))


def variables_of(graph: Graph) -> tuple[str, ...]:
    """The names that loops give to what is inside of them, the innermost first."""
    names: dict[str, None] = {}
    while graph.above is not None:
        names |= {ITERATION: None, item_name(graph): None}
        graph = graph.above
    return tuple(names)


def input_of(state: State) -> dict[str, Any]:
    """The run's parameters, with the defaults of those that were left out; declared ones are null without either."""
    declared = {
        parameter.name: None if parameter.default_value is UNSET else parameter.default_value
        for parameter in state.map.definition.parameters
    }
    return declared | state.run.parameters


def facts_of(state: State) -> dict[str, Any]:
    """`execution` in conditions and `${execution.…}` in configs."""
    run = state.run
    return {
        "id": run.id,
        "workflow_id": run.workflow_id,
        "workflow_name": run.workflow_name,
        "workflow_version": run.workflow_version,
        "priority": state.priority,
        "tags": list(run.tags),
        "project_id": run.project_id,
        "created_by": run.created_by,
        "created_at": run.created_at,
        "scheduled_at": run.scheduled_at,
        "started_at": state.started_at,
    }


def concurrency_of(state: State) -> tuple[str, int] | tuple[None, None]:
    """Which runs this one shares its turn with, as a key of its workflow's, and how many of them may run at once."""
    wanted = state.map.definition.concurrency
    try:
        value = resolve(wanted.key, lookup_in(state)) if wanted is not None else None
    except TooLarge:
        value = wanted.key if wanted is not None else None
    if wanted is None or value is None or value == "":
        return None, None
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    digest = hashlib.sha256(text.encode()).hexdigest()[:32]
    return f"{state.run.workflow_id}:{digest}", wanted.limit


def output_of(state: State, key: str) -> Any:
    """A component's output; null unless it completed."""
    component = state.components.get(key)
    return component.output_data if component and component.status is ComponentStatus.COMPLETED else None


def seen_from(state: State, id: str, at: str) -> str:
    """The key of the component of an id as one sees it that stands in the same loops or deeper."""
    depth = state.map.home[id].depth
    return component_key(id, ".".join(split_key(at)[1].split(".")[:depth]))


def steps_of(state: State, at: str = "") -> dict[str, Any]:
    """`steps` in conditions: every component around, with its status and output (null unless it completed)."""
    graph: Graph | None = state.map.home[split_key(at)[0]] if at else state.map
    found: dict[str, Any] = {}
    while graph is not None:
        for name, id in graph.names.items():
            key = seen_from(state, id, at)
            known = state.components.get(key)
            status = known.status if known is not None else ComponentStatus.PENDING
            found.setdefault(name, {"status": str(status), "output": output_of(state, key)})
        graph = graph.above
    return found


def variable_of(state: State, name: str, at: str) -> Any:
    """What a loop's name stands for: the item of the nearest one that has it, or `loop` itself. Raises `KeyError`."""
    id, path = split_key(at)
    graph, indices = state.map.home[id] if id else state.map, path.split(".")
    while graph.above is not None:
        if name in (ITERATION, item_name(graph)):
            *above, index = indices[: graph.depth]
            items = state.loops[component_key(graph.loop, ".".join(above))].items
            item = items[int(index)] if items is not None else None
            return item if name != ITERATION else {"index": int(index), "item": item}
        graph = graph.above
    raise KeyError(name)


def lookup_in(state: State, at: str = "") -> Lookup:
    """Resolves references against a run as it stands, seen from a component by its key."""

    graph = state.map.home[split_key(at)[0]] if at else state.map

    def lookup(reference: Reference) -> Any:
        name, path = reference.name, reference.path
        match reference.root:
            case Root.COMPONENT if (id := graph.named(name)) is not None:
                return walk(output_of(state, seen_from(state, id, at)), path)
            case Root.COMPONENT:
                return walk(_variable(state, name, at), ("output", *path))
            case Root.VARIABLE:
                return walk(_variable(state, name, at), path)
            case Root.EXECUTION:
                return facts_of(state).get(name)
            case Root.PARAMETER if _is_variable(state, name, at):
                return walk(variable_of(state, name, at), path)
            case _:
                given = input_of(state)
                return walk(given.get(name), path) if name else given

    return lookup


def _is_variable(state: State, name: str, at: str) -> bool:
    id, path = split_key(at)
    return bool(path) and name in variables_of(state.map.home[id])


def _variable(state: State, name: str, at: str) -> Any:
    return variable_of(state, name, at) if _is_variable(state, name, at) else None
