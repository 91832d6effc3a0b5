"""What of the log whoever operates an organization has to know, in words: the channel `system`. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec
from msgspec import UNSET, Struct, UnsetType

from executor.domain.events import Event, apikey, execution, schedule, task, webhook
from executor.ports import Recorded


class Notification(Struct, frozen=True, kw_only=True):
    """`level` is info, warning or error; `event` the type of the event; ids are there where it has them."""

    level: str
    event: str
    message: str
    webhook_id: str | UnsetType = UNSET
    delivery_id: str | UnsetType = UNSET
    event_id: str | UnsetType = UNSET
    api_key_id: str | UnsetType = UNSET
    schedule_id: str | UnsetType = UNSET
    task_id: str | UnsetType = UNSET
    workflow_id: str | UnsetType = UNSET
    execution_id: str | UnsetType = UNSET


class _Data(Struct, frozen=True):
    """What a notice needs of any of these events."""

    name: str = ""
    title: str = ""
    workflow_name: str = ""
    reason: str | None = None
    message: str = ""
    scheduled_time: str = ""
    level: int = 0
    delivery_id: str | UnsetType = UNSET
    webhook_id: str | UnsetType = UNSET
    event_id: str | UnsetType = UNSET
    event_type: str = ""
    attempt_count: int = 0
    last_error: str = ""


class Notice(NamedTuple):
    """`id` names what the event's stream is of; `text` is said to who operates the organization."""

    level: str
    id: str
    text: Callable[[_Data], str]


def _attempts(count: int) -> str:
    return "one attempt" if count == 1 else f"{count} attempts"


def _because(text: str, reason: str | None) -> str:
    return f"{text}: {reason}" if reason else text


NOTICES: Final[dict[type[Event], Notice]] = {
    webhook.WebhookDisabled: Notice(
        "error", "webhook_id", lambda of: _because("a webhook was disabled; enable it once it answers", of.reason)
    ),
    webhook.WebhookEnabled: Notice("info", "webhook_id", lambda of: "a webhook is enabled again"),
    webhook.DeliveryExhausted: Notice(
        "warning",
        "delivery_id",
        lambda of: (
            f"a delivery of {of.event_type} was given up after {_attempts(of.attempt_count)}: {of.last_error}; "
            f"it can be sent again"
        ),
    ),
    apikey.ApiKeyCreated: Notice("info", "api_key_id", lambda of: f"API key '{of.name}' was created"),
    apikey.ApiKeyRevoked: Notice(
        "info", "api_key_id", lambda of: _because(f"API key '{of.name}' was revoked", of.reason)
    ),
    schedule.SchedulePaused: Notice(
        "warning", "schedule_id", lambda of: _because(f"schedule '{of.name}' was paused", of.reason)
    ),
    schedule.ScheduleSkipped: Notice(
        "warning",
        "schedule_id",
        lambda of: f"schedule '{of.name}' did not run at {of.scheduled_time}: {of.message}",
    ),
    task.TaskEscalated: Notice(
        "warning", "task_id", lambda of: f"task '{of.title}' was escalated to level {of.level}"
    ),
    execution.ExecutionReclaimed: Notice(
        "warning",
        "execution_id",
        lambda of: f"an execution of workflow '{of.workflow_name}' was taken over from an engine that is gone",
    ),
}
_BY_TYPE: Final = {event.type: notice for event, notice in NOTICES.items()}
NOTICE_TYPES: Final = frozenset(_BY_TYPE)
_decode: Final = msgspec.json.Decoder(_Data).decode


def notification(recorded: Recorded) -> Notification:
    """Of an event whose type is one of `NOTICE_TYPES`. Raises `msgspec.DecodeError`."""
    notice, data = _BY_TYPE[recorded.type], _decode(recorded.data)
    ids: dict[str, str | UnsetType] = {
        "webhook_id": data.webhook_id,
        "event_id": data.event_id,
        "workflow_id": recorded.workflow_id or UNSET,
        "execution_id": recorded.execution_id or UNSET,
        notice.id: recorded.stream.partition(":")[2],
    }
    return Notification(level=notice.level, event=recorded.type, message=notice.text(data), **ids)
