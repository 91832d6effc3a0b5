"""The peer of `steps.py`: DBOS Transact on SQLite, in a process of its own. Prints what was measured as JSON.

It runs as it comes: its own settings, each workflow in a thread, each step's result in a transaction of its own on a
rollback journal. With `wal` its file is in WAL mode before it is opened, as a user may do who knows of it.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from itertools import pairwise

from dbos import DBOS

steps: dict[str, list[tuple[float, float]]] = {}


@DBOS.step()
def step(number: int) -> dict[str, object]:
    began = time.perf_counter()
    output = {"number": number, "is_done": True}
    steps.setdefault(str(DBOS.workflow_id), []).append((began, time.perf_counter()))
    return output


@DBOS.workflow()
def flow(count: int) -> None:
    for number in range(count):
        step(number)


def run(at_once: int, count: int) -> float:
    """Seconds until all have ended."""
    steps.clear()
    start = time.perf_counter()
    handles = [DBOS.start_workflow(flow, count) for _ in range(at_once)]
    for handle in handles:
        handle.get_result()
    return time.perf_counter() - start


def main(path: str, journal: str, at_once: int, count: int) -> None:
    if journal == "wal":
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.close()
    DBOS(config={"name": "bench", "system_database_url": f"sqlite:///{path}", "log_level": "ERROR"})
    DBOS.launch()
    run(1, 5)
    cpu = time.process_time()
    took = run(at_once, count)
    cpu = time.process_time() - cpu
    gaps = [after[0] - before[1] for each in steps.values() for before, after in pairwise(each)]
    assert sum(map(len, steps.values())) == at_once * count
    print(json.dumps({"per_second": at_once * count / took, "cpu": cpu / at_once / count, "gaps": gaps}))
    DBOS.destroy()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
