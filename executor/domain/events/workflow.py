"""Facts about workflows (the definitions, not their executions)."""

from __future__ import annotations

from typing import Any, ClassVar

from executor.domain.definition import Definition
from executor.domain.events.base import Event


class WorkflowEvent(Event, frozen=True, kw_only=True):
    """`name` and `status` are in every one, as they are after it."""

    name: str
    status: str
    workflow_version: int


class WorkflowCreated(WorkflowEvent, frozen=True, kw_only=True):
    """`written` is the definition as it was sent, where that was not in the form of the graph.
    `template_id` is the template that it was made from."""

    type: ClassVar[str] = "workflow.created"
    description: str | None
    definition: Definition
    written: dict[str, Any] | None = None
    category: str | None
    tags: tuple[str, ...]
    priority: int
    template_id: str | None = None


class WorkflowUpdated(WorkflowEvent, frozen=True, kw_only=True):
    """The whole workflow after the change; `changed` names the fields that differ."""

    type: ClassVar[str] = "workflow.updated"
    description: str | None
    definition: Definition
    written: dict[str, Any] | None = None
    category: str | None
    tags: tuple[str, ...]
    priority: int
    changed: tuple[str, ...]


class WorkflowActivated(WorkflowEvent, frozen=True, kw_only=True):
    type: ClassVar[str] = "workflow.activated"


class WorkflowDeactivated(WorkflowEvent, frozen=True, kw_only=True):
    type: ClassVar[str] = "workflow.deactivated"


class WorkflowArchived(WorkflowEvent, frozen=True, kw_only=True):
    type: ClassVar[str] = "workflow.archived"


class WorkflowDeleted(WorkflowEvent, frozen=True, kw_only=True):
    type: ClassVar[str] = "workflow.deleted"
