from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.domain.definition import Definition
from executor.domain.events import (
    CATALOGUE,
    Event,
    Failure,
    agent,
    apikey,
    execution,
    loop,
    schedule,
    task,
    template,
    webhook,
    workflow,
)
from executor.domain.values import Instant, Progress, RetryPolicy
from executor.ports import Metadata, Recorded
from hub.message_data import MAX_OUTPUT_BYTES
from hub.messages import (
    MESSAGES,
    Channel,
    event_json,
    matching_types,
    message,
    message_types,
)

EXECUTION, WORKFLOW, ORGANIZATION = "01EXECUTION", "01WORKFLOW", "01ORGANIZATION"
NOW = Instant("2026-01-31T12:00:00.000Z")
PROGRESS = Progress(current_component="b", completed_components=1, total_components=3, percentage=33)
SHOWN_PROGRESS = {"current_component": "b", "completed_components": 1, "total_components": 3, "percentage": 33}
FAILURE = Failure(code="TIMEOUT_ERROR", message="it took “too long” \x00", component_id="b", details={"seconds": 3})

_execution_facts: dict[str, Any] = {
    "workflow_name": "report",
    "status": "running",
    "priority": 5,
    "progress": PROGRESS,
    "duration": 1.25,
    "started_at": NOW,
}
_component_facts: dict[str, Any] = {
    **_execution_facts,
    "status": "completed",
    "duration": 0.5,
    "execution_status": "paused",
    "execution_duration": 2.5,
    "component_id": "b",
    "component_type": "transform",
}
_definition = Definition(components=())
_workflow_facts: dict[str, Any] = {"name": "report", "status": "active", "workflow_version": 7}
_workflow_whole: dict[str, Any] = {
    **_workflow_facts,
    "description": None,
    "definition": _definition,
    "category": None,
    "tags": (),
    "priority": 5,
}
_agent: dict[str, Any] = {
    "name": "n",
    "description": None,
    "url": "https://example.com",
    "agent_type": "ai",
    "protocol": "auto",
    "capabilities": (),
    "auth_type": "none",
    "auth_config": {},
    "timeout_ms": 1000,
    "retry_config": agent.RetryConfig(),
    "availability": "available",
    "status": "active",
}
_endpoint = webhook.Endpoint(
    url="https://example.com",
    events=("*",),
    description=None,
    sealed_secret="sealed:v1:c2VjcmV0_x-==",
    active=True,
    filters=webhook.EndpointFilters(),
    authentication=webhook.EndpointAuthentication(),
    sealed_headers={"X-Token": "sealed:v1:abc"},
    timeout_seconds=15,
    retry_policy=RetryPolicy(),
    max_in_flight=1,
    ordered=False,
)

_task_facts: dict[str, Any] = {
    "workflow_id": WORKFLOW,
    "workflow_name": "report",
    "execution_id": EXECUTION,
    "component_id": "b",
    "attempt": 2,
    "kind": "human",
    "title": "Approve",
    "status": "assigned",
    "priority": 8,
    "assignee": "ada",
    "due_at": NOW,
}

EXECUTION_UPDATE = {
    "execution_id": EXECUTION,
    "workflow_id": WORKFLOW,
    "status": "running",
    "progress": SHOWN_PROGRESS,
    "duration": 1.25,
}
COMPONENT_COMPLETED = {
    "execution_id": EXECUTION,
    "workflow_id": WORKFLOW,
    "component_id": "b",
    "status": "completed",
    "duration": 0.5,
    "progress": SHOWN_PROGRESS,
    "output_data": None,
}
ERROR = {
    "execution_id": EXECUTION,
    "workflow_id": WORKFLOW,
    "component_id": "b",
    "error": FAILURE.message,
    "retry_count": 2,
    "final": True,
    "progress": SHOWN_PROGRESS,
}
LOG: dict[str, Any] = {
    "execution_id": EXECUTION,
    "component_id": "b",
    "level": "info",
    "message": "hello",
    "metadata": {"rows": [1, 2.5, None]},
}


def _workflow_update(event: str) -> dict[str, Any]:
    return {"workflow_id": WORKFLOW, "name": "report", "status": "active", "version": 7, "event": event}


AT = Instant("2026-01-31T02:00:00.000Z")
COMING: dict[str, Any] = {"next_time": NOW, "next_run_at": NOW}
SCHEDULE: dict[str, Any] = {
    "name": "s",
    "workflow_id": WORKFLOW,
    "description": None,
    "cron": "@daily",
    "interval_seconds": None,
    "anchor": NOW,
    "timezone": "UTC",
    "parameters": {},
    "priority": None,
    "tags": (),
    "project_id": None,
    "overlap_policy": "skip",
    "queue_limit": 1,
    "catch_up": "latest",
    "catch_up_window_seconds": 1,
    "jitter_seconds": 0,
    "start_at": None,
    "end_at": None,
}


def _task_update(event: str) -> dict[str, Any]:
    shown = {name: value for name, value in _task_facts.items() if name not in ("workflow_name", "attempt")}
    return {"task_id": "stream", **shown, "task_type": None, "event": event}


Expected = tuple[str, dict[str, Any]] | None

CASES: list[tuple[Event, Expected]] = [
    (
        execution.ExecutionCreated(
            **{**_execution_facts, "duration": None, "status": "queued"},
            workflow_id=WORKFLOW,
            workflow_version=1,
            workflow_status="active",
            definition=_definition,
            parameters={"token": "sealed:v1:abc"},
            created_by="01USER",
        ),
        ("execution_update", {**EXECUTION_UPDATE, "duration": None, "status": "queued"}),
    ),
    (
        execution.ExecutionStarted(**_execution_facts, engine="e", epoch=1),
        ("execution_update", EXECUTION_UPDATE),
    ),
    (
        execution.ExecutionReclaimed(**_execution_facts, engine="e", epoch=2),
        ("execution_update", EXECUTION_UPDATE),
    ),
    (
        execution.ExecutionCompleted(**_execution_facts, results={"rows": 3}),
        ("execution_update", EXECUTION_UPDATE),
    ),
    (execution.ExecutionFailed(**_execution_facts, error=FAILURE), ("execution_update", EXECUTION_UPDATE)),
    (
        execution.ExecutionCancelled(**_execution_facts, cancelled_by="01USER"),
        ("execution_update", EXECUTION_UPDATE),
    ),
    *(
        (event, ("execution_update", EXECUTION_UPDATE))
        for event in (
            execution.ExecutionPaused(**_execution_facts, paused_by="01USER"),
            execution.ExecutionResumed(**_execution_facts, resumed_by="01USER"),
            execution.ExecutionSignalled(**_execution_facts, key="approved", data={"by": "Ada"}),
            execution.ExecutionReprioritized(**_execution_facts, former_priority=5, changed_by="01USER"),
            execution.ExecutionRetried(
                **_execution_facts, workflow_version=1, parameters={}, kept=("a",), taken={}, retried_by="01USER"
            ),
            execution.ExecutionTerminated(**_execution_facts, terminated_by="01USER"),
        )
    ),
    (
        execution.ComponentStarted(**_component_facts, input_data={"x": 1}),
        ("execution_update", {**EXECUTION_UPDATE, "status": "paused", "duration": 2.5}),
    ),
    (
        execution.ComponentCompleted(**_component_facts, output_data={"rows": [1, 2]}, taken=(0,)),
        ("component_completed", {**COMPONENT_COMPLETED, "output_data": {"rows": [1, 2]}}),
    ),
    (
        execution.ComponentSkipped(**{**_component_facts, "status": "skipped", "duration": None}),
        ("component_completed", {**COMPONENT_COMPLETED, "status": "skipped", "duration": None}),
    ),
    (
        execution.ComponentCancelled(**{**_component_facts, "status": "cancelled"}),
        ("component_completed", {**COMPONENT_COMPLETED, "status": "cancelled"}),
    ),
    (execution.ComponentFailed(**_component_facts, error=FAILURE, retry_count=2), ("error", ERROR)),
    (
        execution.ComponentRetryScheduled(**_component_facts, error=FAILURE, retry_count=2, retry_at=NOW),
        ("error", {**ERROR, "final": False}),
    ),
    (
        execution.LogWritten(level="info", message="hello", component_id="b", metadata=LOG["metadata"]),
        ("log", LOG),
    ),
    (execution.TimerScheduled(component_id="b", fires_at=NOW), None),
    (execution.TimerFired(component_id="b", fires_at=NOW), None),
    *(
        (cls(**_task_facts, **more), ("task_update", _task_update(cls.type)))
        for cls, more in (
            (task.TaskCreated, {"input": "sealed:v1:abc"}),
            (task.TaskAssigned, {}),
            (task.TaskStarted, {"lease_id": "L", "lease_seconds": 60}),
            (task.TaskReleased, {"former_assignee": "bob"}),
            (task.TaskReassigned, {"former_assignee": "bob"}),
            (task.TaskEscalated, {"level": 1}),
            (task.TaskCompleted, {"output": {"x": 1}, "completed_by": "01USER"}),
            (task.TaskFailed, {"error": "no", "failed_by": "01USER"}),
            (task.TaskCancelled, {}),
            (task.TaskRetried, {"retried_by": "01USER"}),
        )
    ),
    *(
        (cls(**_workflow_facts), ("workflow_update", _workflow_update(cls.type)))
        for cls in (
            workflow.WorkflowActivated,
            workflow.WorkflowDeactivated,
            workflow.WorkflowArchived,
            workflow.WorkflowDeleted,
        )
    ),
    (
        workflow.WorkflowCreated(**_workflow_whole),
        ("workflow_update", _workflow_update("workflow.created")),
    ),
    (
        workflow.WorkflowUpdated(**_workflow_whole, changed=("name",)),
        ("workflow_update", _workflow_update("workflow.updated")),
    ),
    (webhook.WebhookCreated(endpoint=_endpoint), None),
    (webhook.WebhookUpdated(endpoint=_endpoint, changed=("url",)), None),
    (webhook.WebhookDisabled(reason="410"), None),
    (webhook.WebhookEnabled(), None),
    (webhook.WebhookDeleted(), None),
    (
        webhook.DeliveryExhausted(
            delivery_id="d",
            webhook_id="w",
            event_id="e",
            event_type="x.y",
            event_position=1,
            attempt_count=12,
            last_error="timeout",
        ),
        None,
    ),
    (loop.LoopStarted(component_id="b", count=2, max_concurrency=1), None),
    (loop.IterationCompleted(component_id="b", index=0, output_data=1), None),
    (loop.IterationFailed(component_id="b", index=0, error=FAILURE), None),
    (agent.AgentRegistered(**_agent), None),
    (agent.AgentUpdated(**_agent, changed=("url",)), None),
    (agent.AgentDeleted(name="n"), None),
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
        None,
    ),
    (apikey.ApiKeyRevoked(name="ci"), None),
    (template.TemplateCreated(name="t", template=template.Template(name="t", workflow_definition={})), None),
    (template.TemplateRated(template_id="T", name="t", rating=4), None),
    (template.TemplateDeleted(name="t"), None),
    (schedule.ScheduleCreated(**SCHEDULE, **COMING), None),
    (schedule.ScheduleUpdated(**SCHEDULE, **COMING, changed=("cron",)), None),
    (schedule.SchedulePaused(name="s", reason="holidays"), None),
    (schedule.ScheduleResumed(name="s", **COMING), None),
    (
        schedule.ScheduleFired(name="s", workflow_id="w", scheduled_time=AT, execution_id="e", **COMING),
        None,
    ),
    (schedule.ScheduleReleased(name="s", execution_id="e"), None),
    (
        schedule.ScheduleSkipped(name="s", scheduled_time=AT, reason="overlap", message="m", **COMING),
        None,
    ),
    (schedule.ScheduleDeleted(name="s"), None),
]


def recorded(event: Event, **changes: Any) -> Recorded:
    is_workflow = event.type.startswith("workflow.")
    of_run = event.type.split(".")[0] in ("execution", "component", "timer", "loop", "iteration", "log", "task")
    whole: dict[str, Any] = {
        "position": 41,
        "id": "01EVENT",
        "type": event.type,
        "time": NOW,
        "organization_id": ORGANIZATION,
        "stream": "some:stream",
        "version": 3,
        "workflow_id": WORKFLOW if of_run or is_workflow else None,
        "execution_id": EXECUTION if of_run else None,
        "data": msgspec.json.encode(event),
        "metadata": Metadata(actor="api_key:01KEY", request_id="r"),
        "hash": bytes(range(32)),
    }
    return Recorded(**{**whole, **changes})


def said(recorded: Recorded, channel: Channel) -> Any:
    text = message(recorded, channel)
    assert text is not None
    return json.loads(text)


def test_every_type_of_the_catalogue_has_a_message_or_says_that_it_has_none() -> None:
    assert {event.type for event in MESSAGES} == set(CATALOGUE), "add the new event to MESSAGES in hub/messages.py"
    assert all(CATALOGUE[event.type] is event for event in MESSAGES)


def test_every_type_of_the_catalogue_has_a_case_here() -> None:
    assert sorted(event.type for event, _ in CASES) == sorted(CATALOGUE)


@pytest.mark.parametrize(("event", "expected"), CASES, ids=lambda value: getattr(value, "type", ""))
@pytest.mark.parametrize("channel", [Channel.EXECUTION, Channel.WORKFLOW])
def test_an_event_becomes_the_message_of_the_contract(event: Event, expected: Expected, channel: Channel) -> None:
    is_on_channel = expected is not None and not (channel is Channel.EXECUTION and event.type.startswith("workflow."))
    types = message_types(channel)
    assert types is not None
    assert (event.type in types) == is_on_channel
    if not is_on_channel:
        assert message(recorded(event), channel) is None
        return
    assert expected is not None
    id = EXECUTION if channel is Channel.EXECUTION else WORKFLOW
    whole = said(recorded(event), channel)
    assert list(whole) == ["type", "id", "timestamp", "channel", "position", "data"]
    assert whole == {
        "type": expected[0],
        "id": "01EVENT",
        "timestamp": NOW,
        "channel": f"{channel}:{id}",
        "position": 41,
        "data": expected[1],
    }


@pytest.mark.parametrize("event", [event for event, _ in CASES], ids=lambda event: event.type)
def test_on_the_channel_of_events_every_event_is_whole(event: Event) -> None:
    of = recorded(event)
    whole = said(of, Channel.EVENTS)
    shown = json.loads(event_json(of))
    assert whole == {
        "type": "event",
        "id": "01EVENT",
        "timestamp": NOW,
        "channel": "events",
        "position": 41,
        "data": shown,
    }
    assert message_types(Channel.EVENTS) is None
    assert list(shown) == [
        *("position", "id", "type", "time", "organization_id", "stream", "version", "workflow_id", "execution_id"),
        *("data", "metadata", "hash"),
    ]
    assert shown["hash"] == bytes(range(32)).hex()
    assert shown["metadata"] == {
        "actor": "api_key:01KEY",
        "request_id": "r",
        "correlation_id": None,
        "causation_id": None,
    }


def test_an_event_that_nobody_knows_is_whole_on_events_and_nothing_elsewhere() -> None:
    strange = recorded(apikey.ApiKeyRevoked(name="x"), type="comet.seen", execution_id=EXECUTION)
    assert said(strange, Channel.EVENTS)["data"]["type"] == "comet.seen"
    assert message(strange, Channel.EXECUTION) is None


def test_an_event_that_was_archived_is_whole_but_for_its_data_and_nothing_elsewhere() -> None:
    event = recorded(execution.LogWritten(level="info", message="hello", component_id="b"))
    blank = msgspec.structs.replace(event, data=b"")
    whole = json.loads(event_json(event))
    assert json.loads(event_json(blank)) == whole | {"data": None, "archived": True}
    assert "archived" not in whole
    assert said(blank, Channel.EVENTS)["data"]["archived"] is True
    assert message(blank, Channel.EXECUTION) is None
    assert message(blank, Channel.WORKFLOW) is None


def test_the_data_of_a_whole_event_is_the_stored_bytes() -> None:
    stored = b'{ "b" : 1.0,\n"a":[1e3 ,"\\u0041"] }'
    assert b'"data":' + stored + b',"metadata"' in event_json(recorded(webhook.WebhookEnabled(), data=stored))


def test_the_output_is_handed_on_as_its_bytes() -> None:
    event = execution.ComponentCompleted(**_component_facts, output_data=None)
    stored = msgspec.json.encode(event).replace(b'"output_data":null', b'"output_data":{"n":1.0,"u":"\\u0041"}')
    text = message(recorded(event, data=stored), Channel.EXECUTION)
    assert text is not None
    assert b'"output_data":{"n":1.0,"u":"\\u0041"}' in text


@pytest.mark.parametrize(("extra", "is_truncated"), [(0, False), (1, True)])
def test_an_output_beyond_16_kib_is_left_out(extra: int, is_truncated: bool) -> None:
    output = "x" * (MAX_OUTPUT_BYTES - 2 + extra)
    event = execution.ComponentCompleted(**_component_facts, output_data=output)
    data = said(recorded(event), Channel.EXECUTION)["data"]
    assert data.get("output_truncated") is (True if is_truncated else None)
    assert data.get("output_data") == (None if is_truncated else output)
    assert said(recorded(event), Channel.EVENTS)["data"]["data"]["output_data"] == output


def test_a_sealed_secret_is_never_shown() -> None:
    sealed = "sealed:v1:QUJD_-x="
    events: list[Event] = [
        execution.ComponentCompleted(**_component_facts, output_data={"echo": f"<{sealed}>"}),
        execution.ComponentFailed(**_component_facts, error=Failure(code="X", message=f"refused {sealed}!")),
        execution.LogWritten(level="info", message=sealed, metadata={sealed: 1}),
    ]
    for event in events:
        for channel in (Channel.EXECUTION, Channel.WORKFLOW, Channel.EVENTS):
            text = message(recorded(event), channel)
            assert text is not None
            assert b"sealed:v1" not in text
            assert b"[REDACTED]" in text
    created = recorded(webhook.WebhookCreated(endpoint=_endpoint), stream="webhook:H")
    for shown in (event_json(created), message(created, Channel.WEBHOOK)):
        assert shown is not None
        assert b"sealed:v1" not in shown
        assert b"[REDACTED]" in shown


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_the_same_event_is_the_same_bytes_and_any_output_survives(output: Any) -> None:
    of = recorded(execution.ComponentCompleted(**_component_facts, output_data=output))
    for channel in Channel:
        assert message(of, channel) == message(of, channel)
    assert said(of, Channel.EXECUTION)["data"]["output_data"] == output
    assert said(of, Channel.EVENTS)["data"]["data"]["output_data"] == output


def test_data_of_another_shape_is_an_error_not_a_wrong_message() -> None:
    with pytest.raises(msgspec.DecodeError):
        message(
            recorded(execution.ExecutionStarted(**_execution_facts, engine="e", epoch=1), data=b"{}"),
            Channel.EXECUTION,
        )


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        ("*", len(CATALOGUE)),
        ("*.*", len(CATALOGUE)),
        ("execution.failed", 1),
        ("execution.nothing", 0),
        ("", 0),
        ("x", 0),
    ],
)
def test_a_pattern_matches_types(pattern: str, count: int) -> None:
    assert len(matching_types(pattern)) == count


def test_a_pattern_matches_one_kind_or_one_fact() -> None:
    assert matching_types("timer.*") == {"timer.scheduled", "timer.fired"}
    assert matching_types("*.failed") == {"execution.failed", "component.failed", "task.failed", "iteration.failed"}


def test_a_task_has_a_channel_of_its_own_where_others_have_nothing() -> None:
    of = recorded(task.TaskAssigned(**_task_facts))
    whole = said(of, Channel.TASK)
    assert (whole["type"], whole["channel"]) == ("task_update", "task:stream")
    assert message(recorded(execution.ExecutionCompleted(**_execution_facts, results={})), Channel.TASK) is None
    assert message_types(Channel.TASK) == {type for type in CATALOGUE if type.startswith("task.")}
