"""Agents as components see them: whom they may ask, and all that is needed to do it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from msgspec import Struct

from executor.domain.secrets import REDACTED
from executor.domain.values import RetryPolicy


class Callee(Struct, frozen=True, kw_only=True):
    """An agent that may be asked now. `headers` carry its credential in clear; `retry` and `timeout_seconds` (of one
    call) hold where a definition says nothing else."""

    id: str
    name: str
    url: str
    protocol: str
    headers: dict[str, str]
    timeout_seconds: float
    retry: RetryPolicy

    def __repr__(self) -> str:
        return f"Callee(id={self.id!r}, name={self.name!r}, headers={REDACTED})"


FindAgent = Callable[[str | None, str | None], Awaitable[Callee]]
"""The agent of an id, else of a name. Raises `ComponentError` where there is none that may be asked."""

AgentsOf = Callable[[str, set[str]], FindAgent]
"""The agents of an organization; each credential that is opened for one is added to the set, so that it can be
searched for in what comes back."""
