"""Which of the agents that a definition names may be asked: what validation has to know of the registry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from executor.definitions.validate import AgentNamed
from executor.domain.agent import AgentRow, AgentStatus
from executor.ports import Eq, In, Reads, RowQuery

_AT_ONCE: Final = 500


async def agents_named(reads: Reads, organization_id: str, raw: Any) -> AgentNamed:
    """Whether an active agent of the organization has a name, for the names in a raw definition of any form."""
    names, found = sorted(set(_names(raw))), set[str]()
    for start in range(0, len(names), _AT_ONCE):
        some = tuple(names[start : start + _AT_ONCE])
        active = (Eq("organization_id", organization_id), In("name", some), Eq("status", str(AgentStatus.ACTIVE)))
        found.update(row.name for row in await reads.find(AgentRow, RowQuery(where=active, limit=len(some))))
    return found.__contains__


def _names(raw: Any) -> Iterator[str]:
    """Every text under `agent_name`, wherever it is: steps, blocks and components each have their own place."""
    waiting = [raw]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            name = value.get("agent_name")
            if isinstance(name, str):
                yield name
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
