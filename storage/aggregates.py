"""Which aggregate a stream belongs to, by the prefix of its name, and how its events become facts again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import structlog

from executor.domain.errors import Archived
from executor.domain.events import Fact, Stamp
from executor.ports import Aggregate, Recorded
from storage.codec import Codec
from storage.errors import UnknownStream

_logger = structlog.get_logger(__name__)


class Aggregates:
    """The aggregates that the composition root registered."""

    def __init__(self, aggregates: Iterable[Aggregate[Any]], codec: Codec) -> None:
        self._codec = codec
        self._of: dict[str, Aggregate[Any]] = {}
        for aggregate in aggregates:
            if not aggregate.prefix or ":" in aggregate.prefix or aggregate.prefix in self._of:
                raise ValueError(f"the stream prefix {aggregate.prefix!r} is empty, has a colon, or is there twice")
            self._of[aggregate.prefix] = aggregate

    def of(self, stream: str) -> Aggregate[Any]:
        """Raises `UnknownStream`."""
        prefix, colon, id = stream.partition(":")
        aggregate = self._of.get(prefix)
        if aggregate is None or not colon or not id:
            raise UnknownStream(stream)
        return aggregate

    def initial(self, stream: str) -> Any:
        return self.of(stream).initial()

    def evolve(self, stream: str, state: Any, recorded: Sequence[Recorded]) -> Any:
        """The state after the next events of a stream."""
        if not recorded:
            return state
        return self.of(stream).evolve(state, [self.fact(event) for event in recorded])

    def pack(self, stream: str, state: Any) -> tuple[int, bytes] | None:
        """A fold as it is kept, with its revision; None for streams whose folds are not."""
        keeper = self.of(stream).keeper
        return None if keeper is None else (keeper.revision, keeper.pack(state))

    def keeps(self, stream: str) -> int | None:
        """The revision of the folds that are kept of such a stream; None where they are not."""
        keeper = self.of(stream).keeper
        return None if keeper is None else keeper.revision

    def unpack(self, stream: str, version: int, data: bytes) -> tuple[Any, int] | None:
        """A fold that was kept, with its version; None for one that cannot be read: the log has it all."""
        keeper = self.of(stream).keeper
        assert keeper is not None
        try:
            return keeper.unpack(data), version
        except (msgspec.MsgspecError, ValueError):
            _logger.warning("fold.unreadable", stream=stream, version=version)
            return None

    def fact(self, recorded: Recorded) -> Fact:
        """Raises `Archived` where the data is blank, `UnknownEvent`."""
        if not recorded.data:
            raise Archived(*recorded.stream.split(":", 1))
        event = self._codec.decode(recorded.type, recorded.schema, recorded.data)
        return Fact(event, stamp(recorded))


def stamp(recorded: Recorded) -> Stamp:
    return Stamp(
        recorded.time,
        recorded.organization_id,
        aggregate_id(recorded.stream),
        recorded.version,
        recorded.metadata.actor,
    )


def aggregate_id(stream: str) -> str:
    return stream.partition(":")[2]
