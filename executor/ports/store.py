"""An opened store as a whole, and the clock."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from executor.domain.values import Instant
from executor.ports.copying import Copying
from executor.ports.deliveries import Deliveries
from executor.ports.ledgers import Engines, FirstAnswers, KeyUse, Leases, Organizations, TaskLeases
from executor.ports.log import EventLog
from executor.ports.projections import Projections
from executor.ports.reads import Reads
from executor.ports.redelivery import Redelivery
from executor.ports.replays import Replays
from executor.ports.retention import Retention


class Ledgers(Protocol):
    """True beside the log: a rebuild never touches them, a backup carries them."""

    @property
    def engines(self) -> Engines: ...
    @property
    def leases(self) -> Leases: ...
    @property
    def task_leases(self) -> TaskLeases: ...
    @property
    def organizations(self) -> Organizations: ...
    @property
    def key_use(self) -> KeyUse: ...
    @property
    def first_answers(self) -> FirstAnswers: ...
    @property
    def deliveries(self) -> Deliveries: ...
    @property
    def redelivery(self) -> Redelivery: ...
    @property
    def replays(self) -> Replays: ...
    @property
    def retention(self) -> Retention: ...


class Store(Protocol):
    """An opened database: its parts, and its end."""

    @property
    def log(self) -> EventLog: ...
    @property
    def reads(self) -> Reads: ...
    @property
    def ledgers(self) -> Ledgers: ...
    @property
    def copying(self) -> Copying: ...
    @property
    def projections(self) -> Projections: ...

    @property
    def is_shared(self) -> bool:
        """Other processes may write to it at the same time."""

    def exclusively(self, name: str) -> AbstractAsyncContextManager[None]:
        """Only one process of all that share the store is inside at a time; for what is rare and short, such as the
        first start. Raises `Unavailable`."""

    async def ping(self) -> None:
        """Raises `Unavailable` where the database does not answer."""

    async def close(self) -> None: ...


class Clock(Protocol):
    """Time and fresh ids, so that what decides needs neither."""

    def now(self) -> Instant: ...

    def new_id(self) -> str:
        """A fresh ULID; of one clock, each sorts after the one before."""
