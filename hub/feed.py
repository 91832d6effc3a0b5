"""The feed: one tail of the log, cast to everybody who listens.

Each event becomes at most one message for each kind of channel, encoded once and only where somebody listens; all
subscribers get the same bytes. A subscription is either live (whatever is dispatched is handed to it) or behind
(whoever sends for it calls `catch_up` until it is live again). New ones with a past position start behind; one
whose sink is full is set aside and so is behind too. Nothing waits in between: what a subscription has not been
handed is in the log.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import Final, NamedTuple, Protocol

import msgspec
import structlog

from executor.ports import EventLog, EventQuery, Recorded
from hub.channels import ALL, ANY, Key, Wish, keys_of
from hub.filters import Seen
from hub.messages import Channel, message, message_types
from hub.server_sent import server_sent

_SLICE: Final = 128
"""Events that are dispatched in one turn of the loop, at most; `_SLICE_BYTES` of their data end it as well."""
_SLICE_BYTES: Final = 128 * 1024
_RING: Final = 1024
_RING_BYTES: Final = 4 * 1024 * 1024
_FIRST_PAGE: Final = 16
_LARGEST_PAGE: Final = 512
PAGE_BYTES: Final = 128 * 1024
"""What `catch_up` hands over at once, about: a page is sized by the one before it."""
_logger = structlog.get_logger(__name__)


class Form(Enum):
    """How a subscription's events are written: as the messages of its channel, or whole, for an event stream."""

    MESSAGE = 1
    SERVER_SENT = 2


class Batch(NamedTuple):
    """Messages of one channel in order, shared by all who get them. `size` is their bytes."""

    messages: Sequence[bytes]
    size: int


class Sink(Protocol):
    """Where a client's messages go. Both are called within the loop and never wait."""

    def offer(self, batch: Batch) -> bool:
        """Takes a batch, or answers False where too much is unsent: then nothing of it was taken."""

    def put(self, batch: Batch) -> None:
        """Takes a page that `catch_up` read for this sink."""

    def falls_behind(self, subscription: Subscription) -> None:
        """From now on the subscription needs `catch_up`, whenever there is room."""


class Entry:
    """An event and its messages, each encoded when it is first asked for."""

    __slots__ = ("_messages", "_seen", "recorded")

    def __init__(self, recorded: Recorded) -> None:
        self.recorded = recorded
        self._messages: dict[Channel | Form, bytes | None] = {}
        self._seen: Seen | None = None

    def is_wanted(self, wish: Wish) -> bool:
        if wish.types is not None and self.recorded.type not in wish.types:
            return False
        if wish.condition is None:
            return True
        if self._seen is None:
            self._seen = Seen(self.recorded)
        return self._seen.satisfies(wish.condition)

    def message(self, channel: Channel, form: Form = Form.MESSAGE) -> bytes | None:
        kind = channel if form is Form.MESSAGE else form
        try:
            return self._messages[kind]
        except KeyError:
            made = self._messages[kind] = self._make(channel, form)
            return made

    def _make(self, channel: Channel, form: Form) -> bytes | None:
        try:
            return server_sent(self.recorded) if form is Form.SERVER_SENT else message(self.recorded, channel)
        except msgspec.DecodeError as error:
            _logger.error("feed.unreadable", position=self.recorded.position, error=str(error))
            return None


class Subscription:
    """One sink's wish for one channel."""

    __slots__ = ("_feed", "form", "handed", "is_closed", "is_live", "key", "page", "read_through", "sink", "wish")

    def __init__(
        self,
        feed: Feed,
        key: Key,
        wish: Wish,
        after: int,
        sink: Sink,
        form: Form = Form.MESSAGE,
    ) -> None:
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
        self.is_closed = False

    @property
    def position(self) -> int:
        """All that the channel has through this position was handed to the sink."""
        return max(self.handed, self._feed.position) if self.is_live else self.handed

    def batch(self, entries: Sequence[Entry]) -> Batch:
        """The messages of what this wants of its channel's events."""
        messages = []
        for entry in entries:
            if entry.recorded.position > self.handed and entry.is_wanted(self.wish):
                made = entry.message(self.key.channel, self.form)
                if made is not None:
                    messages.append(made)
        return _batch(messages)

    async def read_on(self) -> None:
        """The next page, by `catch_up`."""
        await self._feed.read_on(self)

    def query(self, before: int) -> EventQuery:
        """A page of the channel's events after what was handed."""
        key = self.key
        types, wanted = message_types(key.channel) if self.form is Form.MESSAGE else None, self.wish.types
        if types is None or wanted is None:
            types = types if wanted is None else wanted
        else:
            types = types & wanted
        id = None if key.id == ANY else key.id
        return EventQuery(
            after=self.handed,
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
        self._ring = _Ring(log.head)
        self.position = log.head
        """Through here every event was dispatched to every channel."""

    async def run(self) -> None:
        """Follows the log until it closes or this is cancelled; may be run again after an error."""
        async for batch in self._log.tail(self.position):
            for entries in _slices(batch):
                self._dispatch(entries)
                await asyncio.sleep(0)

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
        is_fresh = subscription.handed >= subscription.read_through
        entries = self._ring.after(subscription.handed) if is_fresh else None
        if entries is not None:
            through = entries[-1].recorded.position if entries else self.position
            batch = subscription.batch([entry for entry in entries if subscription.key.covers(entry.recorded)])
        else:
            through = self.position
            recorded = await self._log.read(subscription.query(through + 1))
            if subscription.is_closed:
                return
            if len(recorded) == subscription.page:
                through = recorded[-1].position
            batch = subscription.batch([Entry(event) for event in recorded if subscription.key.covers(event)])
            read = sum(len(event.data) for event in recorded)
            subscription.page = _next_page(subscription.page, max(read, batch.size))
        if batch.messages:
            subscription.sink.put(batch)
        subscription.handed = through
        self._place(subscription)

    def _place(self, subscription: Subscription) -> None:
        """Among the live ones, if it has come as far as the feed."""
        if subscription.handed >= self.position:
            subscription.is_live = True
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

    def _dispatch(self, entries: Sequence[Entry]) -> None:
        before, self.position = self.position, entries[-1].recorded.position
        self._ring.extend(entries)
        by_key: dict[Key, list[Entry]] = {}
        for entry in entries:
            for call in self._watchers.get(entry.recorded.type, ()):
                call(entry.recorded)
            if self._live:
                for key in keys_of(entry.recorded):
                    if key in self._live:
                        by_key.setdefault(key, []).append(entry)
        for key, its in by_key.items():
            self._cast(key, its, before)

    def _cast(self, key: Key, entries: Sequence[Entry], before: int) -> None:
        """Hands a channel's news to its subscribers: one buffer for all who want all of it."""
        first = entries[0].recorded.position
        whole: dict[Form, Batch] = {}
        for subscription in tuple(self._live.get(key, ())):
            if not subscription.wish.is_everything or subscription.handed >= first:
                batch = subscription.batch(entries)
            elif (shared := whole.get(subscription.form)) is not None:
                batch = shared
            else:
                batch = whole[subscription.form] = subscription.batch(entries)
            if batch.messages and not subscription.sink.offer(batch):
                subscription.handed = max(subscription.handed, before)
                self._withdraw(subscription)
                subscription.sink.falls_behind(subscription)


class _Ring:
    """The newest events that were dispatched, so that many who come back at once do not each read the log."""

    def __init__(self, start: int) -> None:
        self._start = start
        """It has all events after this position."""
        self._entries: list[Entry] = []
        self._bytes = 0

    def extend(self, entries: Sequence[Entry]) -> None:
        self._entries.extend(entries)
        self._bytes += sum(len(entry.recorded.data) for entry in entries)
        drop = 0
        while drop < len(self._entries) and (len(self._entries) - drop > _RING or self._bytes > _RING_BYTES):
            self._bytes -= len(self._entries[drop].recorded.data)
            drop += 1
        if drop:
            self._start = self._entries[drop - 1].recorded.position
            del self._entries[:drop]

    def after(self, position: int) -> Sequence[Entry] | None:
        """Some events after a position; None where older ones than it has would be among them."""
        if position < self._start:
            return None
        first = bisect_right(self._entries, position, key=lambda entry: entry.recorded.position)
        return self._entries[first : first + _SLICE]


def _slices(recorded: Sequence[Recorded]) -> Iterator[Sequence[Entry]]:
    """In turns short enough for the loop, and small enough for a sink that is not full."""
    entries: list[Entry] = []
    size = 0
    for event in recorded:
        entries.append(Entry(event))
        size += len(event.data)
        if len(entries) == _SLICE or size >= _SLICE_BYTES:
            yield entries
            entries, size = [], 0
    if entries:
        yield entries


def _next_page(page: int, size: int) -> int:
    """How many events to read after a page of some bytes, so that pages grow, but not beyond `PAGE_BYTES`."""
    return max(1, min(page * 2, page * PAGE_BYTES // max(size, 1), _LARGEST_PAGE))


def _batch(messages: Sequence[bytes]) -> Batch:
    return Batch(messages, sum(map(len, messages)))
