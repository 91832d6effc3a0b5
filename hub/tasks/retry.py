"""A task whose end ended its run: the run goes on again from the task's component, which opens another task."""

from __future__ import annotations

from executor.domain.execution.retry import require_retriable
from executor.domain.task.decide import decide_retry
from executor.domain.task.state import State, stream
from executor.ports import Metadata, NewEvent, StreamAppend
from hub.auth.principal import Principal
from hub.executions import retry
from hub.lookups import kept_execution
from hub.services import Services


async def retry_task(hub: Services, principal: Principal, id: str, metadata: Metadata) -> State:
    """The task, which stays what it is. Raises `ResourceConflict` where it has not failed, and where its run goes on
    without it: after another attempt, by an error connection, or because it was retried already."""
    task = await hub.tasks.get(principal.organization_id, id)
    decided = decide_retry(task, principal.id)
    run, _ = await hub.store.log.load(f"execution:{task.execution_id}")
    require_retriable(run)
    told = StreamAppend(
        stream=stream(id),
        expected=task.version,
        state=task,
        events=tuple(NewEvent(hub.clock.new_id(), event) for event in decided),
        organization_id=task.organization_id,
        workflow_id=task.workflow_id,
        execution_id=task.execution_id,
    )
    await retry(
        hub,
        principal,
        await kept_execution(hub.store, task.execution_id, principal.organization_id),
        metadata,
        from_component=task.component_id if not task.iteration else None,
        parameters={},
        to_newest=False,
        reason=f"task {id} was retried",
        with_streams=(told,),
    )
    return await hub.tasks.get(principal.organization_id, id)
