"""The body of a request: a pure function of the event, the endpoint's id and the run's immutable header.

So it is byte for byte the same at every retry, and at a replay in years. It never holds a definition, a digest of a
key or a sealed secret.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from executor.domain.events import CATALOGUE, ComponentFacts, Event, ExecutionFacts
from executor.domain.events.execution import (
    ComponentCompleted,
    ComponentFailed,
    ComponentRetryScheduled,
    ExecutionCompleted,
    ExecutionCreated,
    ExecutionFailed,
)
from executor.domain.events.webhook import Endpoint
from executor.domain.events.workflow import WorkflowEvent
from executor.domain.secrets import redact_json
from executor.domain.values import ExecutionStatus, Instant
from executor.ports import Recorded
from webhooks.view import EndpointView, shown

TEST_EVENT = "webhook.test"

_HIDDEN = frozenset({"definition", "written", "digest", "endpoint", "template"})


class Header(Struct, frozen=True, kw_only=True):
    """What a run's `execution.created` says of it for good."""

    created: ExecutionCreated
    created_at: Instant


class Body(Struct, frozen=True, kw_only=True):
    """`timestamp` is the event's time; `position` is null for a test event. `replay` names the replay that it comes
    from, and is not there in what is live."""

    event: str
    timestamp: Instant
    webhook_id: str
    event_id: str
    position: int | None
    data: Raw
    replay: str | UnsetType = UNSET


def encode(recorded: Recorded, webhook_id: str, data: bytes, replay_id: str | None = None) -> bytes:
    """The whole body. `data` is what `data_of` answers, encoded: the same for every endpoint."""
    return msgspec.json.encode(
        Body(
            event=recorded.type,
            timestamp=recorded.time,
            webhook_id=webhook_id,
            event_id=recorded.id,
            position=recorded.position,
            data=Raw(data),
            replay=UNSET if replay_id is None else replay_id,
        )
    )


def body_of_test(webhook_id: str, event_id: str, at: Instant) -> bytes:
    data = {
        "webhook": {"id": webhook_id},
        "message": "A test event: this endpoint can be reached and its secret works.",
    }
    return msgspec.json.encode(
        Body(
            event=TEST_EVENT,
            timestamp=at,
            webhook_id=webhook_id,
            event_id=event_id,
            position=None,
            data=Raw(msgspec.json.encode(data)),
        )
    )


def decoded(recorded: Recorded) -> Event:
    """The event of a record whose data has the newest shape."""
    return msgspec.json.decode(recorded.data, type=CATALOGUE[recorded.type])


def data_of(recorded: Recorded, event: Event, header: Header | None) -> bytes:
    """The body's `data` as JSON: `workflow`, `execution` and `component` for what happened in a run (whose `header`
    this needs), else one block under the aggregate's name."""
    return redact_json(msgspec.json.encode(_blocks(recorded, event, header)))


def _blocks(recorded: Recorded, event: Event, header: Header | None) -> dict[str, Any]:
    kind = recorded.type.partition(".")[0]
    if header is None or recorded.execution_id is None:
        return {kind: _thing(recorded, event)}
    if isinstance(event, ExecutionFacts):
        return {"workflow": _workflow(recorded, header), "execution": _execution(recorded, event, header)}
    if isinstance(event, ComponentFacts):
        return {
            "workflow": _workflow(recorded, header),
            "execution": _execution_around(recorded, event, header),
            "component": _component(event),
        }
    around = {"workflow": _workflow(recorded, header), "execution": _header(recorded, header)}
    return around | {kind: _thing(recorded, event) if kind == "task" else _fields(event)}


def _workflow(recorded: Recorded, header: Header) -> dict[str, Any]:
    created = header.created
    return {
        "id": recorded.workflow_id,
        "name": created.workflow_name,
        "status": created.workflow_status,
        "version": created.workflow_version,
    }


def _header(recorded: Recorded, header: Header) -> dict[str, Any]:
    created = header.created
    return {
        "id": recorded.execution_id,
        "workflow_id": recorded.workflow_id,
        "workflow_name": created.workflow_name,
        "parameters": created.parameters,
        "tags": created.tags,
        "project_id": created.project_id,
        "created_by": created.created_by,
        "created_at": header.created_at,
    }


def _execution(recorded: Recorded, event: ExecutionFacts, header: Header) -> dict[str, Any]:
    return _header(recorded, header) | {
        "status": event.status,
        "priority": event.priority,
        "results": event.results if isinstance(event, ExecutionCompleted) else None,
        "error_message": event.error.message if isinstance(event, ExecutionFailed) else None,
        "progress": event.progress,
        "resource_usage": None,
        "started_at": event.started_at,
        "completed_at": _ended_at(recorded, event.status),
        "duration_seconds": event.duration,
    }


def _execution_around(recorded: Recorded, event: ComponentFacts, header: Header) -> dict[str, Any]:
    return _header(recorded, header) | {
        "status": event.execution_status,
        "priority": event.priority,
        "results": None,
        "error_message": None,
        "progress": event.progress,
        "resource_usage": None,
        "started_at": event.execution_started_at,
        "completed_at": _ended_at(recorded, event.execution_status),
        "duration_seconds": event.execution_duration,
    }


def _component(event: ComponentFacts) -> dict[str, Any]:
    component: dict[str, Any] = {
        "component_id": event.component_id,
        "component_type": event.component_type,
        "iteration": event.iteration,
        "status": event.status,
        "attempt": event.attempt,
        "started_at": event.started_at,
        "duration_seconds": event.duration,
    }
    if isinstance(event, ComponentCompleted):
        component["output_data"] = event.output_data
    if isinstance(event, ComponentFailed | ComponentRetryScheduled):
        component["error"] = event.error
        component["retry_count"] = event.retry_count
    if isinstance(event, ComponentRetryScheduled):
        component["retry_at"] = event.retry_at
    return component


def _ended_at(recorded: Recorded, status: str) -> Instant | None:
    return recorded.time if ExecutionStatus(status).is_ended else None


def _thing(recorded: Recorded, event: Event) -> dict[str, Any]:
    """What an event says of its own aggregate."""
    said = {"id": recorded.stream.partition(":")[2]} | _fields(event)
    if isinstance(event, WorkflowEvent):
        said["version"] = said.pop("workflow_version")
    endpoint = getattr(event, "endpoint", None)
    if isinstance(endpoint, Endpoint):
        said |= msgspec.to_builtins(EndpointView(**shown(endpoint)))
    return said


def _fields(event: Event) -> dict[str, Any]:
    return {name: getattr(event, name) for name in event.__struct_fields__ if name not in _HIDDEN}
