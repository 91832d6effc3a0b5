"""From append to a client's receipt, at fixed rates: Runcast beside NATS over WebSocket and plain Starlette.

    pip install -e '.[bench]'
    python benchmarks/latency.py [--deliveries 50000,150000] [--subscribers 500] [--seconds 6]
                                 [--peers runcast,nats,starlette] [--rounds 2] [--directory DIR]

Servers, subscribers and messages are those of `fanout.py`. One channel has so many subscribers, and messages are sent
at fixed times, each by itself, so often that it comes to the deliveries a second that are asked for. Every message
says when it was due and when it was handed over, which is just before the call of the append (or of the peer's
send); the time of receipt is when its bytes were read, on the same clock. From the call it is what the server takes,
the durable commit of Runcast included; from when it was due, also what it takes until a busy loop comes to the call.
Of one subscriber in ten the times are read, spread over all. The deliveries of all rounds are taken together. A
server that cannot keep up shows it in `deliveries/s`, and in times that grow as long as it runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Final

from children import Neighbours, heed_signals
from peers import chosen
from rich.console import Console
from rich.table import Table
from subscribers import Measured, Subscribers, connected, numbers, possible, started, table

SAMPLE: Final = 10
PARTS: Final = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
COLUMNS: Final = (
    *(
        "wanted/s",
        "server",
        "deliveries/s",
        *(f"{name} ms" for name in PARTS),
        *(f"{name} since due" for name in PARTS),
    ),
    *("CPU", "CPU of receiver"),
)


def at_rate(subscribers: Subscribers, deliveries: int, seconds: float, sample: int = SAMPLE) -> Measured:
    """So many deliveries a second, for so long."""
    rate = deliveries / subscribers.count
    events = max(1, round(rate * seconds))
    return subscribers.measure(lambda: subscribers.peer.at_rate(rate, events), events, sample=sample)


def row(deliveries: int, name: str, found: Sequence[Measured]) -> list[str]:
    since_call = sorted(wait for each in found for wait in each.since_call)
    since_due = sorted(wait for each in found for wait in each.since_due)
    return [
        *(f"{deliveries:,}", name, f"{median(each.per_second for each in found):,.0f}"),
        *(
            f"{waits[int(len(waits) * part)] / 1e6:.1f}"
            for waits in (since_call, since_due)
            for part in PARTS.values()
        ),
        f"{median(each.server_cpu / each.took for each in found):.0%}",
        f"{median(each.receiver_cpu / each.took for each in found):.0%}",
    ]


def measure(
    all: Sequence[Subscribers], count: int, rates: Iterable[int], seconds: float, rounds: int, sample: int = SAMPLE
) -> Table:
    made = table(f"From append to receipt by {count:,} subscribers of one channel", *COLUMNS)
    with connected(all, count):
        for subscribers in all:  # Before the first there is much to do for the first time.
            at_rate(subscribers, 10 * count, min(1.0, seconds))
        for deliveries in rates:
            found: dict[str, list[Measured]] = {}
            for _ in range(rounds):
                for each in all:
                    found.setdefault(each.peer.name, []).append(at_rate(each, deliveries, seconds, sample))
            for name, measured in found.items():
                made.add_row(*row(deliveries, name, measured))
            made.add_section()
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deliveries", default="50000,150000", help="a second")
    parser.add_argument("--subscribers", type=int, default=500, help="of the one channel")
    parser.add_argument("--seconds", type=float, default=6, help="of each measurement")
    parser.add_argument("--peers", default="runcast,nats,starlette", help="which servers")
    parser.add_argument("--rounds", type=int, default=2, help="in which they take turns")
    parser.add_argument("--directory", help="where the log is written (default: a temporary directory)")
    arguments = parser.parse_args()
    heed_signals()
    meanwhile, rates = Neighbours(), numbers(arguments.deliveries)
    with started(chosen(arguments.peers), arguments.directory) as all:
        for count in possible([arguments.subscribers]):
            made = measure(all, count, rates, arguments.seconds, arguments.rounds)
            made.caption = f"From append to disk to sockets for Runcast, in memory for the others; {meanwhile}"
            Console(width=160).print(made)


if __name__ == "__main__":
    main()
