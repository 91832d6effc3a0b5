"""`runcast events verify`: the chain of hashes recomputed, on all processors, read-only, beside a hub or without."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

from msgspec import Struct

from executor.domain.errors import Unavailable
from hub.inspect import InspectError, log_url
from hub.settings import Settings
from hub.workers import cpus, workers
from storage.errors import StorageError
from storage.proof import Flaw, Stretch, prove
from storage.source import opened_source

_STRETCH: Final = 25_000
"""Events. Longer ones would find a flaw at the beginning of a log later."""

_ALONE: Final = 50_000
"""Up to so many events other processes take longer to start than to help."""

_WORTH_A_SPEED: Final = 1_000_000
"""Bytes from which on the time that they took says anything."""

Progress = Callable[[int, int], None]
"""(events proved, events to prove)"""


class Proof(Struct, frozen=True, kw_only=True):
    """What came of a proof of the events `first` through `last` of a log that has `given` of them. `position` and
    `hash` are of the last that was proved; `bytes` of the log were hashed in `seconds`."""

    first: int
    last: int
    given: int
    position: int
    hash: bytes
    bytes: int
    seconds: float
    flaw: Flaw | None

    @property
    def count(self) -> int:
        return max(0, self.position - self.first + 1)


async def verify(
    settings: Settings,
    first: int = 1,
    last: int | None = None,
    *,
    processes: int | None = None,
    stretch: int = _STRETCH,
    progress: Progress = lambda done, total: None,
) -> Proof:
    """Proves the events from `first` through `last`, by default all that were there when it began.

    The first is chained from the hash that the event before it claims. Raises `InspectError`.
    """
    url = log_url(settings)
    try:
        given = await _given(url)
        through = _bounded(first, last, given)
        if processes is None:
            processes = cpus() if through - first >= _ALONE else 0
        stretches = _stretches(url, first - 1, through, stretch)
        hashed, start, end = 0, time.perf_counter(), Stretch(first - 1, bytes(32), 0, None)
        with workers(processes) as pool:
            async for end in pool.in_order(prove, stretches):
                hashed += end.bytes
                progress(end.position - first + 1, through - first + 1)
                if end.flaw is not None:
                    break
            seconds = time.perf_counter() - start
    except (StorageError, Unavailable) as error:
        raise InspectError(str(error)) from None
    return Proof(
        first=first,
        last=through,
        given=given,
        position=end.position,
        hash=end.hash,
        bytes=hashed,
        seconds=seconds,
        flaw=end.flaw,
    )


async def _given(url: str) -> int:
    async with opened_source(url) as source:
        return await source.given()


def _bounded(first: int, last: int | None, given: int) -> int:
    if last is not None and last < first:
        raise InspectError(f"--to {last} is before --from {first}")
    for option, position in (("--from", first), ("--to", last)):
        if position is not None and position > max(given, 1):
            raise InspectError(f"{option} {position} is not in the log, whose last position is {given}")
    return given if last is None else min(last, given)


def _stretches(url: str, after: int, through: int, length: int) -> Iterator[tuple[str, int, int]]:
    while after < through:
        end = min(after + length, through)
        yield url, after, end
        after = end


def told(proof: Proof) -> str:
    """What the command prints: what was proved or is wrong, and how fast that went where that says anything."""
    if proof.flaw is not None:
        return f"the log is broken at position {proof.flaw.position}: {proof.flaw.reason}"
    if proof.last == 0:
        return "the log is empty"
    span = "" if (proof.first, proof.last) == (1, proof.given) else f", {proof.first} to {proof.last}"
    end = "head" if proof.last == proof.given else "last"
    whole = f"{proof.count} events are whole{span}; the {end} is {proof.position}, hash {proof.hash.hex()}"
    if proof.bytes < _WORTH_A_SPEED:
        return whole
    speed = proof.bytes / 1e6 / max(proof.seconds, 1e-9)
    return f"{whole}\n{proof.bytes / 1e6:.1f} MB in {proof.seconds:.2f} s: {speed:.0f} MB/s"
