"""The ledger of replays: which span of the log goes again to whom, and how far each has come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from executor.domain.values import Instant
from executor.ports.deliveries import Delivery


class Replay(Struct, frozen=True, kw_only=True):
    """A job: the events from `first` through `last` that match, to a webhook, or, where that is null, to its channel.

    `kind` is replay, or what a recovery makes due again: failed, or undelivered. `types` are patterns, none for all.
    `position` is through where it has come, `first` - 1 at the beginning; `processed` counts the events that matched
    up to there. `status` is pending, running, completed, cancelled or
    failed; once it has ended, `completed_at` says when.
    """

    id: str
    organization_id: str
    webhook_id: str | None
    first: int
    last: int
    types: tuple[str, ...] = ()
    workflow_id: str | None = None
    execution_id: str | None = None
    kind: str = "replay"
    status: str = "pending"
    position: int
    processed: int = 0
    error: str | None = None
    created_by: str
    created_at: Instant
    completed_at: Instant | None = None

    @property
    def is_ended(self) -> bool:
        return self.completed_at is not None


class ReplayQuery(Struct, frozen=True, kw_only=True):
    organization_id: str
    status: str | None = None
    before_id: str | None = None
    limit: int = 50
    offset: int = 0


class Replays(Protocol):
    """Ledger: replays. A replay that has ended never changes again."""

    async def add(self, replay: Replay) -> None: ...

    async def get(self, id: str) -> Replay | None: ...

    async def find(self, query: ReplayQuery) -> list[Replay]:
        """Newest first by id."""

    async def count(self, query: ReplayQuery) -> int:
        """How many there are in all; where a list begins and how long it is does not matter."""

    async def open(self) -> list[Replay]:
        """Those that have not ended, oldest first by id."""

    async def advance(
        self, id: str, since: int, position: int, processed: int, deliveries: Sequence[Delivery] = ()
    ) -> bool:
        """Writes deliveries and moves the replay from `since` to `position`, with `processed` events more, in one
        transaction; it is running from then on. False, and nothing is written, where it has ended or is not at
        `since`: another process does it."""

    async def recover(self, id: str, since: int, position: int, deliveries: Sequence[Delivery]) -> int:
        """As `advance`; but of deliveries that are there, those that were given up or cancelled are due again, with
        all attempts of their policy before them, and the others are left alone. Answers how many are due that were
        not, which counts as processed; 0 also where the job has ended or is not at `since`."""

    async def end(self, id: str, status: str, now: Instant, error: str | None = None) -> bool:
        """Ends a replay and cancels what waits of its deliveries, which so were not processed, in one transaction.
        False where it had ended."""

    async def waiting(self, id: str) -> int:
        """How many of its deliveries have not ended."""
