"""What PostgreSQL's text cannot hold, U+0000, is written as two private characters, and read back as it was.

Only texts of clients need it (names, tags, answers of receivers); the log itself is bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

_MARK: Final = "\ue000"
_NUL: Final = _MARK + "\ue001"
_MARKED: Final = _MARK + _MARK


def outward(value: Any) -> Any:
    """A value as the database takes it."""
    if isinstance(value, str) and ("\0" in value or _MARK in value):
        return value.replace(_MARK, _MARKED).replace("\0", _NUL)
    return value


def inward(value: Any) -> Any:
    """A value as it was before `outward`."""
    if isinstance(value, str) and _MARK in value:
        return _MARK.join(part.replace(_NUL, "\0") for part in value.split(_MARKED))
    return value


def columns(rows: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    """Rows as columns: the arrays that `unnest` makes rows of again."""
    if not rows:
        return [[] for _ in range(width)]
    return [_column(list(column)) for column in zip(*rows, strict=True)]


def _column(values: list[Any]) -> list[Any]:
    """One look at all texts of a column is quicker than one at each."""
    if not isinstance(next((value for value in values if value is not None), None), str):
        return values
    together = "".join(value for value in values if value is not None)
    return [outward(value) for value in values] if "\0" in together or _MARK in together else values


def back(rows: Iterable[Sequence[Any]]) -> list[tuple[Any, ...]]:
    return [tuple(map(inward, row)) for row in rows]
