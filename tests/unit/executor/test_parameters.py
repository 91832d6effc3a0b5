from __future__ import annotations

from typing import Any

import pytest

from executor.definitions.parameters import check_parameters, fits
from executor.domain.definition import Parameter, ParameterType

VALUES: dict[str, Any] = {
    "string": "x",
    "integer": 3,
    "number": 2.5,
    "boolean": True,
    "object": {"a": 1},
    "array": [1],
}


@pytest.mark.parametrize("kind", ParameterType)
def test_a_type_takes_its_own_values_and_null_and_any_takes_all(kind: ParameterType) -> None:
    taken = {name for name, value in VALUES.items() if fits(value, kind)}
    expected = {"any": set(VALUES), "number": {"number", "integer"}}.get(kind, {str(kind)})
    assert taken == expected
    assert fits(None, kind)


@pytest.mark.parametrize(("value", "whole"), [(3.0, True), (1e300, True), (2.5, False), (True, False), ("3", False)])
def test_an_integer_may_be_written_with_a_point_and_zero(value: Any, whole: bool) -> None:
    assert fits(value, ParameterType.INTEGER) is whole


def problems(declared: Parameter, **given: Any) -> list[tuple[str | None, str]]:
    return [(problem.field, problem.message) for problem in check_parameters((declared,), given)]


def test_a_required_parameter_is_given_or_has_a_default() -> None:
    required = Parameter(name="x", required=True)
    assert problems(required) == [("parameters.x", "'x' is required")]
    assert problems(required, x=None) == [("parameters.x", "'x' is required")]
    assert problems(required, x=0) == []
    assert problems(Parameter(name="x", required=True, default_value=1)) == []


def test_a_declared_parameter_has_its_type_and_an_undeclared_one_any() -> None:
    declared = Parameter(name="x", type=ParameterType.INTEGER)
    assert problems(declared, x="1", y="1") == [("parameters.x", "'x' must be of type integer")]


def test_all_problems_are_told_at_once_also_that_one_is_nested_too_deeply() -> None:
    deep: Any = 0
    for _ in range(5000):
        deep = [deep]
    declared = (Parameter(name="x", required=True), Parameter(name="y", type=ParameterType.STRING))
    fields = [problem.field for problem in check_parameters(declared, {"y": 1, "z": deep})]
    assert sorted(map(str, fields)) == ["parameters.x", "parameters.y", "parameters.z"]
    while isinstance(deep, list):
        deep = deep.pop()
