"""What the rooms need of each other, as protocols: the log, the rows, the ledgers, the clock.

`storage` implements them, `hub/wiring.py` hands them out, everybody else knows only this page.

A backend raises nothing of its driver's: only `Conflict`, `NameTaken`, and `errors.Unavailable`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from msgspec import Struct

from executor.domain.aggregate import Aggregate as Aggregate
from executor.domain.aggregate import Row as Row
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


R = TypeVar("R", bound=Row)


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

    async def load(self, stream: str, known: tuple[Any, int] | None = None) -> tuple[Any, int]:
        """The fold of a stream and its version: `(initial, NEW)` where there is none. Where the caller has an earlier
        fold and its version, only what came since is read."""

    def tail(self, after: int) -> AsyncIterator[Sequence[Recorded]]:
        """Every event after a position, in batches, for ever: no gap, no repeat. Ends when the log closes."""


class Eq(NamedTuple):
    column: str
    value: str | int | None


class In(NamedTuple):
    column: str
    values: tuple[str | int, ...]


class Range(NamedTuple):
    """`start` inclusive, `end` exclusive."""

    column: str
    start: str | int | None = None
    end: str | int | None = None


class Contains(NamedTuple):
    """Any of the columns contains the text, whatever the case."""

    columns: tuple[str, ...]
    text: str


class HasAll(NamedTuple):
    """The column is a JSON array of texts and has all of these."""

    column: str
    values: tuple[str, ...]


Where = Eq | In | Range | Contains | HasAll


class Order(NamedTuple):
    column: str
    descending: bool = False


class RowQuery(Struct, frozen=True, kw_only=True):
    """Which rows, in which order. `order` ends with a unique column; `after` holds that many values, exclusive."""

    where: tuple[Where, ...] = ()
    order: tuple[Order, ...] = (Order("id", True),)
    after: tuple[str | int | None, ...] | None = None
    limit: int = 50
    offset: int = 0


class ExecutionStats(NamedTuple):
    """Of one workflow's executions. `succeeded` and `ended` count those that ended."""

    total: int
    ended: int
    succeeded: int
    last_created_at: Instant | None


class Claimable(NamedTuple):
    """An execution that an engine may take now: its stream's id and what its row says of its owner."""

    id: str
    engine: str | None
    priority: int


class Reads(Protocol):
    """Rows, as of the last append that was acknowledged to anybody."""

    async def get(self, row: type[R], *key: str) -> R | None: ...

    async def find(self, row: type[R], query: RowQuery) -> list[R]: ...

    async def count(self, row: type[Row], where: Sequence[Where] = ()) -> int: ...

    async def execution_stats(self, workflow_ids: Sequence[str]) -> dict[str, ExecutionStats]:
        """Workflows without executions are absent."""

    async def claimable(self, now: Instant, limit: int) -> list[Claimable]:
        """Executions whose `runnable_at` has come and that no living engine holds: urgent first, then oldest."""

    async def next_runnable_at(self, now: Instant) -> Instant | None:
        """The earliest `runnable_at` after now."""


class Engines(Protocol):
    """Ledger: which engines live. An engine whose last beat is older than its time to live is dead."""

    async def beat(self, engine: str, ttl_seconds: float) -> None: ...

    async def leave(self, engine: str) -> None:
        """Ends an engine: what it held may be claimed at once."""

    async def leave_all(self) -> None:
        """For the store that only one process can hold: every engine of before is dead."""


class Organization(Struct, frozen=True, kw_only=True):
    id: str
    name: str
    sealed_key: str
    created_at: Instant


class Organizations(Protocol):
    """Ledger: organizations and the sealed key of each."""

    async def get(self, id: str) -> Organization | None: ...

    async def by_name(self, name: str) -> Organization | None: ...

    async def add(self, organization: Organization) -> Organization:
        """Keeps it, or answers the one that has the name already."""


class KeyUse(Protocol):
    """Ledger: when each API key was last used."""

    async def touch(self, used: dict[str, Instant]) -> None: ...

    async def last_used(self, ids: Sequence[str]) -> dict[str, Instant]: ...


class Delivery(Struct, frozen=True, kw_only=True):
    """One event on its way to one endpoint. `position` is null for a test event, which has its `body` here.

    `status` is pending, in_flight, retrying, succeeded, exhausted or cancelled.
    """

    id: str
    organization_id: str
    webhook_id: str
    shard: int
    event_id: str
    event: str
    position: int | None
    status: str = "pending"
    attempt_count: int = 0
    next_attempt_at: Instant | None
    created_at: Instant
    completed_at: Instant | None = None
    lease_until: Instant | None = None
    body: bytes | None = None


class Attempt(Struct, frozen=True, kw_only=True):
    """One request of a delivery and what came of it. `error` is null where an answer came."""

    delivery_id: str
    attempt: int
    started_at: Instant
    duration_ms: int
    status_code: int | None
    error: str | None
    response_body: str | None


class Settled(Struct, frozen=True, kw_only=True):
    """What an attempt made of its delivery."""

    attempt: Attempt
    status: str
    next_attempt_at: Instant | None
    completed_at: Instant | None


class DeliveryQuery(Struct, frozen=True, kw_only=True):
    organization_id: str
    webhook_id: str | None = None
    status: str | None = None
    event: str | None = None
    start_time: Instant | None = None
    end_time: Instant | None = None
    before_id: str | None = None
    limit: int = 50
    offset: int = 0


class EndpointLimits(NamedTuple):
    """How an endpoint wants to be served, as the pump gives it to a claim."""

    webhook_id: str
    max_in_flight: int
    ordered: bool


class Deliveries(Protocol):
    """Ledger: deliveries, their attempts, and the checkpoint of the fan-out. All times are the caller's."""

    async def checkpoint(self, name: str) -> int:
        """Through which position `name` has come; 0 at first."""

    async def fan_out(self, name: str, checkpoint: int, deliveries: Sequence[Delivery]) -> None:
        """Writes deliveries (those whose id exists are left alone) and the checkpoint in one transaction."""

    async def add(self, deliveries: Sequence[Delivery]) -> None:
        """Writes deliveries (those whose id exists are left alone); no checkpoint moves. For those that do not come
        from the fan-out, such as a test event."""

    async def claim(
        self, shard: int, limits: Sequence[EndpointLimits], now: Instant, lease_until: Instant, limit: int
    ) -> list[Delivery]:
        """Takes due deliveries of these endpoints, oldest first: pending or retrying ones whose time has come, and
        in-flight ones whose lease ran out. Never more than `max_in_flight` of an endpoint under way at once; of an
        ordered one only the oldest that has not ended. They come back as in_flight with `attempt_count` raised."""

    async def settle(self, settled: Sequence[Settled]) -> None:
        """Writes attempts and what they made of their deliveries, in one transaction. One that was claimed again
        since (its `attempt_count` is another) keeps its status. One that was cancelled while this attempt was under
        way takes an end (succeeded, exhausted), which is the truth, but not a retry: then it stays cancelled."""

    async def release(self, ids: Sequence[str], now: Instant) -> None:
        """Gives claimed deliveries back unsent: due at once, the attempt not counted."""

    async def release_all(self, now: Instant) -> int:
        """For the store that only one process can hold: whatever is in flight at its start was being sent by one that
        is dead. Makes it due at once instead of at the end of its lease (the attempt stays counted: it may have
        arrived); answers how many."""

    async def cancel_waiting(self, webhook_id: str, now: Instant) -> int:
        """Cancels what has not ended; answers how many."""

    async def next_due(self, shard: int) -> Instant | None:
        """When the shard's next delivery is due (or its lease runs out); null where nothing waits."""

    async def due_shards(self, now: Instant) -> list[int]: ...

    async def get(self, id: str) -> tuple[Delivery, list[Attempt]] | None: ...

    async def find(self, query: DeliveryQuery) -> list[Delivery]:
        """Newest first by id."""

    async def attempts(self, delivery_ids: Sequence[str]) -> dict[str, list[Attempt]]: ...


class Ledgers(Protocol):
    """True beside the log: a rebuild never touches them, a backup carries them."""

    @property
    def engines(self) -> Engines: ...
    @property
    def organizations(self) -> Organizations: ...
    @property
    def key_use(self) -> KeyUse: ...
    @property
    def deliveries(self) -> Deliveries: ...


class Store(Protocol):
    """An opened database: the three of one kind, and its end."""

    @property
    def log(self) -> EventLog: ...
    @property
    def reads(self) -> Reads: ...
    @property
    def ledgers(self) -> Ledgers: ...

    async def ping(self) -> None:
        """Raises `Unavailable` where the database does not answer."""

    async def close(self) -> None: ...


class Clock(Protocol):
    """Time and fresh ids, so that what decides needs neither."""

    def now(self) -> Instant: ...

    def new_id(self) -> str:
        """A fresh ULID; of one clock, each sorts after the one before."""
