from __future__ import annotations

from typing import Any

import msgspec
import pytest

from executor.domain.values import Instant
from executor.ports import Metadata, Recorded
from hub.logs import LogEntry, log_entry

AT = Instant("2026-01-31T12:00:00.000Z")


def line(type: str, **data: Any) -> LogEntry | None:
    return log_entry(
        Recorded(
            position=1,
            id="id",
            type=type,
            time=AT,
            organization_id="o",
            stream="execution:e",
            version=1,
            workflow_id="w",
            execution_id="e",
            data=msgspec.json.encode(data),
            metadata=Metadata(),
            hash=b"",
        )
    )


def test_what_a_component_wrote_is_a_line_as_it_wrote_it() -> None:
    entry = line("log.written", level="warning", message="careful", component_id="c", metadata={"n": 1})
    assert entry == LogEntry(timestamp=AT, level="warning", component_id="c", message="careful", metadata={"n": 1})


@pytest.mark.parametrize(
    ("type", "data", "level", "message"),
    [
        ("execution.started", {}, "info", "Execution started"),
        ("execution.failed", {"error": {"message": "it broke"}}, "error", "Execution failed: it broke"),
        ("execution.cancelled", {"reason": "enough"}, "warning", "Execution cancelled"),
        ("component.failed", {"error": {"message": "it broke"}}, "error", "Component failed: it broke"),
        (
            "component.retry_scheduled",
            {"error": {"message": "503"}, "attempt": 2},
            "warning",
            "Attempt failed, another follows: 503",
        ),
    ],
)
def test_what_happened_is_a_line(type: str, data: dict[str, Any], level: str, message: str) -> None:
    entry = line(type, component_id="c", **data)
    assert entry is not None
    assert (entry.level, entry.message, entry.component_id) == (level, message, "c")


def test_its_metadata_are_the_facts_that_help() -> None:
    entry = line("component.completed", component_id="c", attempt=2, duration=1.5, output_data={"x": 1})
    assert entry is not None
    assert entry.metadata == {"attempt": 2, "duration": 1.5}


def test_sealed_secrets_are_not_shown_and_other_events_say_nothing() -> None:
    entry = line("log.written", message="the token is sealed:v1:abc-DEF_1=")
    assert entry is not None
    assert entry.message == "the token is [REDACTED]"
    assert line("workflow.created") is None
