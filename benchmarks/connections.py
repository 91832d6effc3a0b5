"""What connections cost: memory and processor while they are idle, how fast they come, and how fast they come back.

    python benchmarks/connections.py [--idle 10000] [--storm 5000] [--missed 100] [--seconds 20] [--directory DIR]

Runcast is a whole `runcast up` on a durable SQLite file, in a process of its own; its clients connect with an API key
in a header and subscribe to one channel, or in the second storm each to the channel of its own execution. Beside it
stands plain Starlette on uvicorn with websockets-sansio and uvloop, which accepts, hears the same message and says it
back: the limit of the same handshake. Both ping every client every 20 seconds, and the clients answer.

Memory is what the server's process has resident (VmRSS) with all connections, once it no longer grows, less what it
had before the first. Connections a second count from the first `connect` to the last confirmation; 256 handshakes
are under way at a time, in another process. In a storm all clients are cut off at once without a word, messages are
appended, and all come back at once with `since`: the time runs until the last has got all that it missed. Every
client's messages are then compared with those of the log.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from itertools import chain
from typing import Final, NamedTuple

from children import Child, Neighbours, heed_signals
from peers import Runcast
from rich.console import Console
from rich.table import Table
from subscribers import PATIENCE, Subscribers, possible, started, table

SETTLED: Final = 0.002
"""Of the memory, how little may be new."""
WARM: Final = 200
"""Connections that come and go before anything is measured: what is made once is no part of one."""


class Idle(NamedTuple):
    """`each` is the memory of one, in bytes; `rate` connections a second; `connect_cpu` the processor's time for one
    that comes, `cpu` that of the server in a minute with all, `cpu_alone` with none; seconds."""

    each: float
    rate: float
    connect_cpu: float
    cpu: float
    cpu_alone: float


class Storm(NamedTuple):
    """`connected` until all were subscribed again, `took` until all have got what they missed; seconds."""

    connected: float
    took: float
    server_cpu: float
    receiver_cpu: float


def settled(process: Child, pause: float = 1.0) -> int:
    """Its memory, once it no longer grows in a pause."""
    before = process.resident()
    while True:
        time.sleep(pause)
        after = process.resident()
        if after - before <= SETTLED * before:
            return after
        before = after


def idle(
    all: Sequence[Subscribers], count: int, seconds: float, warm: int = WARM, pause: float = 1.0
) -> dict[str, Idle]:
    """All are idle at the same time."""
    memory, rates, spent = dict[str, int](), dict[str, float](), dict[str, float]()
    alone = watched(all, seconds / 2)
    for subscribers in all:
        peer = subscribers.peer
        subscribers.connect(warm, peer.greeting(1))
        subscribers.close()
        memory[peer.name], cpu = settled(peer.process, pause), peer.process.cpu()
        rates[peer.name] = count / subscribers.connect(count, peer.greeting(1))
        spent[peer.name] = peer.process.cpu() - cpu
    for subscribers in all:
        memory[subscribers.peer.name] = settled(subscribers.peer.process, pause) - memory[subscribers.peer.name]
    cpu_with_all = watched(all, seconds)
    for subscribers in all:
        subscribers.close()
    return {
        name: Idle(memory[name] / count, rates[name], spent[name] / count, cpu_with_all[name], alone[name])
        for name in memory
    }


def watched(all: Sequence[Subscribers], seconds: float) -> dict[str, float]:
    """Seconds of the processor's time that each server would use in a minute."""
    before = {subscribers.peer.name: subscribers.peer.process.cpu() for subscribers in all}
    time.sleep(seconds)
    return {each.peer.name: (each.peer.process.cpu() - before[each.peer.name]) * 60 / seconds for each in all}


def storm(subscribers: Subscribers, count: int, missed: int, channels: int = 1) -> Storm:
    """Runcast's clients are cut off and come back. Raises `SystemExit` where one has not got what the log has."""
    peer, ours = subscribers.peer, subscribers.process
    assert isinstance(peer, Runcast)
    subscribers.connect(count, peer.greeting(channels))
    since = peer.head
    subscribers.close()
    peer.burst(missed, channels)
    greeting = peer.greeting(channels, since)
    ours.ask("expect", **peer.goal(missed), keeps=True)
    before, began = (peer.process.cpu(), ours.cpu()), time.monotonic()
    connected = subscribers.connect(count, greeting)
    ended = ours.ask("wait", seconds=PATIENCE)["ended"]
    found = Storm(connected, ended / 1e9 - began, peer.process.cpu() - before[0], ours.cpu() - before[1])
    require_whole(ours, count, missed, since, channels)
    subscribers.close()
    return found


def require_whole(receiver: Child, count: int, missed: int, since: int, channels: int) -> None:
    """Every client has got every message that it missed, once and in the order of the log."""
    positions: list[list[int]] = receiver.ask("positions")["positions"]
    log = list(range(since + 1, since + missed * channels + 1))
    if channels == 1:
        is_whole = positions == [log] * count
    else:
        is_whole = all(each == sorted(each) for each in positions) and sorted(chain(*positions)) == log
    if not is_whole:
        raise SystemExit("a client has not got exactly what the log has")


def idle_table(found: dict[str, Idle], count: int) -> Table:
    made = table(
        f"{count:,} idle connections, subscribed",
        *("server", "KiB each", "connections/s", "CPU ms of one that comes", "CPU s in a minute", "with none"),
    )
    for name, one in found.items():
        made.add_row(
            *(
                name,
                f"{one.each / 1024:.1f}",
                f"{one.rate:,.0f}",
                f"{one.connect_cpu * 1000:.2f}",
                f"{one.cpu:.1f}",
                f"{one.cpu_alone:.1f}",
            ),
        )
    return made


def storm_table(storms: dict[str, Storm], plain: float | None, count: int) -> Table:
    made = table(
        f"{count:,} clients that were cut off come back at once with `since`; all got exactly what they missed",
        *("what they missed", "seconds until all subscribed", "until all got it", "CPU s", "CPU s of receiver"),
    )
    for name, one in storms.items():
        made.add_row(name, *(f"{figure:.2f}" for figure in one))
    if plain is not None:
        made.add_row("nothing, from plain Starlette", f"{plain:.2f}")
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--idle", type=int, default=10_000, help="connections; 0 for none")
    parser.add_argument("--storm", type=int, default=5000, help="clients that come back at once; 0 for none")
    parser.add_argument(
        "--missed", type=int, default=100, help="messages that they missed; a tenth on channels of their own"
    )
    parser.add_argument("--seconds", type=float, default=20, help="for which idle processors are watched")
    parser.add_argument("--directory", help="where the log is written (default: a temporary directory)")
    arguments = parser.parse_args()
    heed_signals()
    meanwhile, tables, missed = Neighbours(), list[Table](), arguments.missed
    with started(("runcast", "starlette"), arguments.directory) as all:
        ours, plain = all
        for count in filter(None, possible([arguments.idle])):
            tables.append(idle_table(idle(all, count, arguments.seconds), count))
        for count in filter(None, possible([arguments.storm])):
            tables.append(storms(ours, plain, count, missed))
    if tables:
        tables[-1].caption = f"Clients and servers on the same machine; {meanwhile}"
    Console(width=140).print(*tables)


def storms(ours: Subscribers, plain: Subscribers, count: int, missed: int) -> Table:
    few = max(1, missed // 10)
    found = {
        f"{missed} messages of one channel": storm(ours, count, missed),
        f"{few} messages, each of its own channel": storm(ours, count, few, count),
    }
    limit = plain.connect(count, plain.peer.greeting(1))
    plain.close()
    return storm_table(found, limit, count)


if __name__ == "__main__":
    main()
