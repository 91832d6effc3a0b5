"""From append to arrival at endpoints that answer, beside others of the same organization that never do."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final, NamedTuple

from arrivals import WAITS, quantiles
from endpoints import Answer, Delivering, Receiver, delivering, receiver
from rich.table import Table
from subscribers import table

WORKFLOWS: Final = 20
LATE_SECONDS: Final = 10
"""After the last event; what has not arrived by then never does."""


class Crowd(NamedTuple):
    """Endpoints, each for one of the workflows. So many events a second come for so many seconds, each of the next
    workflow."""

    healthy: int
    hanging: int
    rate: int
    seconds: int


QUICK: Final = (Crowd(5, 0, 20, 2), Crowd(5, 20, 20, 2))
CROWDS: Final = (Crowd(10, 0, 20, 10), Crowd(10, 990, 20, 40), Crowd(990, 0, 10, 10), Crowd(990, 10, 10, 20))


def crowds_table(crowds: Iterable[Crowd], store: str, directory: str | None, late: float = LATE_SECONDS) -> Table:
    """A fresh hub for each."""
    made = table(
        "From the append of an event to its arrival at those that answer, beside those that hang until time-out",
        *("answer", "hang", "events/s", "seconds", "arrivals", "missing", *WAITS, "requests that hung", "CPU"),
    )
    for crowd in crowds:
        with receiver() as to, delivering(store, directory) as ours:
            made.add_row(*through(ours, to, crowd, late))
            to.process.ask("let_go")
    return made


def through(ours: Delivering, to: Receiver, crowd: Crowd, late: float) -> list[str]:
    workflows = ours.workflows(WORKFLOWS)
    ours.create(
        [
            {"url": to.url(number, hangs=hangs), "filters": {"workflow_ids": [workflows[number % WORKFLOWS]]}}
            for hangs, count in ((False, crowd.healthy), (True, crowd.hanging))
            for number in range(count)
        ]
    )
    each = crowd.rate * crowd.seconds // WORKFLOWS
    to.process.ask("expect", count=crowd.healthy * each)
    before, began = ours.process.cpu(), time.monotonic()
    ours.process.ask("spread", workflow_ids=workflows, rate=crowd.rate, events=each * WORKFLOWS)
    cpu = (ours.process.cpu() - before) / (time.monotonic() - began)
    return [str(cell) for cell in crowd] + _row(to.process.ask("wait", seconds=late)) + [f"{cpu:.0%}"]


def _row(found: Answer) -> list[str]:
    waits, missing = found["since_due"], found["missing"]
    return [f"{len(waits):,}", f"{missing:,}", *quantiles(waits, missing), f"{found['hanging']:,}"]
