"""How far a long command has come: a bar on a terminal, else lines now and then. On standard error, which is not for
answers."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final

_BETWEEN_SECONDS: Final = 5.0

Progress = Callable[[int, int], None]
"""(done, of how many)"""


@contextlib.contextmanager
def shown(unit: str) -> Iterator[Progress]:
    """`unit` is what is counted, such as `events`. Where nobody looks, a command of some seconds says nothing."""
    with _bar(unit) if sys.stderr.isatty() else _lines(unit) as progress:
        yield progress


@contextlib.contextmanager
def _bar(unit: str) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{unit}, {{task.fields[speed]:,.0f}}/s"),
        TimeRemainingColumn(),
    )
    begin = time.monotonic()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(unit, total=None, speed=0)
        first: int | None = None

        def progress(done: int, total: int) -> None:
            nonlocal first
            first = done if first is None else first
            speed = (done - first) / max(time.monotonic() - begin, 0.001)
            bar.update(task, completed=done, total=total, speed=speed)

        yield progress


@contextlib.contextmanager
def _lines(unit: str) -> Iterator[Progress]:
    said = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said >= _BETWEEN_SECONDS:
            said = time.monotonic()
            sys.stderr.write(f"{done} of {total} {unit}\n")
            sys.stderr.flush()

    yield progress
