"""Which agents a definition names, and whether they are there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from executor.definitions.report import Finding, error, warning
from executor.domain.definition import Definition
from executor.domain.references import holds_reference

AgentNamed = Callable[[str], bool]
"""Is there an active agent of this name?"""


def agents_in(raw: Any) -> set[str]:
    """The names of all agents that a raw definition in any form may call."""
    names: set[str] = set()
    waiting = [raw]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            name = value.get("agent_name")
            names.update([name] if isinstance(name, str) and not holds_reference(name) else [])
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return names


def agent_findings(definition: Definition, prefix: str, agent_named: AgentNamed, must: bool) -> Iterator[Finding]:
    """An agent may be registered after the workflow that asks it, unless it `must` be there."""
    for index, spec in enumerate(definition.components):
        name = spec.config.get("agent_name") if spec.type == "agent" else None
        if isinstance(name, str) and not holds_reference(name) and not agent_named(name):
            field = f"{prefix}.components[{index}].config.agent_name"
            message = f"there is no active agent named '{name}'"
            if must:
                yield error("UNKNOWN_AGENT", message, field, spec.id)
            else:
                yield warning("UNKNOWN_AGENT", message, field, spec.id)
