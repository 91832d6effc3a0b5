"""Row Structs as columns: which there are, a row's values in their order, and a row from such values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from functools import cache
from typing import Any, Final, NamedTuple, TypeVar, get_args, get_type_hints

from msgspec import Struct

from executor.ports import Row

R = TypeVar("R", bound=Row)


_FIXED: Final = frozenset({"organization_id", "workflow_id", "template_id", "project_id", "created_by", "created_at"})
"""What is said of a thing when it begins and never changes: an update that leaves these alone leaves most indexes
alone."""


class Shape(NamedTuple):
    """What a backend has to know of a kind of row to write its SQL. Built from the Struct alone.

    `changing` are the columns that an update of a row writes; `kinds` what a column holds: str, int, or bytes.
    """

    table: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    changing: tuple[str, ...]
    nullable: frozenset[str]
    kinds: dict[str, type]
    casts: tuple[tuple[str, Callable[[Any], Any]], ...]

    def check(self, column: str) -> str:
        """The column, where there is one of this name; `ValueError` else. Nothing unchecked gets into SQL."""
        if column not in self.columns:
            raise ValueError(f"{self.table} has no column {column!r}")
        return column


@cache
def shape(row: type[Row]) -> Shape:
    hints = get_type_hints(row)
    columns = row.__struct_fields__
    casts = []
    for column in columns:
        cast = _cast(hints[column])
        if cast is not None:
            casts.append((column, cast))
    nullable = frozenset(column for column in columns if type(None) in get_args(hints[column]))
    changing = tuple(column for column in columns if column not in _FIXED and column not in row.key)
    return Shape(row.table, row.key, columns, changing, nullable, kinds(row), tuple(casts))


def kinds(struct: type[Struct]) -> dict[str, type]:
    """What each field of a Struct is in a database: str, int, or bytes."""
    hints = get_type_hints(struct)
    return {field: _kind(hints[field]) for field in struct.__struct_fields__}


def build(row: type[R], values: Sequence[Any]) -> R:
    of = shape(row)
    fields = dict(zip(of.columns, values, strict=True))
    for column, cast in of.casts:
        if fields[column] is not None:
            fields[column] = cast(fields[column])
    return row(**fields)


def _kind(hint: Any) -> type:
    kinds = [kind for kind in (hint, *get_args(hint)) if isinstance(kind, type) and kind is not type(None)]
    return next((of for of in (bytes, int) if any(issubclass(kind, of) for kind in kinds)), str)


def _cast(hint: Any) -> Callable[[Any], Any] | None:
    """What makes a column's value the field's: bools and enums are numbers and texts in a database."""
    for kind in (hint, *get_args(hint)):
        if isinstance(kind, type) and (kind is bool or issubclass(kind, Enum)):
            return kind
    return None
