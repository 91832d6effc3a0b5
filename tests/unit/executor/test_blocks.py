"""The form `blocks` + `connections`: what each block becomes, and where what is wrong with it is told."""

from __future__ import annotations

from typing import Any

import pytest

from executor.components.base import EXPRESSION, Component, Context, Output, config_of
from executor.components.registry import BUILT_IN, Registry
from executor.definitions.validate import compile_definition, examine
from executor.domain.definition import Definition

Raw = dict[str, Any]


class Loop(Component):
    type = "loop"
    name = "Loop"
    description = "Stands for the component type of the same name."
    category = "control"
    config_schema = config_of(
        {
            "items": {},
            "as": {"type": "string"},
            "max_concurrency": {"type": "integer"},
            "while": EXPRESSION,
            "body": {},
        },
        "body",
    )

    async def run(self, context: Context) -> Output:
        return Output(context.config)


REGISTRY = Registry((*(cls for cls in BUILT_IN if cls.type != "loop"), Loop))


def block(id: str, type: str, **parameters: Any) -> Raw:
    return {"id": id, "type": type, "parameters": parameters}


def blocks(*each: Raw, **fields: Any) -> Raw:
    return {"blocks": list(each)} | fields


def compiled(*each: Raw, **fields: Any) -> Definition:
    return compile_definition(blocks(*each, **fields), REGISTRY)


def told(raw: Any) -> dict[str | None, str]:
    errors = examine(raw, REGISTRY)[1].errors
    assert len({each.field for each in errors}) == len(errors)
    return {each.field: (each.details or {}).get("rule", each.code) for each in errors}


def doubts(raw: Any) -> set[tuple[str, str | None]]:
    return {(each.code, each.field) for each in examine(raw, REGISTRY)[1].warnings}


NAVIGATION = block("nav", "navigation", url="https://example.com/{{path}}")
SCHEMA = {"type": "object", "properties": {"path": {"type": "string", "description": "where"}}, "required": ["path"]}


def test_navigation_and_extraction_become_a_request_and_selectors_over_its_page() -> None:
    extraction = block("price", "extraction", data_extraction_goal="the price", selectors={"price": ".price"})
    graph = compiled(
        NAVIGATION, extraction, connections=[{"source": "nav", "target": "price"}], parameter_schema=SCHEMA
    )
    assert [(spec.id, spec.type, spec.config) for spec in graph.components] == [
        ("start", "start", {}),
        ("nav", "http_request", {"url": "https://example.com/{{path}}"}),
        ("price", "extract", {"html": "${nav.output.body}", "selectors": {"price": ".price"}}),
    ]
    assert {(link.source, link.target) for link in graph.connections} == {("start", "nav"), ("nav", "price")}
    (parameter,) = graph.parameters
    assert (parameter.name, parameter.type, parameter.required, parameter.description) == (
        "path",
        "string",
        True,
        "where",
    )


def test_without_selectors_the_whole_page_is_taken_and_a_goal_alone_is_doubtful() -> None:
    raw = blocks(
        block("nav_1", "navigation", url="https://httpbin.org/forms/post", navigation_goal="Navigate to the form"),
        block("extract_1", "extraction", data_extraction_goal="Extract form fields"),
        connections=[{"source": "nav_1", "target": "extract_1"}],
    )
    graph = compile_definition(raw, REGISTRY)
    assert graph.components[2].config["selectors"] == {"title": "title", "text": "body"}
    assert {
        ("IDLE_GOAL", "definition.blocks[0].parameters.navigation_goal"),
        ("IDLE_GOAL", "definition.blocks[1].parameters.data_extraction_goal"),
    } <= doubts(raw)


def test_with_an_agent_both_are_calls_of_it_and_goals_are_its_input() -> None:
    graph = compiled(
        block("nav", "navigation", url="https://example.com", navigation_goal="log in", agent_name="browser"),
        block("get", "extraction", data_extraction_goal="the price", agent_name="reader"),
        block("page", "extraction", data_extraction_goal="the title"),
    )
    assert [(spec.type, spec.config) for spec in graph.components[1:]] == [
        ("agent", {"agent_name": "browser", "input": {"url": "https://example.com", "navigation_goal": "log in"}}),
        ("agent", {"agent_name": "reader", "input": {"data_extraction_goal": "the price", "page": "${nav.output}"}}),
        ("extract", {"html": "${nav.output}", "selectors": {"title": "title", "text": "body"}}),
    ]


def test_an_extraction_reads_the_nearest_page_before_it() -> None:
    graph = compiled(
        block("far", "navigation", url="https://a.example"),
        block("near", "navigation", url="https://b.example"),
        block("pause", "wait", seconds=1),
        block("get", "extraction", data_extraction_goal="x"),
    )
    assert graph.components[-1].config["html"] == "${near.output.body}"


def test_code_wait_and_condition_become_components_of_the_graph() -> None:
    graph = compiled(
        block("sum", "code", code="input.a + input.b"),
        block("ask", "condition", condition_expression="output > 3"),
        block("rest", "wait", seconds=2),
        block("other", "wait", seconds=3),
        connections=[
            {"source": "sum", "target": "ask"},
            {"source": "ask", "target": "rest"},
            {"source": "ask", "target": "other", "type": "conditional", "condition": "!output.result"},
        ],
    )
    assert [(spec.id, spec.type, spec.config) for spec in graph.components[1:]] == [
        ("sum", "transform", {"expression": "input.a + input.b"}),
        ("ask", "condition", {"expression": "output > 3"}),
        ("rest", "wait", {"seconds": 2}),
        ("other", "wait", {"seconds": 3}),
    ]
    assert [(link.target, link.condition) for link in graph.connections if link.source == "ask"] == [
        ("rest", "output.result"),
        ("other", "!output.result"),
    ]


def test_without_connections_blocks_run_in_the_order_written_and_roots_follow_the_start() -> None:
    waits = [block(id, "wait", seconds=1) for id in ("a", "b", "c")]
    assert [(link.source, link.target) for link in compiled(*waits).connections] == [
        ("a", "b"),
        ("b", "c"),
        ("start", "a"),
    ]
    joined = compiled(*waits, connections=[{"source": "a", "target": "c"}, {"source": "b", "target": "c"}])
    assert {link.target for link in joined.connections if link.source == "start"} == {"a", "b"}


def test_a_loop_has_its_blocks_as_the_definition_that_it_runs() -> None:
    inner = [block("step", "code", code="1 + 1"), block("rest", "wait", seconds=1)]
    loop = block("each", "loop", loop_over="${workflow.input.items}", loop_blocks=inner, max_concurrency=3)
    config = compiled(loop).components[1].config
    assert (config["items"], config["max_concurrency"]) == ("${workflow.input.items}", 3)
    assert [each["id"] for each in config["body"]["components"]] == ["start", "step", "rest"]
    assert [(each["source"], each["target"]) for each in config["body"]["connections"]] == [
        ("step", "rest"),
        ("start", "step"),
    ]


def test_a_message_names_the_place_that_was_written() -> None:
    raw = blocks(block("a", "loop", loop_over="items", loop_blocks=[block("b", "code", code="1")]))
    (found,) = examine(raw, Registry())[1].errors
    assert found.message.startswith("definition.blocks[0].parameters.loop_over: ")


def test_all_that_is_wrong_with_blocks_is_told_at_once_where_it_was_written() -> None:
    raw = blocks(
        block("a", "navigation", method="GETT", speed=3),
        block("b", "teleport"),
        block("c", "condition", condition_expression="1 +"),
        block("d", "extraction", data_extraction_goal="x", selectors={"y": "a[[", "z": {"all": True}}),
        block("e", "loop", loop_over=[], loop_blocks=[block("f", "wait", hours=2), block("g", "code")]),
        block("h", "wait", until="{{nothing}}"),
        connections=[{"source": "a", "target": "nowhere"}, {"source": "c", "target": "c"}],
        parameter_schema={
            "type": "array",
            "properties": {"n": {"type": "date"}, "m": {"type": "integer", "default": "x"}},
            "required": ["n", "q"],
        },
    )
    found = told(raw)
    assert found == found | {
        "definition.blocks[0].parameters.url": "BLOCK_PARAMETER",
        "definition.blocks[0].parameters.speed": "BLOCK_PARAMETER",
        "definition.blocks[0].parameters.method": "CONFIG",
        "definition.blocks[1].type": "UNKNOWN_TYPE",
        "definition.blocks[2].parameters.condition_expression": "EXPRESSION",
        "definition.blocks[3].parameters.html": "NO_PAGE",
        "definition.blocks[3].parameters.selectors.y": "CONFIG",
        "definition.blocks[4].parameters.loop_blocks[0].parameters.hours": "BLOCK_PARAMETER",
        "definition.blocks[4].parameters.loop_blocks[1].parameters.code": "BLOCK_PARAMETER",
        "definition.blocks[5].parameters.until": "UNDECLARED_PARAMETER",
        "definition.connections[0].target": "UNKNOWN_COMPONENT",
        "definition.connections[1]": "SELF_LINK",
        "definition.parameter_schema.type": "PARAMETER_SCHEMA",
        "definition.parameter_schema.properties.n.type": "PARAMETER_SCHEMA",
        "definition.parameter_schema.properties.m.default": "DEFAULT_TYPE",
        "definition.parameter_schema.required[1]": "PARAMETER_SCHEMA",
    }
    assert all(field is not None and field.startswith("definition.") for field in found)
    assert not any(field and ("components" in field or ".config" in field) for field in found)


@pytest.mark.parametrize(
    ("raw", "fields"),
    [
        ({"blocks": []}, {"definition.blocks"}),
        ({"blocks": [7]}, {"definition.blocks[0]"}),
        ({"blocks": [{"type": "wait"}]}, {"definition.blocks[0].id"}),
        (
            {"blocks": [block("a", "loop", loop_over=[], loop_blocks=[{"id": "b c"}])]},
            {
                "definition.blocks[0].parameters.loop_blocks[0].id",
                "definition.blocks[0].parameters.loop_blocks[0].type",
            },
        ),
    ],
)
def test_a_wrong_shape_has_the_paths_of_the_form(raw: Raw, fields: set[str]) -> None:
    definition, answer = examine(raw, REGISTRY)
    assert definition is None
    assert {each.field for each in answer.errors} == fields


def test_a_schema_says_more_than_is_checked_and_that_is_told() -> None:
    schema = {"properties": {"n": {"type": ["integer", "null"], "minimum": 1}, "token": {"writeOnly": True}}}
    raw = blocks(
        block("a", "navigation", url="https://x.example/{{n}}", headers={"T": "{{token}}"}), parameter_schema=schema
    )
    assert ("PARAMETER_RULE", "definition.parameter_schema.properties.n") in doubts(raw)
    number, token = compile_definition(raw, REGISTRY).parameters
    assert (number.type, number.secret, token.type, token.secret) == ("integer", False, "any", True)


def test_two_thousand_extractions_behind_one_page_compile() -> None:
    many = [block(f"e{n}", "extraction", data_extraction_goal="x", selectors={"a": "a"}) for n in range(2_000)]
    graph = compiled(block("nav", "navigation", url="https://example.com"), *many)
    assert graph.components[-1].config["html"] == "${nav.output.body}"
