"""The feed: one tail of the log, cast to everybody who listens.

Each event becomes at most one message for each kind of channel, encoded once and only where somebody listens; all
subscribers get the same bytes. A subscription is either live (whatever is dispatched is handed to it) or behind
(whoever sends for it calls `catch_up` until it is live again). New ones with a past position start behind; one
whose sink is full is set aside and so is behind too. Nothing waits in between: what a subscription has not been
handed is in the log.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

import structlog

from executor.ports import EventLog, EventQuery, Recorded
from hub.channels import ALL, ANY, Key, Wish
from hub.entries import RING, RING_BYTES, Batch, Entry, Form, Ring, batch_of, entry_of, latest
from hub.messages import Channel, message_types
from hub.meter import Meter

_SLICE: Final = 128
"""Events that are dispatched together, at most; `_SLICE_BYTES` of their data end it as well."""
_SLICE_BYTES: Final = 128 * 1024
_TURN: Final = 512 * 1024
"""Bytes that are handed over in one turn of the loop, about, with `_HAND` for each subscription."""
_HAND: Final = 4 * 1024
_JUDGING: Final = 64 * 1024
"""What one evaluation of a condition counts for in that: it may take a third of a millisecond."""
_FIRST_PAGE: Final = 16
_LARGEST_PAGE: Final = 512
LARGEST_JUDGED_PAGE: Final = 64
"""Of events that a condition is evaluated over, all in one turn of the loop."""
PAGE_BYTES: Final = 128 * 1024
"""What `catch_up` hands over at once, about: a page is sized by the one before it."""
_logger = structlog.get_logger(__name__)
_MOST_CONFLATED: Final = 4096
"""Messages that one page of somebody who wants only the latest is made of, at most."""


class Sink(Protocol):
    """Where a client's messages go. All are called within the loop and never wait."""

    def offer(self, batch: Batch) -> bool:
        """Takes a batch, or answers False where too much is unsent: then nothing of it was taken."""

    def put(self, batch: Batch) -> None:
        """Takes a page that `catch_up` read for this sink."""

    def falls_behind(self, subscription: Subscription) -> None:
        """From now on the subscription needs `catch_up`, whenever there is room."""


class Subscription:
    """One sink's wish for one channel."""

    __slots__ = (
        "_feed",
        "form",
        "handed",
        "is_closed",
        "is_live",
        "is_slow",
        "key",
        "page",
        "read_through",
        "sink",
        "wish",
    )

    def __init__(self, feed: Feed, key: Key, wish: Wish, after: int, sink: Sink, form: Form = Form.MESSAGE) -> None:
        self._feed = feed
        self.key = key
        self.wish = wish
        self.form = form
        self.sink = sink
        self.handed = after
        self.page = _FIRST_PAGE
        self.read_through = 0
        """Through here it is read from the log, whatever is in memory."""
        self.is_live = False
        self.is_slow = False
        """It was live, and was set aside."""
        self.is_closed = False

    @property
    def position(self) -> int:
        """All that the channel has through this position was handed to the sink."""
        return max(self.handed, self._feed.cast) if self.is_live else self.handed

    @property
    def lag(self) -> int:
        """How many positions it is behind because its client is slow."""
        return self._feed.position - self.handed if self.is_slow else 0

    async def read_on(self) -> None:
        """The next page, by `catch_up`."""
        await self._feed.read_on(self)

    def query(self, after: int, before: int) -> EventQuery:
        """A page of the channel's events between two positions."""
        key = self.key
        types, wanted = message_types(key.channel) if self.form is not Form.SERVER_SENT else None, self.wish.types
        if types is None or wanted is None:
            types = types if wanted is None else wanted
        else:
            types = types & wanted
        id = None if key.id == ANY else key.id
        return EventQuery(
            after=after,
            before=before,
            types=tuple(sorted(types)) if types is not None else (),
            organization_id=key.organization_id,
            execution_id=id if key.channel is Channel.EXECUTION else None,
            workflow_id=id if key.channel is Channel.WORKFLOW else None,
            limit=self.page,
        )


class Feed:
    """Starts at the log's head. Everything but `run` and `catch_up` happens within one step of the loop."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._live: dict[Key, dict[Subscription, None]] = {}
        self._watchers: dict[str, list[Callable[[Recorded], None]]] = {}
        self._ring = Ring(log.head)
        self.position = log.head
        """Through here every event is in the ring, and was or is being handed over."""
        self.cast = log.head
        """Through here every event was handed to every live subscription."""
        self.meter = Meter()

    async def run(self) -> None:
        """Follows the log until it closes or this is cancelled; may be run again after an error."""
        await self._remember()
        async for batch in self._log.tail(self.position):
            for entries in _slices(batch):
                turns = self._dispatch(entries)
                try:
                    for _ in turns:
                        await asyncio.sleep(0)
                finally:
                    for _ in turns:
                        pass  # Whatever ends this, either all have a slice or nobody.
                await asyncio.sleep(0)

    async def _remember(self) -> None:
        """Fills the ring of a feed that has just begun: after a restart all clients come back at once."""
        newest: list[Recorded] = []
        before, size, page = self.position + 1, 0, _FIRST_PAGE
        while self._ring.is_empty and before > 1 and len(newest) < RING and size < RING_BYTES:
            read = await self._log.read(EventQuery(before=before, descending=True, limit=page))
            newest += read
            before = read[-1].position if read else 1
            got = sum(len(event.data) for event in read)
            size, page = size + got, _next_page(page, got)
        if newest and self._ring.is_empty:
            self._ring = Ring(before - 1)
            self._ring.extend([entry_of(event) for event in reversed(newest)])

    def watch(self, type: str, call: Callable[[Recorded], None]) -> None:
        """Calls for each event of a type, of whatever organization, as it is dispatched."""
        self._watchers.setdefault(type, []).append(call)

    def subscribe(
        self,
        key: Key,
        sink: Sink,
        *,
        after: int,
        wish: Wish = ALL,
        is_lost: bool = False,
        form: Form = Form.MESSAGE,
    ) -> Subscription:
        """All that the channel has after a position, which may lie ahead of the feed's. Where some of it `is_lost`,
        what this process still remembers of it is not handed over."""
        subscription = Subscription(self, key, wish, after, sink, form)
        if is_lost:
            subscription.read_through = self.position
        self._place(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Nothing more is handed over. May be called twice."""
        subscription.is_closed = True
        self._withdraw(subscription)

    @property
    def live_count(self) -> int:
        return sum(len(subscriptions) for subscriptions in self._live.values())

    async def catch_up(self, subscription: Subscription) -> None:
        """Hands a subscription that is behind the next page of its channel; it is live again once it has come as far
        as the feed. The last page and going live are one step of the loop. Raises `Unavailable`.

        What happened lately comes from the ring, so that one who reads slower than others write arrives all the same.
        """
        if not subscription.is_live and not subscription.is_closed:
            await subscription.read_on()

    async def read_on(self, subscription: Subscription) -> None:
        """What `catch_up` does for a subscription of this feed."""
        batch, through = self._remembered(subscription) or await self._read(subscription)
        if subscription.is_closed:
            return
        self.meter.pages += 1
        if batch.messages:
            subscription.sink.put(batch)
            self.meter.deliveries += len(batch.messages)
            self.meter.bytes += batch.size
        subscription.handed = through
        self._place(subscription)

    def _remembered(self, subscription: Subscription) -> tuple[Batch, int] | None:
        """A page from the ring, and the position through which it goes; None where the log must be read."""
        key, wish, after = subscription.key, subscription.wish, subscription.handed
        if after < subscription.read_through:
            return None
        most = _MOST_CONFLATED if wish.is_latest else _LARGEST_PAGE
        if wish.condition is not None:
            most = LARGEST_JUDGED_PAGE
        entries = self._ring.after(key, after, most, most * PAGE_BYTES if wish.is_latest else PAGE_BYTES)
        if entries is None:
            return None
        batch = self._ring.batch(key, wish, subscription.form, after, entries)
        is_rest = not entries or self._ring.last(key) is entries[-1]
        return batch, self.position if is_rest else entries[-1].recorded.position

    async def _read(self, subscription: Subscription) -> tuple[Batch, int]:
        """A page from the log; of one who wants only the latest, as many as make one."""
        key, wish, form = subscription.key, subscription.wish, subscription.form
        after, kept = subscription.handed, list[Entry]()
        while True:
            through = self.position
            recorded = await self._log.read(subscription.query(after, through + 1))
            self.meter.reads += 1
            if len(recorded) == subscription.page:
                through = recorded[-1].position
            kept += [Entry(event) for event in recorded if key.covers(event)]
            batch = batch_of(kept, key.channel, wish, form, subscription.handed)
            size = max(sum(len(event.data) for event in recorded), batch.size)
            largest = _LARGEST_PAGE if wish.condition is None else LARGEST_JUDGED_PAGE
            subscription.page = min(_next_page(subscription.page, size), largest)
            if not wish.is_latest or through >= self.position or subscription.is_closed:
                return batch, through
            kept, after = latest([entry for entry in kept if entry.is_wanted(wish)]), through
            if len(kept) >= _MOST_CONFLATED or batch.size >= PAGE_BYTES:
                return batch, through

    def _place(self, subscription: Subscription) -> None:
        """Among the live ones, if it has come as far as the feed."""
        if subscription.handed >= self.position:
            subscription.is_live, subscription.is_slow = True, False
            self._live.setdefault(subscription.key, {})[subscription] = None
        else:
            subscription.sink.falls_behind(subscription)

    def _withdraw(self, subscription: Subscription) -> None:
        if subscription.is_live:
            subscription.is_live = False
            others = self._live[subscription.key]
            del others[subscription]
            if not others:
                del self._live[subscription.key]

    def _dispatch(self, entries: Sequence[Entry]) -> Iterator[None]:
        """Hands a slice to all that want something of it; yields whenever that was enough for one turn of the loop.
        Who subscribes meanwhile finds the whole slice in the ring."""
        before, self.position = self.position, entries[-1].recorded.position
        self._ring.extend(entries)
        by_key: dict[Key, list[Entry]] = {}
        for entry in entries:
            self._tell_watchers(entry.recorded)
            for key in entry.keys:
                if key in self._live:
                    by_key.setdefault(key, []).append(entry)
        spent = 0
        for key, its in by_key.items():
            for size in self._cast(key, its, before):
                spent += size + _HAND
                if spent >= _TURN:
                    spent = 0
                    yield
        self.cast = self.position
        self.meter.dispatched([entry.recorded.time for entry in entries], time.time())

    def _tell_watchers(self, recorded: Recorded) -> None:
        for call in self._watchers.get(recorded.type, ()):
            try:
                call(recorded)
            except Exception:  # All others still have the slice to get.
                _logger.exception("feed.watcher_broke")

    def _cast(self, key: Key, entries: Sequence[Entry], before: int) -> Iterator[int]:
        """Hands a channel's news to its subscribers, one buffer for all who want the same; yields each's bytes."""
        first, meter = entries[0].recorded.position, self.meter
        shared: dict[tuple[Form, Wish], Batch] = {}
        for subscription in tuple(self._live.get(key, ())):
            if not subscription.is_live:
                continue
            form, wish = subscription.form, subscription.wish
            if subscription.handed >= first:
                batch = batch_of(entries, key.channel, wish, form, subscription.handed)
            elif (known := shared.get((form, wish))) is not None:
                batch = known
            else:
                if wish.condition is not None:
                    for entry in entries:
                        entry.is_wanted(wish)  # Remembered, so that the batch below costs little.
                        yield _JUDGING
                batch = shared[form, wish] = batch_of(entries, key.channel, wish, form, before)
                if not subscription.is_live:
                    continue
            if batch.messages:
                if _is_taken(subscription.sink, batch):
                    meter.deliveries += len(batch.messages)
                    meter.bytes += batch.size
                else:
                    self._set_aside(subscription, before)
                yield batch.size

    def _set_aside(self, subscription: Subscription, before: int) -> None:
        subscription.handed = max(subscription.handed, before)
        subscription.is_slow = True
        self._withdraw(subscription)
        self.meter.set_aside += 1
        subscription.sink.falls_behind(subscription)


def _is_taken(sink: Sink, batch: Batch) -> bool:
    """A sink that breaks is a sink that took nothing: nobody else is harmed."""
    try:
        return sink.offer(batch)
    except Exception:
        _logger.exception("feed.sink_broke")
        return False


def _slices(recorded: Sequence[Recorded]) -> Iterator[Sequence[Entry]]:
    """Few enough for a turn of the loop, and small enough for a sink that is not full."""
    entries: list[Entry] = []
    size = 0
    for event in recorded:
        entries.append(entry_of(event))
        size += len(event.data)
        if len(entries) == _SLICE or size >= _SLICE_BYTES:
            yield entries
            entries, size = [], 0
    if entries:
        yield entries


def _next_page(page: int, size: int) -> int:
    """How many events to read after a page of some bytes, so that pages grow, but not beyond `PAGE_BYTES`."""
    return max(1, min(page * 2, page * PAGE_BYTES // max(size, 1), _LARGEST_PAGE))
