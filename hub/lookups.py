"""One thing of the caller's organization, by its id; anything else was not found."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from executor.domain.errors import NotFound
from executor.domain.execution.rows import ExecutionRow
from executor.domain.values import WorkflowStatus, is_ulid
from executor.domain.workflow import WorkflowRow
from executor.ports import Reads, Row

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


def is_there(reads: Reads) -> Callable[[str, str, str], Awaitable[bool]]:
    """Whether a channel's resource (`execution` or `workflow`, its id) is the organization's."""

    async def answer(kind: str, id: str, organization_id: str) -> bool:
        try:
            await (execution_row if kind == "execution" else workflow_row)(reads, id, organization_id)
        except NotFound:
            return False
        return True

    return answer
