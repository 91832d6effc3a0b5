"""Deliveries a second, beside bare POSTs and arq's jobs, which take turns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Final, NamedTuple

from children import Child, running, script
from endpoints import PATIENCE, Delivering, Receiver, delivering, receiver
from rich.table import Table
from subscribers import table

TIMEOUT_SECONDS: Final = 60
BARE: Final = "bare aiohttp POSTs"
JOBS: Final = "arq jobs that do nothing"
POSTING_JOBS: Final = "arq jobs that POST"
COLUMNS: Final = ("what", "deliveries", "a second", "of bare", "of arq", "CPU µs each", "CPU", "CPU of receiver")


class Sizes(NamedTuple):
    """`posts` and `jobs` are how many of those that are compared with; `at_once` the requests under way to one
    endpoint."""

    deliveries: int = 10_000
    posts: int = 20_000
    jobs: int = 4000
    at_once: int = 100
    rounds: int = 2


QUICK: Final = Sizes(deliveries=400, posts=400, jobs=200, at_once=20, rounds=1)


class Rate(NamedTuple):
    """`cpu` are seconds of the processor for each."""

    count: int
    per_second: float
    cpu: float
    share: float
    receiver_share: float


class Bench:
    def __init__(self, ours: Delivering, peer: Child, to: Receiver, sizes: Sizes) -> None:
        self._ours, self._peer, self._to, self._sizes = ours, peer, to, sizes
        self._size = 0

    def delivered(self, endpoints: int) -> Rate:
        """As many as there are deliveries, over so many endpoints, from the first arrival to the last. The processor
        is looked at from when the last event was on the disk."""
        count, at_once = self._sizes.deliveries, self._sizes.at_once
        fields = {"max_in_flight": at_once, "timeout_seconds": TIMEOUT_SECONDS}
        with self._ours.endpoints([fields | {"url": self._to.url(number)} for number in range(endpoints)]):
            return self._delivered(count, count // endpoints)

    def _delivered(self, count: int, events: int) -> Rate:
        ours, to = self._ours.process, self._to.process
        to.ask("expect", count=count)
        appended = self._ours.hub.burst(events)["acknowledged"]
        before, cpu = to.ask("count")["count"], (ours.cpu(), to.cpu())
        found = to.ask("wait", seconds=PATIENCE)
        spent, receiver_spent = ours.cpu() - cpu[0], to.cpu() - cpu[1]
        self._size = to.ask("count")["size"]
        if found["missing"] or found["again"]:
            raise SystemExit(f"{found['missing']} deliveries are missing, {found['again']} came again")
        since = max(1, found["last"] - appended) / 1e9
        rate = count / (found["last"] - found["first"]) * 1e9
        return Rate(count, rate, spent / max(1, count - before), spent / since, receiver_spent / since)

    def posted(self) -> Rate:
        count = self._sizes.posts
        return self._peers("post", count, url=self._to.url(0), size=self._size, at_once=self._sizes.at_once)

    def jobs(self) -> Rate:
        return self._peers("jobs", self._sizes.jobs, url="", size=0)

    def posting_jobs(self) -> Rate:
        return self._peers("jobs", self._sizes.jobs, url=self._to.url(0), size=self._size)

    def _peers(self, do: str, count: int, **order: object) -> Rate:
        peer, to = self._peer, self._to.process
        to.ask("expect", count=count)
        before = peer.cpu(), to.cpu()
        answer = peer.ask(do, count=count, **order)
        spent, receiver_spent = peer.cpu() - before[0], to.cpu() - before[1]
        if order["url"] and to.ask("count")["count"] != count:
            raise SystemExit(f"not all of {count} POSTs arrived")
        took = (answer["ended"] - answer["began"]) / 1e9
        return Rate(count, count / took, spent / count, spent / took, receiver_spent / took)


@contextmanager
def bench(sizes: Sizes, store: str, directory: str | None) -> Iterator[Bench]:
    with receiver() as to, delivering(store, directory) as ours, running(*script("posters.py")) as peer:
        yield Bench(ours, peer, to, sizes)


def rates_table(sizes: Sizes, store: str, directory: str | None) -> Table:
    with bench(sizes, store, directory) as all:
        return in_turns(all, sizes)


def in_turns(all: Bench, sizes: Sizes, endpoints: tuple[int, ...] = (1, 10)) -> Table:
    names = {count: f"Runcast, {count} endpoint{'s' if count > 1 else ''}" for count in endpoints}
    found: dict[str, list[Rate]] = {}
    for _ in range(sizes.rounds):
        for count, name in names.items():
            found.setdefault(name, []).append(all.delivered(count))
        for name, measure in {BARE: all.posted, JOBS: all.jobs, POSTING_JOBS: all.posting_jobs}.items():
            found.setdefault(name, []).append(measure())
    speed = {name: median(each.per_second for each in rates) for name, rates in found.items()}
    made = table("Deliveries a second of one process, each on the disk and signed", *COLUMNS)
    for name, rates in found.items():
        middle = [median(values) for values in zip(*rates, strict=True)]
        made.add_row(
            *(name, f"{middle[0]:,.0f}", f"{speed[name]:,.0f}"),
            *(f"{speed[name] / speed[peer]:.2f}" for peer in (BARE, JOBS)),
            *(f"{middle[2] * 1e6:,.0f}", f"{middle[3]:.0%}", f"{middle[4]:.0%}"),
        )
    return made
