"""The log: events as they are appended and as they stand, and how they are read and followed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol

from msgspec import Struct

from executor.domain.events import Event
from executor.domain.values import Instant

NEW: Final = 0
"""The version of a stream that does not exist: append with it to create one."""


class Metadata(Struct, frozen=True, kw_only=True):
    """Who caused an event, and in which chain of causes it stands. `actor` is `api_key:ULID`, `user:ULID` or
    `system`."""

    actor: str = "system"
    request_id: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None


class Recorded(Struct, frozen=True, kw_only=True):
    """An event as it stands in the log. `data` is its JSON exactly as stored; `hash` 32 bytes.

    `schema` counts the shapes that the data of its type has had: upcasters bring older ones to the newest.
    """

    position: int
    id: str
    type: str
    schema: int = 1
    time: Instant
    organization_id: str
    stream: str
    version: int
    workflow_id: str | None
    execution_id: str | None
    data: bytes
    metadata: Metadata
    hash: bytes


class Stored(NamedTuple):
    """An event exactly as its table holds it, column by column: what proofs, exports and imports work on.

    `metadata` is its canonical JSON, `digest` the SHA-256 of the data, which stays when the data is blanked.
    """

    position: int
    id: str
    type: str
    schema: int
    time: Instant
    organization_id: str
    stream: str
    version: int
    workflow_id: str | None
    execution_id: str | None
    data: bytes
    metadata: bytes
    digest: bytes
    hash: bytes


class Conflict(Exception):
    """The stream is not at the expected version; nothing of the append was written."""

    def __init__(self, stream: str, expected: int, actual: int) -> None:
        super().__init__(f"stream {stream} is at version {actual}, not {expected}")
        self.stream, self.expected, self.actual = stream, expected, actual


class NameTaken(Exception):
    """A name that must be unique is held by another stream; nothing of the append was written."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the name {name!r} is taken")
        self.name = name


class NewEvent(NamedTuple):
    """An event to append. The same `id` again returns the first result, for ever."""

    id: str
    event: Event


class StreamAppend(Struct, frozen=True, kw_only=True):
    """One stream's part in an append.

    `state` is the fold at version `expected`. Without events it only demands that the stream is at `expected`.
    """

    stream: str
    expected: int
    state: Any
    events: tuple[NewEvent, ...]
    organization_id: str
    workflow_id: str | None = None
    execution_id: str | None = None


class Appended(Struct, frozen=True, kw_only=True):
    """What became of a `StreamAppend`: its events as recorded and the fold after them.

    `repeated` means that these ids had been appended before and this is that first result.
    """

    recorded: tuple[Recorded, ...]
    state: Any
    version: int
    repeated: bool = False


class EventQuery(Struct, frozen=True, kw_only=True):
    """Which events to read. `after` and `before` are positions, both exclusive; `types` are patterns such as
    `execution.*`, `*.failed`, `workflow.created`, any of which may match; times are start-inclusive, end-exclusive.
    The first `offset` events that match are skipped.
    """

    after: int = 0
    before: int | None = None
    types: tuple[str, ...] = ()
    organization_id: str | None = None
    workflow_id: str | None = None
    execution_id: str | None = None
    start_time: Instant | None = None
    end_time: Instant | None = None
    descending: bool = False
    limit: int = 500
    offset: int = 0


class EventLog(Protocol):
    """The one ordered log. Acknowledged means flushed to disk."""

    @property
    def epoch(self) -> str:
        """Names this log; a restored or imported one has another."""

    @property
    def head(self) -> int:
        """The highest visible position as this process knows it; 0 for an empty log."""

    async def append(self, streams: Sequence[StreamAppend], metadata: Metadata = ...) -> tuple[Appended, ...]:
        """Appends all or nothing, durably, with rows; results in the order of `streams`.

        Raises `Conflict`, `NameTaken`, `Unavailable`. If the caller is cancelled the append may still happen.
        """

    async def read(self, query: EventQuery) -> list[Recorded]: ...

    async def at(self, position: int) -> Recorded | None: ...

    async def stream(self, stream: str, after: int = 0) -> list[Recorded]:
        """The events of a stream in order, after a version (exclusive)."""

    async def load(
        self, stream: str, known: tuple[Any, int] | None = None, *, through: int | None = None
    ) -> tuple[Any, int]:
        """The fold of a stream and its version: `(initial, NEW)` where there is none. Where the caller has an earlier
        fold and its version, only what came since is read. With `through`, the fold as of that position."""

    async def keep(self, stream: str, state: Any, version: int) -> None:
        """Keeps a fold, so that later loads begin there: a cache, which may be lost. Nothing for streams whose folds
        are not kept. Raises `Unavailable`."""

    async def position_at(self, time: Instant) -> int:
        """The position that the log had come to at a time: of the last event then or earlier, 0 where there is
        none."""

    async def refresh(self) -> int:
        """The head, looked up: `head` alone may be behind what other processes appended."""

    def notice(self, position: int) -> None:
        """A hint from elsewhere that the log has come to a position."""

    def on_append(self, call: Callable[[int], None]) -> None:
        """Calls with the head whenever this process has appended; within the loop, and never waited for."""

    async def scan(self, after: int) -> list[Stored]:
        """Some of the events after a position (exclusive), in order, about 4 MiB of them; none only at the end."""

    def tail(self, after: int) -> AsyncIterator[Sequence[Recorded]]:
        """Every event after a position, in batches, for ever: no gap, no repeat. Ends when the log closes."""
