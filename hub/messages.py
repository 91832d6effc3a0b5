"""A recorded event as the world sees it: its message on a channel, and the whole of it as JSON. Pure.

Every type of the catalogue stands in `MESSAGES`, with the message that it becomes on the channels of its execution
and its workflow, or with `None`; a test fails for one forgotten. On the channel `events` each becomes an `event`.
A message depends on the event alone, so its bytes are the same live, resumed, or replayed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from executor.domain.events import CATALOGUE, Event, execution, workflow
from executor.domain.events import agent as agents
from executor.domain.events import apikey as apikeys
from executor.domain.events import loop as loops
from executor.domain.events import schedule as schedules
from executor.domain.events import task as tasks
from executor.domain.events import template as templates
from executor.domain.events import webhook as webhooks
from executor.domain.secrets import redact_json
from executor.domain.values import Instant
from executor.ports import Metadata, Recorded
from hub.message_data import (
    Data,
    component_completed_data,
    component_started_data,
    error_data,
    execution_data,
    log_data,
    task_data,
    task_id_of,
    workflow_data,
)
from hub.notices import NOTICE_TYPES, Notification, notification

_NULL: Final = Raw(b"null")


class Channel(StrEnum):
    """The kinds of channels. One of an id is named `execution:ID`; there is one `events` and one `system` for an
    organization. `replay` is never live: its messages are read from the log for each subscriber."""

    EXECUTION = "execution"
    WORKFLOW = "workflow"
    TASK = "task"
    EVENTS = "events"
    WEBHOOK = "webhook"
    SYSTEM = "system"
    REPLAY = "replay"


SINGLE: Final = frozenset({Channel.EVENTS, Channel.SYSTEM})
"""Those of which an organization has one."""


class WholeEvent(Struct, frozen=True):
    """An event as REST, streams and exports show it. `hash` is hexadecimal; `archived` is there only where it is
    true, and then data is null; `replay` only where the event comes from one."""

    position: int
    id: str
    type: str
    time: Instant
    organization_id: str
    stream: str
    version: int
    workflow_id: str | None
    execution_id: str | None
    data: Raw
    metadata: Metadata
    hash: str
    archived: bool | UnsetType = UNSET
    replay: str | UnsetType = UNSET


class _Message(Struct, frozen=True):
    type: str
    id: str
    timestamp: Instant
    channel: str
    position: int
    data: Data | Notification | Raw
    replay: str | UnsetType = UNSET


class _Form(Struct, frozen=True):
    """A message's `type`, and how its data comes from an event."""

    type: str
    data: Callable[[Recorded], Data]


class _Delivery(Struct, frozen=True):
    webhook_id: str


_encode: Final = msgspec.json.Encoder().encode
_delivery: Final = msgspec.json.Decoder(_Delivery).decode

_EXECUTION_UPDATE: Final = _Form("execution_update", execution_data)
_COMPONENT_COMPLETED: Final = _Form("component_completed", component_completed_data)
_WORKFLOW_UPDATE: Final = _Form("workflow_update", workflow_data)
_TASK_UPDATE: Final = _Form("task_update", task_data)

MESSAGES: Final[Mapping[type[Event], _Form | None]] = {
    workflow.WorkflowCreated: _WORKFLOW_UPDATE,
    workflow.WorkflowUpdated: _WORKFLOW_UPDATE,
    workflow.WorkflowActivated: _WORKFLOW_UPDATE,
    workflow.WorkflowDeactivated: _WORKFLOW_UPDATE,
    workflow.WorkflowArchived: _WORKFLOW_UPDATE,
    workflow.WorkflowDeleted: _WORKFLOW_UPDATE,
    execution.ExecutionCreated: _EXECUTION_UPDATE,
    execution.ExecutionStarted: _EXECUTION_UPDATE,
    execution.ExecutionReclaimed: _EXECUTION_UPDATE,
    execution.ExecutionPaused: _EXECUTION_UPDATE,
    execution.ExecutionResumed: _EXECUTION_UPDATE,
    execution.ExecutionSignalled: _EXECUTION_UPDATE,
    execution.ExecutionReprioritized: _EXECUTION_UPDATE,
    execution.ExecutionRetried: _EXECUTION_UPDATE,
    execution.ExecutionCompleted: _EXECUTION_UPDATE,
    execution.ExecutionFailed: _EXECUTION_UPDATE,
    execution.ExecutionCancelled: _EXECUTION_UPDATE,
    execution.ExecutionTerminated: _EXECUTION_UPDATE,
    execution.ComponentStarted: _Form("execution_update", component_started_data),
    execution.ComponentCompleted: _COMPONENT_COMPLETED,
    execution.ComponentSkipped: _COMPONENT_COMPLETED,
    execution.ComponentCancelled: _COMPONENT_COMPLETED,
    execution.ComponentFailed: _Form("error", lambda of: error_data(of, final=True)),
    execution.ComponentRetryScheduled: _Form("error", lambda of: error_data(of, final=False)),
    execution.LogWritten: _Form("log", log_data),
    # Nothing that a watcher of an execution can see has changed; what follows from a timer or a loop says so itself.
    execution.TimerScheduled: None,
    execution.TimerFired: None,
    tasks.TaskCreated: _TASK_UPDATE,
    tasks.TaskAssigned: _TASK_UPDATE,
    tasks.TaskStarted: _TASK_UPDATE,
    tasks.TaskReleased: _TASK_UPDATE,
    tasks.TaskReassigned: _TASK_UPDATE,
    tasks.TaskEscalated: _TASK_UPDATE,
    tasks.TaskCompleted: _TASK_UPDATE,
    tasks.TaskFailed: _TASK_UPDATE,
    tasks.TaskCancelled: _TASK_UPDATE,
    tasks.TaskRetried: _TASK_UPDATE,
    loops.LoopStarted: None,
    loops.IterationCompleted: None,
    loops.IterationFailed: None,
    # They belong to no execution and to no workflow: `webhook` and `system` are channels of their own.
    webhooks.WebhookCreated: None,
    webhooks.WebhookUpdated: None,
    webhooks.WebhookDisabled: None,
    webhooks.WebhookEnabled: None,
    webhooks.WebhookDeleted: None,
    webhooks.DeliveryExhausted: None,
    agents.AgentRegistered: None,
    agents.AgentUpdated: None,
    agents.AgentDeleted: None,
    apikeys.ApiKeyCreated: None,
    apikeys.ApiKeyRevoked: None,
    templates.TemplateCreated: None,
    templates.TemplateRated: None,
    templates.TemplateDeleted: None,
    schedules.ScheduleCreated: None,
    schedules.ScheduleUpdated: None,
    schedules.SchedulePaused: None,
    schedules.ScheduleResumed: None,
    schedules.ScheduleFired: None,
    schedules.ScheduleReleased: None,
    schedules.ScheduleSkipped: None,
    schedules.ScheduleDeleted: None,
}

WEBHOOK_TYPES: Final = frozenset(t for t in CATALOGUE if t.startswith(("webhook.", "delivery.")))
TASK_TYPES: Final = frozenset(event.type for event, form in MESSAGES.items() if form is _TASK_UPDATE)
_FORMS: Final = {event.type: form for event, form in MESSAGES.items() if form is not None}


def message(recorded: Recorded, channel: Channel) -> bytes | None:
    """The event's one message on a channel of this kind, or None where it has none there.

    On channels of an id its `channel` names the event's own, for subscribers of `*` (or of an assignee) too. An
    event that was archived has a message on `events` alone. Raises `msgspec.DecodeError` for data that is not of the
    event's type.
    """
    match channel:
        case Channel.EVENTS:
            return _message(recorded, "event", "events", Raw(event_json(recorded)))
        case Channel.WEBHOOK:
            if (webhook_id := webhook_id_of(recorded)) is None:
                return None
            return _message(recorded, "event", f"{channel}:{webhook_id}", Raw(event_json(recorded)))
        case Channel.SYSTEM:
            return _notice(recorded)
        case _:
            return _of_run(recorded, channel)


def _notice(recorded: Recorded) -> bytes | None:
    if recorded.type not in NOTICE_TYPES or not recorded.data:
        return None
    return redact_json(_message(recorded, "system_notification", "system", notification(recorded)))


def _of_run(recorded: Recorded, channel: Channel) -> bytes | None:
    id, form = _id_on(channel, recorded), _FORMS.get(recorded.type)
    if id is None or form is None or not recorded.data:
        return None
    return redact_json(_message(recorded, form.type, f"{channel}:{id}", form.data(recorded)))


def _id_on(channel: Channel, recorded: Recorded) -> str | None:
    """Which of the channels of a kind an event is on."""
    match channel:
        case Channel.EXECUTION:
            return recorded.execution_id
        case Channel.TASK:
            return task_id_of(recorded) if recorded.type in TASK_TYPES else None
        case _:
            return recorded.workflow_id


def replayed(recorded: Recorded, id: str) -> bytes:
    """The event's message on the channel of a replay: as on `events`, and marked with the replay's id."""
    channel, whole = f"{Channel.REPLAY}:{id}", Raw(event_json(recorded))
    return _encode(_Message("event", recorded.id, recorded.time, channel, recorded.position, whole, replay=id))


def event_json(recorded: Recorded, replay_id: str | None = None) -> bytes:
    """The whole event, its data as stored but for sealed secrets, which are shown as `[REDACTED]`; null for one that
    was archived. `replay_id` marks it."""
    whole = WholeEvent(
        recorded.position,
        recorded.id,
        recorded.type,
        recorded.time,
        recorded.organization_id,
        recorded.stream,
        recorded.version,
        recorded.workflow_id,
        recorded.execution_id,
        Raw(redact_json(recorded.data)) if recorded.data else _NULL,
        recorded.metadata,
        recorded.hash.hex(),
        UNSET if recorded.data else True,
        UNSET if replay_id is None else replay_id,
    )
    return _encode(whole)


def webhook_id_of(recorded: Recorded) -> str | None:
    """The webhook that an event is about; null for other events, for one that was archived, and where it is not to be
    read."""
    if recorded.type not in WEBHOOK_TYPES or not recorded.data:
        return None
    kind, _, id = recorded.stream.partition(":")
    try:
        return id if kind == "webhook" else _delivery(recorded.data).webhook_id
    except msgspec.DecodeError:
        return None


def message_types(channel: Channel) -> frozenset[str] | None:
    """The types of events that have a message on channels of this kind; None for all, whatever they are called."""
    if channel in (Channel.EVENTS, Channel.REPLAY):
        return None
    if channel is Channel.TASK:
        return TASK_TYPES
    if channel is Channel.WEBHOOK:
        return WEBHOOK_TYPES
    if channel is Channel.SYSTEM:
        return NOTICE_TYPES
    return frozenset(t for t, f in _FORMS.items() if channel is Channel.WORKFLOW or f is not _WORKFLOW_UPDATE)


def matching_types(pattern: str) -> frozenset[str]:
    """The types of the catalogue that a pattern matches: `execution.failed`, `execution.*`, `*.failed`, or `*`."""
    if pattern == "*":
        return frozenset(CATALOGUE)
    wanted = pattern.split(".")
    return frozenset(t for t in CATALOGUE if _is_matched(wanted, t.split(".")))


def _is_matched(wanted: list[str], given: list[str]) -> bool:
    return len(wanted) == len(given) and all(w in ("*", g) for w, g in zip(wanted, given, strict=True))


def _message(recorded: Recorded, type: str, channel: str, data: Data | Notification | Raw) -> bytes:
    return _encode(_Message(type, recorded.id, recorded.time, channel, recorded.position, data))
