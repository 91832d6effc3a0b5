"""What an append to a run draws with it: whatever the run opened, and whatever opened the run, learn of it at once.

A run that waits for a child or a task is in one append with their beginning; that what it waited for has ended is in
one append with its being told; a run that ends, or pauses, takes what it opened with it. So the streams are never of
two minds, whatever is killed when.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Final
from weakref import WeakValueDictionary

from executor.domain.events import Event
from executor.domain.events import execution as events
from executor.domain.execution.lifecycle import decide_told
from executor.domain.execution.state import State
from executor.opening import Kind, Opens
from executor.ports import Clock, EventLog, NewEvent, StreamAppend

_RUNS: Final = "execution:"
_OVER: Final = (
    events.ComponentCompleted,
    events.ComponentFailed,
    events.ComponentCancelled,
    events.ComponentRetryScheduled,
)
_TURNS: Final = (events.ExecutionPaused, events.ExecutionResumed)
_ENDS: Final = (
    events.ExecutionCompleted,
    events.ExecutionFailed,
    events.ExecutionCancelled,
    events.ExecutionTerminated,
)


_KEPT_PARENTS: Final = 16


class Consequences:
    """Knows every kind of what can be opened. Of runs it holds the last folds of a few that were told something, so
    that the end of each of many children costs the same."""

    def __init__(self, log: EventLog, clock: Clock, kinds: Iterable[Kind]) -> None:
        self._log = log
        self._clock = clock
        self._kinds = {f"{kind.prefix}:": kind for kind in kinds}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._parents: OrderedDict[str, tuple[Any, int]] = OrderedDict()

    def turn(self, append: StreamAppend) -> AbstractAsyncContextManager[None]:
        """To be held from `of` until the append is done. The ends of children of one run go one after the other in a
        process: each has to say so in the run's stream, and all at once would lose to each other over and over."""
        parent = _told(append)
        return nullcontext() if parent is None else self._turns.setdefault(parent, asyncio.Lock())

    async def of(self, first: StreamAppend, opens: Mapping[str, Opens] | None = None) -> list[StreamAppend]:
        """The other streams' parts of an append. `opens` by its key is what the run's components want opened.

        Each part has the version that its stream was at; on a `Conflict` of one of them, ask again.
        """
        if not first.stream.startswith(_RUNS) or not (opens or _may_matter(first)):
            return []
        parts, waiting = {first.stream: first}, deque([first])
        while waiting:
            each = waiting.popleft()
            if each.stream.startswith(_RUNS):
                more = await self._following(each, opens or {}, parts)
                parts |= {part.stream: part for part in more}
                waiting += more
        del parts[first.stream]
        return list(parts.values())

    async def _following(
        self, part: StreamAppend, opens: Mapping[str, Opens], known: Mapping[str, StreamAppend]
    ) -> list[StreamAppend]:
        state, decided = part.state, [each.event for each in part.events]
        found = [await self._opening(state, event, opens) for event in _opening(decided, opens)]
        if state.header is None:
            return found
        for key, event in _concerned(state, decided):
            found += [] if key in known else await self._followed(key, state, event)
        parent = _told(part)
        if parent is not None and parent not in known:
            found += await self._telling(parent, part.stream, _end(decided[-1]))
        return found

    async def _opening(self, parent: State, event: Event, opens: Mapping[str, Opens]) -> StreamAppend:
        assert isinstance(event, events.TimerScheduled)
        assert event.signal is not None
        wanted, kind = opens[event.signal], self._kind(event.signal)
        state, version = await self._log.load(event.signal)
        decided = kind.opened(wanted, parent, event.key, self._clock.now())
        return self._part(event.signal, version, state, decided, parent, kind.place(wanted, parent))

    async def _followed(self, key: str, parent: State, event: Event) -> list[StreamAppend]:
        kind = self._kind(key)
        state, version = await self._log.load(key)
        decided = kind.followed(state, parent, event, self._clock.now()) if version else ()
        return [self._part(key, version, state, decided, parent, kind.place(state, parent))] if decided else []

    async def _telling(self, stream: str, child: str, data: dict[str, Any]) -> list[StreamAppend]:
        state, version = self._parents[stream] = await self._log.load(stream, self._parents.get(stream))
        self._parents.move_to_end(stream)
        if len(self._parents) > _KEPT_PARENTS:
            self._parents.popitem(last=False)
        decided = decide_told(state, child, data, self._clock.now()) if version else ()
        if not decided:
            return []
        return [self._part(stream, version, state, decided, state, (state.run.workflow_id, state.run.id))]

    def _kind(self, key: str) -> Kind:
        return self._kinds[key[: key.index(":") + 1]]

    def _part(
        self,
        stream: str,
        version: int,
        state: Any,
        decided: Sequence[Event],
        run: State,
        place: tuple[str | None, str | None],
    ) -> StreamAppend:
        return StreamAppend(
            stream=stream,
            expected=version,
            state=state,
            events=tuple(NewEvent(self._clock.new_id(), event) for event in decided),
            organization_id=run.run.organization_id,
            workflow_id=place[0],
            execution_id=place[1],
        )


def _may_matter(append: StreamAppend) -> bool:
    """Most runs open nothing and are opened by nobody."""
    return append.state.header is not None and (bool(append.state.opened) or _told(append) is not None)


def _told(append: StreamAppend) -> str | None:
    """The stream of the run that has to hear of this, as one below it ends."""
    if not append.stream.startswith(_RUNS) or append.state.header is None:
        return None
    parent = append.state.run.parent
    is_end = parent is not None and isinstance(append.events[-1].event, _ENDS)
    return f"{_RUNS}{parent.execution_id}" if is_end else None


def _concerned(state: State, decided: Sequence[Event]) -> Iterator[tuple[str, Event]]:
    """Each thing that the run waits for and that this concerns, with the event to follow: the last, since the end of
    a run says more than the end of its component."""
    if not state.opened:
        return
    last = decided[-1]
    for event in decided:
        if isinstance(event, _TURNS):
            yield from ((key, event) for key in state.opened)
        elif isinstance(event, _OVER):
            key = state.waits.get(event.key)
            if key is not None and key in state.opened and key not in state.signals:
                yield key, last if isinstance(last, _ENDS) else event


def _opening(decided: Sequence[Event], opens: Mapping[str, Opens]) -> Iterator[Event]:
    """Where a component begins to wait for what is to be opened; unless the run ends in the very decision: then
    nobody will wait for it."""
    for number, event in enumerate(decided, 1):
        if isinstance(event, events.TimerScheduled) and event.signal in opens:
            rest = decided[number:]
            if not any(isinstance(later, _OVER) and later.key == event.key for later in rest):
                yield event


def _end(event: Event) -> dict[str, Any]:
    match event:
        case events.ExecutionCompleted():
            return {"status": event.status, "results": event.results}
        case events.ExecutionFailed():
            return {"status": event.status, "error": event.error}
        case events.ExecutionCancelled() | events.ExecutionTerminated():
            return {"status": event.status, "error": {"message": event.reason or f"it was {event.status}"}}
    raise TypeError(f"{event.type} ends no run")
