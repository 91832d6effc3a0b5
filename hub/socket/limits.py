"""How much a client may have and say at once, and its organization in this process: counted, never waited for.

What a connection (or an event stream) has is in its `Holding`; given back as a whole when it ends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from executor.domain.errors import Code, Problem
from hub.channels import Key
from hub.message_data import MAX_OUTPUT_BYTES
from hub.settings import Settings
from hub.socket.outbox import MAX_UNSENT_BYTES

MAX_MESSAGE_BYTES: Final = 64 * 1024
MAX_CHANNELS: Final = 100
MAX_FILTERS: Final = 20
FILTER_TOKENS: Final = 5
"""Messages that a filter counts for which nobody of the organization has yet: it has to be compiled."""


class Limits(Struct, frozen=True, kw_only=True):
    """What `welcome` says. Of a client: the bytes of a message; its subscriptions, and how many channels one message
    may name; its different filters; messages in a second, and how many at once after a pause. Of an organization, in
    each process: its connections, subscriptions and different filters. `output_bytes` is the longest output that is
    not left out of a message; `unsent_bytes` may wait for a client before it is set aside; `lag` is the number of
    events that it may be behind, null for any."""

    message_bytes: int = MAX_MESSAGE_BYTES
    subscriptions: int = 1000
    output_bytes: int = MAX_OUTPUT_BYTES
    channels: int = MAX_CHANNELS
    filters: int = MAX_FILTERS
    messages_per_second: int = 100
    message_burst: int = 200
    connections: int = 10_000
    organization_subscriptions: int = 100_000
    organization_filters: int = 50
    unsent_bytes: int = MAX_UNSENT_BYTES
    lag: int | None = None


LIMITS: Final = Limits()


def limits_of(settings: Settings) -> Limits:
    return Limits(
        subscriptions=settings.max_connection_subscriptions,
        messages_per_second=settings.messages_per_second,
        message_burst=settings.message_burst,
        connections=settings.max_connections,
        organization_subscriptions=settings.max_subscriptions,
        organization_filters=settings.max_filters,
        unsent_bytes=settings.max_unsent_bytes,
        lag=settings.max_lag,
    )


class Bucket:
    """Tokens for messages: they come back with time, and each message takes one, also one that is refused. So who
    goes on all the same falls ever deeper, and is told by `is_spent`. The caller brings the seconds of a clock."""

    __slots__ = ("_burst", "_rate", "_seen", "_tokens")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._seen = burst, 0.0

    def take(self, now: float) -> float:
        """0 for a message that may come, else after how many seconds another one may."""
        self._tokens = min(self._burst, self._tokens + (now - self._seen) * self._rate) - 1
        self._seen = now
        return 0.0 if self._tokens >= 0 else (1 - self._tokens) / self._rate

    def spend(self, tokens: float) -> None:
        """For a message that was admitted, and costs more than others."""
        self._tokens -= tokens

    @property
    def is_spent(self) -> bool:
        """As many were refused as may come at once."""
        return self._tokens <= -self._burst


class Quotas:
    """What each organization has in this process."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.limits = limits
        self._connections: Counter[str] = Counter()
        self._subscriptions: Counter[str] = Counter()
        self._filters: dict[str, Counter[str]] = {}

    @property
    def is_empty(self) -> bool:
        """Nobody has anything."""
        return not (self._connections or self._subscriptions or self._filters)

    def admit(self, organization_id: str) -> Holding | None:
        """One more connection; None where the organization has as many as it may."""
        if self._connections[organization_id] >= self.limits.connections:
            return None
        self._connections[organization_id] += 1
        return Holding(self, organization_id)

    def refusal(self, organization_id: str, condition: str | None, *, is_more: bool) -> Problem | None:
        """What stands against a subscription of an organization, which may take another's place."""
        limits = self.limits
        if is_more and self._subscriptions[organization_id] >= limits.organization_subscriptions:
            return _too_many(f"the organization has {limits.organization_subscriptions} subscriptions here already")
        filters = self._filters.get(organization_id, ())
        if condition is not None and condition not in filters and len(filters) >= limits.organization_filters:
            said = f"the organization has {limits.organization_filters} different filters here already"
            return _too_many(said, "filter")
        return None

    def knows(self, organization_id: str, condition: str) -> bool:
        return condition in self._filters.get(organization_id, ())

    def subscribed(self, organization_id: str, condition: str | None) -> None:
        self._subscriptions[organization_id] += 1
        if condition is not None:
            self._filters.setdefault(organization_id, Counter())[condition] += 1

    def unsubscribed(self, organization_id: str, condition: str | None) -> None:
        _take_one(self._subscriptions, organization_id)
        if condition is not None:
            filters = self._filters[organization_id]
            _take_one(filters, condition)
            if not filters:
                del self._filters[organization_id]

    def disconnected(self, organization_id: str) -> None:
        _take_one(self._connections, organization_id)


class Holding:
    """What one connection has: its channels, each with the condition of its subscription."""

    __slots__ = ("_conditions", "_is_open", "_organization_id", "_quotas")

    def __init__(self, quotas: Quotas, organization_id: str) -> None:
        self._quotas, self._organization_id = quotas, organization_id
        self._conditions: dict[Key, str | None] = {}
        self._is_open = True

    def __contains__(self, key: Key) -> bool:
        return key in self._conditions

    def __iter__(self) -> Iterator[Key]:
        return iter(sorted(self._conditions))

    def refusal(self, key: Key, condition: str | None) -> Problem | None:
        """What stands against a subscription; one that is there already is replaced."""
        limits, others, is_more = self._quotas.limits, self._conditions, key not in self._conditions
        if is_more and len(others) >= limits.subscriptions:
            return _too_many(f"a connection has at most {limits.subscriptions} subscriptions")
        if condition is not None:
            filters = {other for held, other in others.items() if other is not None and held != key}
            if condition not in filters and len(filters) >= limits.filters:
                return _too_many(f"a connection has at most {limits.filters} different filters", "filter")
        return self._quotas.refusal(self._organization_id, condition, is_more=is_more)

    def knows(self, condition: str) -> bool:
        """Somebody of the organization has such a filter already."""
        return self._quotas.knows(self._organization_id, condition)

    def add(self, key: Key, condition: str | None) -> None:
        """To be called only where there is no `refusal`."""
        self.remove(key)
        self._conditions[key] = condition
        self._quotas.subscribed(self._organization_id, condition)

    def remove(self, key: Key) -> None:
        """May be called twice."""
        if key in self._conditions:
            self._quotas.unsubscribed(self._organization_id, self._conditions.pop(key))

    def clear(self) -> None:
        for key in tuple(self._conditions):
            self.remove(key)

    def close(self) -> None:
        """The connection is gone. May be called twice."""
        self.clear()
        if self._is_open:
            self._is_open = False
            self._quotas.disconnected(self._organization_id)


def _too_many(message: str, field: str | None = None) -> Problem:
    return Problem(Code.RATE_LIMIT_EXCEEDED, message, field)


def _take_one(counter: Counter[str], name: str) -> None:
    counter[name] -= 1
    if counter[name] <= 0:
        del counter[name]
