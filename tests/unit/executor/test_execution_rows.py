from __future__ import annotations

from typing import Any

import msgspec

from executor.domain.execution.rows import AGGREGATE, ComponentRow, ExecutionRow
from executor.domain.execution.state import State, initial
from executor.domain.values import RetryPolicy, plus
from tests.given import ORGANIZATION, PERSON, START, SUBJECT
from tests.unit.executor.play import Play, flow


def execution_row(state: State) -> tuple[ExecutionRow, dict[str, Any]]:
    row = AGGREGATE.rows(initial(), state)[0]
    assert isinstance(row, ExecutionRow)
    return row, msgspec.json.decode(row.document)


def component_rows(before: State, after: State) -> dict[str, tuple[ComponentRow, dict[str, Any]]]:
    rows = AGGREGATE.rows(before, after)[1:]
    return {
        row.component_id: (row, msgspec.json.decode(row.document)) for row in rows if isinstance(row, ComponentRow)
    }


def test_what_was_never_created_has_no_rows() -> None:
    assert AGGREGATE.rows(initial(), initial()) == ()


def test_an_execution_shows_its_header_and_where_it_stands() -> None:
    play = Play(flow("start > a > b"), {"x": 1}, tags=("nightly",), project_id="P").tick(1).claim().tick(2)
    play.complete("start")
    row, document = execution_row(play.state)
    assert (row.id, row.organization_id, row.status, row.version) == (
        SUBJECT,
        ORGANIZATION,
        "running",
        play.state.version,
    )
    assert (row.tags, row.project_id, row.engine, row.epoch) == ('["nightly"]', "P", "engine-1", 1)
    assert row.runnable_at == play.now
    assert document == {
        "id": SUBJECT,
        "workflow_id": "01JZ0000000000000000000009",
        "workflow_name": "report",
        "workflow_version": 1,
        "status": "running",
        "priority": 5,
        "progress": {
            "current_component": "a",
            "completed_components": 1,
            "total_components": 3,
            "percentage": 33,
        },
        "parameters": {"x": 1},
        "results": None,
        "error_message": None,
        "error": None,
        "resource_usage": None,
        "tags": ["nightly"],
        "project_id": "P",
        "created_by": PERSON,
        "triggered_by": PERSON,
        "parent_execution_id": None,
        "created_at": START,
        "scheduled_at": None,
        "started_at": plus(START, 1),
        "completed_at": None,
        "updated_at": plus(START, 3),
        "paused_at": None,
        "duration_seconds": 2.0,
        "cancelled_at": None,
        "cancelled_by": None,
        "cancel_reason": None,
    }


def test_a_completed_execution_shows_results_and_a_failed_one_its_error() -> None:
    _, document = execution_row(Play(flow("start")).claim().complete("start", output={"x": 1}).state)
    assert (document["results"], document["error"]) == ({"start": {"x": 1}}, None)
    _, document = execution_row(Play(flow("start")).claim().fail("start").state)
    assert (document["status"], document["error_message"], document["results"]) == ("failed", "it broke", None)
    assert document["error"]["code"] == "COMPONENT_ERROR"


def test_a_cancelled_execution_shows_who_when_and_why() -> None:
    play = Play(flow("start")).claim().tick(3).cancel(reason="no longer needed")
    row, document = execution_row(play.state)
    assert (row.runnable_at, row.engine, row.completed_at) == (None, None, play.now)
    assert document["cancelled_by"] == PERSON
    assert document["cancelled_at"] == document["completed_at"] == play.now
    assert document["cancel_reason"] == "no longer needed"
    assert document["duration_seconds"] == 3.0


def test_a_parked_execution_is_held_by_no_engine() -> None:
    row, _ = execution_row(Play(flow("start")).claim().suspend("start", 60).state)
    assert (row.engine, row.epoch, row.runnable_at) == (None, 1, plus(START, 60))


def test_an_execution_that_an_engine_left_ready_is_held_by_nobody_and_due_at_once() -> None:
    play = Play(flow("start > a", "start > b > c")).claim().complete("start")
    row, _ = execution_row(play.drain(play.completed("b")).state)
    assert (row.engine, row.runnable_at) == ("engine-1", START), "it is still at a"
    row, _ = execution_row(play.tick(5).drain(play.completed("a")).state)
    assert (row.engine, row.epoch, row.runnable_at) == (None, 1, plus(START, 5))


def test_only_components_that_changed_have_rows() -> None:
    play = Play(flow("start > a", "start > b")).claim().complete("start")
    before = play.state
    play.complete("a")
    assert list(component_rows(before, play.state)) == ["a"]
    assert list(component_rows(initial(), play.state)) == ["start", "a", "b"]


def test_a_component_shows_what_went_in_what_came_out_and_how_long_it_took() -> None:
    play = Play(flow("start > a", retry={"a": RetryPolicy(max_attempts=2, initial_delay_seconds=0)})).claim()
    play.complete("start").tick(1).fail("a", temporary=True)
    row, document = component_rows(initial(), play.state)["a"]
    assert (row.status, document["attempt"], document["error_message"]) == ("running", 2, "it broke")
    play.tick(1.5).complete("a", output=[1])
    row, document = component_rows(initial(), play.state)["a"]
    assert document == {
        "component_id": "a",
        "component_type": "log",
        "iteration": "",
        "status": "completed",
        "attempt": 2,
        "input_data": {},
        "output_data": [1],
        "error_message": None,
        "started_at": plus(START, 1),
        "completed_at": plus(START, 2.5),
        "duration_seconds": 1.5,
    }
    assert (row.execution_id, row.sequence, row.generation) == (SUBJECT, 1, 0)


def test_a_skipped_component_has_a_row_without_attempt_or_start() -> None:
    play = Play(flow("start ?> a")).claim().complete("start")
    row, document = component_rows(initial(), play.state)["a"]
    assert (row.status, document["attempt"], document["started_at"]) == ("skipped", 0, None)
    assert document["completed_at"] == START


def test_no_row_shows_a_sealed_secret() -> None:
    play = Play(flow("start > a"), {"token": "sealed:v1:AAAA"}).claim()
    play.complete("start", output={"token": "sealed:v1:AAAA", "text": "Bearer sealed:v1:BBBB!"}).complete("a")
    documents = b"".join(row.document for row in AGGREGATE.rows(initial(), play.state))  # type: ignore[attr-defined]
    assert b"sealed" not in documents
    assert b"Bearer [REDACTED]!" in documents
