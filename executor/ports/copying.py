"""A hub carried between stores: its log event by event, its tables row by row, and the marks a store bears.

`IMPORTING` says that what is being brought into it is not whole yet, `HELD` that its runs and deliveries wait until
somebody takes it over, `COPIED` that it is a copy and needs an epoch of its own at its first start, `MOVED` that
another store has taken its place. A mark's value is for people to read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol

from executor.ports.ledgers import Organization
from executor.ports.log import Stored

IMPORTING: Final = "importing"
HELD: Final = "held"
COPIED: Final = "copied"
MOVED: Final = "moved"
MARKS: Final = (IMPORTING, HELD, COPIED, MOVED)

Values = tuple[Any, ...]


class CopySource(Protocol):
    """What a copy reads of a store beside its events, which `EventLog.scan` has."""

    async def marks(self) -> dict[str, str]: ...

    async def organizations(self) -> list[Organization]:
        """All of them, by name."""

    async def columns(self, table: str) -> tuple[str, ...]:
        """The columns of a table, by name."""

    async def rows(self, table: str, key: Sequence[str], after: Values | None, limit: int) -> list[Values]:
        """Rows of a table in the order of their key, after one key (exclusive): values in the order of `columns`."""

    async def count(self, table: str) -> int: ...


class Copying(CopySource, Protocol):
    """What a copy writes. Each call is one transaction."""

    async def others(self) -> int:
        """How many other processes have the store open."""

    def frozen(self) -> AbstractAsyncContextManager[None]:
        """Nobody appends while it is open: other processes find the log unavailable."""

    async def mark(self, marks: Mapping[str, str | None]) -> None:
        """Sets marks; null takes one away."""

    async def new_epoch(self) -> str:
        """Gives the log another epoch, which holds from the next opening on."""

    async def bring(
        self,
        events: Sequence[Stored],
        *,
        organizations: Sequence[Organization] = (),
        checkpoints: Mapping[str, int] | None = None,
        marks: Mapping[str, str | None] | None = None,
        is_folded: bool = True,
    ) -> None:
        """Writes events that follow the head, exactly as they are, and with `is_folded` the rows and names that they
        lead to. That they are whole is the caller's to prove; nobody else may write meanwhile.

        Raises `ValueError` where they do not follow the head or a stream's versions; what cannot be folded raises.
        """

    async def put(self, table: str, columns: Sequence[str], rows: Sequence[Values]) -> None:
        """Writes rows into a table that has none with these keys."""

    async def clear(self, table: str) -> None: ...
