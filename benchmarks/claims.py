"""Claims of what is due and settlements of what was sent, beside many deliveries that have ended and beside none."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Final, NamedTuple

from children import running, script
from rich.table import Table
from stores import fresh
from subscribers import table

OPERATIONS: Final = {"claims": "claim", "settlements": "settle"}
PARTS: Final = {"p50": 0.5, "p99": 0.99}


class Sizes(NamedTuple):
    """`each` are the claims of one round."""

    rows: int = 1_000_000
    each: int = 50
    rounds: int = 4


QUICK: Final = Sizes(rows=1000, each=5, rounds=1)


def claims_table(sizes: Sizes, store: str, directory: str | None) -> Table:
    made = table(
        "A hundred deliveries of ten endpoints, by how many are in the table that have succeeded",
        *("succeeded", *(f"{name}, {part} ms" for name in OPERATIONS.values() for part in PARTS)),
    )
    with ExitStack() as stack:
        ledgers = {}
        for rows in (0, sizes.rows):
            url = stack.enter_context(fresh(store, directory))
            ledgers[rows] = stack.enter_context(running(*script("ledger.py"), url))
            ledgers[rows].ask("fill", rows=rows)
            ledgers[rows].ask("measure", rounds=min(10, sizes.each))
        found: dict[int, dict[str, list[float]]] = {rows: {name: [] for name in OPERATIONS} for rows in ledgers}
        for _ in range(sizes.rounds):
            for rows, ledger in ledgers.items():
                for name, seconds in ledger.ask("measure", rounds=sizes.each).items():
                    found[rows][name] += seconds
    for rows, measured in found.items():
        figures = (at(measured[name], part) for name in OPERATIONS for part in PARTS.values())
        made.add_row(f"{rows:,}", *(f"{seconds * 1e3:.2f}" for seconds in figures))
    return made


def at(seconds: list[float], part: float) -> float:
    return sorted(seconds)[int(len(seconds) * part)]
