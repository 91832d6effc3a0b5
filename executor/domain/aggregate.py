"""What every kind of stream is to the store: how its events fold, which rows follow, which name it holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Generic, TypeVar

from msgspec import Struct

from executor.domain.events import Fact


class Row(Struct, frozen=True, kw_only=True):
    """The whole state of one thing as its table holds it: fields are columns, `document` is JSON bytes.

    `version` is its stream's. `revision` counts what the values of the same columns have meant: raise it when they
    begin to say another thing, and every hub is told to rebuild the table.
    """

    table: ClassVar[str]
    revision: ClassVar[int] = 1
    key: ClassVar[tuple[str, ...]] = ("id",)


S = TypeVar("S")


def nameless(state: object) -> tuple[str, ...]:
    """The names of what never holds one."""
    return ()


class Keeper(Struct, Generic[S], frozen=True, kw_only=True):
    """How a fold is kept as bytes; those of another `revision` are not read."""

    revision: int
    pack: Callable[[S], bytes]
    unpack: Callable[[bytes], S]


class Aggregate(Struct, Generic[S], frozen=True, kw_only=True):
    """A kind of stream, as the composition root registers it with the store.

    A stream is named `prefix:id`. `evolve` folds facts into a new state and never changes the one it got.
    `rows(before, after)` are the rows that differ between two states (all of them where `before` is the initial one).
    `names` are what must be unique among all streams while this state holds, such as `workflow:ORG:report`.
    `kinds` are the types of its rows, whose tables no other aggregate has. Their column `id`, or where they have none
    the first of their key, is the id in the stream's name. With a `keeper`, folds of long streams may be kept.
    """

    prefix: str
    initial: Callable[[], S]
    evolve: Callable[[S, Sequence[Fact]], S]
    rows: Callable[[S, S], Sequence[Row]]
    names: Callable[[S], tuple[str, ...]] = nameless
    kinds: tuple[type[Row], ...] = ()
    keeper: Keeper[S] | None = None
