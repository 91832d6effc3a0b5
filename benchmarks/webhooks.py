"""Webhooks: deliveries a second beside bare POSTs and a job of arq for each, and how long an event takes to arrive.

    python benchmarks/webhooks.py [--only rates,streams] [--store sqlite] [--rounds 2] [--directory DIR] [--quick]

A hub is a whole `runcast up` on a durable store, with engine, doors and all, and its Valkey. Events are lines of the
logs of twenty executions, appended to the log's port in that process: each goes to the disk with its hash and row, is
fanned out into a delivery for each endpoint, which is claimed, signed, posted and settled on the disk. The receiver
is another process, a bare protocol on uvloop that answers 200 and notes what comes: nothing may be missing, and of
`rates` nothing may come twice.

`rates`: all events are appended at once, and time runs from the first arrival to the last. The limit is a loop of
aiohttp in one process that POSTs bodies of that size to that receiver, as many at once as one endpoint may have under
way, unsigned. The peer is arq, as the same work is often done: a job for each, enqueued beforehand, 1,000 at once,
that does nothing, or POSTs. All take turns; figures are medians of the rounds. `CPU µs each` is the time of the
processor that the process took, the commits included, from when the last event was on the disk.

`streams`: events come at fixed times, and time runs from the call of the append, the durable commit included, until
the request has been read, on the clock that both processes share.

What other processes took includes the server of PostgreSQL.
"""

from __future__ import annotations

import argparse
from pathlib import Path

__path__ = [str(Path(__file__).parents[1] / "webhooks")]
"""The programs beside this one look here first: what they import by this name is the room `webhooks`."""


def main() -> None:
    from arrivals import STREAMS, Stream, streams_table
    from children import Neighbours, heed_signals
    from rates import Sizes, bench, rates_table
    from rich.console import Console
    from stores import STORES

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="rates,streams", help="which of them")
    parser.add_argument("--store", default="sqlite", choices=STORES, help="what a hub keeps its log in")
    parser.add_argument("--rounds", type=int, default=2, help="in which hub and peers take turns")
    parser.add_argument("--directory", help="where the log is written (default: a temporary directory)")
    parser.add_argument("--quick", action="store_true", help="small sizes: whether it works, not what it measures")
    arguments = parser.parse_args()
    heed_signals()
    only, is_quick = arguments.only.split(","), arguments.quick
    store, directory = arguments.store, arguments.directory
    console, meanwhile = Console(width=140), Neighbours()
    if "rates" in only:
        sizes = Sizes(400, 400, 200, 20, 1) if is_quick else Sizes(rounds=arguments.rounds)
        with bench(sizes, store, directory) as all:
            console.print(rates_table(all, sizes))
    if "streams" in only:
        console.print(streams_table([Stream(100, 50)] if is_quick else STREAMS, store, directory))
    console.print(f"On {store}; {meanwhile.at_the_end()}")


if __name__ == "__main__":
    main()
