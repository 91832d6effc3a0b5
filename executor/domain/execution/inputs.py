"""What arrives at a run while an engine has it: results of components, due timers, signals that came. A `key` is a
component's: its id, with the path of its iteration inside of loops."""

from __future__ import annotations

from typing import Any, NamedTuple

from executor.domain.events import Failure
from executor.domain.values import Instant, LogLevel


class LogLine(NamedTuple):
    level: LogLevel
    message: str
    metadata: dict[str, Any] | None = None


class Completed(NamedTuple):
    """A component's run() answered. `taken` are the connections whose conditions the engine found true."""

    key: str
    attempt: int
    output: Any
    taken: tuple[int, ...]
    logs: tuple[LogLine, ...] = ()


class Failed(NamedTuple):
    """A component's run() failed. `temporary` failures are tried again while the policy allows; `taken` counts only
    where this one is final. `jitter` is -1 to 1."""

    key: str
    attempt: int
    failure: Failure
    temporary: bool
    taken: tuple[int, ...]
    jitter: float = 0.0
    logs: tuple[LogLine, ...] = ()


class Suspended(NamedTuple):
    """A component waits for a time, for a signal, or for whichever comes first, and needs nobody until then. What it
    `opens` is not for the run to know."""

    key: str
    attempt: int
    until: Instant | None
    signal: str | None = None
    opens: Any = None


class TimerDue(NamedTuple):
    """The time of a suspended component has come; it ends with `output`, or fails where there is a `failure`, which
    counts as a failed attempt where it is `temporary`."""

    key: str
    output: Any
    taken: tuple[int, ...]
    failure: Failure | None = None
    temporary: bool = False


class Looped(NamedTuple):
    """A loop begins: its body runs as many `times` (None: while a condition holds), at most so many at once. At
    `until` it has taken as long as it may."""

    key: str
    attempt: int
    times: int | None
    max_concurrency: int
    until: Instant | None = None


class IterationDue(NamedTuple):
    """What a loop that runs while a condition holds does after an iteration: it goes on, or not. A condition that
    fails is a `failure` of the loop."""

    iteration: str
    goes_on: bool
    failure: Failure | None = None


class LoopDue(NamedTuple):
    """What a loop comes to that has no more to do."""

    result: Completed | Failed


class SignalDue(NamedTuple):
    """The signal of this number is there for a component that waits for it, and this is what comes of that."""

    number: int
    result: Completed | Failed


Input = Completed | Failed | Suspended | TimerDue | SignalDue | Looped | IterationDue | LoopDue
