"""Facts about agents. The credential in `auth_config` is sealed text: see `executor/sealing.py`."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from executor.domain.events.base import Event
from executor.domain.values import RetryPolicy


class RetryConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often a call is tried again. Delays are milliseconds; `max_retries` does not count the first try."""

    max_retries: Annotated[int, Meta(ge=0, le=10)] = 3
    initial_delay_ms: Annotated[int, Meta(ge=100, le=3_600_000)] = 1000
    max_delay_ms: Annotated[int, Meta(ge=1000, le=3_600_000)] = 30_000
    backoff_multiplier: Annotated[float, Meta(ge=1, le=100)] = 2.0

    @property
    def policy(self) -> RetryPolicy:
        return RetryPolicy(
            max_attempts=self.max_retries + 1,
            initial_delay_seconds=self.initial_delay_ms / 1000,
            max_delay_seconds=self.max_delay_ms / 1000,
            backoff_multiplier=self.backoff_multiplier,
        )


class AgentFacts(Event, frozen=True, kw_only=True):
    """An agent as the log keeps it. `auth_config` is as clients write it, but for the credential (`token` or `key`);
    `url` is null only for people."""

    name: str
    description: str | None
    url: str | None
    agent_type: str
    protocol: str
    capabilities: tuple[str, ...]
    auth_type: str
    auth_config: dict[str, str]
    timeout_ms: int
    retry_config: RetryConfig
    availability: str
    status: str


class AgentRegistered(AgentFacts, frozen=True, kw_only=True):
    type: ClassVar[str] = "agent.registered"


class AgentUpdated(AgentFacts, frozen=True, kw_only=True):
    """The whole agent after the change; `changed` names the fields that differ."""

    type: ClassVar[str] = "agent.updated"
    changed: tuple[str, ...]


class AgentDeleted(Event, frozen=True, kw_only=True):
    type: ClassVar[str] = "agent.deleted"
    name: str
