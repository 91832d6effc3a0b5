from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from executor.domain.events import CATALOGUE, Event, apikey, execution, schedule, task, webhook
from executor.domain.values import Instant, Progress
from executor.ports import Metadata, Recorded
from hub.messages import Channel, message, message_types
from hub.notices import NOTICE_TYPES, NOTICES

NOW = Instant("2026-01-31T12:00:00.000Z")
_run: dict[str, Any] = {"workflow_id": "W", "workflow_name": "report", "execution_id": "X"}

CASES: list[tuple[Event, str, dict[str, Any]]] = [
    (
        webhook.WebhookDisabled(reason="it answered 410"),
        "webhook:H",
        {
            "level": "error",
            "message": "a webhook was disabled; enable it once it answers: it answered 410",
            "webhook_id": "H",
        },
    ),
    (
        webhook.WebhookEnabled(),
        "webhook:H",
        {"level": "info", "message": "a webhook is enabled again", "webhook_id": "H"},
    ),
    (
        webhook.DeliveryExhausted(
            delivery_id="D",
            webhook_id="H",
            event_id="E",
            event_type="execution.failed",
            event_position=7,
            attempt_count=12,
            last_error="timeout",
        ),
        "delivery:D",
        {
            "level": "warning",
            "message": "a delivery of execution.failed was given up after 12 attempts: timeout; it can be sent again",
            "webhook_id": "H",
            "delivery_id": "D",
            "event_id": "E",
        },
    ),
    (
        apikey.ApiKeyCreated(
            name="ci",
            description=None,
            prefix="sk_live_abcd",
            digest="d",
            role="admin",
            permissions=(),
            expires_at=None,
            created_by=None,
        ),
        "apikey:K",
        {"level": "info", "message": "API key 'ci' was created", "api_key_id": "K"},
    ),
    (
        apikey.ApiKeyRevoked(name="ci", reason="it leaked"),
        "apikey:K",
        {"level": "info", "message": "API key 'ci' was revoked: it leaked", "api_key_id": "K"},
    ),
    (
        schedule.SchedulePaused(name="nightly"),
        "schedule:S",
        {"level": "warning", "message": "schedule 'nightly' was paused", "schedule_id": "S"},
    ),
    (
        schedule.ScheduleSkipped(
            name="nightly",
            scheduled_time=NOW,
            reason="overlap",
            message="the last one runs still",
            next_time=NOW,
            next_run_at=NOW,
        ),
        "schedule:S",
        {
            "level": "warning",
            "message": f"schedule 'nightly' did not run at {NOW}: the last one runs still",
            "schedule_id": "S",
        },
    ),
    (
        task.TaskEscalated(
            **_run, component_id="b", kind="human", title="Approve", status="pending", priority=5, level=2
        ),
        "task:T",
        {
            "level": "warning",
            "message": "task 'Approve' was escalated to level 2",
            "task_id": "T",
            "workflow_id": "W",
            "execution_id": "X",
        },
    ),
    (
        execution.ExecutionReclaimed(
            workflow_name="report",
            status="running",
            priority=5,
            progress=Progress(current_component=None, completed_components=0, total_components=1, percentage=0),
            engine="e",
            epoch=2,
        ),
        "execution:X",
        {
            "level": "warning",
            "message": "an execution of workflow 'report' was taken over from an engine that is gone",
            "workflow_id": "W",
            "execution_id": "X",
        },
    ),
]


def recorded(event: Event, stream: str, **changes: Any) -> Recorded:
    is_of_run = stream.startswith(("task:", "execution:"))
    whole: dict[str, Any] = {
        "position": 41,
        "id": "E41",
        "type": event.type,
        "time": NOW,
        "organization_id": "O",
        "stream": stream,
        "version": 3,
        "workflow_id": "W" if is_of_run else None,
        "execution_id": "X" if is_of_run else None,
        "data": msgspec.json.encode(event),
        "metadata": Metadata(),
        "hash": bytes(32),
    }
    return Recorded(**whole | changes)


def test_every_notice_has_a_case_here() -> None:
    assert {event.type for event, _, _ in CASES} == NOTICE_TYPES == message_types(Channel.SYSTEM)
    assert {event.type for event in NOTICES} <= set(CATALOGUE)


@pytest.mark.parametrize(("event", "stream", "expected"), CASES, ids=lambda value: getattr(value, "type", ""))
def test_what_an_operator_has_to_know_is_said_in_words(event: Event, stream: str, expected: dict[str, Any]) -> None:
    text = message(recorded(event, stream), Channel.SYSTEM)
    assert text is not None
    assert json.loads(text) == {
        "type": "system_notification",
        "id": "E41",
        "timestamp": NOW,
        "channel": "system",
        "position": 41,
        "data": {"event": event.type, **expected},
    }


def test_anything_else_and_what_was_archived_is_no_notification() -> None:
    assert message(recorded(webhook.WebhookDeleted(), "webhook:H"), Channel.SYSTEM) is None
    event, stream, _ = CASES[0]
    assert message(recorded(event, stream, data=b""), Channel.SYSTEM) is None


def test_a_notification_shows_no_sealed_secret() -> None:
    text = message(recorded(apikey.ApiKeyRevoked(name="sealed:v1:QUJD_-x="), "apikey:K"), Channel.SYSTEM)
    assert text is not None
    assert b"sealed:v1" not in text
    assert b"[REDACTED]" in text
