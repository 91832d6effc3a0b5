"""From the append of an event to its arrival: with an idle hub and with a busy one."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from endpoints import PATIENCE, Delivering, Receiver, delivering, receiver
from rich.table import Table
from subscribers import table

PARTS: Final = {"p50": 0.5, "p99": 0.99}
AT_ONCE: Final = 100
WAITS: Final = (*(f"{name} ms" for name in PARTS), "longest ms")
SINCE_DUE: Final = tuple(f"{name} since due" for name in PARTS)


class Stream(NamedTuple):
    """Events at fixed times."""

    rate: float
    events: int


WARM_UP: Final = Stream(100, 100)
QUICK: Final = (Stream(100, 50),)
STREAMS: Final = (Stream(40, 500), Stream(2000, 8000))


def quantiles(waits: Sequence[int], missing: int = 0) -> list[str]:
    """Milliseconds of nanoseconds that are sorted; those that did not come are the longest."""
    all = [*waits, *[math.inf] * missing]
    found = [all[min(len(all) - 1, int(len(all) * part))] for part in (*PARTS.values(), 1.0)]
    return ["never" if wait == math.inf else f"{wait / 1e6:,.1f}" for wait in found]


def streams_table(streams: Iterable[Stream], store: str, directory: str | None) -> Table:
    made = table(
        "From the append of an event to its arrival, one endpoint",
        *("events/s", "events", "arrivals/s", *WAITS, *SINCE_DUE, "CPU", "CPU of receiver"),
    )
    with (
        receiver() as to,
        delivering(store, directory) as ours,
        ours.endpoints([{"url": to.url(0), "max_in_flight": AT_ONCE}]),
    ):
        arrive(ours, to, WARM_UP)
        for stream in streams:
            made.add_row(f"{stream.rate:,.0f}", f"{stream.events:,}", *arrive(ours, to, stream))
    return made


def arrive(ours: Delivering, to: Receiver, stream: Stream) -> list[str]:
    """Arrivals a second, waits, shares of the processor."""
    processes = (ours.process, to.process)
    to.process.ask("expect", count=stream.events)
    before, began = [each.cpu() for each in processes], time.monotonic()
    ours.hub.at_rate(stream.rate, stream.events)
    found = to.process.ask("wait", seconds=PATIENCE)
    took = time.monotonic() - began
    shares = [(each.cpu() - cpu) / took for each, cpu in zip(processes, before, strict=True)]
    rate = len(found["since_call"]) / max(1, found["last"] - found["first"]) * 1e9
    return [
        f"{rate:,.0f}",
        *quantiles(found["since_call"], found["missing"]),
        *quantiles(found["since_due"], found["missing"])[: len(SINCE_DUE)],
        *(f"{share:.0%}" for share in shares),
    ]
