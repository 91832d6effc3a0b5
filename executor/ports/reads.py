"""Rows: queries over them as values, and the reads that answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeVar

from msgspec import Struct

from executor.domain.aggregate import Row
from executor.domain.execution.queue import Held, Waiting
from executor.domain.values import Instant

R = TypeVar("R", bound=Row)


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
        """Executions whose `runnable_at` has come and that no living engine holds: urgent first, then oldest. Not
        those in the queue, but for those that have waited there for longer than they may."""

    async def next_runnable_at(self, now: Instant) -> Instant | None:
        """When the next execution becomes due after now: by itself, or because it has waited too long."""

    async def queues(self) -> dict[str, int]:
        """Organizations with executions in the queue, and how many of each one's have begun and not ended."""

    async def places(self, organization_id: str) -> list[Held]:
        """The places that an organization's executions have; those without any are left out."""

    async def in_queue(self, organization_id: str, now: Instant, limit: int) -> list[Waiting]:
        """An organization's executions whose time has come: urgent first, then oldest. Those whose concurrency key
        has no place left may be left out."""

    async def recent_durations(self, workflow_id: str, limit: int) -> list[float]:
        """Seconds that the newest completed executions of a workflow took."""
