"""What people do with deliveries beside reading them: ask for one again, cancel what waits, see how it goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from executor.domain.values import Instant
from executor.ports.deliveries import Delivery


class AttemptCount(NamedTuple):
    """`outcome` is succeeded, or the class of the error; `bucket` that of the latency (see `bucket_milliseconds`)."""

    outcome: str
    bucket: int
    attempts: int


class EndpointBacklog(NamedTuple):
    """What has not ended; `oldest_at` is when the oldest of it was created."""

    waiting: int
    oldest_at: Instant | None


class Redelivery(Protocol):
    """Ledger: the same deliveries, as those who look after an endpoint steer them. All times are the caller's."""

    async def resend(self, id: str, now: Instant) -> Delivery | None:
        """Makes a delivery due at once, with all attempts of its policy before it. Null, and nothing is changed,
        where it is being sent, or is not there."""

    async def cancel(self, ids: Sequence[str], now: Instant) -> int:
        """Cancels those of them that wait and are not being sent; answers how many. One transaction."""

    async def counts(self, webhook_id: str, since_hour: str) -> list[AttemptCount]:
        """Attempts from that hour on (`2026-01-31T12`), over all hours."""

    async def backlog(self, webhook_id: str, most: int) -> EndpointBacklog:
        """Counts up to `most`."""
