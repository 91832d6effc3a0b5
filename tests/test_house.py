"""What must hold of the whole, so that a new route, row or event cannot be added by halves."""

from __future__ import annotations

import ast
import sqlite3
from collections import Counter
from typing import Any

import pytest
from starlette.routing import Route, WebSocketRoute

from executor.clock import SystemClock
from executor.domain.agent import AgentRow
from executor.domain.aggregate import Row
from executor.domain.events import CATALOGUE, Event, Fact, Stamp, agent, apikey, schedule, template, webhook
from executor.domain.schedule import ScheduleRow
from executor.domain.template import TemplateRow
from executor.domain.values import Instant, RetryPolicy
from executor.ports import Metadata, Recorded
from hub.aggregates import AGGREGATES
from hub.app import AT_THE_ROOT, OPERATIONS, PREFIXES, create_app
from hub.auth.apikeys import ApiKeyRow
from hub.auth.permissions import PERMISSIONS, ROLES
from hub.errors import STATUS
from hub.logs import log_entry
from hub.messages import MESSAGES
from hub.operation import ANYBODY, OPEN
from hub.routes import public_keys
from storage.copying import CARRIED, LEFT_BEHIND
from storage.projections import projections
from storage.sqlite.migrate import migrate
from tests.integration.carrying import FOLDED
from tests.integration.hubs import ROOT
from webhooks.endpoint import WebhookRow

NOW = Instant("2026-01-31T12:00:00.000Z")
STREAM_OF = dict.fromkeys(("component", "timer", "loop", "iteration", "log"), "execution")
"""Kinds of events that are in the stream of something else."""


def test_every_operation_says_what_it_needs() -> None:
    for operation in OPERATIONS:
        at = f"{operation.method} {operation.path}"
        if operation.needs == OPEN:
            assert operation.path in ("/health", "/health/ready", public_keys.PATH), at
        elif operation.needs == ANYBODY:
            assert operation.path in ("/me", "/events/stream"), at  # A stream needs what its channels do.
        else:
            assert operation.needs in PERMISSIONS, at
        assert operation.summary, at


def test_reading_needs_reading_and_changing_needs_more() -> None:
    for operation in OPERATIONS:
        is_read = operation.needs.endswith(".read") or operation.needs in (OPEN, ANYBODY)
        changes_nothing = operation.method == "GET" or operation.path.endswith("/validate")
        assert is_read is changes_nothing, f"{operation.method} {operation.path}"


def test_every_route_comes_from_an_operation_but_for_the_sockets() -> None:
    def opened() -> Any:
        raise AssertionError("nothing is opened to list routes")

    found: Counter[tuple[str, str]] = Counter()
    for route in create_app(opened, SystemClock()).routes:
        if isinstance(route, WebSocketRoute):
            assert route.path in {f"{prefix}/ws" for prefix in PREFIXES}
            continue
        assert isinstance(route, Route)
        found.update((method, route.path) for method in route.methods or () if method != "HEAD")
    wanted = Counter((op.method, prefix + op.path) for op in OPERATIONS for prefix in PREFIXES)
    wanted.update((op.method, op.path) for op in OPERATIONS if op.path in AT_THE_ROOT)
    assert found == wanted


CONNECTS = ("open_connection", "create_connection", "sock_connect")
WAYS_OUT = {"aiohttp", "aiohappyeyeballs", "httpx", "requests", "urllib3", "urllib.request", "http.client"}
KNOWS_THE_WAY_OUT = {"executor/connecting.py"}
CALLS_BY_ITSELF = ("hub/client/", "hub/demo/", "hub/commands/")
"""What runs for whoever sits at the machine, and sends nothing that others asked a hub for."""


def test_every_request_to_the_outside_goes_through_the_guard() -> None:
    found = set()
    for room in ("executor", "webhooks", "storage", "hub"):
        for file in (ROOT / room).rglob("*.py"):
            path = file.relative_to(ROOT).as_posix()
            if not path.startswith(CALLS_BY_ITSELF) and ways_out(ast.parse(file.read_text())):
                found.add(path)
    assert found == KNOWS_THE_WAY_OUT


@pytest.mark.parametrize(
    "source",
    [
        "import aiohttp",
        "from aiohttp import ClientSession",
        "from aiohttp.client import request",
        "import urllib.request",
        "from urllib import request",
        "from http.client import HTTPConnection",
        "import asyncio\nasync def go():\n    import httpx",
        "import asyncio\nasyncio.open_connection('example.com', 80)",
    ],
)
def test_a_way_out_is_seen_wherever_it_is_opened(source: str) -> None:
    assert ways_out(ast.parse(source))


def test_a_server_and_a_parser_of_urls_are_no_way_out() -> None:
    assert not ways_out(ast.parse("from aiohttp import web\nfrom urllib.parse import urlsplit\nimport http"))


def ways_out(tree: ast.AST) -> set[str]:
    """What it holds with which a request could be made."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Attribute) and node.attr in CONNECTS:
            names.add(f"aiohttp.{node.attr}")
    names -= {"aiohttp.web"}
    return {name for name in names if any(name == way or name.startswith(f"{way}.") for way in WAYS_OUT)}


def test_roles_hold_known_permissions() -> None:
    for role, permissions in ROLES.items():
        assert permissions <= PERMISSIONS, role
    assert ROLES["read_only"] < ROLES["read_write"] < ROLES["admin"] == PERMISSIONS


def test_every_refusal_of_a_client_has_a_status() -> None:
    assert all(400 <= status < 500 or status == 503 for status in STATUS.values())


def test_every_row_is_of_one_aggregate() -> None:
    kinds = [kind for aggregate in AGGREGATES for kind in aggregate.kinds]
    assert sorted(kind.table for kind in kinds) == sorted({row.table for row in rows()})
    assert set(projections(AGGREGATES)) == set(FOLDED)


def rows() -> list[type[Row]]:
    def below(cls: type[Row]) -> list[type[Row]]:
        return [cls, *(each for sub in cls.__subclasses__() for each in below(sub))]

    return [cls for cls in below(Row) if hasattr(cls, "table") and not cls.__module__.startswith("tests")]


@pytest.fixture(scope="module")
def tables() -> dict[str, dict[str, bool]]:
    """Of the newest schema: each table, its columns, and whether each may be null."""
    connection = sqlite3.connect(":memory:")
    migrate(connection)
    found = {
        name: {
            column: not required for _, column, _, required, *_ in connection.execute(f"PRAGMA table_info({name})")
        }
        for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    }
    connection.close()
    return found


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.__name__)
def test_a_row_has_exactly_the_columns_of_its_table(row: type[Row], tables: dict[str, dict[str, bool]]) -> None:
    assert set(row.__struct_fields__) == set(tables[row.table])
    assert set(row.key) <= set(row.__struct_fields__)


def test_a_copy_of_a_hub_carries_every_table_or_leaves_it_behind_on_purpose(
    tables: dict[str, dict[str, bool]],
) -> None:
    carried = {table.name for table in CARRIED}
    assert carried | LEFT_BEHIND == {name for name in tables if not name.startswith("sqlite_")}
    assert not carried & LEFT_BEHIND
    for table in CARRIED:
        assert set(table.key) <= set(tables[table.name])


def test_rows_that_lists_show_can_be_paged_by_text() -> None:
    """Cursors hold texts: what lists are ordered by must be some, and never null."""
    for row in rows():
        for column in ("id", "created_at", "updated_at", "name"):
            if column in row.__struct_fields__:
                assert row.__annotations__[column] in ("str", "Instant"), f"{row.__name__}.{column}"


def test_every_kind_of_stream_is_registered_once() -> None:
    prefixes = [aggregate.prefix for aggregate in AGGREGATES]
    assert len(prefixes) == len(set(prefixes))
    kinds = {type.partition(".")[0] for type in CATALOGUE}
    assert {STREAM_OF.get(kind, kind) for kind in kinds} == set(prefixes)


ENDPOINT = webhook.Endpoint(
    url="https://example.com",
    events=("*",),
    description=None,
    sealed_secret="sealed:v1:x",
    active=True,
    filters=webhook.EndpointFilters(),
    authentication=webhook.EndpointAuthentication(),
    sealed_headers={},
    timeout_seconds=1.0,
    retry_policy=RetryPolicy(),
    max_in_flight=1,
    ordered=False,
)
AGENT: dict[str, Any] = {
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
SCHEDULE: dict[str, Any] = {
    "name": "n",
    "workflow_id": "w",
    "description": None,
    "cron": "0 12 * * *",
    "interval_seconds": None,
    "anchor": NOW,
    "timezone": "UTC",
    "parameters": {},
    "priority": None,
    "tags": (),
    "project_id": None,
    "overlap_policy": "queue",
    "queue_limit": 1,
    "catch_up": "all",
    "catch_up_window_seconds": 1,
    "jitter_seconds": 0,
    "start_at": None,
    "end_at": None,
}
AFTER: dict[str, Any] = {"next_time": NOW, "next_run_at": NOW}
FIRED: dict[str, Any] = {"name": "n", "workflow_id": "w", "scheduled_time": NOW} | AFTER
LIVES: dict[str, list[Event]] = {
    "agent": [
        agent.AgentRegistered(**AGENT),
        agent.AgentUpdated(**AGENT, changed=("url",)),
        agent.AgentDeleted(name="n"),
    ],
    "webhook": [
        webhook.WebhookCreated(endpoint=ENDPOINT),
        webhook.WebhookUpdated(endpoint=ENDPOINT, changed=("url",)),
        webhook.WebhookDisabled(reason="it failed"),
        webhook.WebhookEnabled(),
        webhook.WebhookDeleted(),
    ],
    "apikey": [
        apikey.ApiKeyCreated(
            name="n",
            description=None,
            prefix="sk_live_abcd",
            digest="d",
            role="admin",
            permissions=(),
            expires_at=None,
            created_by=None,
        ),
        apikey.ApiKeyRevoked(name="n"),
    ],
    "template": [
        template.TemplateCreated(name="n", template=template.Template(name="n", workflow_definition={})),
        template.TemplateRated(template_id="id", name="n", rating=5),
        template.TemplateDeleted(name="n"),
    ],
    "schedule": [
        schedule.ScheduleCreated(**SCHEDULE, **AFTER),
        schedule.ScheduleUpdated(**SCHEDULE | {"priority": 7}, **AFTER, changed=("priority",)),
        schedule.SchedulePaused(name="n"),
        schedule.ScheduleResumed(name="n", **AFTER),
        schedule.ScheduleFired(**FIRED, execution_id="a"),
        schedule.ScheduleFired(**FIRED, execution_id="b", waits=True),
        schedule.ScheduleReleased(name="n", execution_id="b"),
        schedule.ScheduleSkipped(name="n", scheduled_time=NOW, reason="overlap", message="m", **AFTER),
        schedule.ScheduleDeleted(name="n"),
    ],
    "delivery": [
        webhook.DeliveryExhausted(
            delivery_id="d",
            webhook_id="w",
            event_id="e",
            event_type="execution.completed",
            event_position=1,
            attempt_count=1,
            last_error="it failed",
        )
    ],
}
"""Of the kinds of streams whose folds nothing else tries as a whole: every event there is, in a legal order."""


@pytest.mark.parametrize("prefix", LIVES)
def test_every_event_of_a_stream_folds_and_makes_its_row(prefix: str) -> None:
    assert {event.type for event in LIVES[prefix]} == {type for type in CATALOGUE if type.startswith(f"{prefix}.")}
    (aggregate,) = (each for each in AGGREGATES if each.prefix == prefix)
    state = aggregate.initial()
    for version, event in enumerate(LIVES[prefix], 1):
        before = state
        state = aggregate.evolve(state, [Fact(event, Stamp(NOW, "o", "id", version))])
        assert state != before, event.type
        for row in aggregate.rows(before, state):
            assert isinstance(row, WebhookRow | ApiKeyRow | AgentRow | TemplateRow | ScheduleRow)
            assert row.version == version


def test_every_event_has_its_message_or_is_said_to_have_none() -> None:
    assert set(MESSAGES) == set(CATALOGUE.values())


@pytest.mark.parametrize(
    "type", [t for t in CATALOGUE if STREAM_OF.get(t.partition(".")[0]) or t[:10] == "execution."]
)
def test_every_event_of_an_execution_has_its_line_in_the_log(type: str) -> None:
    recorded = Recorded(
        position=1,
        id="id",
        type=type,
        time=NOW,
        organization_id="o",
        stream="execution:e",
        version=1,
        workflow_id="w",
        execution_id="e",
        data=b"{}",
        metadata=Metadata(),
        hash=b"",
    )
    entry = log_entry(recorded)
    assert entry is not None
    assert entry.level in ("debug", "info", "warning", "error")
    assert entry.message or type == "log.written"
