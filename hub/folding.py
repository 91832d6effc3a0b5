"""What a process of its own does for a rebuild. It imports little, since each of them has to start."""

from __future__ import annotations

from hub.aggregates import AGGREGATES
from storage.differences import Compared
from storage.projections import Span
from storage.rebuild import compare


async def compared(url: str, span: Span, tables: frozenset[str]) -> Compared:
    """A span against the log. Raises `WrongDatabase`, `Unavailable`."""
    return await compare(url, span, tables, AGGREGATES)
