"""Whatever is sent to a route: a clear error in the envelope, never a 500, and nothing of it in the log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from hub.app import OPERATIONS
from hub.operation import NoBody, Operation
from tests.integration.hubs import WAITING, Client, Hub, unique, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

MIB = 1024 * 1024
WITH_BODY = [op for op in OPERATIONS if op.body is not NoBody]
EXAMPLES: dict[str, dict[str, Any]] = {
    "POST /workflows": {"name": "n", "definition": WAITING},
    "PUT /workflows/{id}": {"description": "d"},
    "POST /workflows/{id}/validate": {},
    "POST /workflows/{id}/execute": {},
    "POST /executions/{id}/pause": {},
    "POST /executions/{id}/resume": {},
    "POST /executions/{id}/priority": {"priority": 7},
    "POST /executions/{id}/signal": {"key": "approved"},
    "POST /executions/{id}/cancel": {},
    "POST /executions/{id}/terminate": {},
    "POST /executions/{id}/retry": {},
    "POST /webhooks": {"url": "http://127.0.0.1:2/", "events": ["*"]},
    "PUT /webhooks/{id}": {"description": "d"},
    "POST /webhooks/{id}/rotate-secret": {},
    "POST /webhooks/{id}/cancel": {},
    "POST /webhooks/{id}/recover": {"since": 1},
    "POST /agents": {"name": "n", "url": "http://127.0.0.1:2/"},
    "PUT /agents/{id}": {"description": "d"},
    "POST /templates": {"name": "n", "workflow_definition": WAITING},
    "POST /templates/{id}/rate": {"rating": 5},
    "POST /templates/{id}/create-workflow": {"name": "n"},
    "POST /schedules": {"name": "n", "workflow_id": "w", "cron": "@daily"},
    "PUT /schedules/{id}": {"description": "d"},
    "POST /schedules/{id}/pause": {},
    "POST /tasks/claim": {"types": ["t"], "worker_id": "w"},
    "POST /tasks/{id}/claim": {},
    "POST /tasks/{id}/start": {},
    "POST /tasks/{id}/heartbeat": {"worker_id": "w"},
    "POST /tasks/{id}/complete": {},
    "POST /tasks/{id}/fail": {"error": "e"},
    "POST /tasks/{id}/release": {},
    "POST /tasks/{id}/reassign": {"assignee": "somebody"},
    "POST /tasks/{id}/cancel": {},
    "POST /auth/api-keys": {"name": "n", "role": "admin"},
    "POST /events/replay": {"target": "channel"},
}


def named(operation: Operation) -> str:
    return f"{operation.method} {operation.path}"


class Things:
    """An organization with one of each, and how long its log was when the test began."""

    def __init__(self, client: Client, ids: dict[str, str]) -> None:
        self.client, self.ids, self.length = client, ids, 0

    async def length_now(self) -> int:
        return len(
            await self.client.events(
                types="*.created,*.updated,*.deleted,*.enabled,*.revoked,*.cancelled,*.registered,schedule.*"
            )
        )

    def path(self, operation: Operation) -> str:
        head, _, tail = operation.path.partition("{")
        return head + self.ids[operation.path.split("/")[1]] + tail.partition("}")[2] if tail else head

    async def is_unchanged(self) -> bool:
        return await self.length_now() == self.length


async def task_of(client: Client) -> str:
    """A task that a person has to do."""
    approval = {"id": "approve", "type": "human_task", "config": {"title": "Approve"}}
    definition = {
        "components": [{"id": "start", "type": "start"}, approval],
        "connections": [{"source": "start", "target": "approve"}],
    }
    execution = await client.execution((await client.workflow(definition))["id"])

    async def is_there() -> list[Any]:
        found: list[Any] = (await client.get("/tasks", execution_id=execution)).data
        return found

    return str((await until(is_there))[0]["id"])


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared(hub: Hub) -> Things:
    client = await hub.client()
    workflow = await client.workflow(WAITING)
    execution = await client.execution(workflow["id"], scheduled_at="2999-01-01T00:00:00Z")
    webhook = await client.webhook("http://127.0.0.1:2/", active=False)
    key = (await client.post("/auth/api-keys", {"name": "n", "role": "read_only"})).data["id"]
    agent = (await client.post("/agents", {"name": "first", "url": "http://127.0.0.1:2/"})).data["id"]
    template = (await client.post("/templates", {"name": "t", "workflow_definition": WAITING})).data["id"]
    nightly = {"name": "nightly", "workflow_id": workflow["id"], "cron": "@daily", "paused": True}
    schedule = (await client.post("/schedules", nightly)).data["id"]
    ids = {
        ("schedules", schedule),
        ("tasks", await task_of(client)),
        ("agents", agent),
        ("templates", template),
        *(("workflows", workflow["id"]), ("executions", execution), ("webhooks", webhook["id"]), ("auth", key)),
        (".well-known", "01ARZ3NDEKTSV4RRFFQ69G5FAV"),
        *(("deliveries", "01ARZ3NDEKTSV4RRFFQ69G5FAV"), ("events", "1"), ("components", "log")),
    }
    return Things(client, dict(ids))


@pytest_asyncio.fixture(loop_scope="session")
async def things(shared: Things) -> Things:
    shared.length = await shared.length_now()
    return shared


async def test_every_route_with_a_body_has_an_example() -> None:
    assert set(EXAMPLES) == {named(op) for op in WITH_BODY}


NOT_JSON = {
    "cut": b'{"name": "n"',
    "two": b"{}{}",
    "blank": b" ",
    "text": b"name=n&definition=x",
    "byte order mark": b"\xef\xbb\xbf{}",
    "utf-16": '{"name": "n"}'.encode("utf-16"),
    "not utf-8": b'{"name": "\xff\xfe"}',
    "lone surrogate": b'{"name": "\\ud800"}',
    "raw control character": b'{"name": "a\x00b"}',
    "nan": b'{"name": NaN}',
    "infinity": b'{"name": 1e400}',
    "single quotes": b"{'name': 'n'}",
    "comment": b'{} // "name"',
    "deep": b'{"name":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    "endless integer": b'{"name": ' + b"9" * 10_000 + b"}",
}


@pytest.mark.parametrize("operation", OPERATIONS, ids=named)
async def test_what_is_not_json_is_a_400(things: Things, operation: Operation) -> None:
    for case, raw in NOT_JSON.items():
        answer = await things.client.send(operation.method, things.path(operation), raw=raw)
        assert (answer.status, answer.codes) == (400, {"MALFORMED_REQUEST"}), case
        assert len(answer.body) < 2000
    assert await things.is_unchanged()


@pytest.mark.parametrize("operation", OPERATIONS, ids=named)
async def test_json_of_another_type_is_a_422(things: Things, operation: Operation) -> None:
    for raw in (b"null", b"[]", b"[{}]", b'"text"', b"1", b"true", b"-0.5"):
        answer = await things.client.send(operation.method, things.path(operation), raw=raw)
        assert (answer.status, answer.codes) == (422, {"VALIDATION_ERROR"}), raw
    assert await things.is_unchanged()


@pytest.mark.parametrize("operation", OPERATIONS, ids=named)
async def test_unknown_fields_are_named(things: Things, operation: Operation) -> None:
    body = EXAMPLES.get(named(operation), {}) | {"colour": "red", "": 1, "\0": None}
    answer = await things.client.send(operation.method, things.path(operation), body)
    assert (answer.status, answer.codes) == (422, {"VALIDATION_ERROR"})
    assert {"colour", "\0"} <= set(answer.fields)
    assert await things.is_unchanged()


@pytest.mark.parametrize("operation", WITH_BODY, ids=named)
async def test_wrong_types_are_named_field_by_field(things: Things, operation: Operation) -> None:
    example = EXAMPLES[named(operation)]
    for field in operation.body.__struct_fields__:
        if field in ("data", "output", "error"):
            continue  # Any JSON is right.
        for value in ([None], [[]], [{"a": {"b": []}}], [-1], [1.5], [10**30], [True], ["x" * 70_000], 0.5, False):
            if value is False and field in ("active", "ordered", "auto_start", "paused", "catch_up", "retryable"):
                continue
            if value == 0.5 and field in ("wait_seconds", "rate_limit_per_second", "overlap_seconds"):
                continue
            answer = await things.client.send(operation.method, things.path(operation), example | {field: value})
            assert answer.status == 422, (field, value, answer.body)
            assert all((at or "").startswith(field) for at in answer.fields), (field, value, answer.fields)
    assert await things.is_unchanged()


@pytest.mark.parametrize("operation", OPERATIONS, ids=named)
async def test_another_content_type_or_none_is_a_415(things: Things, operation: Operation) -> None:
    for kind in (
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/jsonx",
        "x",
    ):
        answer = await things.client.send(
            operation.method, things.path(operation), raw=b"{}", headers={"Content-Type": kind}
        )
        assert (answer.status, answer.codes) == (415, {"UNSUPPORTED_MEDIA_TYPE"}), kind
    assert await things.is_unchanged()


async def test_kinds_of_json_are_taken(things: Things) -> None:
    path = f"/workflows/{things.ids['workflows']}/validate"
    for kind in (
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/problem+json",
    ):
        answer = await things.client.send("POST", path, raw=b"{}", headers={"Content-Type": kind})
        assert answer.status == 200, kind
    assert (await things.client.send("POST", path)).status == 200, "no body is {}"


@pytest.mark.parametrize("operation", OPERATIONS, ids=named)
async def test_ten_megabytes_are_a_413_whether_announced_or_not(things: Things, operation: Operation) -> None:
    body = b'{"name": "' + b"x" * (10 * MIB) + b'"}'

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), MIB):
            yield body[start : start + MIB]

    client, path = things.client, things.path(operation)
    announced = await client.send(operation.method, path, raw=body)
    assert (announced.status, announced.codes) == (413, {"PAYLOAD_TOO_LARGE"})
    async with client.http.request(
        operation.method,
        f"{client.url}/api/v1{path}",
        data=pieces(),
        headers={"X-API-Key": client.key or "", "Content-Type": "application/json"},
    ) as chunked:
        assert chunked.status == 413
        assert (await chunked.json())["errors"][0]["code"] == "PAYLOAD_TOO_LARGE"
    assert await things.is_unchanged()


async def test_a_body_at_the_limit_is_read(things: Things) -> None:
    path = f"/workflows/{things.ids['workflows']}/validate"
    filler = b" " * (MIB - 2)
    assert (await things.client.send("POST", path, raw=b"{" + filler + b"}")).status == 200
    assert (await things.client.send("POST", path, raw=b"{ " + filler + b"}")).status == 413


async def test_a_connection_that_ends_in_the_middle_of_a_body_changes_nothing(things: Things) -> None:
    host = urlsplit(things.client.url)
    _, writer = await asyncio.open_connection(host.hostname, host.port)
    writer.write(
        b"POST /api/v1/workflows HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 500\r\n"
        + f"X-API-Key: {things.client.key}\r\n\r\n".encode()
        + b'{"name": "half"'
    )
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await things.client.get("/me")).status == 200
    assert await things.is_unchanged()


START = {"id": "start", "type": "start"}


def linked(*pairs: str) -> list[dict[str, str]]:
    return [{"source": source, "target": target} for source, target in (pair.split(">") for pair in pairs)]


DEEP: Any = "x"
for _ in range(300):
    DEEP = [DEEP]

GRAPHS: dict[str, tuple[Any, str]] = {
    "nothing": ({}, "definition.components"),
    "no components": ({"components": []}, "definition.components"),
    "components are a mapping": ({"components": {"start": START}}, "definition.components"),
    "an unknown field": ({"components": [START], "nodes": []}, "definition.nodes"),
    "an unknown field of a component": ({"components": [START | {"kind": 1}]}, "definition.components[0].kind"),
    "a component without a type": ({"components": [{"id": "a"}]}, "definition.components[0].type"),
    "an id that is none": ({"components": [START | {"id": "a b"}]}, "definition.components[0].id"),
    "no start": ({"components": [{"id": "a", "type": "end"}]}, "definition.components"),
    "two starts": ({"components": [START, START | {"id": "b"}]}, "definition.components[1]"),
    "the same id twice": (
        {"components": [START, {"id": "start", "type": "end"}]},
        "definition.components[1].id",
    ),
    "an unknown type": ({"components": [START, {"id": "a", "type": "teleport"}]}, "definition.components[1].type"),
    "a cycle": (
        {
            "components": [START, {"id": "a", "type": "end"}, {"id": "b", "type": "end"}],
            "connections": linked("start>a", "a>b", "b>a"),
        },
        "definition.connections",
    ),
    "a cycle through the start": (
        {"components": [START, {"id": "a", "type": "end"}], "connections": linked("start>a", "a>start")},
        "definition.connections",
    ),
    "a link to itself": (
        {"components": [START, {"id": "a", "type": "end"}], "connections": linked("start>a", "a>a")},
        "definition.connections[1]",
    ),
    "a link to nothing": (
        {"components": [START], "connections": linked("start>nothing")},
        "definition.connections[0].target",
    ),
    "a link from nothing": (
        {"components": [START], "connections": linked("nothing>start")},
        "definition.connections[0].source",
    ),
    "an unknown kind of link": (
        {"components": [START], "connections": [{"source": "start", "target": "start", "type": "maybe"}]},
        "definition.connections[0].type",
    ),
    "a condition that does not parse": (
        {
            "components": [START, {"id": "a", "type": "end"}],
            "connections": [{"source": "start", "target": "a", "type": "conditional", "condition": "((("}],
        },
        "definition.connections[0].condition",
    ),
    "a condition that is a number": (
        {
            "components": [START, {"id": "a", "type": "end"}],
            "connections": [{"source": "start", "target": "a", "condition": "1 + 1"}],
        },
        "definition.connections[0].condition",
    ),
    "a config against its schema": (
        {"components": [START, {"id": "a", "type": "http_request", "config": {"url": 1}}]},
        "definition.components[1].config.url",
    ),
    "a config that is missing": (
        {"components": [START, {"id": "a", "type": "condition"}]},
        "definition.components[1].config.expression",
    ),
    "a reference to nothing": (
        {"components": [START, {"id": "a", "type": "log", "config": {"message": "${b.output}"}}]},
        "definition.components[1].config.message",
    ),
    "a reference forward": (
        {
            "components": [
                START,
                {"id": "a", "type": "log", "config": {"message": "${b.output}"}},
                {"id": "b", "type": "end"},
            ],
            "connections": linked("start>a", "a>b"),
        },
        "definition.components[1].config.message",
    ),
    "a parameter that nobody declared": (
        {"components": [START, {"id": "a", "type": "log", "config": {"message": "{{b}}"}}]},
        "definition.components[1].config.message",
    ),
    "a secret in a log": (
        {
            "components": [START, {"id": "a", "type": "log", "config": {"message": "{{s}}"}}],
            "parameters": [{"name": "s", "secret": True}],
        },
        "definition.components[1].config.message",
    ),
    "a parameter twice": (
        {"components": [START], "parameters": [{"name": "a"}, {"name": "a"}]},
        "definition.parameters[1].name",
    ),
    "a default of another type": (
        {"components": [START], "parameters": [{"name": "a", "type": "integer", "default_value": "x"}]},
        "definition.parameters[0].default_value",
    ),
    "a retry that is none": (
        {"components": [START | {"retry": {"max_attempts": 0}}]},
        "definition.components[0].retry.max_attempts",
    ),
    "a timeout that is none": (
        {"components": [START | {"timeout_seconds": 0}]},
        "definition.components[0].timeout_seconds",
    ),
    "a deep config": (
        {"components": [START, {"id": "a", "type": "end", "config": {"output": {"x": DEEP}}}]},
        "definition",
    ),
}


@pytest.mark.parametrize("case", GRAPHS)
async def test_a_wrong_definition_is_refused_with_its_path(things: Things, case: str) -> None:
    definition, field = GRAPHS[case]
    client, path = things.client, f"/workflows/{things.ids['workflows']}"
    for answer in (
        await client.post("/workflows", {"name": unique("w"), "definition": definition}),
        await client.put(path, {"definition": definition}),
    ):
        assert answer.status == 422
        assert answer.codes <= {"VALIDATION_ERROR", "WORKFLOW_INVALID"}
        assert field in answer.fields, answer.fields
    report = await client.post(f"{path}/validate", {"definition": definition})
    assert report.status == 200
    assert report.data["is_valid"] is False
    assert field in {each["field"] for each in report.data["errors"]}
    assert await things.is_unchanged()


async def test_what_is_wrong_in_the_query_the_body_and_beyond_its_shape_is_said_at_once(things: Things) -> None:
    definition = {"components": [{"id": "a", "type": "teleport"}]}
    answer = await things.client.post("/workflows", {"name": 5, "definition": definition}, colour="red")
    assert answer.status == 422
    assert {"colour", "name", "definition.components", "definition.components[0].type"} <= set(answer.fields)
    webhook = {"url": "http://10.0.0.1/", "events": ["x"], "timeout_seconds": "long"}
    answer = await things.client.post("/webhooks", webhook)
    assert {"url", "events[0]", "timeout_seconds"} <= set(answer.fields)
    assert await things.is_unchanged()


async def test_deep_parameters_and_many_tags_are_refused(things: Things) -> None:
    client, path = things.client, f"/workflows/{things.ids['workflows']}/execute"
    assert (await client.post(path, {"parameters": {"x": DEEP}})).status == 422
    assert (await client.post(path, {"tags": ["x"] * 101})).fields == ["tags"]
    for listed in ("/workflows", "/executions"):
        answer = await client.get(listed, tags=",".join(["x"] * 1500))
        assert (answer.status, answer.fields) == (422, ["tags"])
    assert await things.is_unchanged()


async def test_strange_texts_in_queries_find_nothing_and_break_nothing(things: Things) -> None:
    for text in ("\0", "\ufffd", "%", "_", "'", '"', "\\", "a" * 5000, "😀", "--", "NULL"):
        for path, name in (
            *(("/workflows", name) for name in ("search", "category", "tags", "created_by")),
            *(("/executions", name) for name in ("workflow_id", "user_id", "project_id")),
            *(("/events", name) for name in ("workflow_id", "execution_id")),
        ):
            answer = await things.client.get(path, **{name: text})
            assert answer.status in (200, 422), (path, name, text, answer.body)


@pytest.mark.parametrize("host", ["[", "]", "a b", "\xff", ""])
async def test_a_strange_host_breaks_nothing(things: Things, host: str) -> None:
    at = urlsplit(things.client.url)
    for path in ("/nothing", "/api/v1/workflows/", "/health"):
        reader, writer = await asyncio.open_connection(at.hostname, at.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode("latin-1"))
        async with asyncio.timeout(10):
            first = (await reader.read()).split(b"\r\n")[0]
        writer.close()
        await writer.wait_closed()
        assert int(first.split()[1]) < 500
