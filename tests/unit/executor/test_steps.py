"""The form `start_step` + `steps`: what graph it becomes, and that what is wrong is told where it was written."""

from __future__ import annotations

from typing import Any

import msgspec

from executor.components.registry import BUILT_IN, Registry
from executor.definitions.report import Finding
from executor.definitions.validate import compile_definition, examine
from executor.domain.errors import Code

Raw = dict[str, Any]


REGISTRY = Registry()


def step(id: str, next_step: str | None = None, **fields: Any) -> Raw:
    return {"id": id, "agent_name": f"{id}-agent", "next_step": next_step, "input_mapping": {}} | fields


def steps(*each: Raw, start_step: str = "a", **fields: Any) -> Raw:
    return {"start_step": start_step, "steps": {one["id"]: one for one in each}} | fields


def told(raw: Any, **options: Any) -> dict[str | None, str]:
    """The rule that each error breaks, by its field."""
    errors = examine(raw, REGISTRY, **options)[1].errors
    assert len({each.field for each in errors}) == len(errors)
    return {each.field: (each.details or {}).get("rule", each.code) for each in errors}


def doubts(raw: Any) -> set[tuple[str, str | None]]:
    return {(each.code, each.field) for each in examine(raw, REGISTRY)[1].warnings}


def test_steps_become_agents_in_a_row_behind_a_start() -> None:
    raw = steps(
        step("a", "b", input_mapping={"url": "${workflow.input.url}"}, retry={"max_attempts": 2}, timeout_seconds=9),
        step("b", input_mapping={"data": "${a.output.data}"}),
        fail_fast=False,
        max_execution_time=60,
    )
    graph = compile_definition(raw, REGISTRY)
    assert [(spec.id, spec.type) for spec in graph.components] == [("start", "start"), ("a", "agent"), ("b", "agent")]
    assert [(link.source, link.target) for link in graph.connections] == [("start", "a"), ("a", "b")]
    first = graph.components[1]
    assert first.config == {"agent_name": "a-agent", "input": {"url": "${workflow.input.url}"}}
    assert (first.timeout_seconds, first.retry and first.retry.max_attempts) == (9, 2)
    assert (graph.fail_fast, graph.max_execution_time) == (False, 60)


def test_a_step_may_have_the_name_of_the_start() -> None:
    graph = compile_definition(steps(step("start"), start_step="start"), REGISTRY)
    assert [(spec.id, spec.type) for spec in graph.components] == [("_start", "start"), ("start", "agent")]


def test_all_that_is_wrong_with_the_steps_is_told_at_once_where_it_was_written() -> None:
    raw = steps(
        step("a", "nowhere", input_mapping={"x": "${lost.output.y}", "y": "${ghost.output.z}", "z": "${a.b}"}),
        step("lost", "a"),
        step("c") | {"id": "d"},
    )
    raw["steps"] = {"a": raw["steps"]["a"], "lost": raw["steps"]["lost"], "c": raw["steps"]["d"]}
    assert told(raw) == {
        "definition.steps.a.next_step": "UNKNOWN_STEP",
        "definition.steps.a.input_mapping.y": "REFERENCE",
        "definition.steps.a.input_mapping.z": "REFERENCE",
        "definition.steps.lost": "UNREACHABLE",
        "definition.steps.c": "UNREACHABLE",
        "definition.steps.c.id": "STEP_ID",
    }


def test_steps_that_lead_back_are_a_cycle() -> None:
    assert told(steps(step("a", "b"), step("b", "c"), step("c", "b"))) == {"definition.steps": "CYCLE"}
    assert told(steps(step("a", "a"))) == {"definition.steps.a.next_step": "SELF_LINK"}


def test_the_start_step_must_be_there() -> None:
    raw = steps(step("a"), start_step="b")
    assert told(raw) == {"definition.start_step": "UNKNOWN_STEP"}


def test_a_wrong_shape_has_the_paths_of_the_form() -> None:
    raw = steps(step("a", colour="red", timeout_seconds=0), {"id": "b", "agent_name": ""}, extra=1)
    compiled, answer = examine(raw, REGISTRY)
    assert compiled is None
    assert {each.field for each in answer.errors} == {
        "definition.extra",
        "definition.steps.a.colour",
        "definition.steps.a.timeout_seconds",
        "definition.steps.b.agent_name",
        "definition.steps.b.input_mapping",
    }
    assert {each.code for each in answer.errors} == {Code.VALIDATION_ERROR}
    assert {each.field for each in examine({"steps": {}}, REGISTRY)[1].errors} == {
        "definition.start_step",
        "definition.steps",
    }


def test_agents_must_exist_and_be_active() -> None:
    raw = steps(step("a", "b"), step("b"))
    assert told(raw, agent_named={"a-agent"}.__contains__) == {"definition.steps.b.agent_name": "AGENT"}
    assert told(raw, agent_named={"a-agent", "b-agent"}.__contains__) == {}


def test_without_the_component_type_that_it_needs_a_form_is_refused() -> None:
    without = Registry(tuple(cls for cls in BUILT_IN if cls.type != "agent"))
    (error,) = examine(steps(step("a")), without)[1].errors
    assert (error.field, error.component_id) == ("definition.steps.a.agent_name", "a")
    assert "there is no component type 'agent'" in error.message


def test_what_is_doubtful_is_told_where_it_was_written() -> None:
    raw = steps(step("a", input_mapping={"x": "${workflow.input.y}"}), parameters=[{"name": "unused"}])
    assert doubts(raw) == {
        ("NO_ERROR_HANDLING", "definition.steps.a"),
        ("NO_TIMEOUT", "definition.steps.a"),
        ("UNDECLARED_INPUT", "definition.steps.a.input_mapping.x"),
        ("UNUSED_PARAMETER", "definition.parameters[0]"),
    }


def test_what_is_wrong_with_parameters_is_told_there() -> None:
    raw = steps(step("a"), parameters=[{"name": "n", "type": "integer", "default_value": "x"}])
    assert told(raw) == {"definition.parameters[0].default_value": "DEFAULT_TYPE"}


def test_every_finding_is_one() -> None:
    answer = examine(steps(step("a")), REGISTRY)[1]
    assert answer.is_valid
    assert all(isinstance(each, Finding) for each in (*answer.warnings, *answer.info))
    assert answer.info[0].details == {"components": 2, "connections": 1}


def test_a_concurrency_key_is_the_workflows_in_every_form() -> None:
    concurrency = {"key": "${workflow.input.customer}", "limit": 2}
    raw = {"start_step": "a", "steps": {"a": {"id": "a", "agent_name": "A", "input_mapping": {}}}}
    definition = compile_definition(raw | {"concurrency": concurrency}, Registry())
    assert msgspec.to_builtins(definition.concurrency) == concurrency
    blocks = {"blocks": [{"id": "b", "type": "wait", "parameters": {"seconds": 1}}], "concurrency": concurrency}
    assert msgspec.to_builtins(compile_definition(blocks, Registry()).concurrency) == concurrency
