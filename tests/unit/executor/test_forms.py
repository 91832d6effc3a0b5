"""Forms: which JSON Schemas are some, and what is said about what somebody enters."""

from __future__ import annotations

from typing import Any

import pytest

from executor.domain.errors import Code
from executor.forms import MAX_FORM_BYTES, entry_problems, form_faults


@pytest.mark.parametrize(
    ("form", "at"),
    [
        ([], ""),
        ({"type": "objekt"}, "type"),
        ({"properties": {"a": {"minimum": "x"}}}, "properties.a.minimum"),
        ({"items": {"allOf": [{"pattern": "("}]}}, "items.allOf[0].pattern"),
        ({"pattern": "(a)\\1"}, "pattern"),
        ({"$ref": "http://127.0.0.1:1/"}, "$ref"),
        ({"$defs": {"a": {"$dynamicRef": "#"}}}, "$defs.a.$dynamicRef"),
        ({"$schema": "http://127.0.0.1:1/"}, ""),
        ({"description": "x" * MAX_FORM_BYTES}, ""),
    ],
)
def test_what_is_no_form_is_said_with_where(form: Any, at: str) -> None:
    assert [path for path, why in form_faults(form) if why] == [at]


def test_everything_that_is_wrong_with_an_entry_is_said_without_its_values() -> None:
    form = {
        "type": "object",
        "properties": {"amount": {"type": "number"}, "lines": {"items": {"maxLength": 2}}},
        "required": ["name"],
    }
    assert list(form_faults(form)) == []
    problems = entry_problems(form, {"amount": "s3cret", "lines": ["a", "abc"]}, "output")
    assert sorted(problem.field or "" for problem in problems) == ["output.amount", "output.lines[1]", "output.name"]
    assert not any("s3cret" in problem.message for problem in problems)
    assert entry_problems(form, {"name": "x", "amount": 1.5}, "output") == []
    assert entry_problems(None, {"anything": 1}, "output") == []


def test_what_would_take_long_to_check_is_refused_or_cut_short() -> None:
    form = {"items": {"allOf": [{"type": "integer"}] * 1000}}
    (problem,) = entry_problems(form, [1] * 100_000, "output")
    assert (problem.code, problem.field) == (Code.OUTPUT_TOO_LARGE, "output")
    assert len(entry_problems({"items": {"type": "string"}}, [1] * 100_000, "output")) == 100
