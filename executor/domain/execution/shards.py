"""A mapping of which another copy costs little, however much is in it."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Final, Generic, TypeVar

V = TypeVar("V")

_FULL: Final = 64


class Shards(MutableMapping[str, V], Generic[V]):
    """Keys are spread over small dicts. A copy shares them all, and whoever writes first takes a dict of its own: so
    a fold copies what it touches, and not what a long run has behind it. Iteration has no order that means anything.
    """

    __slots__ = ("_own", "_shards", "_size")

    def __init__(self) -> None:
        self._shards: list[dict[str, V]] = [{}]
        self._own = {0}
        self._size = 0

    def copy(self) -> Shards[V]:
        """Both sides share from now on."""
        other: Shards[V] = Shards.__new__(Shards)
        other._shards, other._own, other._size = self._shards.copy(), set(), self._size
        self._own = set()
        return other

    def __getitem__(self, key: str) -> V:
        return self._shards[hash(key) % len(self._shards)][key]

    def __setitem__(self, key: str, value: V) -> None:
        shard = self._writable(key)
        if key not in shard:
            self._size += 1
        shard[key] = value
        if self._size > _FULL * len(self._shards):
            self._spread()

    def __delitem__(self, key: str) -> None:
        del self._writable(key)[key]
        self._size -= 1

    def _writable(self, key: str) -> dict[str, V]:
        at = hash(key) % len(self._shards)
        if at not in self._own:
            self._shards[at] = self._shards[at].copy()
            self._own.add(at)
        return self._shards[at]

    def _spread(self) -> None:
        shards: list[dict[str, V]] = [{} for _ in range(len(self._shards) * 2)]
        for shard in self._shards:
            for key, value in shard.items():
                shards[hash(key) % len(shards)][key] = value
        self._shards, self._own = shards, set(range(len(shards)))

    def __iter__(self) -> Iterator[str]:
        for shard in self._shards:
            yield from shard

    def __len__(self) -> int:
        return self._size

    def __repr__(self) -> str:
        return f"Shards({dict(self)})"
