"""The ledger of deliveries: what is due to whom, and what came of each attempt."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

from msgspec import Struct

from executor.domain.values import Instant


class Delivery(Struct, frozen=True, kw_only=True):
    """One event on its way to one endpoint. `position` is null for a test event, which has its `body` here.

    `status` is pending, in_flight, retrying, succeeded, exhausted or cancelled. `replay_id` names the replay that it
    belongs to, null for what is live. `forgiven` attempts were made before somebody asked for it again: the policy
    counts from there.
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
    replay_id: str | None = None
    forgiven: int = 0


CUT_OFF: Final = "cut_off"
"""The class of an attempt that was sent and that we broke off ourselves: it says nothing of its endpoint."""


class Attempt(Struct, frozen=True, kw_only=True):
    """One request of a delivery and what came of it. `error` is null where an answer came, `error_class` where it was
    a success. `request_headers` and `timings` (milliseconds of each phase) are JSON objects; nothing in them is
    secret."""

    delivery_id: str
    attempt: int
    started_at: Instant
    duration_ms: int
    status_code: int | None
    error: str | None
    response_body: str | None
    error_class: str | None = None
    request_headers: str | None = None
    timings: str | None = None


class Settled(Struct, frozen=True, kw_only=True):
    """What an attempt made of its delivery."""

    webhook_id: str
    attempt: Attempt
    status: str
    next_attempt_at: Instant | None
    completed_at: Instant | None


class DeliveryQuery(Struct, frozen=True, kw_only=True):
    """Of `statuses` and types of `events` any, where none is said. `start_time` is inclusive, `end_time` exclusive,
    both of the creation."""

    organization_id: str
    webhook_id: str | None = None
    statuses: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    event_id: str | None = None
    start_time: Instant | None = None
    end_time: Instant | None = None
    before_id: str | None = None
    limit: int = 50
    offset: int = 0


class EndpointLimits(NamedTuple):
    """How an endpoint may be served, as the pump gives it to a claim: under way at once and attempts begun a second,
    by all processes together, and how many this claim may take."""

    webhook_id: str
    max_in_flight: int
    ordered: bool
    rate_per_second: float | None = None
    room: int | None = None


class Claimed(NamedTuple):
    """What a claim took. `again_at`: when an endpoint's rate lets more through, null where none held back."""

    deliveries: list[Delivery]
    again_at: Instant | None = None


class EndpointState(Struct, frozen=True, kw_only=True):
    """How an endpoint has answered. `failing_since` is the first failure after its last success, null where that was
    its last answer."""

    webhook_id: str
    last_success_at: Instant | None = None
    last_failure_at: Instant | None = None
    failing_since: Instant | None = None


_BUCKETS_AN_OCTAVE: Final = 4


def latency_bucket(milliseconds: float) -> int:
    """Latencies are counted in buckets that grow by a fifth: 0 for what is below a millisecond."""
    return 0 if milliseconds < 1 else 1 + math.floor(_BUCKETS_AN_OCTAVE * math.log2(milliseconds))


def bucket_milliseconds(bucket: int) -> float:
    """The upper bound of a bucket."""
    return float(2 ** (bucket / _BUCKETS_AN_OCTAVE))


class Backlog(NamedTuple):
    """What is due, and since when the oldest of it waits; null where nothing does. `due` stops at `most`."""

    due: int
    oldest: Instant | None


class CheckpointMoved(Exception):
    """Another process has moved the checkpoint: what was decided since then is not this one's to write."""

    def __init__(self, name: str, expected: int) -> None:
        super().__init__(f"the checkpoint {name} is not at {expected} any more")
        self.name, self.expected = name, expected


class Deliveries(Protocol):
    """Ledger: deliveries, their attempts, and the checkpoint of the fan-out. All times are the caller's."""

    async def checkpoint(self, name: str) -> int:
        """Through which position `name` has come; 0 at first."""

    async def fan_out(self, name: str, since: int, checkpoint: int, deliveries: Sequence[Delivery]) -> None:
        """Writes deliveries (those whose id exists are left alone) and moves the checkpoint from `since` to
        `checkpoint`, in one transaction. Raises `CheckpointMoved`, and writes nothing, where it is not at `since`."""

    async def add(self, deliveries: Sequence[Delivery]) -> None:
        """Writes deliveries (those whose id exists are left alone); no checkpoint moves. For those that do not come
        from the fan-out, such as a test event."""

    async def claim(
        self,
        shard: int,
        limits: Callable[[str], EndpointLimits | None],
        now: Instant,
        lease_until: Instant,
        limit: int,
        *,
        through: int,
    ) -> Claimed:
        """Takes due deliveries of a shard, one of each endpoint in turn: pending ones, in the log's order, retrying
        ones whose time has come and in-flight ones whose lease ran out, whichever has waited longer. `limits` is
        asked about endpoints that have any, until there is enough; null: not now.
        Never more than `max_in_flight` of an endpoint under way at once, nor more begun than its rate allows; of an
        ordered one only the oldest that has not ended: of what is live, else of what is replayed, one replay after
        another. They come back as in_flight with `attempt_count` raised.

        `through` is the position as of which the limits are known: what happened later waits for newer ones."""

    async def renew(self, claimed: Sequence[Delivery], lease_until: Instant) -> None:
        """Prolongs the leases of deliveries as they were claimed; those that are no longer held are left alone."""

    async def settle(self, settled: Sequence[Settled]) -> None:
        """Writes attempts, what they made of their deliveries and what they say of their endpoints, in one
        transaction. One that was claimed again since (its `attempt_count` is another) keeps its status. One that was
        cancelled while this attempt was under way takes an end (succeeded, exhausted), which is the truth, but not a
        retry: then it stays cancelled."""

    async def release(self, claimed: Sequence[Delivery], now: Instant) -> None:
        """Gives deliveries back as they were claimed, unsent: due at once, the attempt not counted. Those that are no
        longer held are left alone."""

    async def drop(self, claimed: Sequence[Delivery], now: Instant) -> None:
        """Cancels deliveries as they were claimed; those that are no longer held are left alone."""

    async def release_all(self, now: Instant) -> int:
        """For the store that only one process can hold: whatever is in flight at its start was being sent by one that
        is dead. Makes it due at once instead of at the end of its lease (the attempt stays counted: it may have
        arrived); answers how many."""

    async def release_stray(self, now: Instant, latest: Instant) -> int:
        """Makes due what is in flight with a lease beyond `latest`: a clock has stepped back. Answers how many."""

    async def cancel_waiting(self, webhook_id: str, now: Instant, until: tuple[int, Instant] | None = None) -> int:
        """Cancels what has not ended, some at a time, so that others write in between; answers how many. With
        `until`, an event's position and time, only what was there then: live deliveries of events up to it, and test
        events from before it; replays end by themselves."""

    async def next_due(self, shard: int) -> Instant | None:
        """When the shard's next delivery is due (or its lease runs out); null where nothing waits."""

    async def backlog(self, now: Instant, most: int) -> Backlog:
        """Over all endpoints: what could be sent now, or is being sent by one that died."""

    async def state(self, webhook_id: str) -> EndpointState | None:
        """Null for one that was never sent anything."""

    async def failing(self, since: Instant) -> list[EndpointState]:
        """Endpoints that have failed since then or longer, and were sent something since."""

    async def forgive(self, webhook_id: str) -> None:
        """Forgets since when an endpoint has failed."""

    async def sweep_counts(self, before_hour: str) -> int:
        """Deletes the counts of attempts from before an hour (`2026-01-31T12`); answers how many."""

    async def get(self, id: str) -> tuple[Delivery, list[Attempt]] | None: ...

    async def find(self, query: DeliveryQuery) -> list[Delivery]:
        """Newest first by id."""

    async def attempts(self, delivery_ids: Sequence[str]) -> dict[str, list[Attempt]]: ...
