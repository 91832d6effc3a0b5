"""One stretch of the log proved by itself, in a process of its own: chained from what the event before it claims.

If every stretch holds, so does the whole chain, since each begins with the hash that the one before it has proved.
"""

from __future__ import annotations

from contextlib import aclosing

from msgspec import Struct

from storage.codec import GENESIS, Link, Prover
from storage.errors import Broken
from storage.source import Source, opened_source


class Flaw(Struct, frozen=True):
    """The first event that does not fit, and why."""

    position: int
    reason: str


class Stretch(Struct, frozen=True):
    """What came of a stretch. `bytes` were hashed; with a flaw, `position` and `hash` are of the event before it."""

    position: int
    hash: bytes
    bytes: int
    flaw: Flaw | None


async def prove(url: str, after: int, through: int) -> Stretch:
    """The events after a position (exclusive) through another (inclusive). Raises `WrongDatabase`, `Unavailable`."""
    async with opened_source(url) as source:
        first = await source.link(after) if after else GENESIS
        if first is None:
            return Stretch(after - 1, b"", 0, Flaw(after, "missing"))
        return await _proved(source, first, through)


async def _proved(source: Source, first: Link, through: int) -> Stretch:
    prover, flaw = Prover(first), None
    try:
        async with aclosing(source.events(first.position, through)) as chunks:
            async for chunk in chunks:
                prover.extend(chunk)
    except Broken as broken:
        flaw = Flaw(broken.position, broken.reason)
    end = prover.link
    if flaw is None and end.position < through:
        flaw = Flaw(end.position + 1, f"missing: the log had {await source.given()} events")
    return Stretch(end.position, end.hash, prover.bytes, flaw)
