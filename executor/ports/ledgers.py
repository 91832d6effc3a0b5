"""The small ledgers: engines, leases, whose tasks are whose, organizations, when keys were used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from msgspec import Struct

from executor.domain.plans import Plan, runs_at_once
from executor.domain.values import Instant


class Engines(Protocol):
    """Ledger: which engines live. An engine whose last beat is older than its time to live is dead."""

    async def beat(self, engine: str, ttl_seconds: float) -> None: ...

    async def alive(self) -> int:
        """How many live."""

    async def leave(self, engine: str) -> None:
        """Ends an engine: what it held may be claimed at once."""

    async def leave_all(self) -> None:
        """For the store that only one process can hold: every engine of before is dead."""


class Leases(Protocol):
    """Ledger: who does what only one process may do at a time, such as the fan-out. By the store's clock.

    A lease hastens and saves work; it proves nothing. Whoever was paused may believe to hold one that has run out, so
    what is done under it must be harmless twice, or be checked where it is written.
    """

    async def take(self, name: str, holder: str, ttl_seconds: float) -> bool:
        """Takes or renews a lease; False while another holder's has not run out."""

    async def drop(self, name: str, holder: str) -> None:
        """Lets go of a lease, if it is still this holder's."""


class TaskLease(NamedTuple):
    """`lease_id` names one claim: the same worker's next one of the same task has another."""

    task_id: str
    worker_id: str
    lease_id: str


class TaskLeases(Protocol):
    """Ledger: which worker has which external task, until when, by the store's clock. The task's events say what came
    of it; who finds a lease that ran out appends that, and the stream's version decides between those who do."""

    async def claim(
        self, organization_id: str, types: Sequence[str], worker_id: str, lease_id: str, seconds: float, limit: int
    ) -> list[str]:
        """Takes leases of tasks that wait for a worker: urgent ones first, then the oldest. Their ids, in any order.
        No task is ever two claims' at a time."""

    async def take(self, lease: TaskLease, seconds: float) -> bool:
        """Takes the lease of one task; False while another one's has not run out."""

    async def renew(self, task_id: str, worker_id: str, seconds: float) -> bool:
        """Lengthens a lease from now on; False where it has run out, or is another worker's."""

    async def drop(self, task_id: str, lease_id: str) -> None:
        """Lets go of a lease, if it is still this one."""

    async def expired(self, limit: int) -> list[TaskLease]:
        """Those that have run out, longest ago first."""

    async def orphans(self, limit: int) -> list[tuple[str, int]]:
        """Tasks that a worker has by their rows and by no lease, as after the import of a log; with their streams'
        versions."""


class Organization(Struct, frozen=True, kw_only=True):
    """`sealed_key` is empty once the key was forgotten: what was sealed under it cannot be opened any more.
    `own_runs_at_once` counts where the plan is custom."""

    id: str
    name: str
    sealed_key: str
    created_at: Instant
    plan: Plan = Plan.UNLIMITED
    own_runs_at_once: int | None = None

    @property
    def runs_at_once(self) -> int | None:
        """How many of its runs may have begun and not ended; None for any number."""
        return runs_at_once(self.plan, self.own_runs_at_once)


class Organizations(Protocol):
    """Ledger: organizations and the sealed key of each."""

    async def get(self, id: str) -> Organization | None: ...

    async def by_name(self, name: str) -> Organization | None: ...

    async def add(self, organization: Organization) -> Organization:
        """Keeps it, or answers the one that has the name already."""

    async def all(self) -> list[Organization]:
        """By name."""

    async def replace_key(self, id: str, former: str, sealed_key: str) -> bool:
        """Puts a sealed key, or none, in the place of a former one, which is overwritten; False where the
        organization has another."""

    async def set_plan(self, id: str, plan: Plan, own_runs_at_once: int | None) -> None: ...


class FirstAnswer(Struct, frozen=True):
    """How a request of an `Idempotency-Key` was answered first; without a status it is under way."""

    fingerprint: str
    status: int | None
    sealed: str


class FirstAnswers(Protocol):
    """Ledger: first answers, by organization and key."""

    async def begin(
        self, organization_id: str, key: str, fingerprint: str, *, now: Instant, expires_at: Instant, lost: Instant
    ) -> FirstAnswer | None:
        """None where nobody has used the key, or has begun before `lost` and never answered: it is the
        caller's now. Forgets what has expired."""

    async def finish(self, organization_id: str, key: str, status: int, sealed: str) -> None: ...

    async def drop(self, organization_id: str, key: str) -> None: ...


class KeyUse(Protocol):
    """Ledger: when each API key was last used."""

    async def touch(self, used: dict[str, Instant]) -> None: ...

    async def last_used(self, ids: Sequence[str]) -> dict[str, Instant]: ...
