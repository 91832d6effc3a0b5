"""What a body is made of, read from the log: the event, and the header of the run that it happened in.

The last ones are kept: an event goes to several endpoints, and a run has many events. Nothing kept here ever changes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Hashable
from typing import Generic, TypeVar

from executor.domain.events import Event
from executor.domain.events.execution import ExecutionCreated
from executor.ports import EventLog, EventQuery, Recorded
from webhooks.body import Header, data_of, decoded

Decode = Callable[[Recorded], Event]
"""From a record to its event in the newest shape: the store's codec, with its upcasters."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_KEPT_RUNS = 1000
_OVERHEAD_BYTES = 500
_KEPT_BYTES = 32 * 1024 * 1024
_SPARSE = 4
"""Events are read in one stretch where no more than so many are read for each that is wanted."""


class Kept(Generic[K, V]):
    """The last values that were asked for, by key: so many, or so much as `weigh` says of them."""

    def __init__(self, limit: int, weigh: Callable[[V], int] | None = None) -> None:
        self._limit = limit
        self._weigh = weigh or _one
        self._weight = 0
        self._values: OrderedDict[K, V] = OrderedDict()

    def __contains__(self, key: K) -> bool:
        return key in self._values

    def get(self, key: K) -> V | None:
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def keep(self, key: K, value: V) -> V:
        before = self._values.pop(key, None)
        self._weight += self._weigh(value) - (0 if before is None else self._weigh(before))
        self._values[key] = value
        while self._weight > self._limit and len(self._values) > 1:
            self._weight -= self._weigh(self._values.popitem(last=False)[1])
        return value

    async def get_or(self, key: K, fetch: Callable[[K], Awaitable[V | None]]) -> V | None:
        """What is kept, else what `fetch` answers; null is not kept."""
        value = self.get(key)
        if value is None:
            value = await fetch(key)
            if value is not None:
                self.keep(key, value)
        return value


def _one(value: object) -> int:
    return 1


class Facts:
    """Reads the log for bodies. `decode` is needed once event types have had more than one shape."""

    def __init__(self, log: EventLog, decode: Decode = decoded) -> None:
        self._log = log
        self._decode = decode
        self._headers: Kept[str, Header] = Kept(_KEPT_RUNS)
        self._recorded: Kept[int, Recorded] = Kept(_KEPT_BYTES, lambda one: _OVERHEAD_BYTES + len(one.data))
        self._data: Kept[int, bytes] = Kept(_KEPT_BYTES, lambda data: _OVERHEAD_BYTES + len(data))

    async def at(self, position: int) -> Recorded | None:
        return await self._recorded.get_or(position, self._log.at)

    def keep(self, recorded: Recorded) -> None:
        """It will be asked for soon."""
        self._recorded.keep(recorded.position, recorded)

    async def load(self, positions: Collection[int]) -> None:
        """Reads what will be asked for soon, in one stretch where it lies together."""
        missing = [position for position in positions if position not in self._recorded]
        if len(missing) < 2:
            return
        first, last = min(missing), max(missing)
        if last - first < _SPARSE * len(missing):
            query = EventQuery(after=first - 1, before=last + 1, limit=last - first + 1)
            wanted = set(missing)
            for recorded in await self._log.read(query):
                if recorded.position in wanted:
                    self._recorded.keep(recorded.position, recorded)

    def event(self, recorded: Recorded) -> Event:
        return self._decode(recorded)

    async def header(self, execution_id: str | None) -> Header | None:
        """Null for what did not happen in a run."""
        return None if execution_id is None else await self._headers.get_or(execution_id, self._read_header)

    async def data(self, recorded: Recorded) -> bytes:
        """The `data` of a body about this event, as JSON."""
        data = self._data.get(recorded.position)
        if data is None:
            header = await self.header(recorded.execution_id)
            data = self._data.keep(recorded.position, data_of(recorded, self._decode(recorded), header))
        return data

    async def _read_header(self, execution_id: str) -> Header | None:
        query = EventQuery(execution_id=execution_id, types=(ExecutionCreated.type,), limit=1)
        for recorded in await self._log.read(query):
            created = self._decode(recorded)
            if isinstance(created, ExecutionCreated):
                return Header(created=created, created_at=recorded.time)
        return None
