"""Steps a second of the engine on SQLite, each on the disk before the next one starts, beside DBOS Transact on the
same disk; and what a step, a waiting run, a join and a long history cost.

    pip install -e '.[bench]'
    python benchmarks/steps.py [--at-once 1,10,60] [--parts steps,memory,join,history] [--directory DIR] [--quick]

Runs are of steps one after the other, each answering a mapping of two values: `python` is a component whose `run`
returns it, `transform` the built-in one. DBOS does the same as a workflow function that calls a `@DBOS.step`, started
by `start_workflow`: as it comes, and with its file in WAL mode. One alone has 100 steps, many have 20 each; a warm-up
comes first, and the time runs from the first creation to the last end. Every figure is of a fresh process on a fresh
file; of steps it is the median of some rounds, in which ours and the peer take turns. `CPU` is the processor's time
of that process, all threads together, which says more on a machine that others use too.

The overhead of a step is the time from the end of one to the beginning of the next in the same run, the commit
between them included. The loop is held for as long as its ticks of 1 ms come late, by what runs on it or by who keeps
the processor from it. A takeover is of a run whose process was killed with -9 in the middle: from the opening of the
store until the next step begins.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import signal
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.table import Table
from shapes import LONG
from stores import fresh

MEASURES: Final = Path(__file__).with_name("measures.py")
PEER: Final = Path(__file__).with_name("dbos_steps.py")
Result = dict[str, Any]


class Sizes(NamedTuple):
    """`points` are the lengths of history at which the cost of a step is looked at: the last is the whole run's."""

    rounds: int = 3
    alone: int = 100
    each: int = 20
    waiting: int = 10_000
    branches: int = 1000
    points: tuple[int, ...] = (10, 1000, 10_000)

    def steps(self, at_once: int) -> int:
        return self.alone if at_once == 1 else self.each


QUICK: Final = Sizes(rounds=1, alone=10, each=5, waiting=50, branches=20, points=(5, 20, 60))


def asked(measure: str, url: str, *rest: Any, ends: int = 0) -> Result:
    return of_child([sys.executable, str(MEASURES), measure, json.dumps([url, *rest])], ends)


def peer(path: str, journal: str, at_once: int, count: int) -> Result:
    return of_child([sys.executable, str(PEER), path, journal, str(at_once), str(count)])


def of_child(command: list[str], ends: int = 0) -> Result:
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != ends:
        raise SystemExit(f"a measuring process ended with {done.returncode}: {' '.join(command)}")
    return json.loads(done.stdout or "{}")


def at(values: list[float], part: float) -> float:
    return sorted(values)[int(len(values) * part)]


def table(title: str, *columns: str) -> Table:
    made = Table(title=title, title_justify="left")
    for column in columns:
        made.add_column(column, justify="right")
    return made


def in_turns(sizes: Sizes, at_once: int, directory: str | None, has_peer: bool) -> dict[str, list[Result]]:
    """What each of ours and of the peer came to in every round."""
    count, found = sizes.steps(at_once), dict[str, list[Result]]()
    for _ in range(sizes.rounds):
        for type in ("timed", "transform"):
            with fresh("sqlite", directory) as url:
                found.setdefault(type, []).append(asked("runs", url, type, at_once, count))
        for journal in ("delete", "wal") if has_peer else ():
            with fresh("sqlite", directory) as url:
                path = url.removeprefix("sqlite:///")
                found.setdefault(journal, []).append(peer(path, journal, at_once, count))
    return found


def steps_tables(sizes: Sizes, all_at_once: list[int], directory: str | None) -> list[Table]:
    has_peer = importlib.util.find_spec("dbos") is not None
    speed = table(
        "Steps a second, each on the disk before the next" + ("" if has_peer else " (DBOS is not installed)"),
        *("runs at once", "python", "transform", "DBOS", "DBOS, WAL", "of DBOS", "of DBOS, WAL"),
    )
    overhead = table(
        "From the end of a step to the next", "runs at once", "whose", "p50 ms", "p99 ms", "CPU ms a step"
    )
    for at_once in all_at_once:
        found = in_turns(sizes, at_once, directory, has_peer)
        rates = {name: median(each["per_second"] for each in results) for name, results in found.items()}
        ours, peers = rates["timed"], [rates[name] for name in ("delete", "wal") if name in rates]
        speed.add_row(
            *(str(at_once), f"{ours:,.0f}", f"{rates['transform']:,.0f}"),
            *(f"{rate:,.0f}" for rate in peers),
            *(f"{ours / rate:.1f} x" for rate in peers),
        )
        for name, whose in {"timed": "Runcast", "delete": "DBOS", "wal": "DBOS, WAL"}.items():
            if name in found:
                all_gaps = [gap for each in found[name] for gap in each["gaps"]]
                cpu = median(each["cpu"] for each in found[name])
                shown = (f"{seconds * 1000:.2f}" for seconds in (at(all_gaps, 0.5), at(all_gaps, 0.99), cpu))
                overhead.add_row(str(at_once), whose, *shown)
    return [speed, overhead]


def memory_table(sizes: Sizes, directory: str | None) -> Table:
    with fresh("sqlite", directory) as url:
        found = asked("memory", url, sizes.waiting)
    empty, half, full = (found[name] / 2**20 for name in ("empty", "half", "full"))
    made = table(
        "Runs that wait for a signal, in one process: its memory without, with half of them, with all",
        *("runs", "MiB without", "MiB with half", "MiB with all", "KiB a run of the second half", "runs parked/s"),
    )
    made.add_row(
        *(f"{sizes.waiting:,}", f"{empty:.0f}", f"{half:.0f}", f"{full:.0f}"),
        f"{(full - half) * 2**10 / (sizes.waiting / 2):.1f}",
        f"{sizes.waiting / found['took']:,.0f}",
    )
    return made


def join_table(sizes: Sizes, directory: str | None) -> Table:
    made = table("A join of parallel branches", "branches", "seconds", "longest hold ms", "all over 10 ms")
    with fresh("sqlite", directory) as url:
        found = asked("join", url, sizes.branches)
    held = (f"{found[name] * 1000:.1f}" for name in ("longest", "held"))
    made.add_row(f"{sizes.branches:,}", f"{found['took']:.2f}", *held)
    return made


def history_table(sizes: Sizes, directory: str | None) -> Table:
    points = (f"ms at {point:,}" for point in sizes.points)
    made = table(
        f"What a step costs in one run of {sizes.points[-1]:,}, by the steps before it",
        *("as a", "time", *points, "ms on average", "takeover s"),
    )
    for shape in LONG:
        with fresh("sqlite", directory) as url:
            found = asked("history", url, shape, sizes.points)
        with fresh("sqlite", directory) as url:
            asked("killed", url, shape, sizes.points[-1], ends=-signal.SIGKILL)
            taken = asked("takeover", url)
        for name, cells in {"costs": ("clock", f"{taken['took']:.2f}"), "cpu": ("CPU", "")}.items():
            made.add_row(shape, cells[0], *(f"{cost * 1000:.2f}" for cost in found[name]), cells[1])
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at-once", default="1,10,60", help="how many runs at once")
    parser.add_argument("--parts", default="steps,memory,join,history", help="which of them")
    parser.add_argument("--directory", help="where to write; the disk to measure (default: a temporary directory)")
    parser.add_argument("--quick", action="store_true", help="small runs: whether it works, not what it measures")
    arguments = parser.parse_args()
    sizes, directory, parts = QUICK if arguments.quick else Sizes(), arguments.directory, arguments.parts.split(",")
    console = Console(width=120)
    if "steps" in parts:
        console.print(*steps_tables(sizes, [int(text) for text in arguments.at_once.split(",")], directory))
    for part, made in {"memory": memory_table, "join": join_table, "history": history_table}.items():
        if part in parts:
            console.print(made(sizes, directory))


if __name__ == "__main__":
    main()
