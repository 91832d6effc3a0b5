from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.expressions import ExpressionError, check, evaluate, is_true

TEN = "[1,2,3,4,5,6,7,8,9,10]"


def value(text: str, **data: Any) -> Any:
    return evaluate(text, {"input": None, "steps": None, "execution": None, "output": None} | data)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("1 + 2", 3),
        ("1.0 / 4.0", 0.25),
        ("2u", 2),
        ("'größe ' + '😀'", "größe 😀"),
        ("size('😀')", 1),
        ("[1, 'a', null, true]", [1, "a", None, True]),
        ("{'a': {'b': [1.5]}}", {"a": {"b": [1.5]}}),
        ("null", None),
        ("[1, 2, 3].map(x, x * 2)", [2, 4, 6]),
        ("timestamp('2026-01-31T13:00:00+01:00')", "2026-01-31T12:00:00Z"),
        ("duration('90s')", 90.0),
        ("'\\u0000'", "\0"),
    ],
)
def test_a_result_is_a_json_value(text: str, answer: object) -> None:
    got = value(text)
    assert got == answer
    assert type(got) is type(answer)


@pytest.mark.parametrize(
    "text", ["type(1)", "b'abc'", "{1: 2}", "1.0 / 0.0", "0.0 / 0.0", "[-1.0 / 0.0]", "{'x': 0.0 / 0.0}"]
)
def test_a_result_that_json_does_not_have_is_an_error(text: str) -> None:
    with pytest.raises(ExpressionError):
        value(text)


def test_conditions_see_input_steps_execution_and_output() -> None:
    text = "input.x > 1 && steps.a.output == 'y' && execution.priority == 5 && output.result"
    data = {
        "input": {"x": 2},
        "steps": {"a": {"output": "y"}},
        "execution": {"priority": 5},
        "output": {"result": True},
    }
    assert is_true(text, data) is True


def test_only_the_variables_that_the_text_names_are_asked_for() -> None:
    assert evaluate("input == 1", {"input": 1}) is True


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("input < 2", 1.5),
        ("input > 1.2", 2),
        ("input == 1", 1.0),
        ("input == 1.0", 1),
        ("input >= 9223372036854775807", 2**63),
        ("input in [1, 2]", 2.0),
    ],
)
def test_ints_and_doubles_from_data_can_be_compared(text: str, data: object) -> None:
    assert is_true(text, {"input": data}) is True


def test_ints_and_doubles_do_not_mix_in_arithmetic() -> None:
    with pytest.raises(ExpressionError, match="overload"):
        value("input + 1", input=1.5)
    assert value("input + double(1)", input=1.5) == 2.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("1 +", "1:4"),
        ("nope", "undeclared reference to 'nope'"),
        ("input.", "Syntax error"),
        ("'" + "a" * 4096 + "'", "longer than 4096"),
        ("(" * 2000 + "1" + ")" * 2000, "recursion"),
        ("[" * 300 + "]" * 300, "recursion"),
        ("1" + "+1" * 2000, "recursion"),
        ("input" + ".a" * 2000, "recursion"),
        ("'\ud800'", "surrogate"),
        ("__import__('os')", "undeclared"),
        ("input.__class__(", "Syntax error"),
    ],
)
def test_what_does_not_parse_is_refused_with_where_and_why(text: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=message):
        check(text)
    with pytest.raises(ExpressionError, match=message):
        value(text)


def test_a_message_is_one_line_without_the_drawing_of_the_parser() -> None:
    with pytest.raises(ExpressionError) as caught:
        check("input ==\n  == 2")
    assert "\n" not in str(caught.value)
    assert "<input>" not in str(caught.value)


@pytest.mark.parametrize("text", ["1", "'true'", "[true]", "size('x')", "1 + 1"])
def test_a_condition_that_cannot_be_a_bool_is_refused(text: str) -> None:
    check(text)
    with pytest.raises(ExpressionError, match="true or false"):
        check(text, is_condition=True)


@pytest.mark.parametrize("text", ["true", "input", "input.x == 1", "input.x && output.y", "has(input.x)"])
def test_a_condition_that_may_be_a_bool_is_accepted(text: str) -> None:
    check(text, is_condition=True)


@pytest.mark.parametrize("answer", [1, 0, "true", "", None, [], {"a": 1}, 1.5])
def test_an_answer_that_is_no_bool_is_an_error_not_a_truth(answer: object) -> None:
    with pytest.raises(ExpressionError, match="true or false"):
        is_true("input", {"input": answer})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("input.nope", "Key not found"),
        ("input.x.y", "."),
        ("input.x[3]", "."),
        ("1 / 0", "divi"),
        ("9223372036854775807 + 1", "overflow"),
        ("int('x')", "."),
        ("timestamp('x')", "."),
        ("output.result", "."),
    ],
)
def test_what_comes_to_no_answer_is_an_error(text: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=message):
        value(text, input={"x": [1]})


@pytest.mark.parametrize(
    "text",
    [
        f"{TEN}.map(a, {TEN}.map(b, {TEN}.map(c, {TEN}.map(d, {TEN}.map(e, {TEN}.map(f, {TEN}.map(g, 1)))))))",
        "input.map(a, input.map(b, input.map(c, a + b + c)))",
        "input.all(a, input.all(b, input.exists(c, c < 0) || true))",
    ],
)
def test_a_bomb_is_stopped(text: str) -> None:
    with pytest.raises(ExpressionError, match="budget"):
        value(text, input=list(range(500)))


def test_a_hostile_pattern_does_not_hang() -> None:
    assert value("input.matches('^(a+)+$')", input="a" * 5000 + "b") is False


def test_a_text_with_nul_is_refused_because_it_would_be_cut_off_there() -> None:
    for data in ("admin\0x", {"a": ["admin\0x"]}, {"admin\0x": 1}):
        with pytest.raises(ExpressionError, match=r"U\+0000"):
            value("input", input=data)


def test_a_text_that_only_speaks_of_nul_is_accepted() -> None:
    assert value("input", input="\\u0000") == "\\u0000"


@pytest.mark.parametrize("data", [2**64, -(2**63) - 1, 10**30, "\ud800", {"a": "\udfff"}])
def test_data_that_cel_does_not_have_is_an_error(data: object) -> None:
    with pytest.raises(ExpressionError):
        value("input", input=data)


def test_data_nested_without_end_is_an_error() -> None:
    deep: Any = 0
    for _ in range(50_000):
        deep = [deep]
    with pytest.raises(ExpressionError):
        value("input", input=deep)
    while isinstance(deep, list):
        deep = deep.pop()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])), inner)
    ),
    max_leaves=8,
)


@given(JSON)
@settings(max_examples=60, deadline=None)
def test_any_json_comes_through_as_it_was(data: Any) -> None:
    assert value("input", input=data) == data


@given(st.text(max_size=40))
@settings(max_examples=200, deadline=None)
def test_no_text_raises_anything_else(text: str) -> None:
    try:
        check(text)
        value(text)
    except ExpressionError:
        pass
