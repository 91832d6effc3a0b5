from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.components.registry import Registry
from executor.definitions.report import Finding, Report
from executor.definitions.validate import compile_definition, examine
from executor.domain.definition import Definition
from executor.domain.errors import Code, Invalid

REGISTRY = Registry()
Raw = dict[str, Any]


def component(id: str, type: str = "log", **fields: Any) -> Raw:
    config = {"log": {"message": "hello"}, "http_request": {"url": "https://example.com"}}.get(type, {})
    return {"id": id, "type": type, "config": config} | fields


def link(source: str, target: str, **fields: Any) -> Raw:
    return {"source": source, "target": target} | fields


def definition(*components: Raw, links: list[Raw] | None = None, **fields: Any) -> Raw:
    """A start, then the components; unless links are given the start leads to the first, and so on."""
    ids = ["start", *(each["id"] for each in components)]
    chain = [link(source, target) for source, target in pairwise(ids)]
    connections = chain if links is None else links
    return {"components": [component("start", "start"), *components], "connections": connections} | fields


def examined(raw: Any) -> Report:
    return examine(raw, REGISTRY)[1]


def rules(raw: Any) -> dict[str | None, str]:
    """The rule that each error breaks, by its field; no two of one field here."""
    return {each.field: (each.details or {}).get("rule", each.code) for each in examined(raw).errors}


def found(findings: tuple[Finding, ...]) -> set[tuple[str, str | None]]:
    return {(each.code, each.field) for each in findings}


# what is valid


def test_a_valid_definition_compiles_to_the_graph() -> None:
    raw = definition(component("a"), component("end", "end"))
    compiled = compile_definition(raw, REGISTRY)
    assert isinstance(compiled, Definition)
    assert [spec.id for spec in compiled.components] == ["start", "a", "end"]
    report = examined(raw)
    assert (report.is_valid, report.errors, report.warnings) == (True, (), ())


def test_a_single_start_is_legal() -> None:
    assert examined(definition()).is_valid


def test_info_tells_the_size() -> None:
    (info,) = examined(definition(component("a"))).info
    assert info.message == "the workflow has 2 components and 1 connection"
    assert info.details == {"components": 2, "connections": 1}


def test_compiling_an_invalid_one_refuses_with_every_error() -> None:
    with pytest.raises(Invalid) as caught:
        compile_definition(
            definition(component("a", "nope"), component("b", config={"level": "loud"})), REGISTRY, "body"
        )
    assert {problem.field for problem in caught.value.problems} == {
        "body.components[1].type",
        "body.components[2].config.level",
        "body.components[2].config.message",
    }
    assert {problem.code for problem in caught.value.problems} == {Code.WORKFLOW_INVALID}
    assert caught.value.problems[0].details == {"rule": "UNKNOWN_TYPE", "component_id": "a"}


# the shape


@pytest.mark.parametrize("raw", [None, [], "x", 5, True, {}, {"components": []}, {"components": {}}])
def test_what_is_no_definition_at_all_is_a_wrong_shape(raw: Any) -> None:
    compiled, report = examine(raw, REGISTRY)
    assert compiled is None
    assert not report.is_valid
    assert {finding.code for finding in report.errors} == {Code.VALIDATION_ERROR}
    assert all(finding.field and finding.field.startswith("definition") for finding in report.errors)


def test_all_wrong_shapes_are_told_at_once_with_their_paths() -> None:
    raw = {
        "components": [
            {"id": "a b", "type": "start"},
            {"type": "log"},
            {"id": "c", "type": "log", "config": [], "colour": "red", "timeout_seconds": 0},
            {"id": "d", "type": "log", "retry": {"max_attempts": 0, "tries": 3}},
            7,
        ],
        "connections": [{"source": "a"}, {"source": "a", "target": "b", "type": "maybe"}],
        "parameters": [{"name": "1x"}, {"name": "x", "type": "date"}],
        "fail_fast": "yes",
        "max_execution_time": -1,
        "version": 3,
    }
    assert set(rules(raw)) == {
        "definition.components[0].id",
        "definition.components[1].id",
        "definition.components[2].config",
        "definition.components[2].colour",
        "definition.components[2].timeout_seconds",
        "definition.components[3].retry.max_attempts",
        "definition.components[3].retry.tries",
        "definition.components[4]",
        "definition.connections[0].target",
        "definition.connections[1].type",
        "definition.parameters[0].name",
        "definition.parameters[1].type",
        "definition.fail_fast",
        "definition.max_execution_time",
        "definition.version",
    }


def test_a_wrong_shape_names_its_component() -> None:
    (error,) = examined(definition(component("a", retry=5))).errors
    assert (error.component_id, error.field) == ("a", "definition.components[1].retry")


# the graph


def test_ids_are_unique() -> None:
    raw = definition(component("a"), component("a"), component("a"), links=[link("start", "a")])
    assert rules(raw) == {"definition.components[2].id": "REPEATED_ID"}


def test_there_is_exactly_one_start_and_nothing_leads_to_it() -> None:
    assert rules({"components": [component("a")]}) == {"definition.components": "NO_START"}
    raw = definition(component("other", "start"), links=[])
    assert rules(raw) == {"definition.components[1]": "SECOND_START"}
    raw = definition(component("a"), component("b"), links=[link("start", "b"), link("a", "start")])
    assert rules(raw) == {"definition.components[0]": "START_HAS_SOURCE"}


def test_a_start_on_a_cycle_is_told_as_both() -> None:
    raw = definition(component("a"), links=[link("start", "a"), link("a", "start")])
    assert rules(raw) == {"definition.components[0]": "START_HAS_SOURCE", "definition.connections": "CYCLE"}


def test_connections_lead_from_something_to_something() -> None:
    raw = definition(component("a"), links=[link("start", "a"), link("nobody", "a"), link("a", "nowhere")])
    assert rules(raw) == {
        "definition.connections[1].source": "UNKNOWN_COMPONENT",
        "definition.connections[2].target": "UNKNOWN_COMPONENT",
    }


def test_nothing_leads_to_itself() -> None:
    raw = definition(component("a"), links=[link("start", "a"), link("a", "a")])
    assert rules(raw) == {"definition.connections[1]": "SELF_LINK"}


def test_the_same_connection_twice_is_an_error_and_two_that_differ_are_not() -> None:
    raw = definition(component("a"), links=[link("start", "a"), link("start", "a")])
    assert rules(raw) == {"definition.connections[1]": "REPEATED_CONNECTION"}
    raw = definition(component("a"), links=[link("start", "a"), link("start", "a", type="error")])
    assert rules(raw) == {}


def cycles(raw: Any) -> list[str]:
    return [
        each.message.partition(": ")[2] for each in examined(raw).errors if (each.details or {})["rule"] == "CYCLE"
    ]


def test_a_cycle_is_told_with_its_members_in_their_order() -> None:
    links = [link("start", "a"), link("a", "b"), link("b", "c"), link("c", "a"), link("c", "d")]
    raw = definition(*(component(id) for id in "abcd"), links=links)
    (told,) = cycles(raw)
    assert told in ("a → b → c → a", "b → c → a → b", "c → a → b → c")


def test_every_knot_is_told_also_one_behind_another() -> None:
    links = [link("start", "a"), link("a", "b"), link("b", "a"), link("b", "c"), link("c", "d"), link("d", "c")]
    raw = definition(*(component(id) for id in "abcd"), links=[*links, link("d", "d")])
    assert [set(each.split(" → ")) for each in cycles(raw)] == [{"a", "b"}, {"c", "d"}]
    assert "SELF_LINK" in rules(raw).values()


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=16))
@settings(max_examples=150, deadline=None)
def test_cycles_are_told_if_and_only_if_there_are_some(pairs: list[tuple[int, int]]) -> None:
    edges = {(f"a{one}", f"a{other}") for one, other in pairs if one != other}
    raw = definition(
        *(component(f"a{n}") for n in range(8)), links=[link(one, other) for one, other in sorted(edges)]
    )
    left, reach = {f"a{n}" for n in range(8)}, set(edges)
    for middle in left:
        reach |= {
            (one, other) for one in left for other in left if (one, middle) in reach and (middle, other) in reach
        }
    knots = {frozenset(other for other in left if {(one, other), (other, one)} <= reach) for one in left}
    told = [each.split(" → ") for each in cycles(raw)]
    assert len(told) == len(knots - {frozenset()})
    for trail in told:
        assert trail[0] == trail[-1]
        assert len(set(trail)) == len(trail) - 1
        assert all(step in edges for step in pairwise(trail)), "it follows the connections"


def test_other_roots_are_warned_about() -> None:
    report = examined(
        definition(component("a"), component("b"), component("c"), links=[link("start", "a"), link("b", "c")])
    )
    assert report.is_valid
    assert found(report.warnings) == {
        ("UNREACHABLE", "definition.components[2]"),
        ("UNREACHABLE", "definition.components[3]"),
    }


# conditions


@pytest.mark.parametrize("condition", [None, "", "  "])
def test_a_conditional_connection_needs_a_condition(condition: str | None) -> None:
    raw = definition(component("a"), links=[link("start", "a", type="conditional", condition=condition)])
    assert rules(raw) == {"definition.connections[0].condition": "NO_CONDITION"}


@pytest.mark.parametrize("kind", ["success", "error", "conditional"])
@pytest.mark.parametrize("condition", ["input.x ==", "nope", "1 + 1", "'yes'", "(" * 500, "a" * 4000])
def test_a_condition_must_parse_and_be_a_bool_on_every_kind_of_connection(kind: str, condition: str) -> None:
    raw = definition(component("a"), links=[link("start", "a", type=kind, condition=condition)])
    assert rules(raw) == {"definition.connections[0].condition": "EXPRESSION"}


@pytest.mark.parametrize("condition", ["true", "output.ok", "input.x > 1 && steps.start.status == 'completed'"])
def test_a_right_condition_is_accepted(condition: str) -> None:
    raw = definition(component("a"), links=[link("start", "a", type="conditional", condition=condition)])
    assert examined(raw).is_valid


# configs


def test_an_unknown_type_is_told_with_those_there_are() -> None:
    (error,) = examined(definition(component("a", "nope"))).errors
    known = ", ".join(sorted(REGISTRY))
    assert error.message == f"there is no component type 'nope'; there are {known}"
    assert (error.field, error.component_id) == ("definition.components[1].type", "a")


@pytest.mark.parametrize(
    ("type", "config", "field"),
    [
        ("http_request", {}, "url"),
        ("http_request", {"url": ""}, "url"),
        ("http_request", {"url": "https://x", "method": "GETT"}, "method"),
        ("http_request", {"url": "https://x", "header": {}}, "header"),
        ("http_request", {"url": "https://x", "headers": {"a": None}}, "headers.a"),
        ("http_request", {"url": "https://x", "timeout": 0}, "timeout"),
        ("http_request", {"url": "https://x", "expect_status": 99}, "expect_status"),
        ("http_request", {"url": "https://x", "expect_status": []}, "expect_status"),
        ("log", {"message": "x", "level": "loud"}, "level"),
        ("wait", {"seconds": -1}, "seconds"),
        ("wait", {"seconds": 1, "timeout_seconds": 1}, "signal"),
        ("wait", {"signal": "task:1"}, "signal"),
        ("wait", {"signal": "x", "timeout_seconds": -1}, "timeout_seconds"),
        ("end", {"output": []}, "output"),
        ("start", {"trigger": "x"}, "trigger"),
        ("condition", {}, "expression"),
    ],
)
def test_a_config_follows_its_schema(type: str, config: Raw, field: str) -> None:
    raw = definition(component("a", type, config=config))
    if type == "start":
        raw["components"] = [component("start", "start", config=config)]
        raw["connections"] = []
        assert rules(raw) == {f"definition.components[0].config.{field}": "CONFIG"}
    else:
        assert rules(raw) == {f"definition.components[1].config.{field}": "CONFIG"}


@pytest.mark.parametrize(
    ("type", "config"), [("wait", {}), ("wait", {"seconds": 1, "until": "x"}), ("transform", {})]
)
def test_a_config_that_needs_exactly_one_of_two_says_so(type: str, config: Raw) -> None:
    assert rules(definition(component("a", type, config=config))) == {"definition.components[1].config": "CONFIG"}


def test_a_wait_that_says_none_or_several_is_told_which_there_are() -> None:
    for config in ({}, {"seconds": 1, "signal": "x"}, {"until": "2026-01-31T12:00:00Z", "signal": "x"}):
        (wrong,) = examined(definition(component("a", "wait", config=config))).errors
        assert wrong.message.endswith("must say one of 'seconds', 'until' and 'signal'")


def test_where_a_value_is_a_reference_its_schema_is_checked_when_it_runs() -> None:
    config = {"url": "https://x", "timeout": "{{seconds}}", "method": "${workflow.input.method}", "headers": "{{h}}"}
    parameters = [{"name": name} for name in ("seconds", "method", "h")]
    assert examined(definition(component("a", "http_request", config=config), parameters=parameters)).is_valid
    config["timeout"] = "$${not a reference}"
    assert rules(definition(component("a", "http_request", config=config), parameters=parameters)) == {
        "definition.components[1].config.timeout": "CONFIG"
    }


@pytest.mark.parametrize("type", ["condition", "transform"])
def test_an_expression_in_a_config_must_parse(type: str) -> None:
    raw = definition(component("a", type, config={"expression": "input.x +"}))
    assert rules(raw) == {"definition.components[1].config.expression": "EXPRESSION"}


def test_each_case_of_a_switch_must_parse() -> None:
    cases = [{"name": "a", "expression": "true"}, {"name": "b", "expression": "input.x +"}]
    raw = definition(component("a", "switch", config={"cases": cases}))
    assert rules(raw) == {"definition.components[1].config.cases[1].expression": "EXPRESSION"}


# references


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("${item.x}", "in no loop"),
        ("${iteration.index}", "in no loop"),
        ("${a.results}", "write ${a.output} and what follows"),
    ],
)
def test_a_reference_to_nothing_says_what_would_be_one(text: str, says: str) -> None:
    (found,) = examined(definition(component("a"), component("b", config={"message": text}))).errors
    assert text in found.message
    assert says in found.message


def test_in_a_loop_that_calls_its_item_otherwise_the_names_are_told() -> None:
    inner = [
        component("text", config={"message": "${item.x}"}),
        component("sum", "transform", config={"expression": "item"}),
    ]
    config = {"items": [1], "as": "order", "body": {"components": inner}}
    text, cel = examined(definition(component("each", "loop", config=config))).errors
    assert "here there are iteration, order" in text.message
    assert "the variables are input, steps, execution, output, iteration, order" in cel.message


def test_what_goes_with_another_field_is_told_in_words() -> None:
    config = {"while": "true", "max_concurrency": 2, "body": {"components": [component("a")]}}
    (found,) = examined(definition(component("each", "loop", config=config))).errors
    assert "'max_concurrency' go with 'items'" in found.message


def test_the_name_of_an_item_that_is_taken_is_told_in_words() -> None:
    config = {"items": [1], "as": "steps", "body": {"components": [component("a")]}}
    (found,) = examined(definition(component("each", "loop", config=config))).errors
    assert "must be a name other than input, steps" in found.message


def test_references_must_be_written_right_and_lead_to_something_before() -> None:
    messages = {
        "bad": "${a + 1}",
        "nobody": "${nobody.output.x}",
        "later": "${c.output.x}",
        "itself": "${b.output.x}",
        "beside": "${aside.output.x}",
        "right": "${a.output.x} and ${start.output.y}",
    }
    raw = definition(
        component("a"),
        component("b", "transform", config={"output": messages}),
        component("c"),
        component("aside"),
        links=[link("start", "a"), link("a", "b"), link("b", "c"), link("start", "aside")],
    )
    assert rules(raw) == {
        f"definition.components[2].config.output.{name}": "REFERENCE" for name in messages if name != "right"
    }


def test_a_reference_over_an_error_connection_or_a_choice_is_to_an_ancestor() -> None:
    raw = definition(
        component("a"),
        component("rescue", config={"message": "${a.output.x}"}),
        links=[link("start", "a"), link("a", "rescue", type="error")],
    )
    assert examined(raw).is_valid


def test_parameters_in_braces_must_be_declared_and_inputs_are_warned_about() -> None:
    raw = definition(
        component("a", config={"message": "{{x}} ${workflow.input.y} ${workflow.input} ${execution.id}"})
    )
    report = examined(raw)
    field = "definition.components[1].config.message"
    assert rules(raw) == {field: "UNDECLARED_PARAMETER"}
    assert found(report.warnings) == {("UNDECLARED_INPUT", field)}


def test_parameters_are_declared_once_with_defaults_of_their_type() -> None:
    parameters = [
        {"name": "x", "type": "integer", "default_value": "1"},
        {"name": "x"},
        {"name": "ok", "type": "number", "default_value": 1},
        {"name": "null", "type": "string", "default_value": None},
        {"name": "token", "secret": True, "default_value": "hunter2"},
    ]
    raw = definition(component("a", config={"message": "${workflow.input}"}), parameters=parameters)
    assert rules(raw) == {
        "definition.parameters[0].default_value": "DEFAULT_TYPE",
        "definition.parameters[1].name": "REPEATED_PARAMETER",
        "definition.parameters[4].default_value": "SECRET_DEFAULT",
    }
    assert "hunter2" not in repr(examined(raw))


def test_a_secret_may_stand_only_in_configs_that_go_outside() -> None:
    parameters = [{"name": "token", "secret": True}]
    http = component(
        "a",
        "http_request",
        config={"url": "https://x", "headers": {"A": "Bearer {{token}}"}},
        retry={"max_attempts": 2},
    )
    assert examined(definition(http, parameters=parameters)).is_valid
    for text in ("{{token}}", "${workflow.input.token}"):
        raw = definition(component("a", config={"message": text}), parameters=parameters)
        assert rules(raw) == {"definition.components[1].config.message": "SECRET"}


def test_unused_parameters_are_warned_about_and_those_that_conditions_name_are_used() -> None:
    parameters = [{"name": name} for name in ("unused", "message", "condition", "expression")]
    raw = definition(
        component("a", config={"message": "{{message}}"}),
        component("b", "condition", config={"expression": "input.expression == 1"}),
        links=[link("start", "a", condition="input.condition == 1"), link("a", "b")],
        parameters=parameters,
    )
    assert found(examined(raw).warnings) == {("UNUSED_PARAMETER", "definition.parameters[0]")}


def test_requests_without_error_handling_are_warned_about() -> None:
    warned = ("NO_ERROR_HANDLING", "definition.components[1]")
    assert warned in found(examined(definition(component("a", "http_request"))).warnings)
    retried = definition(component("a", "http_request", retry={"max_attempts": 3}, timeout_seconds=5))
    handled = definition(
        component("a", "http_request", timeout_seconds=5),
        component("b"),
        links=[link("start", "a"), link("a", "b", type="error")],
    )
    assert found(examined(retried).warnings) == found(examined(handled).warnings) == set()


def test_requests_without_a_timeout_are_warned_about() -> None:
    warned = ("NO_TIMEOUT", "definition.components[1]")
    assert warned in found(examined(definition(component("a", "http_request"))).warnings)
    config = {"url": "https://example.com", "timeout": 5}
    for careful in (component("a", "http_request", timeout_seconds=5), component("a", "http_request", config=config)):
        assert warned not in found(examined(definition(careful)).warnings)


# size and hostility


def test_a_chain_of_ten_thousand_components_each_with_a_reference_is_valid() -> None:
    chain = [component(f"c{n}", config={"message": f"${{c{n - 1}.output.x}}"}) for n in range(1, 10_000)]
    raw = definition(component("c0"), *chain)
    assert examined(raw).is_valid


def test_five_thousand_small_cycles_are_all_told() -> None:
    ids = [(f"a{n}", f"b{n}") for n in range(5000)]
    links = [each for a, b in ids for each in (link(a, b), link(b, a))]
    assert len(cycles(definition(*(component(id) for pair in ids for id in pair), links=links))) == 5000


def test_one_cycle_of_ten_thousand_is_told_whole() -> None:
    ids = [f"c{n}" for n in range(10_000)]
    links = [link(source, target) for source, target in zip(ids, [*ids[1:], ids[0]], strict=True)]
    (told,) = cycles(definition(*(component(id) for id in ids), links=links))
    assert len(told.split(" → ")) == 10_001


def test_five_thousand_connections_into_one_are_valid() -> None:
    ids = [f"c{n}" for n in range(5000)]
    links = [each for id in ids for each in (link("start", id), link(id, "join"))]
    assert examined(definition(*(component(id) for id in ids), component("join"), links=links)).is_valid


def test_a_thousand_unused_parameters_beside_thousands_of_conditions_are_told() -> None:
    parameters = [{"name": f"p{n}x"} for n in range(1000)]
    links = [link("start", f"c{n}", condition="input.nothing == 1") for n in range(5000)]
    report = examined(definition(*(component(f"c{n}") for n in range(5000)), links=links, parameters=parameters))
    assert sum(each.code == "UNUSED_PARAMETER" for each in report.warnings) == 1000


@pytest.mark.parametrize("depth", [101, 300, 900, 50_000])
def test_a_definition_nested_too_deeply_is_refused(depth: int) -> None:
    deep: Any = "{{x}}"
    for _ in range(depth):
        deep = [deep]
    (error,) = examined(definition(component("a", config={"message": deep}))).errors
    assert error.code == Code.VALIDATION_ERROR
    assert error.field == "definition"
    while isinstance(deep, list):
        deep = deep.pop()


def test_a_config_nested_ninety_levels_deep_is_accepted() -> None:
    deep: Any = "${start.output.x}"
    for _ in range(90):
        deep = {"x": deep}
    assert examined(definition(component("a", config={"message": deep}))).is_valid


@pytest.mark.parametrize("number", [10**40, -(10**40), 1e308, 2**63, 5e-324])
def test_numbers_of_any_size_are_either_accepted_or_told(number: float) -> None:
    assert examined(definition(component("a", config={"message": number}))).is_valid
    assert not examined(definition(component("a", timeout_seconds=-number))).is_valid or number < 0
    raw = definition(component("a", "http_request", config={"url": "https://x", "timeout": -abs(number)}))
    assert rules(raw) == {"definition.components[1].config.timeout": "CONFIG"}


@pytest.mark.parametrize("text", ["\0", "\ud800", "a\0{{x}}", "${a\0.output}", "\u202e", "é" * 100_000])
def test_texts_of_any_characters_are_either_accepted_or_told(text: str) -> None:
    examined(definition(component("a", config={"message": text})))
    for raw in (
        definition(component(text)),
        definition(component("a", text)),
        definition(component("a"), links=[link("start", "a", condition=text)]),
        definition(component("a"), links=[link("start", text)]),
        definition(component("a", config={text: 1})),
        definition(component("a"), parameters=[{"name": text}]),
        definition() | {text: 1},
    ):
        assert not examined(raw).is_valid


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(["start", "a", "b", "", "x y"])
LOOSE = st.fixed_dictionaries(
    {},
    optional={
        "components": JSON
        | st.lists(
            st.fixed_dictionaries(
                {"id": NAMES, "type": st.sampled_from([*REGISTRY, "nope"])},
                optional={"config": JSON | st.dictionaries(st.sampled_from(["url", "message", "expression"]), JSON)},
            ),
            max_size=4,
        ),
        "connections": JSON
        | st.lists(
            st.fixed_dictionaries({"source": NAMES, "target": NAMES}, optional={"condition": JSON}), max_size=4
        ),
        "parameters": JSON,
        "fail_fast": JSON,
    },
)


@given(JSON | LOOSE)
@settings(max_examples=200, deadline=None)
def test_whatever_json_comes_validation_answers(raw: Any) -> None:
    compiled, report = examine(raw, REGISTRY)
    assert report.is_valid == (not report.errors)
    assert compiled is not None or report.errors
    assert all(finding.field and finding.message for finding in report.errors)
    msgspec.json.encode(report)
