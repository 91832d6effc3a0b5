from __future__ import annotations

from typing import Any

import msgspec
import pytest

from executor.domain.definition import ComponentSpec, Definition
from executor.domain.events import CATALOGUE, Event, Failure
from executor.domain.events.apikey import ApiKeyCreated
from executor.domain.events.execution import (
    ComponentCompleted,
    ComponentFailed,
    ComponentRetryScheduled,
    ExecutionCancelled,
    ExecutionCompleted,
    ExecutionCreated,
    ExecutionFailed,
    LogWritten,
)
from executor.domain.events.schedule import ScheduleFired
from executor.domain.events.task import TaskFailed
from executor.domain.events.template import Template, TemplateCreated
from executor.domain.events.webhook import WebhookCreated
from executor.domain.events.workflow import WorkflowUpdated
from executor.domain.values import Instant, Progress
from executor.ports import Metadata, Recorded
from tests.unit.webhooks.given import endpoint
from webhooks.body import Header, body_of_test, data_of, decoded, encode

STARTED, NOW = Instant("2026-01-31T11:59:00.000Z"), Instant("2026-01-31T12:00:00.000Z")
DEFINITION = Definition(components=(ComponentSpec(id="start", type="start"),))
PROGRESS = Progress("a", 1, 4, 25)
FACTS: dict[str, Any] = {
    "workflow_name": "report",
    "status": "running",
    "priority": 8,
    "progress": PROGRESS,
    "duration": 60.0,
    "started_at": STARTED,
}
OF_COMPONENT: dict[str, Any] = FACTS | {
    "status": "failed",
    "duration": 1.5,
    "execution_status": "running",
    "execution_started_at": STARTED,
    "execution_duration": 60.0,
    "component_id": "fetch",
    "component_type": "http_request",
    "attempt": 2,
}
CREATED = ExecutionCreated(
    **FACTS | {"status": "queued", "duration": None, "started_at": None},
    workflow_id="W",
    workflow_version=3,
    workflow_status="active",
    definition=DEFINITION,
    parameters={"city": "Bern", "key": "sealed:v1:AAAA", "nested": ["x sealed:v1:BBBB y"]},
    tags=("nightly",),
    project_id="p1",
    created_by="someone",
)
HEADER = Header(created=CREATED, created_at=STARTED)
EXECUTION = {
    "id": "X",
    "workflow_id": "W",
    "workflow_name": "report",
    "parameters": {"city": "Bern", "key": "[REDACTED]", "nested": ["x [REDACTED] y"]},
    "tags": ["nightly"],
    "project_id": "p1",
    "created_by": "someone",
    "created_at": STARTED,
}


def recorded(event: Event, stream: str = "execution:X") -> Recorded:
    in_run = stream.startswith("execution:")
    return Recorded(
        position=7,
        id="E",
        type=event.type,
        time=NOW,
        organization_id="O",
        stream=stream,
        version=2,
        workflow_id="W" if in_run else None,
        execution_id="X" if in_run else None,
        data=msgspec.json.encode(event),
        metadata=Metadata(),
        hash=bytes(32),
    )


def data(event: Event, stream: str = "execution:X") -> dict[str, Any]:
    record = recorded(event, stream)
    header = HEADER if record.execution_id else None
    made: dict[str, Any] = msgspec.json.decode(data_of(record, decoded(record), header))
    return made


def test_the_body_is_the_contracts_envelope_around_the_data() -> None:
    record = recorded(ExecutionCompleted(**FACTS | {"status": "completed"}, results={"rows": 3}))
    body = msgspec.json.decode(encode(record, "H", data_of(record, decoded(record), HEADER)))
    assert list(body) == ["event", "timestamp", "webhook_id", "event_id", "position", "data"]
    assert (body["event"], body["timestamp"], body["webhook_id"]) == ("execution.completed", NOW, "H")
    assert (body["event_id"], body["position"]) == ("E", 7)


def test_the_same_event_gives_the_same_bytes() -> None:
    record = recorded(ExecutionFailed(**FACTS, error=Failure(code="C", message="m")))
    assert data_of(record, decoded(record), HEADER) == data_of(record, decoded(record), HEADER)


@pytest.mark.parametrize(
    ("event", "differs"),
    [
        (
            ExecutionCompleted(**FACTS | {"status": "completed"}, results={"rows": 3}),
            {"status": "completed", "results": {"rows": 3}, "completed_at": NOW},
        ),
        (
            ExecutionFailed(**FACTS | {"status": "failed"}, error=Failure(code="C", message="it broke")),
            {"status": "failed", "error_message": "it broke", "completed_at": NOW},
        ),
        (
            ExecutionCancelled(**FACTS | {"status": "cancelled"}, cancelled_by="me"),
            {"status": "cancelled", "completed_at": NOW},
        ),
        (CREATED, {"status": "queued", "started_at": None, "duration_seconds": None}),
    ],
)
def test_an_execution_is_shown_as_of_the_event(event: Event, differs: dict[str, Any]) -> None:
    shown = {
        "status": "running",
        "priority": 8,
        "results": None,
        "error_message": None,
        "progress": msgspec.to_builtins(PROGRESS),
        "resource_usage": None,
        "started_at": STARTED,
        "completed_at": None,
        "duration_seconds": 60.0,
    }
    assert data(event) == {
        "workflow": {"id": "W", "name": "report", "status": "active", "version": 3},
        "execution": EXECUTION | shown | differs,
    }


def test_a_component_is_shown_beside_the_execution_that_it_belongs_to() -> None:
    failure = Failure(code="TIMEOUT_ERROR", message="too slow", component_id="fetch")
    made = data(ComponentFailed(**OF_COMPONENT, error=failure, retry_count=1, taken=(0,)))
    assert made["execution"]["status"] == "running"
    assert made["execution"]["duration_seconds"] == 60.0
    assert made["component"] == {
        "component_id": "fetch",
        "component_type": "http_request",
        "iteration": "",
        "status": "failed",
        "attempt": 2,
        "started_at": STARTED,
        "duration_seconds": 1.5,
        "error": msgspec.to_builtins(failure),
        "retry_count": 1,
    }


def test_a_components_output_and_its_next_attempt_are_told() -> None:
    completed = data(ComponentCompleted(**OF_COMPONENT, output_data={"key": "sealed:v1:AAAA", "n": [1]}))
    assert completed["component"]["output_data"] == {"key": "[REDACTED]", "n": [1]}
    failure = Failure(code="C", message="m")
    retried = data(ComponentRetryScheduled(**OF_COMPONENT, error=failure, retry_count=1, retry_at=NOW))
    assert (retried["component"]["retry_at"], retried["component"]["retry_count"]) == (NOW, 1)


def test_other_facts_of_a_run_stand_beside_its_header() -> None:
    made = data(LogWritten(level="info", message="hello", component_id="fetch"))
    assert made["execution"] == EXECUTION
    said = {"level": "info", "message": "hello", "component_id": "fetch", "iteration": "", "metadata": None}
    assert made["log"] == said


def test_a_workflow_is_told_without_its_definition() -> None:
    event = WorkflowUpdated(
        name="report",
        status="active",
        workflow_version=4,
        description=None,
        definition=DEFINITION,
        category="c",
        tags=("t",),
        priority=5,
        changed=("definition",),
    )
    assert data(event, "workflow:W") == {
        "workflow": {
            "id": "W",
            "name": "report",
            "status": "active",
            "version": 4,
            "description": None,
            "category": "c",
            "tags": ["t"],
            "priority": 5,
            "changed": ["definition"],
        }
    }


def test_an_endpoint_and_a_key_are_told_without_their_secrets() -> None:
    made = data(WebhookCreated(endpoint=endpoint(sealed_headers={"X-Key": "sealed:v1:AAAA"})), "webhook:H")
    assert made["webhook"]["id"] == "H"
    assert made["webhook"]["headers"] == {"X-Key": "[REDACTED]"}
    assert not any("seal" in name or "secret" in name for name in made["webhook"])
    key = ApiKeyCreated(
        name="ci",
        description=None,
        prefix="sk_live_ab",
        digest="d1ge57",
        role="admin",
        permissions=(),
        expires_at=None,
        created_by=None,
    )
    assert "d1ge57" not in str(data(key, "apikey:K"))


def test_a_test_event_has_a_body_of_its_own() -> None:
    body = msgspec.json.decode(body_of_test("H", "E", NOW))
    assert (body["event"], body["position"], body["data"]["webhook"]["id"]) == ("webhook.test", None, "H")


def test_every_type_of_event_has_a_name_that_begins_with_its_aggregate() -> None:
    """`data` of a body is named so."""
    assert all(len(type.split(".")) == 2 for type in CATALOGUE)


def test_a_schedule_is_told_by_its_name() -> None:
    at = Instant("2026-01-31T02:00:00.000Z")
    event = ScheduleFired(
        name="s", workflow_id="W", scheduled_time=at, execution_id="E", next_time=None, next_run_at=None
    )
    told = data(event, "schedule:S")["schedule"]
    assert told == {
        "id": "S",
        "name": "s",
        "workflow_id": "W",
        "scheduled_time": at,
        "execution_id": "E",
        "is_manual": False,
        "waits": False,
        "cancelled": [],
        "next_time": None,
        "next_run_at": None,
    }


def test_a_template_is_told_without_its_definition() -> None:
    event = TemplateCreated(name="t", template=Template(name="t", workflow_definition={"components": []}))
    assert data(event, "template:T") == {"template": {"id": "T", "name": "t"}}


def test_a_task_is_told_of_with_the_run_that_waits_for_it() -> None:
    event = TaskFailed(
        workflow_id="W",
        workflow_name="report",
        execution_id="X",
        component_id="ask",
        kind="external",
        task_type="render",
        title="Render",
        status="failed",
        priority=5,
        assignee="w1",
        error="refused sealed:v1:AAAA",
        failed_by="someone",
    )
    record = msgspec.structs.replace(recorded(event), stream="task:T")
    made = msgspec.json.decode(data_of(record, decoded(record), HEADER))
    assert list(made) == ["workflow", "execution", "task"]
    assert made["execution"] == EXECUTION
    task = made["task"]
    assert (task["id"], task["status"], task["assignee"], task["error"]) == (
        "T",
        "failed",
        "w1",
        "refused [REDACTED]",
    )
