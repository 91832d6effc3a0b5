"""What differs between rows and what the log says of them: to show, and to put right."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from executor.ports import Repair
from storage.projections import Projection

Values = tuple[Any, ...]
Rows = dict[str, list[Values]]
"""By table."""

_SHOWN: Final = 100
_BATCH_ROWS: Final = 500
_BATCH_BYTES: Final = 256 * 1024
"""Small transactions: appends wait behind each."""


class Difference(Struct, frozen=True):
    """A row that is not what the log says. `key` are the values of its key (of a name only its stream: a name may be
    made of a secret), `columns` those that differ. `how` is `changed`, `missing`, or `extra`."""

    table: str
    key: tuple[str, ...]
    how: str
    columns: tuple[str, ...] = ()


class Failure(Struct, frozen=True):
    """A stream that cannot be folded, or does not stand still. Its rows were left as they are."""

    stream: str
    reason: str


class Compared(Struct, frozen=True):
    """What came of comparing `events`: the first differences and how many there are by table; repairs in batches,
    encoded (`decode_repairs`) since they go from process to process."""

    events: int
    differences: tuple[Difference, ...]
    counts: dict[str, int]
    repairs: tuple[bytes, ...]
    failures: tuple[Failure, ...]


_encode: Final = msgspec.msgpack.Encoder().encode
_decoder: Final = msgspec.msgpack.Decoder(tuple[Repair, ...])


def decode_repairs(encoded: bytes) -> tuple[Repair, ...]:
    """Raises `msgspec.MsgspecError`."""
    return _decoder.decode(encoded)


class Differences:
    """Gathers what differs in some tables."""

    def __init__(self, of: dict[str, Projection]) -> None:
        self._of = of
        self._shown: list[Difference] = []
        self._counts: Counter[str] = Counter()
        self._failures: list[Failure] = []
        self._batches: list[bytes] = []
        self._batch: list[Raw] = []
        self._bytes = 0

    def compare(self, stream: str, version: int, expected: Rows, actual: Rows) -> None:
        """What a stream's rows should be as of its version, and what they are."""
        for table, projection in self._of.items():
            should, are = set(expected.get(table, ())), set(actual.get(table, ()))
            if should == are:
                continue
            wanted, there = projection.by_key(should - are), projection.by_key(are - should)
            for key in sorted({*wanted, *there}):
                new, old = wanted.get(key), there.get(key)
                self._show(projection, key, stream, new, old)
                self._repair(Repair(stream, version, table, None if old is None else key, new))

    def fail(self, stream: str, reason: str) -> None:
        self._failures.append(Failure(stream, reason))

    def compared(self, events: int) -> Compared:
        self._cut()
        return Compared(events, tuple(self._shown), dict(self._counts), tuple(self._batches), tuple(self._failures))

    def _show(self, projection: Projection, key: Values, stream: str, new: Values | None, old: Values | None) -> None:
        table = projection.table
        self._counts[table] += 1
        if len(self._shown) == _SHOWN:
            return
        shown = tuple(map(str, key)) if projection.owner in projection.key else (stream,)
        if new is None or old is None:
            self._shown.append(Difference(table, shown, "missing" if old is None else "extra"))
            return
        values = zip(projection.columns, new, old, strict=True)
        columns = tuple(column for column, should, is_ in values if should != is_)
        self._shown.append(Difference(table, shown, "changed", columns))

    def _repair(self, repair: Repair) -> None:
        encoded = _encode(repair)
        self._batch.append(Raw(encoded))
        self._bytes += len(encoded)
        if self._bytes >= _BATCH_BYTES or len(self._batch) == _BATCH_ROWS:
            self._cut()

    def _cut(self) -> None:
        if self._batch:
            self._batches.append(_encode(self._batch))
        self._batch, self._bytes = [], 0
