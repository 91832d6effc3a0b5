"""A run's fold as bytes, so that whoever loads a long run begins there and not at its first event.

It is a cache: the log says the same. Raise `REVISION` whenever the fields or their meaning change, and what was kept
before is not read any more.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Struct

from executor.domain.aggregate import Keeper
from executor.domain.definition import Definition, Graph
from executor.domain.events import Failure
from executor.domain.execution.parts import ComponentState, Header, Iteration, Loop, Signal
from executor.domain.execution.shards import Shards
from executor.domain.execution.state import State
from executor.domain.values import ExecutionStatus, Instant

REVISION: Final = 3


class Fold(Struct, frozen=True, kw_only=True):
    """All of a `State` but `graph`, which follows from `definition`, and `touched`."""

    definition: Definition
    header: Header
    status: ExecutionStatus | None
    priority: int
    version: int
    engine: str | None
    epoch: int
    slots: tuple[int | None, int | None]
    queued_at: Instant | None
    started_at: Instant | None
    paused_at: Instant | None
    paused_by: str | None
    paused_seconds: float
    before_pause: ExecutionStatus | None
    completed_at: Instant | None
    updated_at: Instant | None
    duration: float | None
    results: dict[str, Any] | None
    failure: Failure | None
    cancelled_by: str | None
    reason: str | None
    settled: int
    begun: int
    components: dict[str, ComponentState]
    unsettled: dict[str, int]
    taken: dict[str, int]
    ready: dict[str, None]
    dead: dict[str, None]
    running: dict[str, None]
    timers: dict[str, Instant]
    waits: dict[str, str]
    signals: dict[str, tuple[Signal, ...]]
    retries: dict[str, Instant]
    loops: dict[str, Loop]
    iterations: dict[str, Iteration]
    outputs: dict[str, Any]
    over: dict[str, None]
    asking: dict[str, None]
    finished: dict[str, None]


_SHARDED: Final = ("components", "outputs")
_PLAIN: Final = tuple(name for name in Fold.__struct_fields__ if name not in (*_SHARDED, "definition"))
_decoder: Final = msgspec.json.Decoder(Fold)


def pack(state: State) -> bytes:
    """Of a run that exists."""
    fields: dict[str, Any] = {name: getattr(state, name) for name in _PLAIN}
    fields |= {name: dict(getattr(state, name)) for name in _SHARDED}
    return msgspec.json.encode(Fold(**fields, definition=state.map.definition))


def unpack(data: bytes) -> State:
    """Raises `msgspec.DecodeError` for bytes of another shape."""
    fold, state = _decoder.decode(data), State()
    state.graph = Graph(fold.definition)
    for name in _PLAIN:
        setattr(state, name, getattr(fold, name))
    for name in _SHARDED:
        shards: Shards[Any] = Shards()
        shards.update(getattr(fold, name))
        setattr(state, name, shards)
    return state


KEEPER: Final[Keeper[State]] = Keeper(revision=REVISION, pack=pack, unpack=unpack)
