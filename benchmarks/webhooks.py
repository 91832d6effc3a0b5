"""Webhooks: deliveries a second beside bare POSTs and a job of arq for each, and how long an event takes to arrive.

    python benchmarks/webhooks.py [--only rates,streams,crowds,claims] [--store sqlite] [--rounds 2]
                                  [--deliveries 10000] [--rows 1000000] [--directory DIR] [--quick]

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
the request has been read, on the clock that both processes share; since due, it also counts how late a busy hub came
to append.

`crowds`: a thousand endpoints of one organization, of which most, a few or none never answer. Each wants the events
of one of twenty workflows; those come at fixed times, to one after the other. Endpoints are as they come: 15 seconds
to time-out, ten requests under way, three times as long from one retry to the next. Times are of those that answer,
since the append was due; what has not arrived ten seconds after the last event counts as `never`.

`claims`: the ledger by itself. A hundred deliveries of ten endpoints are written, claimed and settled, the durable
commits included, beside a million that have succeeded with an attempt each, and beside none; both take turns.

What other processes took includes the server of PostgreSQL.
"""

from __future__ import annotations

import argparse
from pathlib import Path

__path__ = [str(Path(__file__).parents[1] / "webhooks")]
"""The programs beside this one look here first: what they import by this name is the room `webhooks`."""


def main() -> None:
    from children import heed_signals
    from stores import STORES

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="rates,streams,crowds,claims", help="which of them")
    parser.add_argument("--store", default="sqlite", choices=STORES, help="what a hub keeps its log in")
    parser.add_argument("--rounds", type=int, default=2, help="in which hub and peers take turns, of rates")
    parser.add_argument("--deliveries", type=int, default=10_000, help="of each measurement of rates")
    parser.add_argument("--rows", type=int, default=1_000_000, help="deliveries that have succeeded, of claims")
    parser.add_argument("--directory", help="where the log is written (default: a temporary directory)")
    parser.add_argument("--quick", action="store_true", help="small sizes: whether it works, not what it measures")
    heed_signals()
    measure(parser.parse_args())


def measure(arguments: argparse.Namespace) -> None:
    import arrivals
    import claims
    import crowds
    import rates
    from children import Neighbours
    from rich.console import Console

    is_quick, place = arguments.quick, (arguments.store, arguments.directory)
    speed = rates.Sizes(deliveries=arguments.deliveries, rounds=arguments.rounds)
    rows = claims.Sizes(rows=arguments.rows)
    parts = {
        "rates": lambda: rates.rates_table(rates.QUICK if is_quick else speed, *place),
        "streams": lambda: arrivals.streams_table(arrivals.QUICK if is_quick else arrivals.STREAMS, *place),
        "crowds": lambda: crowds.crowds_table(crowds.QUICK if is_quick else crowds.CROWDS, *place),
        "claims": lambda: claims.claims_table(claims.QUICK if is_quick else rows, *place),
    }
    only = arguments.only.split(",")
    if unknown := set(only) - set(parts):
        raise SystemExit(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
    for name in only:
        meanwhile, made = Neighbours(), parts[name]()
        made.caption = f"On {arguments.store}; {meanwhile.at_the_end()}"
        Console(width=140).print(made)


if __name__ == "__main__":
    main()
