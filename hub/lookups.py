"""One thing of the caller's organization, by its id; anything else was not found."""

from __future__ import annotations

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
