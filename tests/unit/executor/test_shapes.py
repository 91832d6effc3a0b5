from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import pytest
from msgspec import Meta, Struct

from executor.domain.errors import Code, Invalid
from executor.shapes import Shape, compiled, path, problems_of


class Inner(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    url: Annotated[str, Meta(min_length=1)]
    count: Annotated[int, Meta(ge=1, le=10)] = 1


class Timed(Struct, frozen=True, kw_only=True):
    at: datetime


class Body(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1, max_length=5)]
    inner: Inner | None = None
    many: tuple[Inner, ...] = ()
    anything: Any = None


SHAPE = Shape(Body)


def wrong(value: Any, prefix: str = "") -> dict[str | None, str]:
    with pytest.raises(Invalid) as caught:
        SHAPE.parse(value, prefix)
    assert all(problem.code is Code.VALIDATION_ERROR for problem in caught.value.problems)
    return {problem.field: problem.message for problem in caught.value.problems}


def test_a_right_value_is_typed() -> None:
    assert SHAPE.parse({"name": "x", "many": [{"url": "u"}]}) == Body(name="x", many=(Inner(url="u"),))


def test_every_problem_is_told_at_once_with_its_path() -> None:
    problems = wrong(
        {
            "inner": {"url": "", "count": 11, "no": 1},
            "many": [{"url": "u"}, {"count": "x"}, 5],
            "nope": None,
        },
        "definition",
    )
    assert set(problems) == {
        "definition.name",
        "definition.inner.url",
        "definition.inner.count",
        "definition.inner.no",
        "definition.many[1].url",
        "definition.many[1].count",
        "definition.many[2]",
        "definition.nope",
    }
    assert problems["definition.name"] == "'name' is required"
    assert problems["definition.nope"] == "unknown field 'nope'; there are name, inner, many, anything"


def test_without_a_prefix_the_path_begins_with_the_field() -> None:
    assert set(wrong({"name": ""})) == {"name"}


@pytest.mark.parametrize("value", [None, 5, "x", [], True, 1.5])
def test_what_is_no_object_is_one_problem_of_the_whole(value: Any) -> None:
    (message,) = wrong(value).values()
    assert message.startswith("the body")
    assert set(wrong(value, "definition")) == {"definition"}


def test_an_unknown_field_of_any_name_is_named() -> None:
    assert set(wrong({"name": "x", "a.b[0]": 1, "ü\0": 2})) == {"a.b[0]", "ü\0"}


def test_a_message_does_not_show_the_value_that_it_refuses() -> None:
    message = wrong({"name": "a secret that is too long"})["name"]
    assert "secret" not in message


@pytest.mark.parametrize("value", [10**30, -(10**30), 1e308, 11, 0])
def test_numbers_out_of_range_are_problems(value: Any) -> None:
    assert set(wrong({"name": "x", "inner": {"url": "u", "count": value}})) == {"inner.count"}


def test_anything_may_be_anything() -> None:
    for value in (10**30, {"a": [None]}, "\0", 1.5):
        assert SHAPE.parse({"name": "x", "anything": value}).anything == value


@pytest.mark.parametrize("depth", [300, 900, 100_000])
def test_what_is_nested_without_end_or_no_unicode_is_a_problem_not_a_crash(depth: int) -> None:
    deep: Any = 0
    for _ in range(depth):
        deep = [deep]
    assert set(wrong({"nope": deep}, "body")) == {"body"}
    assert set(wrong({"nope": "\ud800"}, "body")) == {"body"}
    while isinstance(deep, list):
        deep = deep.pop()


def test_paths_are_written_as_clients_read_them() -> None:
    assert path("definition", ("components", 0, "id")) == "definition.components[0].id"
    assert path("", ("a", 1, 2, "b")) == "a[1][2].b"
    assert path("x", ()) == "x"


def test_where_in_the_value_a_problem_is_comes_beside_it() -> None:
    validator = compiled({"type": "object", "properties": {"a": {"items": {"type": "string"}}}, "required": ["b"]})
    found = problems_of(validator, {"a": ["x", 1]}, "config", Code.WORKFLOW_INVALID)
    assert sorted((problem.field, steps) for problem, steps in found) == [
        ("config.a[1]", ["a", 1]),
        ("config.b", ["b"]),
    ]
    assert {problem.code for problem, _ in found} == {Code.WORKFLOW_INVALID}


def test_what_would_be_right_is_said() -> None:
    problems = wrong({"name": "x", "nope": 1, "inner": {"url": "u", "no": 1}})
    assert problems["nope"] == "unknown field 'nope'; there are name, inner, many, anything"
    assert problems["inner.no"] == "unknown field 'no'; there are url, count"


def test_all_options_are_named_and_what_a_schema_rules_out_is_told_in_its_words() -> None:
    schema = {
        "properties": {
            "policy": {"enum": ["skip", "queue", "cancel", "allow"]},
            "name": {"not": {"enum": ["input"]}, "description": "must be a name other than input"},
        }
    }
    found = problems_of(compiled(schema), {"policy": "wait", "name": "input"}, "", schema=schema)
    assert {problem.message for problem, _ in found} == {
        "policy: the value is not one of skip, queue, cancel, allow",
        "name: must be a name other than input",
    }


def test_what_is_no_time_is_told_how_one_is_written() -> None:
    with pytest.raises(Invalid) as caught:
        Shape(Timed).parse({"at": "tomorrow"})
    (problem,) = caught.value.problems
    assert (problem.field, problem.message) == ("at", "at: must be a time, such as 2026-01-31T12:00:00Z")
