"""One thing of the caller's organization, by its id; anything else was not found."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from executor.domain.errors import Archived, NotFound
from executor.domain.execution.rows import ExecutionRow
from executor.domain.task.rows import TaskRow
from executor.domain.values import WorkflowStatus, is_ulid
from executor.domain.workflow import WorkflowRow
from executor.ports import Reads, Retention, Row, Store
from hub.channels import ANY, Key
from hub.messages import Channel
from webhooks.endpoint import WebhookRow

R = TypeVar("R", bound=Row)


async def workflow_row(reads: Reads, id: str, organization_id: str) -> WorkflowRow:
    """Raises `NotFound` also for deleted ones and for another organization's."""
    row = await reads.get(WorkflowRow, id) if is_ulid(id) else None
    if row is None or row.organization_id != organization_id or row.status == WorkflowStatus.DELETED:
        raise NotFound("workflow", id)
    return row


async def execution_row(reads: Reads, id: str, organization_id: str) -> ExecutionRow:
    row = await reads.get(ExecutionRow, id) if is_ulid(id) else None
    if row is None or row.organization_id != organization_id:
        raise NotFound("execution", id)
    return row


async def task_row(reads: Reads, id: str, organization_id: str) -> TaskRow:
    row = await reads.get(TaskRow, id) if is_ulid(id) else None
    if row is None or row.organization_id != organization_id:
        raise NotFound("task", id)
    return row


async def webhook_row(reads: Reads, id: str, organization_id: str) -> WebhookRow:
    """Raises `NotFound` also for deleted ones and for another organization's."""
    row = await reads.get(WebhookRow, id) if is_ulid(id) else None
    if row is None or row.organization_id != organization_id or row.deleted:
        raise NotFound("webhook", id)
    return row


async def refuse_archived(retention: Retention, id: str, organization_id: str) -> None:
    """Raises `Archived` for an execution of the organization that was archived."""
    archived = await retention.get(id) if is_ulid(id) else None
    if archived is not None and archived.organization_id == organization_id:
        raise Archived("execution", id, archived.archived_at, archived.file)


async def kept_execution(store: Store, id: str, organization_id: str) -> ExecutionRow:
    """As `execution_row`; raises `Archived` for one that was archived."""
    try:
        return await execution_row(store.reads, id, organization_id)
    except NotFound:
        await refuse_archived(store.ledgers.retention, id, organization_id)
        raise


def is_there(store: Store) -> Callable[[str, str, str], Awaitable[bool]]:
    """Whether a channel's resource (`execution`, `workflow`, `task` or `webhook`, its id) is the organization's, also
    where it was archived."""

    async def answer(kind: str, id: str, organization_id: str) -> bool:
        try:
            match kind:
                case Channel.EXECUTION:
                    await kept_execution(store, id, organization_id)
                case Channel.TASK:
                    await task_row(store.reads, id, organization_id)
                case Channel.WEBHOOK:
                    await webhook_row(store.reads, id, organization_id)
                case _:
                    await workflow_row(store.reads, id, organization_id)
        except Archived:
            return True
        except NotFound:
            return False
        return True

    return answer


def is_lost(retention: Retention) -> Callable[[Key, int], Awaitable[bool]]:
    """Whether some of what a channel had after a position was archived: nothing ever is of a webhook."""

    async def answer(key: Key, since: int) -> bool:
        if key.channel is Channel.WEBHOOK:
            return False
        id = None if key.id == ANY else key.id
        return await retention.is_lost(
            key.organization_id,
            since,
            execution_id=id if key.channel is Channel.EXECUTION else None,
            workflow_id=id if key.channel is Channel.WORKFLOW else None,
        )

    return answer
