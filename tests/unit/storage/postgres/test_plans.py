"""Every query that grows with the log finds its way by an index: PostgreSQL's own word for it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from msgspec.structs import replace

from executor.clock import SystemClock
from executor.domain.execution.rows import ExecutionRow
from executor.ports import DeliveryQuery, Eq, EventQuery, Order, RowQuery
from storage import rowquery
from storage.open import open_store
from storage.postgres import events
from storage.postgres.connection import Connection, connect, numbered
from storage.postgres.deliveries import _find_sql
from storage.postgres.reads import DIALECT
from storage.rows import shape
from storage.sql import named
from tests.contract.notes import AGGREGATES
from tests.postgres import PostgresServer

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def database(postgres_server: PostgresServer) -> AsyncIterator[Connection]:
    """A log of some thousand events, so that the planner has something to choose by; nobody changes it."""
    async with postgres_server.database() as url, filled(url) as connection:
        yield connection


@asynccontextmanager
async def filled(postgres_url: str) -> AsyncIterator[Connection]:
    clock = SystemClock()
    store = await open_store(postgres_url, AGGREGATES, clock=clock)
    connection = await connect(postgres_url)
    await connection.execute(
        """
        INSERT INTO events SELECT n, 'E' || n, 'a.' || n % 20, 1, 't' || n, 'O' || n % 3, 's' || n, 1, 'W' || n % 50,
                                  'X' || n % 500, ''::bytea, '{}'::bytea, ''::bytea, ''::bytea
        FROM generate_series(1, 20000) AS n
        """
    )
    await connection.execute("ANALYZE")
    yield connection
    await connection.close()
    await store.close()


async def plan(database: Connection, sql: str, params: Sequence[Any]) -> str:
    """The generic one, which is used for ever after."""
    await database.execute(f"PREPARE asked AS {sql}")
    values = ", ".join(_literal(value) for value in params)
    rows = await database.fetch(f"EXPLAIN EXECUTE asked ({values})" if values else "EXPLAIN EXECUTE asked")
    await database.execute("DEALLOCATE asked")
    return "\n".join(row[0] for row in rows)


def _literal(value: Any) -> str:
    if isinstance(value, list):
        return f"ARRAY[{', '.join(_literal(one) for one in value)}]::text[]"
    return f"'{value}'" if isinstance(value, str) else str(value)


EVENTS = {
    "nothing": (EventQuery(), "events_pkey"),
    "organization": (EventQuery(organization_id="O1"), "events_organization"),
    "workflow": (EventQuery(workflow_id="W1", organization_id="O1"), "events_workflow_type"),
    "execution": (EventQuery(execution_id="X1", workflow_id="W1", organization_id="O1"), "events_execution"),
    "types": (EventQuery(types=("a.*",)), "events_type"),
    "types of an organization": (EventQuery(types=("a.*",), organization_id="O1"), "events_organization_type"),
    "types of a workflow": (EventQuery(types=("a.*",), workflow_id="W1"), "events_workflow_type"),
    "types of an execution": (EventQuery(types=("a.*",), execution_id="X1"), "events_execution"),
}


@pytest.mark.parametrize("name", EVENTS)
@pytest.mark.parametrize("descending", [False, True])
async def test_events(database: Connection, name: str, descending: bool) -> None:
    """Each seeks to its position in an index that is in order already, whatever lies before it, and takes from there
    on: at ten million events it reads as much as at ten thousand."""
    query, index = EVENTS[name]
    types = ["a.1", "a.2", "a.3"] if query.types or name == "workflow" else None
    sql, params = events.Select(replace(query, descending=descending), events.Span(5, 50), types).sql()
    found = await plan(database, sql, params)
    assert "Seq Scan" not in found
    seek = re.split(rf" (?:using|on) {index}\b", found)[1].splitlines()[1]
    assert "Index Cond" in seek
    assert "position" in seek


async def test_lists_of_executions(database: Connection) -> None:
    of = (Eq("organization_id", "O1"),)
    for order, index in (("id", "executions_by_id"), ("created_at", "executions_by_age")):
        by = (Order("id", True),) if order == "id" else (Order(order, True), Order("id", True))
        sql = rowquery.find(shape(ExecutionRow), RowQuery(where=of, order=by, limit=50), DIALECT)
        found = await plan(database, numbered(sql.text), sql.params)
        assert index in found
        assert "Seq Scan" not in found


@pytest.mark.parametrize(
    ("name", "params", "index"),
    [
        ("page", (5, 512, 4096), "events_pkey"),
        ("scan", (5, 512, 4096), "events_pkey"),
        ("stream", ("s1", 0), "events_stream"),
        ("time_at", (5,), "events_pkey"),
        ("types", (), "events_type"),
        ("claimable", ("t", 10), "executions_runnable"),
        ("next_due", (1,), "deliveries_due"),
        ("endpoint_backlog", ("H", 5), "deliveries_in_order"),
        ("due_endpoints", (1, "t"), "deliveries_claim"),
        ("task_claim", ("O1", ["a"], 5, "w", "L", 60), "tasks_claimable"),
        ("tasks_without_lease", (5,), "tasks_with_workers"),
        ("task_leases_expired", (5,), "task_leases_by_end"),
    ],
)
async def test_named_queries(database: Connection, name: str, params: tuple[Any, ...], index: str) -> None:
    text = named("storage.postgres")[name].replace("{columns}", events.COLUMNS).replace("{all}", events.ALL)
    found = await plan(database, text, params)
    assert index in found
    assert "Seq Scan on events" not in found


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (DeliveryQuery(organization_id="O"), "deliveries_by_organization"),
        (DeliveryQuery(organization_id="O", webhook_id="H"), "deliveries_by_webhook"),
        (DeliveryQuery(organization_id="O", webhook_id="H", before_id="D"), "deliveries_by_webhook"),
        (DeliveryQuery(organization_id="O", webhook_id="H", statuses=("exhausted",)), "deliveries_exhausted"),
        (DeliveryQuery(organization_id="O", statuses=("exhausted",)), "deliveries_given_up"),
        (DeliveryQuery(organization_id="O", webhook_id="H", event_id="E"), "deliveries_by_event"),
    ],
)
async def test_lists_of_deliveries(database: Connection, query: DeliveryQuery, index: str) -> None:
    sql, params = _find_sql(query)
    assert index in await plan(database, numbered(sql), params)


async def test_endpoints_that_fail_are_sought(database: Connection) -> None:
    text = named("storage.postgres")["endpoints_failing"].replace("{columns}", "*")
    assert "endpoint_states_failing" in await plan(database, text, ("t",))


async def test_what_a_batch_looks_up_is_sought(database: Connection) -> None:
    found = await plan(database, named("storage.postgres")["look_up"], [["s1"], ["E1"], ["n"]])
    assert "events_stream" in found
    assert "events_id" in found
    assert "Seq Scan" not in found
