"""Commands on executions that more than one door gives: create one, do something to one."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import partial
from typing import Any

from executor.conditions import taken_elsewhere
from executor.definitions.parameters import check_parameters
from executor.domain import workflow
from executor.domain.errors import Invalid, ResourceConflict, Unavailable
from executor.domain.events import Event
from executor.domain.execution.decide import decide_create
from executor.domain.execution.lifecycle import decide_cancel
from executor.domain.execution.retry import Retry, decide_retry, require_retriable
from executor.domain.execution.rows import ExecutionRow
from executor.domain.execution.state import State
from executor.domain.secrets import REDACTED
from executor.domain.values import ExecutionStatus, Instant
from executor.handle import Decide, handle
from executor.ports import Conflict, Metadata, StreamAppend
from executor.secrets import seal_parameters
from executor.workflows import creation_of
from hub.auth.principal import Principal
from hub.queue import ahead_of
from hub.services import Services
from webhooks.callbacks import Callback

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
    auto_start: bool = True,
    callback_url: str | None = None,
) -> tuple[State, Callback | None]:
    """A new run of a workflow as it is now, with the webhook that hears how it ends; without `auto_start` it waits
    until somebody starts it. Raises `Invalid` for its parameters, `ResourceConflict` for the workflow's status."""
    for _ in range(_ATTEMPTS):
        known, version = await hub.store.log.load(f"workflow:{workflow_id}")
        creation = await creation_of(
            hub.sealer,
            known,
            parameters,
            priority=priority,
            tags=tags,
            project_id=project_id,
            scheduled_at=scheduled_at,
            created_by=principal.id,
            triggered_by=principal.actor,
            is_held=not auto_start,
        )
        callback = None
        if callback_url is not None:
            callback = await hub.callbacks.of(principal.organization_id, callback_url)
            creation = creation._replace(callback_id=callback.webhook_id)
        new = () if callback is None or callback.creation is None else (callback.creation,)
        guard = _unchanged(workflow_id, known, version, principal.organization_id)
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
                guards=(guard, *new),
            )
            return done.state, callback
    raise Unavailable("the workflow is changing too fast; try again")


def _unchanged(workflow_id: str, known: workflow.State, version: int, organization_id: str) -> StreamAppend:
    """Demands that the workflow is at the moment of an append what it was when one looked."""
    return StreamAppend(
        stream=f"workflow:{workflow_id}",
        expected=version,
        state=known,
        events=(),
        organization_id=organization_id,
        workflow_id=workflow_id,
    )


async def command(
    hub: Services, execution: ExecutionRow, metadata: Metadata, decide: Decide, guards: Sequence[StreamAppend] = ()
) -> State:
    """The run after a command on it. Raises what `decide` raises, and a guard's `Conflict`."""
    done = await handle(
        hub.store.log,
        hub.clock,
        f"execution:{execution.id}",
        decide,
        organization_id=execution.organization_id,
        workflow_id=execution.workflow_id,
        execution_id=execution.id,
        metadata=metadata,
        guards=guards,
        consequences=hub.consequences,
    )
    state: State = done.state
    return state


async def retry(
    hub: Services,
    principal: Principal,
    execution: ExecutionRow,
    metadata: Metadata,
    *,
    from_component: str | None,
    parameters: dict[str, Any],
    to_newest: bool,
    reason: str | None,
    with_streams: Sequence[StreamAppend] = (),
) -> State:
    """Runs again what failed or was cancelled, on the version it has or the workflow's newest; `with_streams` are
    what others say of that, in the same append. Raises `Invalid` for the parameters and for a component that it
    cannot be retried from, `ResourceConflict` for a status, of the run or of the workflow."""
    for _ in range(_ATTEMPTS):
        known, version = await hub.store.log.load(f"workflow:{execution.workflow_id}")
        workflow.require_runnable(known)
        given = {name: value for name, value in parameters.items() if value != REDACTED}
        state, _ = await hub.store.log.load(f"execution:{execution.id}")
        require_retriable(state)
        is_other = to_newest and known.version != state.run.workflow_version
        declared = (known if is_other else state.map).definition.parameters
        problems = check_parameters(declared, state.run.parameters | given)
        if problems:
            raise Invalid(problems)
        sealed = await seal_parameters(hub.sealer, principal.organization_id, declared, given)
        asked = Retry(
            by=principal.id,
            reason=reason,
            from_component=from_component,
            parameters=sealed,
            version=known.version if is_other else state.run.workflow_version,
            definition=known.definition if is_other else None,
            taken={},
        )
        guard = _unchanged(execution.workflow_id, known, version, principal.organization_id)
        with contextlib.suppress(Conflict):
            guards = (guard, *with_streams)
            return await command(hub, execution, metadata, partial(_decide_retry, retry=asked), guards)
    raise Unavailable("the workflow is changing too fast; try again")


def _decide_retry(state: State, retry: Retry) -> list[Event]:
    if retry.definition is not None:
        require_retriable(state)
        retry = retry._replace(taken=taken_elsewhere(state, retry.definition))
    return decide_retry(state, retry)


async def cancel(hub: Services, execution: ExecutionRow, by: str, metadata: Metadata, reason: str | None) -> State:
    """Ends a run. Raises `ResourceConflict` if it has ended."""
    return await command(hub, execution, metadata, lambda state: decide_cancel(state, by, reason, hub.clock.now()))


async def cancel_if_live(hub: Services, execution: ExecutionRow, by: str, metadata: Metadata, reason: str) -> None:
    with contextlib.suppress(ResourceConflict):
        await cancel(hub, execution, by, metadata, reason)


async def queue_position(hub: Services, state: State) -> int | None:
    """From 1, among its organization's queued executions: urgent ones first, then the oldest."""
    if state.status is not ExecutionStatus.QUEUED or not state.is_in_queue:
        return None
    row = await hub.store.reads.get(ExecutionRow, state.run.id)
    return None if row is None else (await ahead_of(hub.store.reads, row, hub.clock.now()))[0] + 1
