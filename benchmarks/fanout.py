"""How fast messages reach many subscribers: Runcast beside NATS over WebSocket, python-socketio, and plain Starlette.

    pip install -e '.[bench]'
    python benchmarks/fanout.py [--sizes 200,1000,5000] [--channels 5000] [--peers runcast,nats,socketio,starlette]
                                [--rounds 3] [--seconds 1.2] [--most 300000] [--directory DIR]

Every server is a process of its own, with as many connections as the size says, which subscribe to one channel; all
take turns. Runcast is a whole `runcast up` on a durable SQLite file, with engine, webhooks and all: twenty executions
append lines of their logs to the log's port in that process, and each goes to the disk with its hash and row before
it goes to a socket. NATS (WebSocket without TLS) is published to over TCP by one client; Starlette loops over its
sockets with `send_text`, python-socketio emits to a room, both on uvicorn with websockets-sansio and uvloop. A
message has some 380 bytes, the same for all but for its times.

A burst is handed over at once; of messages one by one, each when the one before was acknowledged: by Runcast when it
is on the disk, by NATS with PONG, by the others when their loop has sent it. Deliveries a second count from the first
append or call until the last byte has reached all; `acknowledged` is when all was on the disk, or read, or sent by
the loop. There are 1,000 messages, or as many as come to `--most` deliveries, or fewer that take longer than
`--seconds` (a third of it one by one; Runcast and NATS have twice as long, to send as much as each other). The
figures are medians of the rounds. CPU is the processor's time of the server's process and of the receiver's, which
only counts frames: where one of them is near the time taken, it is that which limits (NATS may use several
processors).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Final

from children import Neighbours, heed_signals
from peers import PEERS, SocketIo, chosen
from rich.console import Console
from rich.table import Table
from subscribers import Measured, Subscribers, connected, numbers, possible, started, table

LADDER: Final = (3, 10, 30, 100, 300, 1000)
"""How many messages there may be."""
MOST: Final = 300_000
"""Deliveries that they come to at most, unless more are asked for."""
LONGEST: Final = {"burst": 1.0, "one_by_one": 0.3}
"""Of the seconds that are asked for: what takes longer has enough messages."""
COLUMNS: Final = (
    *("subscribers", "server", "messages", "deliveries/s", "of NATS"),
    *("seconds", "acknowledged", "CPU s", "CPU s of receiver"),
)
WAYS: Final = {"burst": "Bursts to one channel", "one_by_one": "One by one to one channel"}


class Way:
    """How one server is sent to, and what it came to."""

    def __init__(self, subscribers: Subscribers, way: str, channels: int = 1, events: int = LADDER[0]) -> None:
        self.subscribers, self._way, self._channels, self.events = subscribers, way, channels, events
        self.found: list[Measured] = []

    def calibrate(self, seconds: float, most: int) -> None:
        """Finds how many messages take so long, or as many as there may be. It is a warm-up, too."""
        most, longest = max(LADDER[0], most // self.subscribers.count), seconds * LONGEST[self._way]
        for events in sorted({min(events, most) for events in LADDER}):
            self.events = events
            if self._measure().took > longest * self.subscribers.peer.patience:
                break

    def round(self) -> None:
        self.found.append(self._measure())

    def _measure(self) -> Measured:
        peer, events = self.subscribers.peer, self.events
        if self._way == "one_by_one":
            return self.subscribers.measure(lambda: peer.one_by_one(events), events)
        return self.subscribers.measure(lambda: peer.burst(events, self._channels), events)

    @property
    def per_second(self) -> float:
        return median(each.per_second for each in self.found)

    def row(self, all: Iterable[Way]) -> list[str]:
        rates = {way.subscribers.peer.name: way.per_second for way in all}
        middle = sorted(self.found, key=lambda each: each.per_second)[len(self.found) // 2]
        return [
            *(
                f"{self.subscribers.count:,}",
                self.subscribers.peer.name,
                f"{self.events:,}",
                f"{self.per_second:,.0f}",
            ),
            f"{self.per_second / rates['NATS']:.2f}" if "NATS" in rates else "",
            *(f"{figure:.2f}" for figure in middle[1:5]),
        ]


def one_channel(
    all: Sequence[Subscribers], sizes: Iterable[int], rounds: int, seconds: float, most: int = MOST
) -> list[Table]:
    """A table for each way of sending."""
    tables = {way: table(title, *COLUMNS) for way, title in WAYS.items()}
    for size in sizes:
        with connected(all, size):
            for name, made in tables.items():
                ways = [Way(subscribers, name) for subscribers in all]
                for way in ways:
                    way.calibrate(seconds, most)
                fill(made, ways, rounds)
    return list(tables.values())


def many_channels(all: Sequence[Subscribers], count: int, rounds: int, events: int = 4) -> Table:
    """As many channels as connections, each its own messages."""
    those = [each for each in all if not isinstance(each.peer, SocketIo)]
    made = table(f"Bursts of {events} messages to each of {count:,} channels, one subscriber each", *COLUMNS)
    with connected(those, count, count):
        ways = [Way(subscribers, "burst", count, events) for subscribers in those]
        fill(made, ways, rounds)
    return made


def fill(made: Table, ways: Sequence[Way], rounds: int) -> None:
    """In turns."""
    for _ in range(rounds):
        for way in ways:
            way.round()
    for way in ways:
        made.add_row(*way.row(ways))
    made.add_section()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="200,1000,5000", help="subscribers of one channel")
    parser.add_argument("--channels", type=int, default=5000, help="connections each on its own channel; 0 for none")
    parser.add_argument("--peers", default=",".join(PEERS), help="which servers")
    parser.add_argument("--rounds", type=int, default=3, help="in which they take turns")
    parser.add_argument("--seconds", type=float, default=1.2, help="after which there are messages enough")
    parser.add_argument("--most", type=int, default=MOST, help="deliveries of one burst")
    parser.add_argument("--directory", help="where the log is written (default: a temporary directory)")
    arguments = parser.parse_args()
    heed_signals()
    sizes, channels = possible(numbers(arguments.sizes)), possible([arguments.channels])
    meanwhile, tables = Neighbours(), list[Table]()
    with started(chosen(arguments.peers), arguments.directory) as all:
        tables += one_channel(all, sizes, arguments.rounds, arguments.seconds, arguments.most)
        for count in filter(None, channels):
            tables.append(many_channels(all, count, arguments.rounds))
    tables[-1].caption = f"From append to disk to sockets for Runcast, in memory for the others; {meanwhile}"
    Console(width=140).print(*tables)


if __name__ == "__main__":
    main()
