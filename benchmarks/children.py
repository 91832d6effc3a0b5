"""Processes of a benchmark, which obey orders and answer in lines of JSON; and what the system says of them."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
_PATIENCE: Final = 20


class Child:
    """A process that runs. `ask` raises `SystemExit` with what it says went wrong."""

    def __init__(self, command: Sequence[str], environment: dict[str, str] | None = None) -> None:
        paths = os.pathsep.join(filter(None, (str(HERE.parent), os.environ.get("PYTHONPATH", ""))))
        self.name = Path(command[1] if command[0] == sys.executable else command[0]).stem
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - it ends with the process
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=os.environ | {"PYTHONPATH": paths} | (environment or {}),
        )

    def tell(self, do: str, **order: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do} | order) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """What it says next. Other lines than JSON are passed over."""
        while not (line := self.line()).startswith("{"):
            pass
        answer: dict[str, Any] = json.loads(line)
        if "failed" in answer:
            raise SystemExit(f"{self.name}: {answer['failed']}")
        return answer

    def ask(self, do: str, **order: Any) -> dict[str, Any]:
        self.tell(do, **order)
        return self.answer()

    def line(self) -> str:
        assert self._process.stdout is not None
        if not (line := self._process.stdout.readline()):
            raise SystemExit(f"the process '{self.name}' has ended: {self._last_words()}")
        return line

    def cpu(self) -> float:
        """Seconds of the processor that its threads have used; those of threads that ended are not in it."""
        tasks = Path(f"/proc/{self._process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def resident(self) -> int:
        """Bytes of it that are in memory."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    def _last_words(self) -> str:
        self._process.wait(_PATIENCE)
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")[-1000:] or f"code {self._process.returncode}"

    def end(self) -> None:
        with contextlib.suppress(OSError):
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()
        self._errors.close()


@contextlib.contextmanager
def running(*command: str, environment: dict[str, str] | None = None) -> Iterator[Child]:
    child = Child(command, environment)
    try:
        yield child
    finally:
        child.end()


def heed_signals() -> None:
    """SIGTERM ends this process as Ctrl-C does, and its children with it."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def script(name: str) -> tuple[str, str]:
    """The command of one of the files beside this."""
    return sys.executable, str(HERE / name)


@contextlib.contextmanager
def receiver() -> Iterator[Child]:
    with running(*script("receiver.py")) as child:
        yield child


def open_files(wanted: int) -> int:
    """How many files this process and its children may open: as many as wanted, where that is allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), max(hard, wanted)))
        return max(soft, wanted)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Neighbours:
    """What others do to the machine meanwhile, from when this is made."""

    def __init__(self) -> None:
        self._before, self._ours = _times(), _own()

    def __str__(self) -> str:
        spent = self._spent()
        stolen = spent[7] / max(1, sum(spent))
        return f"load {os.getloadavg()[0]:.1f}, {stolen:.0%} of the processors' time taken by other machines"

    def at_the_end(self) -> str:
        """Once the children have ended: what other processes took, too."""
        spent, tick = self._spent(), os.sysconf("SC_CLK_TCK")
        others = sum(spent) - spent[3] - spent[4] - spent[7] - (_own() - self._ours) * tick
        return f"{self}, {max(0, others) / max(1, sum(spent)):.0%} by other processes"

    def _spent(self) -> list[int]:
        return [after - before for before, after in zip(self._before, _times(), strict=True)]


def _own() -> float:
    """Seconds of the processor that this process has used, and those of its children that have ended."""
    of = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in of)


def _times() -> list[int]:
    """Of all processors, since the start: user, nice, system, idle, iowait, irq, softirq, steal (proc(5))."""
    with Path("/proc/stat").open() as lines:
        return [int(text) for text in lines.readline().split()[1:9]]
