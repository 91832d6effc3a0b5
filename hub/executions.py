"""Commands on executions that more than one door gives: create one, cancel one."""

from __future__ import annotations

import contextlib
from typing import Any

from executor.definitions.parameters import check_parameters
from executor.domain import workflow
from executor.domain.errors import Invalid, ResourceConflict, Unavailable
from executor.domain.execution.decide import Creation, decide_cancel, decide_create
from executor.domain.execution.rows import ExecutionRow
from executor.domain.execution.state import State
from executor.domain.values import ExecutionStatus, Instant
from executor.handle import handle
from executor.ports import Conflict, Eq, Metadata, Range, StreamAppend
from executor.secrets import seal_parameters
from hub.auth.principal import Principal
from hub.services import Services

_ATTEMPTS = 10


async def execute(
    hub: Services,
    principal: Principal,
    workflow_id: str,
    metadata: Metadata,
    *,
    parameters: dict[str, Any],
    priority: int | None,
    scheduled_at: Instant | None,
    tags: tuple[str, ...],
    project_id: str | None,
) -> State:
    """A new run of a workflow as it is now. Raises `Invalid` for its parameters, `ResourceConflict` for its
    status."""
    for _ in range(_ATTEMPTS):
        known, version = await hub.store.log.load(f"workflow:{workflow_id}")
        workflow.require_runnable(known)
        problems = check_parameters(known.definition.parameters, parameters)
        if problems:
            raise Invalid(problems)
        creation = Creation(
            workflow_id=workflow_id,
            workflow_name=known.name,
            workflow_version=known.version,
            workflow_status=str(known.status),
            definition=known.definition,
            parameters=await seal_parameters(
                hub.sealer, principal.organization_id, known.definition.parameters, parameters
            ),
            priority=known.priority if priority is None else priority,
            tags=tags,
            project_id=project_id,
            scheduled_at=scheduled_at,
            created_by=principal.id,
        )
        guard = StreamAppend(
            stream=f"workflow:{workflow_id}",
            expected=version,
            state=known,
            events=(),
            organization_id=principal.organization_id,
            workflow_id=workflow_id,
        )
        id = hub.clock.new_id()
        with contextlib.suppress(Conflict):
            done = await handle(
                hub.store.log,
                hub.clock,
                f"execution:{id}",
                lambda state, creation=creation: decide_create(state, creation, hub.clock.now()),  # type: ignore[misc]
                organization_id=principal.organization_id,
                workflow_id=workflow_id,
                execution_id=id,
                metadata=metadata,
                guards=(guard,),
            )
            state: State = done.state
            return state
    raise Unavailable("the workflow is changing too fast; try again")


async def cancel(hub: Services, execution: ExecutionRow, by: str, metadata: Metadata, reason: str | None) -> State:
    """Ends a run. Raises `ResourceConflict` if it has ended."""
    done = await handle(
        hub.store.log,
        hub.clock,
        f"execution:{execution.id}",
        lambda state: decide_cancel(state, by, reason, hub.clock.now()),
        organization_id=execution.organization_id,
        workflow_id=execution.workflow_id,
        execution_id=execution.id,
        metadata=metadata,
    )
    state: State = done.state
    return state


async def cancel_if_live(hub: Services, execution: ExecutionRow, by: str, metadata: Metadata, reason: str) -> None:
    with contextlib.suppress(ResourceConflict):
        await cancel(hub, execution, by, metadata, reason)


async def queue_position(hub: Services, state: State) -> int | None:
    """From 1, among its organization's queued executions: urgent ones first, then the oldest."""
    if state.status is not ExecutionStatus.QUEUED:
        return None
    queued = (Eq("organization_id", state.run.organization_id), Eq("status", ExecutionStatus.QUEUED.value))
    ahead = await hub.store.reads.count(ExecutionRow, (*queued, Range("priority", start=state.priority + 1)))
    same = (*queued, Eq("priority", state.priority), Range("id", end=state.run.id))
    return ahead + await hub.store.reads.count(ExecutionRow, same) + 1
