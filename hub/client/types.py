"""What the hub answers, as far as this version knows it.

Fields that it does not know are left out, and those that a hub does not send have their defaults: client and hub need
not be of one version. Times are texts, RFC 3339 in UTC.
"""

from __future__ import annotations

from typing import Any

from msgspec import Raw, Struct, field

ENDED = frozenset({"completed", "failed", "cancelled", "terminated"})
"""The statuses of an execution that has ended."""


class Workflow(Struct, frozen=True, kw_only=True):
    """`definition` is null where it was not asked for; so are the statistics, from `execution_count` on."""

    id: str
    name: str = ""
    status: str = ""
    version: int = 0
    description: str | None = None
    category: str | None = None
    tags: tuple[str, ...] = ()
    priority: int = 0
    definition: dict[str, Any] | None = None
    component_count: int = 0
    created_by: str = ""
    created_at: str = ""
    updated_at: str = ""
    permissions: dict[str, bool] = {}
    execution_count: int | None = None
    success_rate: float | None = None
    last_execution_at: str | None = None


class Finding(Struct, frozen=True, kw_only=True):
    code: str = ""
    severity: str = ""
    message: str = ""
    component_id: str | None = None
    field: str | None = None


class Validation(Struct, frozen=True, kw_only=True):
    is_valid: bool
    errors: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()
    info: tuple[Finding, ...] = ()


class Started(Struct, frozen=True, kw_only=True):
    """An execution that was asked for. `estimated_duration` is seconds, null while there is no history."""

    id: str
    execution_id: str = ""
    workflow_id: str = ""
    status: str = ""
    priority: int = 0
    scheduled_at: str | None = None
    created_at: str = ""
    estimated_duration: float | None = None
    queue_position: int | None = None


class Progress(Struct, frozen=True, kw_only=True):
    current_component: str | None = None
    completed_components: int = 0
    total_components: int = 0
    percentage: int = 0


class Execution(Struct, frozen=True, kw_only=True):
    id: str
    workflow_id: str = ""
    workflow_name: str = ""
    workflow_version: int = 0
    status: str = ""
    priority: int = 0
    progress: Progress = Progress()
    parameters: dict[str, Any] = {}
    results: dict[str, Any] | None = None
    error_message: str | None = None
    error: dict[str, Any] | None = None
    resource_usage: dict[str, Any] | None = None
    tags: tuple[str, ...] = ()
    project_id: str | None = None
    created_by: str = ""
    triggered_by: str = ""
    parent_execution_id: str | None = None
    created_at: str = ""
    scheduled_at: str | None = None
    started_at: str | None = None
    completed_at: str | None = None
    updated_at: str | None = None
    paused_at: str | None = None
    duration_seconds: float | None = None
    cancelled_at: str | None = None
    cancelled_by: str | None = None
    cancel_reason: str | None = None

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED


class Component(Struct, frozen=True, kw_only=True):
    """`iteration` is the path of the indices of the loops around, such as `3.0`; empty outside of loops."""

    component_id: str
    component_type: str = ""
    iteration: str = ""
    status: str = ""
    attempt: int = 0
    input_data: Any = None
    output_data: Any = None
    error_message: str | None = None
    started_at: str | None = None
    completed_at: str | None = None
    duration_seconds: float | None = None


class LogLine(Struct, frozen=True, kw_only=True):
    timestamp: str = ""
    level: str = ""
    message: str = ""
    component_id: str | None = None
    metadata: Any = None


class Task(Struct, frozen=True, kw_only=True):
    """`input` of a claimed task is in clear for its worker alone, so a task's repr shows none; `omitted` names what a
    list left out."""

    id: str
    execution_id: str = ""
    workflow_id: str = ""
    workflow_name: str = ""
    component_id: str = ""
    iteration: str = ""
    attempt: int = 0
    kind: str = ""
    task_type: str | None = None
    title: str = ""
    description: str | None = None
    status: str = ""
    priority: int = 0
    assignee: str | None = None
    candidates: tuple[str, ...] = ()
    form: Any = None
    data: Any = None
    input: Any = None
    due_at: str | None = None
    overdue: bool = False
    escalation_level: int = 0
    output: Any = None
    notes: str | None = None
    error_message: str | None = None
    reason: str | None = None
    ended_by: str | None = None
    created_at: str = ""
    assigned_at: str | None = None
    started_at: str | None = None
    completed_at: str | None = None
    updated_at: str = ""
    duration_seconds: float | None = None
    worker_id: str | None = None
    lease_seconds: float | None = None
    lease_expires_at: str | None = None
    omitted: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Task(id={self.id!r}, title={self.title!r}, status={self.status!r})"


class Lease(Struct, frozen=True, kw_only=True):
    """How long a worker has a task from now on."""

    id: str
    status: str = ""
    worker_id: str = ""
    lease_seconds: float = 0.0
    lease_expires_at: str = ""


class Webhook(Struct, frozen=True, kw_only=True):
    """`secret` is there at its creation and rotation alone; the repr never shows it."""

    id: str
    url: str = ""
    events: tuple[str, ...] = ()
    description: str | None = None
    active: bool = True
    secret: str | None = None
    filters: dict[str, Any] = {}
    authentication: dict[str, Any] = {}
    headers: dict[str, str] = {}
    timeout_seconds: float = 0.0
    retry_policy: dict[str, Any] = {}
    max_in_flight: int | None = None
    rate_limit_per_second: float | None = None
    ordered: bool = False
    signing: str = "hmac"
    public_key: str | None = None
    metadata: dict[str, Any] = {}
    disabled_reason: str | None = None
    created_by: str = ""
    created_at: str = ""
    updated_at: str = ""

    def __repr__(self) -> str:
        return f"Webhook(id={self.id!r}, url={self.url!r}, events={self.events!r}, active={self.active!r})"


class Attempt(Struct, frozen=True, kw_only=True):
    attempt: int = 0
    started_at: str = ""
    duration_ms: int = 0
    status_code: int | None = None
    error: str | None = None
    response_body: str | None = None
    error_class: str | None = None
    receiver_fault: bool = False
    request_headers: dict[str, str] | None = None
    timings: dict[str, float | None] | None = None


class Delivery(Struct, frozen=True, kw_only=True):
    id: str
    webhook_id: str = ""
    event_id: str = ""
    event: str = ""
    position: int | None = None
    status: str = ""
    attempt_count: int = 0
    next_attempt_at: str | None = None
    created_at: str = ""
    completed_at: str | None = None
    replay_id: str | None = None
    attempts: tuple[Attempt, ...] = ()


class Event(Struct, frozen=True, kw_only=True):
    """`data` is null where it was archived."""

    position: int
    id: str = ""
    type: str = ""
    time: str = ""
    organization_id: str = ""
    stream: str = ""
    version: int = 0
    workflow_id: str | None = None
    execution_id: str | None = None
    data: dict[str, Any] | None = None
    metadata: dict[str, Any] = {}
    hash: str = ""
    archived: bool = False
    replay: str | None = None


class Replay(Struct, frozen=True, kw_only=True):
    """`channel` is where subscribers get it, null where it goes to a webhook. Both ends are inclusive."""

    id: str
    status: str = ""
    target: dict[str, Any] = {}
    channel: str | None = None
    first: int = field(name="from", default=0)
    last: int = field(name="to", default=0)
    types: tuple[str, ...] = ()
    workflow_id: str | None = None
    execution_id: str | None = None
    progress: dict[str, Any] = {}
    error: str | None = None
    created_at: str = ""
    completed_at: str | None = None


class Me(Struct, frozen=True, kw_only=True):
    """Who asks."""

    type: str = ""
    id: str = ""
    name: str = ""
    organization: Any = None
    role: str | None = None
    permissions: tuple[str, ...] = ()
    expires_at: str | None = None


class Metadata(Struct, frozen=True, kw_only=True):
    """Of an answer; the fields from `total_count` on are those of lists."""

    timestamp: str = ""
    request_id: str | None = None
    version: str = ""
    total_count: int | None = None
    limit: int = 0
    offset: int = 0
    has_more: bool = False
    next_cursor: str | None = None


class Envelope(Struct, frozen=True, kw_only=True):
    success: bool
    data: Raw = Raw(b"null")
    message: str = ""
    errors: tuple[Any, ...] = ()
    metadata: Metadata = Metadata()
