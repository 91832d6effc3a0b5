"""Query parameters into a typed value, or every problem at once; and the cursors of lists."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

from executor.domain.errors import Code, Invalid, Problem
from executor.domain.values import Instant
from executor.ports import Order, Reads, Row, RowQuery, Where
from hub.envelope import Page
from hub.times import parse_time

T = TypeVar("T", bound=Struct)
R = TypeVar("R", bound=Row)
CursorNumber = Annotated[int, Meta(ge=0, le=2**62)]


class NoQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """For what takes no query parameters."""


class Paging(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parameters of every list. `cursor` takes the `next_cursor` of an answer and excludes `offset`."""

    limit: Annotated[int, Meta(ge=1, le=1000)] = 50
    offset: Annotated[int, Meta(ge=0, le=2**53)] = 0
    cursor: Annotated[str, Meta(max_length=1024)] | None = None


def parse_query(pairs: Iterable[tuple[str, str]], type: type[T]) -> T:
    """The typed query. Lists take a parameter repeated or with commas. Raises `Invalid` naming each parameter."""
    given: dict[str, list[str]] = {}
    for name, value in pairs:
        given.setdefault(name, []).append(value)
    hints = get_type_hints(type, include_extras=True)
    fields = {field.encode_name: field.name for field in msgspec.structs.fields(type)}
    values: dict[str, Any] = {}
    problems = []
    for name, texts in given.items():
        if name not in fields:
            known = ", ".join(fields) or "none"
            problems.append(_problem(name, f"unknown query parameter '{name}'; there are {known}"))
            continue
        try:
            values[fields[name]] = _converted(texts, hints[fields[name]])
        except (msgspec.ValidationError, ValueError) as error:
            problems.append(_problem(name, f"{name}: {_wrong(str(error), hints[fields[name]])}"))
    if "cursor" in given and "offset" in given:
        problems.append(_problem("cursor", "cursor excludes offset"))
    if problems:
        raise Invalid(problems)
    return type(**values)


def _problem(field: str, message: str) -> Problem:
    return Problem(Code.VALIDATION_ERROR, message, field)


def _wrong(error: str, hint: Any) -> str:
    """What a parameter should be; msgspec names none of an enumeration's values, and null is none in a query."""
    if error.startswith("Invalid enum value"):
        return f"must be one of {', '.join(_options(hint))}"
    return error.replace(" - at `$`", "").replace(" | null", "")


def _options(hint: Any) -> list[str]:
    if isinstance(hint, type) and issubclass(hint, Enum):
        return [str(option.value) for option in hint]
    if isinstance(hint, str):  # Of a Literal.
        return [hint]
    return [option for inner in get_args(hint) for option in _options(inner)]


def _converted(texts: list[str], hint: Any) -> Any:
    if _is(hint, tuple):
        items = [part.strip() for text in texts for part in text.split(",") if part.strip()]
        return msgspec.convert(items, hint, strict=False)
    if len(texts) > 1:
        raise ValueError("given more than once")
    if _is(hint, Instant):
        return parse_time(texts[0])
    return msgspec.convert(texts[0], hint, strict=False)


def _is(hint: Any, wanted: Any) -> bool:
    options = (hint, *get_args(hint))
    return any(option is wanted or get_origin(option) is wanted for option in options)


def encode_cursor(values: Sequence[str | int]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(values)).decode().rstrip("=")


def decode_cursor(text: str, *kinds: type) -> tuple[Any, ...]:
    """Its values, of these kinds (`int` is a position or an offset). Raises `Invalid` for what is no cursor of this
    list: a client may send anything, and what a store cannot hold must not reach it."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        values = msgspec.json.decode(raw, type=tuple[str | CursorNumber, ...])
    except (binascii.Error, msgspec.MsgspecError, ValueError):
        values = ()
    if tuple(type(value) for value in values) != kinds:
        raise Invalid([_problem("cursor", "is not a cursor of this list; take `next_cursor` of its last answer")])
    return values


async def page_of(
    reads: Reads, row: type[R], where: Sequence[Where], order: tuple[Order, ...], paging: Paging
) -> tuple[list[R], Page]:
    """One page of rows, with what the list says of itself. The columns of `order` are texts or numbers, and never
    null."""
    kinds = [int if row.__annotations__[by.column] == "int" else str for by in order]
    after = decode_cursor(paging.cursor, *kinds) if paging.cursor is not None else None
    found = await reads.find(
        row,
        RowQuery(where=tuple(where), order=order, after=after, limit=paging.limit + 1, offset=paging.offset),
    )
    has_more = len(found) > paging.limit
    shown = found[: paging.limit]
    cursor = encode_cursor([getattr(shown[-1], key.column) for key in order]) if has_more else None
    page = Page(
        total_count=await reads.count(row, where),
        limit=paging.limit,
        offset=paging.offset,
        has_more=has_more,
        next_cursor=cursor,
    )
    return shown, page


def sliced(found: Sequence[Any], paging: Paging) -> tuple[list[Any], Page]:
    """One page of a list that is in memory; its cursor is an offset."""
    start, end = span_of(paging)
    return list(found[start:end]), page_in(len(found), paging)


def span_of(paging: Paging) -> tuple[int, int]:
    """From which number to which, of a list whose cursor is an offset."""
    start = paging.offset
    if paging.cursor is not None:
        (start,) = decode_cursor(paging.cursor, int)
    return start, start + paging.limit


def page_in(count: int, paging: Paging) -> Page:
    """The page that `span_of` says, of so many."""
    start, end = span_of(paging)
    has_more = end < count
    return Page(
        total_count=count,
        limit=paging.limit,
        offset=start,
        has_more=has_more,
        next_cursor=encode_cursor([end]) if has_more else None,
    )
