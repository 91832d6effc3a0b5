from __future__ import annotations

import contextlib
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from executor.domain.errors import Invalid
from executor.domain.values import Instant
from hub.queries import Paging, decode_cursor, encode_cursor, parse_query, sliced


class Query(Paging, frozen=True, kw_only=True, forbid_unknown_fields=True):
    sort: Literal["name", "age"] = "name"
    tags: Annotated[tuple[str, ...], Meta(max_length=3)] = ()
    since: Instant | None = None
    is_new: bool | None = None
    word: str | None = None


def fields(*pairs: tuple[str, str], of: type[Struct] = Query) -> list[str | None]:
    with pytest.raises(Invalid) as raised:
        parse_query(pairs, of)
    return [problem.field for problem in raised.value.problems]


def test_nothing_given_is_the_defaults() -> None:
    assert parse_query([], Query) == Query()


def test_values_are_typed() -> None:
    query = parse_query(
        [
            ("limit", "7"),
            ("offset", "3"),
            ("sort", "age"),
            ("is_new", "true"),
            ("since", "2026-01-31"),
            ("word", "5"),
        ],
        Query,
    )
    assert query == Query(
        limit=7, offset=3, sort="age", is_new=True, since=Instant("2026-01-31T00:00:00.000Z"), word="5"
    )


def test_lists_repeat_or_hold_commas() -> None:
    assert parse_query([("tags", "a,b"), ("tags", " c ")], Query).tags == ("a", "b", "c")
    assert parse_query([("tags", ",,")], Query).tags == ()


def test_every_wrong_parameter_is_named_at_once() -> None:
    wrong = [
        ("limit", "0"),
        ("sort", "x"),
        ("nonsense", "1"),
        ("since", "soon"),
        ("tags", "a,b,c,d"),
        ("is_new", "?"),
    ]
    assert fields(*wrong) == [name for name, _ in wrong]


def test_a_wrong_parameter_says_what_would_be_right() -> None:
    with pytest.raises(Invalid) as raised:
        parse_query([("sort", "x"), ("is_new", "?")], Query)
    sort, is_new = (problem.message for problem in raised.value.problems)
    assert sort == "sort: must be one of name, age"
    assert "bool" in is_new
    assert "null" not in is_new


def test_a_parameter_given_twice_is_refused_unless_it_is_a_list() -> None:
    assert fields(("limit", "1"), ("limit", "2")) == ["limit"]


def test_a_cursor_excludes_an_offset() -> None:
    assert fields(("cursor", "x"), ("offset", "0")) == ["cursor"]


@given(st.lists(st.text() | st.integers(0, 2**62), max_size=4))
def test_a_cursor_comes_back_as_it_went(values: list[str | int]) -> None:
    text = encode_cursor(values)
    assert text.isascii()
    assert "=" not in text
    assert decode_cursor(text, *(type(value) for value in values)) == tuple(values)


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_any_other_text_is_refused_or_is_a_cursor_written_otherwise(text: str) -> None:
    with contextlib.suppress(Invalid):
        values = decode_cursor(text, str, int)
        assert decode_cursor(encode_cursor(values), str, int) == values


@pytest.mark.parametrize("values", [[], ["a"], [1], ["a", "b"], [1, 1], ["a", -1], ["a", 2**62 + 1], ["a", True]])
def test_a_cursor_of_another_list_is_refused(values: list[str | int]) -> None:
    with pytest.raises(Invalid):
        decode_cursor(encode_cursor(values), str, int)


@given(st.integers(0, 12), st.integers(1, 5), st.integers(0, 15))
def test_slices_of_a_list_in_memory_make_the_whole(length: int, limit: int, offset: int) -> None:
    whole, walked = list(range(length)), list[int]()
    shown, page = sliced(whole, Paging(limit=limit, offset=offset))
    assert (shown, page.total_count) == (whole[offset : offset + limit], length)
    paging = Paging(limit=limit)
    while True:
        shown, page = sliced(whole, paging)
        walked += shown
        assert page.has_more is (page.next_cursor is not None)
        if page.next_cursor is None:
            break
        paging = Paging(limit=limit, cursor=page.next_cursor)
    assert walked == whole
