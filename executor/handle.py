"""Load, decide, append; again on a conflict. The way every command of people and clients takes to the log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

from executor.consequences import Consequences
from executor.domain.errors import Unavailable
from executor.domain.events import Event
from executor.ports import Appended, Clock, Conflict, EventLog, Metadata, NewEvent, StreamAppend

Decide = Callable[[Any], Sequence[Event]]
"""A pure decision over a stream's fold: the events that follow from a command, or a `Refusal` raised."""

_ATTEMPTS = 20


async def handle(
    log: EventLog,
    clock: Clock,
    stream: str,
    decide: Decide,
    *,
    organization_id: str,
    metadata: Metadata,
    workflow_id: str | None = None,
    execution_id: str | None = None,
    guards: Sequence[StreamAppend] = (),
    ids: Sequence[str] | None = None,
    consequences: Consequences | None = None,
) -> Appended:
    """Decides over the newest state of `stream` and appends what was decided; nothing decided appends nothing.

    `guards` are streams that must be at a version at the same moment. `ids` name the events, for a command that may
    be said twice. `consequences` adds what other streams have to learn at the same moment. Raises what `decide`
    raises, `NameTaken`, a guard's `Conflict`, and `Unavailable`, also where the stream kept moving.
    """
    for _ in range(_ATTEMPTS):
        state, version = await log.load(stream)
        events = decide(state)
        if not events:
            return Appended(recorded=(), state=state, version=version)
        names = ids if ids is not None else [clock.new_id() for _ in events]
        append = StreamAppend(
            stream=stream,
            expected=version,
            state=state,
            events=tuple(NewEvent(id, event) for id, event in zip(names, events, strict=True)),
            organization_id=organization_id,
            workflow_id=workflow_id,
            execution_id=execution_id,
        )
        async with nullcontext() if consequences is None else consequences.turn(append):
            more = await consequences.of(append) if consequences is not None else ()
            try:
                return (await log.append((append, *guards, *more), metadata))[0]
            except Conflict as conflict:
                if any(conflict.stream == guard.stream for guard in guards):
                    raise
    raise Unavailable(f"'{stream}' is changing too fast; try again")
