"""What a component of a run may open and wait for: something with a stream of its own, such as a child run.

It is opened by the very append that says that the component waits for it, and its key (`execution:ID`) is both the
name of its stream and the signal that its end sends. Clients cannot send signals with a colon.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from msgspec import Struct

from executor.domain.events import Event
from executor.domain.execution.state import State
from executor.domain.values import Instant


class Opens(Struct, frozen=True, kw_only=True):
    """What is to be opened. `id` is fresh."""

    id: str


class Kind(Protocol):
    """One kind of what can be opened, by the prefix of its streams. Pure: it answers events of the other stream."""

    @property
    def prefix(self) -> str: ...

    def opened(self, opens: Any, parent: State, component: str, now: Instant) -> Sequence[Event]:
        """How it begins, for a component (by its key) of a run that has just been decided to wait for it."""

    def followed(self, state: Any, parent: State, event: Event, now: Instant) -> Sequence[Event]:
        """What becomes of it when this happens to the run: a pause, its going on; anything else means that nobody
        waits for it any more. Nothing for what has ended."""

    def place(self, of: Any, parent: State) -> tuple[str | None, str | None]:
        """The workflow and the execution that its events belong to, of a state or of an `Opens` of a run."""
