"""What changed between two JSON values, as a list of paths. Pure.

Paths are those of errors: `definition.components[2].config.url`. In a list of things with an id, each is compared
with the one of the same id wherever it stands, and its index is that in the later value (in the earlier one, where it
was removed); their order alone is no change. Other lists are compared from both ends towards the middle.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_IDS: Final = (("id",), ("component_id", "iteration"))


class Change(Struct, frozen=True):
    """`before` is absent where something was added, `after` where it was removed."""

    path: str
    op: Literal["added", "removed", "changed"]
    before: Any | UnsetType = UNSET
    after: Any | UnsetType = UNSET


def changes(before: Any, after: Any, path: str = "") -> Iterator[Change]:
    """In the order of the later value; in a list, what was removed comes last."""
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _of_objects(before, after, path)
    elif isinstance(before, list) and isinstance(after, list):
        ids = _ids_of(before, after)
        yield from _of_things(before, after, path, ids) if ids else _of_values(before, after, path)
    elif not _same(before, after):
        yield Change(path, "changed", before, after)


def _of_objects(before: dict[str, Any], after: dict[str, Any], path: str) -> Iterator[Change]:
    for name, value in after.items():
        if name not in before:
            yield Change(_in(path, name), "added", after=value)
        else:
            yield from changes(before[name], value, _in(path, name))
    for name, value in before.items():
        if name not in after:
            yield Change(_in(path, name), "removed", before=value)


def _of_things(before: list[Any], after: list[Any], path: str, id_of: Callable[[Any], bytes]) -> Iterator[Change]:
    earlier = {id_of(thing): thing for thing in before}
    for index, thing in enumerate(after):
        if id_of(thing) in earlier:
            yield from changes(earlier[id_of(thing)], thing, f"{path}[{index}]")
        else:
            yield Change(f"{path}[{index}]", "added", after=thing)
    later = {id_of(thing) for thing in after}
    for index, thing in enumerate(before):
        if id_of(thing) not in later:
            yield Change(f"{path}[{index}]", "removed", before=thing)


def _of_values(before: list[Any], after: list[Any], path: str) -> Iterator[Change]:
    start = _common(before, after)
    end = _common(before[start:][::-1], after[start:][::-1])
    old, new = before[start : len(before) - end], after[start : len(after) - end]
    for offset, (one, other) in enumerate(zip(old, new, strict=False)):
        yield from changes(one, other, f"{path}[{start + offset}]")
    for offset in range(len(old), len(new)):
        yield Change(f"{path}[{start + offset}]", "added", after=new[offset])
    for offset in range(len(new), len(old)):
        yield Change(f"{path}[{start + offset}]", "removed", before=old[offset])


def _common(one: Sequence[Any], other: Sequence[Any]) -> int:
    """How many values both begin with."""
    count = 0
    for left, right in zip(one, other, strict=False):
        if not _same(left, right):
            break
        count += 1
    return count


def _ids_of(before: list[Any], after: list[Any]) -> Callable[[Any], bytes] | None:
    """What tells the things of two lists apart; null where they have no ids, or one is there twice."""
    for names in _IDS:

        def id_of(thing: Any, names: tuple[str, ...] = names) -> bytes:
            return msgspec.json.encode([thing.get(name) for name in names])

        if all(_are_told_apart(things, id_of, names[0]) for things in (before, after)):
            return id_of
    return None


def _are_told_apart(things: list[Any], id_of: Callable[[Any], bytes], name: str) -> bool:
    if not all(isinstance(thing, dict) and isinstance(thing.get(name), str) for thing in things):
        return False
    return len({id_of(thing) for thing in things}) == len(things)


def _in(path: str, name: str) -> str:
    """A name that would not read as one stands in brackets and quotes."""
    if _NAME.fullmatch(name) is None:
        return f"{path}[{msgspec.json.encode(name).decode()}]"
    return f"{path}.{name}" if path else name


def _same(one: Any, other: Any) -> bool:
    """The same JSON: to Python `1`, `1.0` and `true` are equal."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict | list):
        return msgspec.json.encode(one, order="sorted") == msgspec.json.encode(other, order="sorted")
    return bool(one == other)
