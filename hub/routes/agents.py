"""Agents: register one, change it, see what it is doing, ask whether it is well."""

from __future__ import annotations

from typing import Any

import msgspec

from executor.domain.agent import AgentRow, AgentStatus, AgentType, Availability, State, state_of
from executor.domain.errors import Problem
from executor.ports import Contains, Eq, HasAll, In, Order, Where
from hub.agents.commands import Caller
from hub.agents.requests import Capabilities, RegisterAgent, UpdateAgent, check
from hub.agents.view import AgentView, view, workloads
from hub.envelope import Answer
from hub.operation import Call, NoBody, Resource
from hub.queries import NoQuery, Paging, page_of
from hub.services import Services

RESOURCE = Resource("agents")


class ListAgents(Paging, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Deleted ones only with `status=deleted`. An agent must have all of the `capabilities`."""

    name: str | None = None
    status: AgentStatus | None = None
    agent_type: AgentType | None = None
    availability: Availability | None = None
    capabilities: Capabilities = ()
    search: str | None = None


async def inspect(hub: Services, fields: dict[str, Any]) -> list[Problem]:
    """What is wrong beyond its shape with a part of a request."""
    try:
        part = msgspec.convert(fields, UpdateAgent)
    except msgspec.ValidationError:
        return []
    return await check(part, hub.egress, State(url=""))


@RESOURCE.route("POST", "/agents", needs="agent.write", body=RegisterAgent, status=201, inspect=inspect)
async def register(call: Call[RegisterAgent, NoQuery]) -> Answer:
    """Register an agent."""
    state = await call.hub.agents.register(_caller(call), call.body)
    return Answer(await _shown(call, state), "Agent registered")


@RESOURCE.route("GET", "/agents", needs="agent.read", query=ListAgents)
async def list_(call: Call[NoBody, ListAgents]) -> Answer:
    """List agents, newest first."""
    query, reads = call.query, call.hub.store.reads
    statuses = [query.status] if query.status else [AgentStatus.ACTIVE, AgentStatus.INACTIVE]
    where: list[Where] = [Eq("organization_id", call.organization_id)]
    where.append(In("status", tuple(str(status) for status in statuses)))
    where += [
        Eq(column, str(value))
        for column in ("name", "agent_type", "availability")
        if (value := getattr(query, column)) is not None
    ]
    if query.capabilities:
        where.append(HasAll("capabilities", query.capabilities))
    if query.search:
        where.append(Contains(("search",), query.search.lower()))
    order = (Order("created_at", True), Order("id", True))
    rows, page = await page_of(reads, AgentRow, where, order, query)
    busy = await workloads(reads, call.organization_id)
    return Answer([view(state_of(row), busy) for row in rows], page=page)


@RESOURCE.route("GET", "/agents/{id}", needs="agent.read")
async def get(call: Call[NoBody, NoQuery]) -> Answer:
    """Get an agent."""
    return Answer(await _shown(call, await call.hub.agents.get(_caller(call), call.path["id"])))


@RESOURCE.route("PUT", "/agents/{id}", needs="agent.write", body=UpdateAgent)
async def update(call: Call[UpdateAgent, NoQuery]) -> Answer:
    """Change an agent; fields left out keep their values."""
    state = await call.hub.agents.update(_caller(call), call.path["id"], call.body)
    return Answer(await _shown(call, state), "Agent updated")


@RESOURCE.route("DELETE", "/agents/{id}", needs="agent.write")
async def delete(call: Call[NoBody, NoQuery]) -> Answer:
    """Delete an agent: nobody asks it from here on."""
    await call.hub.agents.delete(_caller(call), call.path["id"])
    return Answer(None, "Agent deleted")


@RESOURCE.route("GET", "/agents/{id}/health", needs="agent.read")
async def health(call: Call[NoBody, NoQuery]) -> Answer:
    """Ask an agent's own /health whether it is well."""
    answer = await call.hub.agents.health(_caller(call), call.path["id"])
    return Answer(answer, "The agent is healthy" if answer.healthy else "The agent is not healthy")


async def _shown(call: Call[Any, Any], state: State) -> AgentView:
    return view(state, await workloads(call.hub.store.reads, call.organization_id))


def _caller(call: Call[Any, Any]) -> Caller:
    return Caller(call.organization_id, call.metadata)
