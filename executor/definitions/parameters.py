"""A run's parameters against those that its workflow declares."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import UNSET

from executor.domain.definition import Parameter, ParameterType
from executor.domain.errors import Code, Problem
from executor.domain.values import DEEPEST, is_deep

_PYTHON: dict[ParameterType, tuple[type, ...]] = {
    ParameterType.STRING: (str,),
    ParameterType.INTEGER: (int,),
    ParameterType.NUMBER: (int, float),
    ParameterType.BOOLEAN: (bool,),
    ParameterType.OBJECT: (dict,),
    ParameterType.ARRAY: (list,),
}


def fits(value: Any, kind: ParameterType) -> bool:
    """A bool is no number here; null fits every type."""
    if value is None or kind is ParameterType.ANY:
        return True
    if isinstance(value, bool):
        return kind is ParameterType.BOOLEAN
    if kind is ParameterType.INTEGER and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _PYTHON[kind])


def check_parameters(declared: Iterable[Parameter], given: dict[str, Any]) -> list[Problem]:
    """Every declared parameter that is missing or of another type; undeclared ones are accepted."""
    problems = [
        Problem(Code.VALIDATION_ERROR, f"'{name}' is nested more than {DEEPEST} levels deep", f"parameters.{name}")
        for name, value in given.items()
        if is_deep(value)
    ]
    for parameter in declared:
        field = f"parameters.{parameter.name}"
        if given.get(parameter.name) is None:
            if parameter.required and parameter.default_value is UNSET:
                problems.append(Problem(Code.VALIDATION_ERROR, f"'{parameter.name}' is required", field))
        elif not fits(given[parameter.name], parameter.type):
            problems.append(
                Problem(Code.VALIDATION_ERROR, f"'{parameter.name}' must be of type {parameter.type}", field)
            )
    return problems
