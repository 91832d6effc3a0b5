"""Projections, which are what follows from the log alone (rows, and names that are held), put right beside appends.

Who compares them with the log reads the store by itself; what differs comes here to be written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from msgspec import Struct

NAMES: Final = "names"
"""The table of names that are held; a projection as the rows are."""

Values = tuple[Any, ...]


class Repair(Struct, frozen=True, array_like=True):
    """What brings one row to what its stream's events say, as of a version (`NEW` where it has no events): the values
    of the key of a row that goes (of a name: and of its stream), and the whole row that comes."""

    stream: str
    version: int
    table: str
    removed: Values | None
    put: Values | None


class Projections(Protocol):
    """What a rebuild writes. It appends nothing, so nobody hears of it."""

    async def repair(self, repairs: Sequence[Repair]) -> list[str]:
        """Writes repairs in one transaction, so readers see whole rows; answers the streams that were left alone.

        Those are not at the repair's version any more, or were archived: an append or the retention has written their
        rows since. Raises `Unavailable`, and `ValueError` for a table that no projection has.
        """

    async def notes(self) -> dict[str, str]:
        """What `note` has left, by key."""

    async def note(self, notes: Mapping[str, str | None]) -> None:
        """Notes of rebuilds about themselves; null drops one."""
