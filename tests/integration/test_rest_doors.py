"""What holds of every route: who may pass, what is hidden, which methods there are, what every answer carries."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from hub.app import AT_THE_ROOT, OPERATIONS, PREFIXES, SOCKETS
from hub.auth.permissions import PERMISSIONS
from hub.operation import ANYBODY, OPEN, Operation
from hub.routes import public_keys
from hub.settings import VERSION
from tests.integration.hubs import SMALLEST, WAITING, Answer, Client, Hub, unique, until
from tests.integration.receiving import receiving

pytestmark = pytest.mark.asyncio(loop_scope="session")

NOTHING = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
CLOSED = [op for op in OPERATIONS if op.needs not in (OPEN, ANYBODY)]
WITH_ID = [op for op in OPERATIONS if "{" in op.path]


def named(operation: Operation) -> str:
    return f"{operation.method} {operation.path}"


def path_of(operation: Operation, value: str = NOTHING) -> str:
    head, _, tail = operation.path.partition("{")
    return head + value + tail.partition("}")[2] if tail else head


BODIES = {
    "POST /webhooks/{id}/recover": {"since": 1},
    "POST /executions/{id}/priority": {"priority": 5},
    "POST /executions/{id}/signal": {"key": "x"},
    "POST /tasks/{id}/heartbeat": {"worker_id": "w"},
    "POST /tasks/{id}/reassign": {"assignee": "a"},
}
"""Of operations that need one to get as far as to look for what they are about."""


def asked_of(operation: Operation, value: str = NOTHING) -> str:
    """The path, and what the operation needs to get to an answer, and a stream to get to the end of one."""
    query = {"/events/stream": "?unknown=1"}.get(operation.path, "")
    return path_of(operation, value) + ("?from=1" if operation.path.endswith("/diff") else query)


async def things(client: Client) -> dict[str, str]:
    """One of each: what the parts of paths may name."""
    workflow = await client.workflow(WAITING)
    execution = await client.execution(workflow["id"])
    async with receiving() as receiver:
        webhook = await client.webhook(receiver.url)
        delivery = (await client.post(f"/webhooks/{webhook['id']}/test")).data["delivery_id"]

        async def arrived() -> bool:
            return bool((await client.get(f"/deliveries/{delivery}")).data["status"] == "succeeded")

        await until(arrived)
    key = (await client.post("/auth/api-keys", {"name": "n", "role": "read_only"})).data["id"]
    agent = (await client.post("/agents", {"name": "n", "url": "http://127.0.0.1:2"})).data["id"]
    template = (await client.post("/templates", {"name": "n", "workflow_definition": SMALLEST})).data["id"]
    nightly = {"name": "n", "workflow_id": workflow["id"], "cron": "@daily", "paused": True}
    schedule = (await client.post("/schedules", nightly)).data["id"]
    asking = {"components": [*SMALLEST["components"], {"id": "ask", "type": "human_task"}]}
    asking |= {"connections": [{"source": "start", "target": "ask"}]}
    asked = await client.execution((await client.workflow(asking))["id"])

    async def task() -> Any:
        return (await client.get("/tasks", execution_id=asked)).data

    position = (await client.events(workflow_id=workflow["id"]))[0]["position"]
    return {
        "workflows": workflow["id"],
        "executions": execution,
        "webhooks": webhook["id"],
        ".well-known": webhook["id"],
        "deliveries": delivery,
        "auth": key,
        "agents": agent,
        "templates": template,
        "schedules": schedule,
        "tasks": (await until(task))[0]["id"],
        "events": str(position),
    }


@pytest.mark.parametrize("operation", CLOSED, ids=named)
async def test_a_key_with_everything_but_the_permission_is_a_403_that_names_it(
    hub: Hub, operation: Operation
) -> None:
    client = await hub.client(permissions=tuple(sorted(PERMISSIONS - {operation.needs})))
    answer = await client.send(operation.method, path_of(operation))
    assert (answer.status, answer.codes) == (403, {"AUTHORIZATION_ERROR"})
    assert operation.needs in answer.errors[0]["message"]
    assert answer.errors[0]["details"] == {"permission": operation.needs}


@pytest.mark.parametrize("operation", CLOSED, ids=named)
async def test_a_key_with_only_the_permission_passes(hub: Hub, operation: Operation) -> None:
    client = await hub.client(permissions=(operation.needs,))
    answer = await client.send(operation.method, asked_of(operation))
    assert answer.status in (200, 404, 422), answer.body


@pytest.mark.parametrize("operation", OPERATIONS, ids=named)
async def test_without_credentials_only_what_is_open_answers(hub: Hub, operation: Operation) -> None:
    answer = await hub.nobody.send(operation.method, path_of(operation), raw=b"{nonsense", headers={"X-API-Key": ""})
    if operation.needs == OPEN:
        assert answer.status == 400, "only the body is wrong"
    else:
        assert (answer.status, answer.codes) == (401, {"AUTHENTICATION_ERROR"}), "and the body was not looked at"


async def test_another_organization_finds_nothing(hub: Hub, admin: Client) -> None:
    ids, stranger = await things(admin), await hub.client()
    before = len(await admin.events())
    for operation in WITH_ID:
        kind = operation.path.split("/")[1]
        if kind == "components":
            continue
        body = {"workflows": {"name": "x"}}.get(kind) if operation.method == "PUT" else BODIES.get(named(operation))
        answer = await stranger.send(operation.method, asked_of(operation, ids[kind]), body)
        unknown = await stranger.send(operation.method, asked_of(operation, NOTHING), body)
        assert (answer.status, answer.codes) == (404, {"RESOURCE_NOT_FOUND"}), named(operation)
        message = answer.errors[0]["message"].replace(ids[kind], NOTHING)
        if kind != "events":
            assert message == unknown.errors[0]["message"], "not even that it exists is said"
    for listed in ("/workflows", "/executions", "/webhooks", "/agents", "/schedules", "/tasks"):
        assert (await stranger.get(listed)).data == []
    assert [event["type"] for event in await stranger.events()] == ["apikey.created"]
    assert len((await stranger.get("/auth/api-keys")).data) == 1
    assert len(await admin.events()) == before
    workflow = (await admin.get(f"/workflows/{ids['workflows']}")).data
    for query in ({"workflow_id": ids["workflows"]}, {"user_id": workflow["created_by"]}):
        assert (await stranger.get("/executions", **query)).data == []


@pytest.mark.parametrize("operation", WITH_ID, ids=named)
@pytest.mark.parametrize(
    "id",
    [NOTHING, NOTHING.lower(), "x", "0", "%00", "%ED%A0%80", "%FF", "a" * 4000, "'%20OR%201=1--", "..%2F..%2Fetc"],
)
async def test_ids_that_nothing_has_and_malformed_ones_are_a_404(
    admin: Client, operation: Operation, id: str
) -> None:
    body = BODIES.get(named(operation))
    answer = await raw(admin, operation.method, f"/api/v1{asked_of(operation, id)}", body=body)
    assert (answer.status, answer.codes) == (404, {"RESOURCE_NOT_FOUND"})


async def raw(client: Client, method: str, target: str, *headers: str, body: Any = None) -> Answer:
    """A request as it is written, past a client library's own cleaning."""
    host = urlsplit(client.url)
    reader, writer = await asyncio.open_connection(host.hostname, host.port)
    lines = [f"{method} {target} HTTP/1.1", "Host: x", f"X-API-Key: {client.key}", "Connection: close", *headers]
    sent = b"" if body is None else msgspec.json.encode(body)
    if sent:
        lines += ["Content-Type: application/json", f"Content-Length: {len(sent)}"]
    writer.write("\r\n".join([*lines, "", ""]).encode() + sent)
    async with asyncio.timeout(10):
        head, _, content = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    first, *rest = head.decode("latin-1").split("\r\n")
    given = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    return Answer(int(first.split()[1]), given, content)


@pytest.mark.parametrize("path", sorted({op.path for op in OPERATIONS}))
async def test_other_methods_are_a_405_that_names_the_right_ones(admin: Client, path: str) -> None:
    known = {op.method for op in OPERATIONS if op.path == path}
    allowed = known | ({"HEAD"} if "GET" in known else set())
    target = path_of(next(op for op in OPERATIONS if op.path == path))
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        if method in known:
            continue
        answer = await raw(admin, method, f"/api/v1{target}")
        assert (answer.status, answer.codes) == (405, {"METHOD_NOT_ALLOWED"})
        assert set(answer.headers["allow"].split(", ")) == allowed


async def test_head_answers_as_get_does_without_a_body(admin: Client) -> None:
    for path, status in (("/workflows", 200), ("/workflows/x", 404)):
        head = await admin.send("HEAD", path)
        assert (head.status, head.body) == (status, b"")
        assert head.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    "path",
    ["/", "/api", "/api/v1", "/api/v1/nothing", "/api/v1/workflows/", "/api/v2/workflows", "/favicon.ico", "//"],
)
async def test_what_is_not_there_is_a_404_in_the_envelope(admin: Client, path: str) -> None:
    answer = await raw(admin, "GET", path)
    assert (answer.status, answer.codes) == (404, {"RESOURCE_NOT_FOUND"})
    assert answer.headers["x-request-id"] == answer.metadata["request_id"]


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize("path", SOCKETS)
async def test_who_asks_for_the_socket_without_a_handshake_is_told_how(admin: Client, path: str, method: str) -> None:
    answer = await raw(admin, method, path)
    assert (answer.status, answer.codes) == (426, {"MALFORMED_REQUEST"})
    assert answer.headers["upgrade"] == "websocket"
    assert "ws://" in answer.errors[0]["message"]


@pytest.mark.parametrize("path", ["/ws", "/api/v1/ws/", "/api/v1/workflows"])
async def test_a_handshake_where_no_socket_is_is_a_404_that_says_where_one_is(admin: Client, path: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await connect(admin.url.replace("http", "ws", 1) + path, additional_headers={"X-API-Key": str(admin.key)})
    response = refused.value.response
    answer = Answer(response.status_code, dict(response.headers), bytes(response.body or b""))
    assert (answer.status, answer.codes) == (404, {"RESOURCE_NOT_FOUND"})
    assert answer.errors[0]["message"] == f"there is no WebSocket at {path}; it is at /api/v1/ws"


async def test_both_prefixes_are_the_same(admin: Client) -> None:
    workflow = await admin.workflow()
    path = f"/workflows/{workflow['id']}"
    assert [(await admin.send("GET", path, prefix=prefix)).data for prefix in PREFIXES] == [
        (await admin.get(path)).data
    ] * 2
    created = await admin.send(
        "POST", "/workflows", {"name": unique("w"), "definition": WAITING}, prefix="/api/v1/workflow_orchestration"
    )
    assert created.status == 201


async def test_health_is_open_at_its_three_places(hub: Hub) -> None:
    for prefix in ("", *PREFIXES):
        answer = await hub.nobody.send("GET", "/health", prefix=prefix)
        assert answer.status == 200
        assert answer.data["status"] == "healthy"
        assert answer.data["version"] == VERSION
        assert answer.data["uptime_seconds"] >= 0
        parts = answer.data["components"]
        assert set(parts) == {"database", "redis", "workflow_engine"}
        assert all(part["status"] == "healthy" for part in parts.values())
        assert all(parts[name]["response_time_ms"] >= 0 for name in ("database", "redis"))
        ready = await hub.nobody.send("GET", "/health/ready", prefix=prefix)
        assert (ready.status, ready.data["ready"]) == (200, True)
    assert set(AT_THE_ROOT) == {"/health", "/health/ready", "/metrics", public_keys.PATH}


async def test_every_answer_has_an_envelope_and_its_two_headers(admin: Client, hub: Hub) -> None:
    good = await admin.get("/workflows")
    bad = await hub.nobody.send("POST", "/workflows")
    for answer, success in ((good, True), (bad, False)):
        assert set(answer.json) == {"success", "data", "message", "errors", "metadata"}
        assert answer.json["success"] is success
        assert answer.metadata["version"] == VERSION
        assert answer.metadata["timestamp"].endswith("Z")
        assert answer.headers["X-Request-ID"] == answer.metadata["request_id"]
        assert 0 <= float(answer.headers["X-Process-Time"]) < 60
        assert answer.headers["Content-Type"] == "application/json"
    assert good.errors == []
    assert bad.data is None
    assert set(bad.errors[0]) == {"code", "message", "field", "details"}


@pytest.mark.parametrize(
    ("given", "is_taken"), [("mine-1.a_B", True), ("a" * 128, True), ("a" * 129, False), ("a b", False), ("é", False)]
)
async def test_a_sane_request_id_is_taken_over(admin: Client, given: str, is_taken: bool) -> None:
    answer = await admin.send("GET", "/me", headers={"X-Request-ID": given})
    assert (answer.headers["X-Request-ID"] == given) is is_taken
    assert answer.headers["X-Request-ID"] == answer.metadata["request_id"]


async def test_components_are_listed_with_their_schemas(admin: Client) -> None:
    answer = await admin.get("/components")
    by_type = {each["type"]: each for each in answer.data}
    assert set(by_type) >= {"start", "end", "http_request", "transform", "condition", "wait", "log"}
    for type, each in by_type.items():
        assert set(each) == {
            *("type", "name", "description", "category", "config_schema", "input_schema", "output_schema")
        }
        schema = await admin.get(f"/components/{type}/schema")
        assert (schema.status, schema.data) == (200, each["config_schema"])
        assert schema.data["type"] == "object"
    assert (await admin.get("/components/teleport/schema")).status == 404


async def test_unknown_query_parameters_are_a_422_that_names_them(admin: Client) -> None:
    ids: dict[str, Any] = await things(admin)
    for operation in OPERATIONS:
        value = ids.get(operation.path.split("/")[1], "log")
        answer = await admin.send(operation.method, path_of(operation, value), colour="red", shape="round")
        assert answer.status == 422, named(operation)
        # What the body lacks is said as well.
        assert {"colour", "shape"} <= set(answer.fields), named(operation)
