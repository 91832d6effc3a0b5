"""Every query that grows with the log finds its way by an index: SQLite's own word for it."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from msgspec.structs import replace

from executor.domain.execution.rows import ComponentRow, ExecutionRow
from executor.domain.task.rows import TaskRow
from executor.domain.workflow import WorkflowRow
from executor.ports import DeliveryQuery, Eq, EventQuery, Order, Range, RowQuery
from storage import rowquery
from storage.rows import shape
from storage.sqlite import deliveries, events
from storage.sqlite.connection import connect_writer
from storage.sqlite.migrate import migrate
from storage.sqlite.reads import DIALECT
from storage.sqlite.statements import queries


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    """Nobody changes it."""
    with closing(connect_writer(tmp_path_factory.mktemp("plans") / "log.db")) as connection:
        migrate(connection)
        yield connection


def plan(database: sqlite3.Connection, sql: str, params: Any = ()) -> str:
    if not params:
        params = [None] * sql.count("?")
    return " | ".join(row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {sql}", params))


BY_ORGANIZATION = "COVERING INDEX events_organization_type (organization_id=? AND type=? AND rowid>? AND rowid<?)"
BY_WORKFLOW = "INDEX events_workflow_type (workflow_id=? AND type=? AND rowid>? AND rowid<?)"
EVENTS = {
    "nothing": (EventQuery(), "INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
    "organization": (
        EventQuery(organization_id="O"),
        "COVERING INDEX events_organization (organization_id=? AND rowid>? AND rowid<?)",
    ),
    "workflow": (EventQuery(workflow_id="W", organization_id="O"), BY_WORKFLOW),
    "execution": (
        EventQuery(execution_id="X", workflow_id="W", organization_id="O"),
        "events_execution (execution_id=? AND rowid>? AND rowid<?)",
    ),
    "types": (EventQuery(types=("a.*",)), "COVERING INDEX events_type (type=? AND rowid>? AND rowid<?)"),
    "types of an organization": (EventQuery(types=("a.*",), organization_id="O"), BY_ORGANIZATION),
    "types of a workflow": (EventQuery(types=("a.*",), workflow_id="W", organization_id="O"), BY_WORKFLOW),
    "types of an execution": (
        EventQuery(types=("a.*",), execution_id="X", organization_id="O"),
        "events_execution (execution_id=? AND rowid>? AND rowid<?)",
    ),
}


@pytest.mark.parametrize("name", EVENTS)
@pytest.mark.parametrize("descending", [False, True])
def test_events(database: sqlite3.Connection, name: str, descending: bool) -> None:
    """Each seeks to its position in an index that is in order already, whatever lies before it, and takes from there
    on: at ten million events it reads as much as at ten thousand."""
    query, index = EVENTS[name]
    types = ["a.b", "a.c", "a.d"] if query.types or name == "workflow" else None
    sql, params = events.select(replace(query, descending=descending), events.Span(5, 50), types)
    found = plan(database, sql, params)
    named = types is not None and query.execution_id is None
    assert found.count(index) == (3 if named else 1)
    assert found.count("MERGE (UNION ALL)") == (2 if named else 0)
    assert "SCAN" not in found
    assert "TEMP B-TREE" not in found


ROWS = {
    "workflows": (WorkflowRow, RowQuery(where=(Eq("organization_id", "O"),)), "workflows_by_id"),
    "executions": (
        ExecutionRow,
        RowQuery(where=(Eq("organization_id", "O"),), order=(Order("created_at", True), Order("id", True))),
        "executions_by_age",
    ),
    "pages of executions": (
        ExecutionRow,
        RowQuery(
            where=(Eq("organization_id", "O"),),
            order=(Order("created_at", True), Order("id", True)),
            after=("2026", "X"),
        ),
        "executions_by_age (organization_id=? AND created_at<?)",
    ),
    "executions of a status": (
        ExecutionRow,
        RowQuery(where=(Eq("organization_id", "O"), Eq("status", "running"))),
        "executions_by_status",
    ),
    "tasks": (
        TaskRow,
        RowQuery(where=(Eq("organization_id", "O"),), order=(Order("created_at", True), Order("id", True))),
        "tasks_by_age",
    ),
    "tasks by their due date": (
        TaskRow,
        RowQuery(where=(Eq("organization_id", "O"),), order=(Order("due_at"), Order("id"))),
        "tasks_by_due",
    ),
    "tasks by priority": (
        TaskRow,
        RowQuery(where=(Eq("organization_id", "O"),), order=(Order("priority", True), Order("id", True))),
        "tasks_by_priority",
    ),
    "tasks that are to escalate": (
        TaskRow,
        RowQuery(where=(Range("wakes_at", end="2026"),), order=(Order("wakes_at"), Order("id"))),
        "tasks_waking (wakes_at<?)",
    ),
    "executions of a workflow": (ExecutionRow, RowQuery(where=(Eq("workflow_id", "W"),)), "executions_by_workflow"),
}


@pytest.mark.parametrize("name", ROWS)
def test_lists(database: sqlite3.Connection, name: str) -> None:
    row, query, index = ROWS[name]
    found = plan(database, *rowquery.find(shape(row), query, DIALECT))
    assert index in found
    assert "TEMP B-TREE" not in found


def test_the_components_of_an_execution(database: sqlite3.Connection) -> None:
    query = RowQuery(where=(Eq("execution_id", "X"),), order=(Order("sequence"), Order("component_id")))
    assert "SEARCH components USING INDEX" in plan(database, *rowquery.find(shape(ComponentRow), query, DIALECT))


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("stream", "events_stream"),
        ("page", "INTEGER PRIMARY KEY"),
        ("types", "events_type"),
        ("claimable", "COVERING INDEX executions_runnable"),
        ("next_runnable_at", "COVERING INDEX executions_runnable"),
        ("due_of_endpoint", "deliveries_claim"),
        ("due_in_order", "deliveries_in_order (webhook_id=? AND replay_id=?)"),
        ("replayed_due_in_order", "deliveries_in_order (webhook_id=? AND replay_id>?)"),
        ("replay_waiting", "COVERING INDEX deliveries_of_replay"),
        ("replay_cancel_waiting", "deliveries_of_replay"),
        ("replay_advance", "replays_1 (id=?)"),
        ("replays_open", "replays_open"),
        ("tasks_to_claim", "tasks_claimable (organization_id=? AND claimable_type=?)"),
        ("tasks_without_lease", "SCAN tasks USING INDEX tasks_with_workers"),
        ("task_leases_expired", "task_leases_by_end (expires_at<?)"),
        ("renew", "SEARCH deliveries USING INDEX"),
        ("release", "SEARCH deliveries USING INDEX"),
        ("drop", "SEARCH deliveries USING INDEX"),
        ("next_due", "deliveries_due"),
        ("due_endpoints", "deliveries_claim (shard=? AND webhook_id=? AND due_at<?)"),
        ("in_flight", "deliveries_in_flight (webhook_id=? AND due_at>?)"),
        ("backlog", "deliveries_due"),
        ("release_stray", "deliveries_in_flight"),
        ("endpoints_failing", "endpoint_states_failing (failing_since"),
        ("cancel_waiting", "deliveries_"),
        ("release_all", "deliveries_in_flight"),
        ("lost", "archived_of_organization (organization_id=? AND last_position>?)"),
        ("lost_of_workflow", "archived_of_workflow (workflow_id=? AND last_position>?)"),
        ("replays_under_way", "replays_open"),
    ],
)
def test_named_queries(database: sqlite3.Connection, name: str, index: str) -> None:
    sql = queries()[name].replace("{columns}", "*").replace("{rows}", "(?, ?)")
    sql = re.sub(r"\?\d", "?", sql)
    found = plan(database, sql)
    assert index in found
    assert "SCAN events" not in found
    assert "SCAN deliveries |" not in found
    assert "TEMP B-TREE" not in found or "due_in_order" not in name


def test_what_ended_is_found_by_its_age(database: sqlite3.Connection) -> None:
    found = plan(database, queries()["ended"], ["x", "x", "x", 1])
    assert "SEARCH executions USING INDEX executions_ended ((completed_at,id)>(?,?) AND completed_at<?)" in found
    assert "COVERING INDEX events_execution (execution_id=?)" in found
    assert "TEMP B-TREE" not in found
    assert "SCAN events" not in found


def test_stats_need_only_their_index(database: sqlite3.Connection) -> None:
    sql = queries()["execution_stats"].replace("{values}", "?, ?")
    found = plan(database, sql)
    assert "COVERING INDEX executions_stats (workflow_id=?)" in found
    assert "COVERING INDEX archived_stats (workflow_id=?)" in found


def test_versions_are_seeks(database: sqlite3.Connection) -> None:
    versions = plan(database, queries()["versions"].replace("{rows}", "(?), (?)"))
    assert "SEARCH events USING COVERING INDEX events_stream (stream=?)" in versions


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (DeliveryQuery(organization_id="O"), "deliveries_by_organization"),
        (
            DeliveryQuery(organization_id="O", webhook_id="H", before_id="D"),
            "deliveries_by_webhook (webhook_id=? AND id<?)",
        ),
        (
            DeliveryQuery(organization_id="O", webhook_id="H", statuses=("exhausted",), before_id="D"),
            "deliveries_exhausted (webhook_id=? AND id<?)",
        ),
        (DeliveryQuery(organization_id="O", statuses=("exhausted",)), "deliveries_given_up (organization_id=?)"),
    ],
)
def test_lists_of_deliveries(database: sqlite3.Connection, query: DeliveryQuery, index: str) -> None:
    found = plan(database, *deliveries._find_sql(query))
    assert index in found
    assert "TEMP B-TREE" not in found


def test_deliveries_of_an_event(database: sqlite3.Connection) -> None:
    query = DeliveryQuery(organization_id="O", webhook_id="H", event_id="E")
    assert "deliveries_by_event (event_id=?)" in plan(database, *deliveries._find_sql(query))


def test_what_waits_is_counted_in_the_order_of_an_index(database: sqlite3.Connection) -> None:
    found = plan(database, queries()["endpoint_backlog"], ("H", 5))
    assert "deliveries_in_order (webhook_id=?)" in found
    assert "TEMP B-TREE" not in found
