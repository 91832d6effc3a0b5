"""An agent as clients see it, and how much it is doing. Nothing secret is ever in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from executor.domain.agent import State
from executor.domain.events.agent import AgentFacts, RetryConfig
from executor.domain.execution.rows import ComponentRow, ExecutionRow
from executor.domain.secrets import redact
from executor.domain.values import ComponentStatus, ExecutionStatus, Instant
from executor.ports import Eq, In, Order, Range, Reads, Row, RowQuery, Where

R = TypeVar("R", bound=Row)

_PAGE = 500


class Workload(Struct, frozen=True, kw_only=True):
    """`active_tasks`: components of type agent that are asking it now."""

    active_tasks: int


class AgentView(Struct, frozen=True, kw_only=True):
    """May be sent back: `[REDACTED]` keeps the credential that is stored."""

    id: str
    name: str
    description: str | None
    url: str | None
    agent_type: str
    protocol: str
    capabilities: tuple[str, ...]
    auth_type: str
    auth_config: dict[str, str]
    timeout_ms: int
    retry_config: RetryConfig
    availability: str
    status: str
    current_workload: Workload
    created_by: str
    created_at: Instant
    updated_at: Instant


def view(state: State, workloads: Counter[str]) -> AgentView:
    fields = {name: getattr(state, name) for name in AgentFacts.__struct_fields__}
    return AgentView(
        **(fields | {"auth_config": redact(state.auth_config)}),
        id=state.id,
        current_workload=Workload(active_tasks=workloads[state.id] + workloads[_named(state.name)]),
        created_by=state.created_by,
        created_at=state.created_at,
        updated_at=state.updated_at,
    )


class _Config(Struct):
    agent_id: Any = None
    agent_name: Any = None


class _Component(Struct):
    component_type: str
    input_data: _Config | None = None


async def workloads(reads: Reads, organization_id: str) -> Counter[str]:
    """How many components ask each agent now, by the agent's id or its name. A component whose input was too large to
    be kept is not counted: nobody can say whom it asks."""
    found: Counter[str] = Counter()
    now: list[Where] = [
        Eq("organization_id", organization_id),
        Eq("status", str(ExecutionStatus.RUNNING)),
        Range("engine", start=""),  # Only these are at one of their components.
    ]
    async for executions in _pages(reads, ExecutionRow, now, (Order("id"),)):
        running: list[Where] = [
            In("execution_id", tuple(row.id for row in executions)),
            Eq("status", str(ComponentStatus.RUNNING)),
        ]
        order = tuple(Order(column) for column in ComponentRow.key)
        async for components in _pages(reads, ComponentRow, running, order):
            found.update(asked for row in components if (asked := _asked(row.document)) is not None)
    return found


def _asked(document: bytes) -> str | None:
    try:
        component = msgspec.json.decode(document, type=_Component)
    except msgspec.ValidationError:
        return None
    if component.component_type != "agent" or component.input_data is None:
        return None
    id, name = component.input_data.agent_id, component.input_data.agent_name
    return id if isinstance(id, str) else _named(name) if isinstance(name, str) else None


def _named(name: str) -> str:
    return f"name:{name}"


async def _pages(
    reads: Reads, row: type[R], where: Sequence[Where], order: tuple[Order, ...]
) -> AsyncIterator[list[R]]:
    after: tuple[Any, ...] | None = None
    while True:
        found = await reads.find(row, RowQuery(where=tuple(where), order=order, after=after, limit=_PAGE))
        if found:
            yield found
        if len(found) < _PAGE:
            return
        after = tuple(getattr(found[-1], by.column) for by in order)
