from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.diff import Change, changes


def of(before: Any, after: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = msgspec.to_builtins(list(changes(before, after)))
    return found


def test_a_path_leads_to_what_changed() -> None:
    before = {"definition": {"components": [{"id": "a", "config": {"url": "x"}}]}}
    after = {"definition": {"components": [{"id": "a", "config": {"url": "y"}}]}}
    path = "definition.components[0].config.url"
    assert of(before, after) == [{"path": path, "op": "changed", "before": "x", "after": "y"}]


def test_fields_come_and_go() -> None:
    assert of({"a": 1, "b": None}, {"b": None, "c": {"d": 2}}) == [
        {"path": "c", "op": "added", "after": {"d": 2}},
        {"path": "a", "op": "removed", "before": 1},
    ]


def test_things_are_compared_by_id_wherever_they_stand() -> None:
    before = {"components": [{"id": "a", "n": 1}, {"id": "b", "n": 1}, {"id": "c", "n": 1}]}
    after = {"components": [{"id": "new", "n": 0}, {"id": "c", "n": 1}, {"id": "a", "n": 2}]}
    assert of(before, after) == [
        {"path": "components[0]", "op": "added", "after": {"id": "new", "n": 0}},
        {"path": "components[2].n", "op": "changed", "before": 1, "after": 2},
        {"path": "components[1]", "op": "removed", "before": {"id": "b", "n": 1}},
    ]


def test_components_of_a_run_are_told_apart_by_their_iteration_too() -> None:
    before = [{"component_id": "a", "iteration": "0", "n": 1}]
    after = [{"component_id": "a", "iteration": "1", "n": 1}, {"component_id": "a", "iteration": "0", "n": 1}]
    assert [(each.path, each.op) for each in changes(before, after)] == [("[0]", "added")]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([1, 2, 3], [1, 3], [("[1]", "removed")]),
        ([1, 3], [1, 2, 3], [("[1]", "added")]),
        ([1, 2, 3], [1, 5, 3], [("[1]", "changed")]),
        ([{"id": 1}, {"id": 1}], [{"id": 1}], [("[1]", "removed")]),
        ([{"n": 1}, {"n": 2}], [{"n": 1}, {"n": 3}], [("[1].n", "changed")]),
        ([], [1], [("[0]", "added")]),
        ([1], [], [("[0]", "removed")]),
        ([], [], []),
    ],
)
def test_other_lists_are_compared_from_both_ends(before: Any, after: Any, expected: Any) -> None:
    assert [(each.path, each.op) for each in changes(before, after)] == expected


@pytest.mark.parametrize(("before", "after"), [(1, True), (1, 1.0), (0, None), ({}, []), ("1", 1), ({"a": 1}, "a")])
def test_values_of_other_kinds_differ(before: Any, after: Any) -> None:
    assert list(changes({"x": before}, {"x": after})) == [Change("x", "changed", before, after)]


def test_a_name_that_is_none_stands_in_brackets() -> None:
    assert [each.path for each in changes({}, {'a "b"': 1, "": 2, "c.d": 3})] == ['["a \\"b\\""]', '[""]', '["c.d"]']


json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["id", "a", "b"]), inner, max_size=3),
    max_leaves=12,
)


@given(json, json)
def test_nothing_is_said_of_equals_and_something_of_others_unless_only_their_order_differs(a: Any, b: Any) -> None:
    kept = copy.deepcopy(a)
    assert of(a, kept) == []
    if not of(a, b):
        assert _unordered(a) == _unordered(b)


def _unordered(value: Any) -> Any:
    if isinstance(value, dict):
        return ("object", tuple(sorted((name, _unordered(inner)) for name, inner in value.items())))
    if isinstance(value, list):
        return ("list", tuple(sorted((_unordered(inner) for inner in value), key=repr)))
    return (type(value).__name__, value)
