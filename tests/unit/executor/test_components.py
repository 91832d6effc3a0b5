"""Each type of component as its run() is called, the requests of http_request against a real server on loopback."""

from __future__ import annotations

import asyncio
import importlib
import json
import pkgutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jsonschema_rs
import msgspec
import pytest
from aiohttp import web

from executor import components as package
from executor.components.base import Component, ComponentError, Context, Output, Suspend, config_of
from executor.components.registry import BUILT_IN, Registry
from executor.domain.values import Instant, LogLevel
from executor.egress import Egress
from executor.shapes import problems_of
from tests.given import START

MODULES = [
    importlib.import_module(found.name) for found in pkgutil.iter_modules(package.__path__, package.__name__ + ".")
]
REGISTRY = Registry()
VARIABLES = {"input": {"x": 2}, "steps": {}, "execution": {}, "output": None}


async def run(
    type: str, config: dict[str, Any], egress: Egress | None = None, *, attempt: int = 1, check: bool = True
) -> Any:
    """What its run() answers to a config, which is checked as an attempt checks it."""
    if check:
        assert not problems_of(REGISTRY.validator(type), config, "config")
    opened = egress or Egress([ip_network("127.0.0.0/8")])
    context = Context(
        execution_id="R",
        component_id="c",
        attempt=attempt,
        idempotency_key="R/c/-/0",
        config=config,
        input={"x": 2},
        variables=VARIABLES,
        first_started_at=START,
        egress=opened,
    )
    try:
        return await REGISTRY[type].run(context)
    finally:
        await opened.close()


async def failing(type: str, config: dict[str, Any], egress: Egress | None = None) -> ComponentError:
    with pytest.raises(ComponentError) as caught:
        await run(type, config, egress)
    return caught.value


# one file and one registry line


def test_every_component_that_a_module_defines_is_in_the_registry() -> None:
    defined = {
        cls
        for module in MODULES
        for cls in vars(module).values()
        if isinstance(cls, type) and issubclass(cls, Component) and cls.__module__ == module.__name__
    } - {Component}
    assert set(BUILT_IN) == defined
    assert len({cls.type for cls in BUILT_IN}) == len(BUILT_IN) == len(REGISTRY)


@pytest.mark.parametrize("cls", BUILT_IN, ids=lambda cls: cls.type)
def test_a_type_says_what_it_is(cls: type[Component]) -> None:
    assert cls.type == cls.__module__.rpartition(".")[2], "the file is named after the type"
    for text in (cls.name, cls.description, cls.category):
        assert isinstance(text, str)
        assert text.strip() == text != ""
    assert cls.__doc__ is not None or importlib.import_module(cls.__module__).__doc__


@pytest.mark.parametrize("cls", BUILT_IN, ids=lambda cls: cls.type)
def test_the_schema_of_a_config_is_a_closed_object_that_says_what_each_field_may_be(cls: type[Component]) -> None:
    schema = cls.config_schema
    jsonschema_rs.meta.validate(schema)
    jsonschema_rs.meta.validate(cls.output_schema)
    assert (schema["type"], schema["additionalProperties"]) == ("object", False)
    assert set(schema["required"]) <= set(schema["properties"])
    assert json.loads(json.dumps(schema)) == schema
    unknown = problems_of(REGISTRY.validator(cls.type), {"no_such_field": 1}, "config")
    assert "config.no_such_field" in {problem.field for problem, _ in unknown}


def test_only_what_goes_outside_may_have_secrets() -> None:
    assert {cls.type for cls in BUILT_IN if cls.goes_outside} == {"http_request", "agent"}


class Shout(Component):
    type = "shout"
    name = "Shout"
    description = "Says it louder."
    category = "data"
    config_schema = config_of({"text": {"type": "string"}}, "text")

    async def run(self, context: Context) -> Output:
        return Output(str(context.config["text"]).upper())


def test_a_registry_has_the_types_that_it_was_given() -> None:
    registry = Registry((*BUILT_IN, Shout))
    assert isinstance(registry["shout"], Shout)
    assert list(registry)[-1] == "shout"
    assert registry.validator("shout") is registry.validator("shout")
    assert "shout" not in REGISTRY
    assert set(Registry.installed()) >= set(REGISTRY)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("nowhere_to_be_found:Shout", "cannot be loaded: ModuleNotFoundError"),
        ("json:Shout", "cannot be loaded: AttributeError"),
        ("json:JSONDecoder", "is not a Component"),
    ],
)
def test_an_entry_point_that_is_broken_is_named(
    value: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "broken-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(f"[runcast.components]\nshout = {value}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(TypeError, match=f"'shout' of runcast.components, {value}, {why}"):
        Registry.installed()


def test_a_component_must_say_how_it_runs() -> None:
    class Lazy(Component):
        type = "lazy"

    with pytest.raises(TypeError, match="run"):
        Lazy()  # type: ignore[abstract]


# start, end, transform, condition, log, wait


async def test_a_start_answers_the_input() -> None:
    assert await run("start", {"trigger_type": "manual"}) == Output({"x": 2})


async def test_an_end_answers_its_output_or_an_empty_one() -> None:
    assert await run("end", {"output": {"a": [1]}}) == Output({"a": [1]})
    assert await run("end", {}) == Output({})


async def test_a_transform_answers_its_mapping_or_its_expression() -> None:
    assert await run("transform", {"output": {"a": 1}}) == Output({"a": 1})
    assert await run("transform", {"expression": "{'y': input.x * 2}"}) == Output({"y": 4})


@pytest.mark.parametrize(
    ("expressions", "default", "case"),
    [
        (["input.x == 2", "input.x > 0"], None, "0"),
        (["input.x == 1", "input.x > 0"], "other", "1"),
        (["false"], "other", "other"),
        (["false"], None, None),
    ],
)
async def test_a_switch_names_the_first_case_that_is_true(
    expressions: list[str], default: str | None, case: str | None
) -> None:
    cases = [{"name": str(number), "expression": text} for number, text in enumerate(expressions)]
    config: dict[str, Any] = {"cases": cases} | ({"default": default} if default else {})
    assert await run("switch", config) == Output({"case": case})


async def test_a_case_that_errs_is_named() -> None:
    with pytest.raises(ComponentError, match="case 'odd'"):
        await run("switch", {"cases": [{"name": "odd", "expression": "input.nope"}]})


async def test_a_condition_answers_a_bool() -> None:
    assert await run("condition", {"expression": "input.x == 2"}) == Output({"result": True})
    assert await run("condition", {"expression": "input.x > 2"}) == Output({"result": False})


@pytest.mark.parametrize(
    ("type", "expression"),
    [("transform", "input.nope"), ("condition", "input.nope"), ("condition", "input.x"), ("transform", "0.0/0.0")],
)
async def test_an_expression_that_fails_fails_its_component_for_good(type: str, expression: str) -> None:
    error = await failing(type, {"expression": expression})
    assert error.message.startswith("the expression failed: ")
    assert not error.temporary


@pytest.mark.parametrize(
    ("message", "text"), [("hello", "hello"), ({"a": [1, None]}, '{"a":[1,null]}'), (None, "null"), (True, "true")]
)
async def test_a_log_writes_a_line_and_answers_nothing(message: Any, text: str) -> None:
    output = await run("log", {"message": message, "level": "warning"})
    assert output.value is None
    assert [(line.level, line.message) for line in output.logs] == [(LogLevel.WARNING, text)]


async def test_a_log_line_is_info_unless_said_and_cut_at_64_kib() -> None:
    (line,) = (await run("log", {"message": "x" * 100_000})).logs
    assert (line.level, len(line.message)) == (LogLevel.INFO, 65_536)


@pytest.mark.parametrize(
    ("config", "until"),
    [
        ({"seconds": 90}, "2026-01-31T12:01:30.000Z"),
        ({"seconds": 0}, START),
        ({"seconds": 0.25}, "2026-01-31T12:00:00.250Z"),
        ({"until": "2026-02-01T01:00:00+01:00"}, "2026-02-01T00:00:00.000Z"),
        ({"until": "2026-02-01T00:00:00Z"}, "2026-02-01T00:00:00.000Z"),
        ({"until": "2026-02-01T00:00:00"}, "2026-02-01T00:00:00.000Z"),
        ({"until": "0300-01-01T00:00:00Z"}, "0300-01-01T00:00:00.000Z"),
    ],
)
async def test_a_wait_suspends_until_its_time_counted_from_its_first_start(config: Any, until: Instant) -> None:
    assert await run("wait", config) == Suspend(until)


async def test_a_wait_for_a_signal_suspends_until_its_timeout_or_for_good() -> None:
    assert await run("wait", {"signal": "approved"}) == Suspend(None, "approved")
    until = Instant("2026-01-31T12:01:30.000Z")
    assert await run("wait", {"signal": "approved", "timeout_seconds": 90}) == Suspend(until, "approved")
    assert REGISTRY["wait"].signalled({"by": "Ada"}) == Output({"by": "Ada"})


@pytest.mark.parametrize("text", ["", "tomorrow", "12:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
async def test_a_time_that_is_none_fails_the_wait(text: str) -> None:
    error = await failing("wait", {"until": text})
    assert "is not a time" in error.message


# http_request


class Echo:
    """Answers with what arrived, or as `answers` say, by path."""

    def __init__(self) -> None:
        self.arrived: list[web.Request] = []
        self.bodies: list[bytes] = []

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        assert isinstance(request, web.BaseRequest)
        self.arrived.append(request)  # type: ignore[arg-type]
        self.bodies.append(await request.read())
        head, _, tail = request.path.strip("/").partition("/")
        match head:
            case "status":
                return web.Response(status=int(tail), text=f"it is {tail}", headers={"Location": "/elsewhere"})
            case "large":
                return web.Response(body=b"x" * int(tail))
            case "json":
                return web.Response(body=self.bodies[-1], content_type="application/json")
            case "problem":
                return web.json_response({"why": "no"}, status=422, content_type="application/problem+json")
            case "slow":
                await asyncio.Event().wait()
        return web.json_response(
            {"method": request.method, "path": request.path_qs, "body": self.bodies[-1].decode()}
        )


@asynccontextmanager
async def served() -> AsyncIterator[tuple[str, Echo]]:
    echo = Echo()
    runner = web.ServerRunner(web.Server(echo), shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", echo
    finally:
        await runner.cleanup()


@pytest.fixture
async def server() -> AsyncIterator[tuple[str, Echo]]:
    async with served() as serving:
        yield serving


Server = tuple[str, Echo]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_a_request_is_sent_with_its_method(server: Server, method: str) -> None:
    url, echo = server
    output = await run("http_request", {"url": f"{url}/x", "method": method})
    assert output.value["status"] == 200
    assert output.value["body"] == {"method": method, "path": "/x", "body": ""}
    assert output.value["headers"]["content-type"].startswith("application/json")
    assert echo.arrived[0].headers["User-Agent"] == "Runcast"


async def test_a_head_request_has_no_body(server: Server) -> None:
    output = await run("http_request", {"url": server[0], "method": "HEAD"})
    assert (output.value["status"], output.value["body"]) == (200, None)


async def test_every_attempt_says_which_it_is_and_the_same_idempotency_key(server: Server) -> None:
    url, echo = server
    for attempt in (1, 2):
        await run("http_request", {"url": url, "method": "POST"}, attempt=attempt)
    assert [request.headers["X-Runcast-Attempt"] for request in echo.arrived] == ["1", "2"]
    assert {request.headers["Idempotency-Key"] for request in echo.arrived} == {"R/c/-/0"}


async def test_a_config_cannot_speak_for_us_in_other_letters(server: Server) -> None:
    url, echo = server
    headers = {"idempotency-key": "mine", "IDEMPOTENCY-KEY": "mine", "x-runcast-attempt": "9", "X-Mine": "yes"}
    await run("http_request", {"url": url, "headers": headers})
    sent = echo.arrived[0].headers
    assert sent.getall("Idempotency-Key") == ["R/c/-/0"]
    assert sent.getall("X-Runcast-Attempt") == ["1"]
    assert sent["X-Mine"] == "yes"


@pytest.mark.parametrize(
    ("body", "sent", "kind"),
    [
        ("größe", "größe", "text/plain; charset=utf-8"),
        ({"a": [1, None, "ü"]}, '{"a":[1,null,"ü"]}', "application/json"),
        ([], "[]", "application/json"),
        (0, "0", "application/json"),
        (False, "false", "application/json"),
        ("", "", "text/plain; charset=utf-8"),
        (None, "", None),
    ],
)
async def test_a_text_is_sent_as_it_is_and_anything_else_as_json(
    server: Server, body: Any, sent: str, kind: Any
) -> None:
    url, echo = server
    await run("http_request", {"url": url, "method": "POST", "body": body})
    assert echo.bodies == [sent.encode()]
    assert echo.arrived[0].headers.get("Content-Type") == kind


async def test_a_content_type_of_the_config_is_kept_and_values_are_written_as_texts(server: Server) -> None:
    url, echo = server
    headers = {"content-type": "application/xml", "X-Number": 5, "X-Bool": True, "X-Real": 1.5}
    await run("http_request", {"url": url, "method": "POST", "body": "<a/>", "headers": headers})
    sent = echo.arrived[0].headers
    assert sent.getall("Content-Type") == ["application/xml"]
    assert (sent["X-Number"], sent["X-Bool"], sent["X-Real"]) == ("5", "true", "1.5")


@pytest.mark.parametrize(
    ("own", "query", "sent"),
    [
        ("", {"a": 1, "b": "ü &", "c": True, "d": None}, [("a", "1"), ("b", "ü &"), ("c", "true")]),
        ("", {"e": ["p", 2, None], "f": {"b": 1}}, [("e", "p"), ("e", "2"), ("f", '{"b":1}')]),
        ("?x=%26&y=", {"a": ""}, [("x", "&"), ("y", ""), ("a", "")]),
        ("?q=1#part", {"q": 2}, [("q", "1"), ("q", "2")]),
        ("?q=1", {}, [("q", "1")]),
        ("?q=1", {"a": None, "b": []}, [("q", "1")]),
    ],
)
async def test_a_query_is_added_to_the_urls_own(server: Server, own: str, query: Any, sent: Any) -> None:
    output = await run("http_request", {"url": f"{server[0]}/x{own}", "query": query})
    arrived = urlsplit(output.value["body"]["path"])
    assert (arrived.path, parse_qsl(arrived.query, keep_blank_values=True)) == ("/x", sent)


async def test_a_flag_in_the_urls_own_query_stays_a_flag(server: Server) -> None:
    output = await run("http_request", {"url": f"{server[0]}/x?flag&q=a;b", "query": {"a": 1}})
    assert output.value["body"]["path"] == "/x?flag&q=a;b&a=1"


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
async def test_some_statuses_are_temporary_failures(server: Server, status: int) -> None:
    error = await failing("http_request", {"url": f"{server[0]}/status/{status}"})
    assert error.temporary
    assert error.message == f"the server answered {status}"
    assert error.details == {"status": status, "body": f"it is {status}"}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 422, 301, 302, 303, 307, 308])
async def test_other_statuses_are_final_failures_and_redirects_are_not_followed(server: Server, status: int) -> None:
    url, echo = server
    error = await failing("http_request", {"url": f"{url}/status/{status}"})
    assert not error.temporary
    assert len(echo.arrived) == 1


async def test_the_body_of_a_failure_helps_to_see_why(server: Server) -> None:
    error = await failing("http_request", {"url": f"{server[0]}/problem"})
    assert error.details == {"status": 422, "body": {"why": "no"}}


@pytest.mark.parametrize(
    ("expected", "status"), [(404, 404), ([200, 404], 404), (404.0, 404), ([404.0], 404), (302, 302), (503, 503)]
)
async def test_an_expected_status_is_a_success(server: Server, expected: Any, status: int) -> None:
    output = await run("http_request", {"url": f"{server[0]}/status/{status}", "expect_status": expected})
    assert output.value["status"] == status


async def test_with_an_expected_status_others_are_failures_also_200(server: Server) -> None:
    error = await failing("http_request", {"url": server[0], "expect_status": [201, 204]})
    assert (error.message, error.temporary) == ("the server answered 200", False)


async def test_an_answer_of_one_mebibyte_is_taken_and_one_byte_more_is_too_large(server: Server) -> None:
    output = await run("http_request", {"url": f"{server[0]}/large/{1024 * 1024}"})
    assert len(output.value["body"]) == 1024 * 1024
    error = await failing("http_request", {"url": f"{server[0]}/large/{1024 * 1024 + 1}"})
    assert (error.code, error.temporary) == ("OUTPUT_TOO_LARGE", False)


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ('{"a":[1.5,null]}', {"a": [1.5, None]}),
        ('"x"', "x"),
        ("null", None),
        ("{broken", "{broken"),
        ("[" * 3000 + "]" * 3000, "[" * 3000 + "]" * 3000),
        ('"\\ud800"', '"\\ud800"'),
        ("NaN", "NaN"),
        ("12345678901234567890123", 12345678901234567890123),
    ],
)
async def test_json_is_parsed_where_it_is_json_and_else_kept_as_text(server: Server, text: str, body: Any) -> None:
    output = await run("http_request", {"url": f"{server[0]}/json", "method": "POST", "body": text})
    assert output.value["body"] == body


async def test_bytes_that_are_no_text_are_replaced_in_body_and_headers() -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nX-Odd: caf\xe9\r\nContent-Length: 7\r\n\r\n\xff\xfe text")
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with listener:
        output = await run("http_request", {"url": f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"})
    assert output.value["body"] == "\ufffd\ufffd text"
    assert output.value["headers"]["x-odd"] == "caf\ufffd"
    assert msgspec.json.decode(msgspec.json.encode(output.value)) == output.value


async def test_an_answer_that_does_not_come_in_time_is_a_temporary_failure(server: Server) -> None:
    error = await failing("http_request", {"url": f"{server[0]}/slow", "timeout": 0.1})
    assert (error.code, error.temporary) == ("TIMEOUT_ERROR", True)


async def test_nobody_listening_is_a_temporary_failure() -> None:
    async with served() as (url, _):
        pass
    error = await failing("http_request", {"url": url})
    assert error.temporary


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:2/",
        "http://[::1]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://2130706433/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "http://user:hunter2@example.com/",
        "http://[broken/",
        "http://[broken/?x=1",
        "nonsense",
        "https://example.com\r\nX: y/",
    ],
)
async def test_what_may_not_be_reached_is_a_final_failure(url: str) -> None:
    for query in ({}, {"a": 1}):
        error = await failing("http_request", {"url": url, "query": query}, Egress())
        assert not error.temporary
        assert "hunter2" not in error.message


@pytest.mark.parametrize("headers", [{"a b": "x"}, {"a": "x\r\nInjected: y"}, {"": "x"}, {"a": "\0"}])
async def test_a_header_that_http_does_not_allow_is_a_final_failure(headers: Any) -> None:
    error = await failing("http_request", {"url": "http://127.0.0.1:2", "headers": headers})
    assert not error.temporary


async def test_a_cancelled_request_ends_at_once(server: Server) -> None:
    url, echo = server
    task = asyncio.create_task(run("http_request", {"url": f"{url}/slow"}))
    async with asyncio.timeout(10):
        while not echo.arrived:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
