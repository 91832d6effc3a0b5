"""The start of a new run of a workflow: its parameters checked, and the secret ones sealed."""

from __future__ import annotations

from typing import Any

from executor.definitions.parameters import check_parameters
from executor.domain import workflow
from executor.domain.errors import Invalid
from executor.domain.execution.decide import Creation
from executor.domain.values import Instant
from executor.secrets import Opener, seal_parameters


async def creation_of(
    opener: Opener,
    known: workflow.State,
    parameters: dict[str, Any],
    *,
    priority: int | None = None,
    tags: tuple[str, ...] = (),
    project_id: str | None = None,
    scheduled_at: Instant | None = None,
    created_by: str,
    triggered_by: str | None = None,
    is_held: bool = False,
    keeps_sealed: bool = False,
) -> Creation:
    """A new run of a workflow as it is now. Raises `Invalid` for its parameters, `ResourceConflict` and `NotFound`
    for the workflow's status, and what sealing raises."""
    workflow.require_runnable(known)
    declared, organization_id = known.definition.parameters, known.organization_id
    if problems := check_parameters(declared, parameters):
        raise Invalid(problems)
    sealed = await seal_parameters(opener, organization_id, declared, parameters, keeps_sealed=keeps_sealed)
    return Creation(
        workflow_id=known.id,
        workflow_name=known.name,
        workflow_version=known.version,
        workflow_status=str(known.status),
        definition=known.definition,
        parameters=sealed,
        priority=known.priority if priority is None else priority,
        tags=tags,
        project_id=project_id,
        scheduled_at=scheduled_at,
        created_by=created_by,
        triggered_by=triggered_by,
        is_held=is_held,
    )
