"""Subscribers of a server: they are connected, and it is told to send, and timed until all have got it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final, NamedTuple

from children import Child, open_files, receiver
from peers import PEERS, Greeting, Peer
from rich.table import Table

PATIENCE: Final = 120
SPARE_FILES: Final = 500
Answer = dict[str, Any]


class Measured(NamedTuple):
    """`took` is from the first append, or call, until the last byte was received by all; `acknowledged` until the
    server had taken all. `waits` are of the connections whose times were read: nanoseconds, sorted."""

    deliveries: int
    took: float
    acknowledged: float
    server_cpu: float
    receiver_cpu: float
    since_due: list[int]
    since_call: list[int]

    @property
    def per_second(self) -> float:
        return self.deliveries / self.took


class Subscribers:
    """Connections to one server, in a process of their own."""

    def __init__(self, peer: Peer, process: Child) -> None:
        self.peer, self.process, self.count = peer, process, 0

    def connect(self, count: int, greeting: Greeting) -> float:
        """So many more; seconds until the last has its subscription confirmed."""
        took = self.process.ask(
            "connect",
            port=self.peer.port,
            count=count,
            request=greeting.request,
            hellos=greeting.hellos,
            ready=greeting.ready,
            refusal=greeting.refusal,
            binary=greeting.is_binary,
        )["took"]
        self.count += count
        return float(took)

    def close(self) -> None:
        """All at once, without a word."""
        self.process.ask("close")
        self.count = 0

    def measure(self, send: Callable[[], Answer], events: int, *, sample: int = 0) -> Measured:
        """`send` sends each of them so many messages."""
        server, ours = self.peer.process, self.process
        ours.ask("expect", **self.peer.goal(events), sample=sample)
        before = server.cpu(), ours.cpu()
        sent = send()
        got = ours.ask("wait", seconds=PATIENCE)
        return Measured(
            deliveries=self.count * events,
            took=(got["ended"] - sent["began"]) / 1e9,
            acknowledged=(sent["acknowledged"] - sent["began"]) / 1e9,
            server_cpu=server.cpu() - before[0],
            receiver_cpu=ours.cpu() - before[1],
            since_due=got["since_due"],
            since_call=got["since_call"],
        )


@contextmanager
def started(names: Iterable[str], directory: str | None = None) -> Iterator[list[Subscribers]]:
    """The peers of these names, each with a process for its subscribers, which has none yet."""
    with ExitStack() as stack:
        found = [stack.enter_context(PEERS[name](directory)) for name in names]
        yield [Subscribers(peer, stack.enter_context(receiver())) for peer in found]


@contextmanager
def connected(all: Iterable[Subscribers], count: int, channels: int = 1) -> Iterator[None]:
    """So many of each, on one channel or each on its own; closed at the end."""
    for subscribers in all:
        subscribers.connect(count, subscribers.peer.greeting(channels))
    time.sleep(max((subscribers.peer.settles for subscribers in all), default=0))
    yield
    for subscribers in all:
        subscribers.close()


def possible(sizes: Iterable[int]) -> list[int]:
    """The sizes for which files may be opened; says which may not."""
    wanted = max(sizes, default=0) + SPARE_FILES
    allowed = open_files(wanted)
    if allowed < wanted:
        print(f"only {allowed:,} open files are allowed for a process (ulimit -n): larger sizes are left out")
    return [size for size in sizes if size + SPARE_FILES <= allowed]


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part]


def table(title: str, *columns: str) -> Table:
    made = Table(title=title, title_justify="left", caption_justify="left")
    for column in columns:
        made.add_column(column, justify="right")
    return made
