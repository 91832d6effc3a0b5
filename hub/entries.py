"""What the feed hands over: events with their messages, batches of them, and the ring of the newest ones."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from enum import IntEnum
from itertools import islice
from time import perf_counter
from typing import Final, NamedTuple

import structlog

from executor.ports import Recorded
from hub.channels import Key, Wish, keys_of
from hub.filters import Seen
from hub.messages import Channel, message
from hub.server_sent import server_sent, server_sent_message
from hub.socket.frames import text_frame

RING: Final = 4096
RING_BYTES: Final = 8 * 1024 * 1024
_MOST_JOINED: Final = 256
_logger = structlog.get_logger(__name__)


class Form(IntEnum):
    """How a subscription's events are written: as the messages of its channel, as these in frames of a WebSocket; or,
    for an event stream, whole, or as messages again."""

    MESSAGE = 1
    FRAME = 2
    SERVER_SENT = 3
    SERVER_SENT_MESSAGE = 4


class Encoding:
    """Counts what was encoded: `messages`, and `seconds` of this process's time."""

    def __init__(self) -> None:
        self.messages = 0
        self.seconds = 0.0


ENCODED: Final = Encoding()


class Batch:
    """Messages of one channel in order, shared by all who get them. `size` is their bytes."""

    __slots__ = ("_joined", "messages", "size")

    def __init__(self, messages: Sequence[bytes]) -> None:
        self.messages = messages
        self.size = sum(map(len, messages))
        self._joined: bytes | None = messages[0] if len(messages) == 1 else None

    @property
    def joined(self) -> bytes:
        """All of them, made once."""
        if self._joined is None:
            self._joined = b"".join(self.messages)
        return self._joined


class Entry:
    """An event and its messages, each encoded when it is first asked for."""

    __slots__ = ("_messages", "_seen", "keys", "recorded")

    def __init__(self, recorded: Recorded, keys: tuple[Key, ...] = ()) -> None:
        self.recorded = recorded
        self.keys = keys
        self._messages: dict[tuple[Channel, Form], bytes | None] = {}
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
        kind = (channel, form)
        try:
            return self._messages[kind]
        except KeyError:
            begin = perf_counter()
            made = self._messages[kind] = self._make(channel, form)
            ENCODED.messages += 1
            ENCODED.seconds += perf_counter() - begin
            return made

    def wanted_message(self, channel: Channel, wish: Wish, form: Form) -> bytes | None:
        """What a wish for a channel gets; of a union the message of its first channel on which there is one."""
        channels = (channel,) if wish.union is None else wish.union.channels_of(self.recorded)
        return next((made for each in channels if (made := self.message(each, form)) is not None), None)

    def _make(self, channel: Channel, form: Form) -> bytes | None:
        try:
            if form is Form.SERVER_SENT:
                return server_sent(self.recorded)
            text = message(self.recorded, channel)
        except Exception as error:  # Whatever it is: all others on the channel are to get their messages.
            _logger.error("feed.unreadable", position=self.recorded.position, error=repr(error))
            return None
        if text is None or form is Form.MESSAGE:
            return text
        return text_frame(text) if form is Form.FRAME else server_sent_message(self.recorded.position, text)


def entry_of(recorded: Recorded) -> Entry:
    """With the channels that it is on; on none where its data cannot be read."""
    try:
        return Entry(recorded, tuple(keys_of(recorded)))
    except Exception as error:  # Whatever it is: the feed would come to this event again and again.
        _logger.error("feed.unreadable", position=recorded.position, error=repr(error))
        return Entry(recorded)


class _Page(NamedTuple):
    key: Key
    wish: Wish
    form: Form
    after: int
    through: int


class Ring:
    """The newest events, by channel, so that many who come back at once do not each read and encode the log."""

    def __init__(self, start: int) -> None:
        self.start = start
        """It has all events after this position."""
        self._entries: list[Entry] = []
        self._by_key: dict[Key, list[Entry]] = {}
        self._bytes = 0
        self._joined: dict[_Page, Batch] = {}
        self._joined_bytes = 0

    def extend(self, entries: Sequence[Entry]) -> None:
        self._entries.extend(entries)
        for entry in entries:
            self._bytes += len(entry.recorded.data)
            for key in entry.keys:
                self._by_key.setdefault(key, []).append(entry)
        drop, bytes_left = 0, self._bytes
        while drop < len(self._entries) and (len(self._entries) - drop > RING or bytes_left > RING_BYTES):
            bytes_left -= len(self._entries[drop].recorded.data)
            drop += 1
        if drop:
            self._forget(drop)
            self._bytes = bytes_left
        self._joined.clear()
        self._joined_bytes = 0

    def _forget(self, drop: int) -> None:
        dropped = self._entries[:drop]
        self.start = dropped[-1].recorded.position
        del self._entries[:drop]
        for key in {key for entry in dropped for key in entry.keys}:
            kept = self._by_key[key]
            del kept[: bisect_right(kept, self.start, key=_position)]
            if not kept:
                del self._by_key[key]

    @property
    def is_empty(self) -> bool:
        return not self._entries

    def last(self, key: Key) -> Entry | None:
        """A channel's newest event."""
        kept = self._by_key.get(key)
        return kept[-1] if kept else None

    def after(self, key: Key, position: int, most: int, most_bytes: int) -> Sequence[Entry] | None:
        """Some of a channel's events after a position: all, unless there are `most` or they hold `most_bytes`. None
        where older ones than it has would be among them."""
        if position < self.start:
            return None
        kept = self._by_key.get(key, ())
        first = bisect_right(kept, position, key=_position)
        taken: list[Entry] = []
        size = 0
        for entry in islice(kept, first, first + most):
            taken.append(entry)
            size += len(entry.recorded.data)
            if size >= most_bytes:
                break
        return taken

    def batch(self, key: Key, wish: Wish, form: Form, after: int, entries: Sequence[Entry]) -> Batch:
        """The messages of what somebody wants of entries that the ring has: one batch for all who want the same."""
        page = _Page(key, wish, form, after, entries[-1].recorded.position if entries else after)
        made = self._joined.get(page)
        if made is None:
            made = batch_of(entries, key.channel, wish, form, after)
            if self._joined_bytes < RING_BYTES and len(self._joined) < _MOST_JOINED:
                self._joined[page] = made
                self._joined_bytes += made.size
        return made


def batch_of(entries: Sequence[Entry], channel: Channel, wish: Wish, form: Form, after: int) -> Batch:
    """The messages of what a wish for a channel wants of the channel's events after a position."""
    wanted = [entry for entry in entries if entry.recorded.position > after and entry.is_wanted(wish)]
    if wish.is_latest:
        wanted = latest(wanted)
    return Batch([made for entry in wanted if (made := entry.wanted_message(channel, wish, form)) is not None])


def latest(entries: Sequence[Entry]) -> list[Entry]:
    """Of each execution only the newest event of each type, of everything else all; in order."""
    newest = {(entry.recorded.execution_id, entry.recorded.type): entry for entry in entries}
    return [
        entry
        for entry in entries
        if entry.recorded.execution_id is None or newest[entry.recorded.execution_id, entry.recorded.type] is entry
    ]


def _position(entry: Entry) -> int:
    return entry.recorded.position
