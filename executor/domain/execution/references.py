"""What references and conditions see of a run."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from executor.domain.execution.state import State
from executor.domain.references import Lookup, Reference, Root, walk
from executor.domain.values import ComponentStatus


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
        "started_at": state.started_at,
    }


def output_of(state: State, id: str) -> Any:
    """A component's output; null unless it completed."""
    component = state.components.get(id)
    return component.output_data if component and component.status is ComponentStatus.COMPLETED else None


def steps_of(state: State) -> dict[str, Any]:
    """`steps` in conditions: every component of the graph with its status and output (null unless it completed)."""
    return {
        id: {
            "status": str(state.components[id].status) if id in state.components else ComponentStatus.PENDING.value,
            "output": output_of(state, id),
        }
        for id in state.map.components
    }


def lookup_in(state: State) -> Lookup:
    """Resolves references against a run as it stands."""

    def lookup(reference: Reference) -> Any:
        match reference.root:
            case Root.COMPONENT:
                return walk(output_of(state, reference.name), reference.path)
            case Root.EXECUTION:
                return facts_of(state).get(reference.name)
            case _:
                given = input_of(state)
                return walk(given.get(reference.name), reference.path) if reference.name else given

    return lookup
