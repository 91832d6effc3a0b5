"""The channel of a replay: its events from the log, for each subscriber at its own pace, and a last message.

What it has is a function of the log and the job alone, so it may be read again, and resumed after any position.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from executor.domain.values import Instant
from executor.ports import Clock, EventLog, Recorded, Replay, Replays
from hub.channels import Key, Wish
from hub.entries import Batch, Entry, Form
from hub.feed import LARGEST_JUDGED_PAGE, Feed, Sink, Subscription
from hub.messages import replayed
from hub.replays import channel_of
from hub.server_sent import server_sent
from hub.socket.frames import text_frame
from webhooks.replays import Replayer, matching

_PAGE_BYTES: Final = 128 * 1024
_LARGEST_PAGE: Final = 512
_END: Final = "replay_completed"
_encode: Final = msgspec.json.Encoder().encode


class ReplayEnd(Struct, frozen=True):
    """`status` is completed where all of the replay's events came before this, through `through`; cancelled or failed
    where it ended earlier."""

    replay_id: str
    status: str
    through: int


class _End(Struct, frozen=True):
    """It has no position: it is not an event, and nobody can resume after it."""

    type: str
    id: str
    timestamp: Instant
    channel: str
    data: ReplayEnd
    replay: str


class ChannelReplayer(Replayer):
    """Counts the events of replays that have a channel, so that the job says how many there are, and ends."""

    def takes(self, replay: Replay) -> bool:
        return replay.webhook_id is None

    async def obstacle(self, replay: Replay) -> str | None:
        return None

    async def waiting(self, replay: Replay) -> int:
        return 0

    async def step(self, replay: Replay, found: Sequence[Recorded], position: int) -> None:
        count = sum(1 for recorded in found if recorded.data)
        await self._replays.advance(replay.id, replay.position, position, count)


class ReplayChannels:
    """The channels of all replays."""

    def __init__(self, feed: Feed, log: EventLog, replays: Replays, clock: Clock) -> None:
        self.feed, self.log, self.replays, self.clock = feed, log, replays, clock

    async def begins(self, key: Key) -> int | None:
        """The position after which a channel has anything; None where the organization has no such channel. Raises
        `Unavailable`."""
        replay = await self.replays.get(key.id)
        if replay is None or replay.organization_id != key.organization_id or replay.webhook_id is not None:
            return None
        return replay.first - 1

    def subscribe(self, key: Key, sink: Sink, *, after: int, wish: Wish, form: Form = Form.MESSAGE) -> Subscription:
        return Replayed(self, key, wish, after, sink, form)


class Replayed(Subscription):
    """Somebody's wish for a replay. It is always behind, until it is over."""

    __slots__ = ("_channels", "is_over")

    def __init__(
        self,
        channels: ReplayChannels,
        key: Key,
        wish: Wish,
        after: int,
        sink: Sink,
        form: Form = Form.MESSAGE,
    ) -> None:
        super().__init__(channels.feed, key, wish, after, sink, form)
        self._channels = channels
        self.is_over = False
        sink.falls_behind(self)

    @property
    def position(self) -> int:
        """Once it is over nothing more can come, through whatever position."""
        return self._feed.position if self.is_over else self.handed

    async def read_on(self) -> None:
        """Hands the sink a page, or the last message. Raises `Unavailable`."""
        replay = await self._channels.replays.get(self.key.id)
        if replay is None or self.is_over:
            return
        last = _last(replay)
        recorded: list[Recorded] = []
        if self.handed < last:
            recorded = await self._channels.log.read(
                matching(replace(replay, last=last), after=self.handed, limit=self.page)
            )
        if self.is_closed:
            return
        through = recorded[-1].position if len(recorded) == self.page else max(last, self.handed)
        messages = [self._message(event) for event in recorded if self._wants(event)]
        size = sum(map(len, messages))
        read = max(size, sum(len(event.data) for event in recorded), 1)
        largest = _LARGEST_PAGE if self.wish.condition is None else LARGEST_JUDGED_PAGE
        self.page = max(1, min(self.page * 2, self.page * _PAGE_BYTES // read, largest))
        self.handed = through
        if messages:
            self.sink.put(Batch(messages))
        if through >= last:
            self._finish(replay, last)
        else:
            self.sink.falls_behind(self)

    def _wants(self, event: Recorded) -> bool:
        """What was archived since is left out, as from every replay."""
        return bool(event.data) and Entry(event).is_wanted(self.wish)

    def _message(self, event: Recorded) -> bytes:
        if self.form is Form.SERVER_SENT:
            return server_sent(event, self.key.id)
        return self._formed(replayed(event, self.key.id))

    def _formed(self, text: bytes) -> bytes:
        return text_frame(text) if self.form is Form.FRAME else text

    def _finish(self, replay: Replay, last: int) -> None:
        self.is_over = True
        status = "completed" if last == replay.last and replay.status != "failed" else replay.status
        end = ReplayEnd(replay.id, status, last)
        if self.form is Form.SERVER_SENT:
            text = b"event: %s\ndata: %s\n\n" % (_END.encode(), _encode(end))
        else:
            clock = self._channels.clock
            text = _encode(_End(_END, clock.new_id(), clock.now(), channel_of(replay.id), end, replay.id))
            text = self._formed(text)
        self.sink.put(Batch((text,)))


def _last(replay: Replay) -> int:
    """One that was cancelled ends where it had come to."""
    return replay.position if replay.status in ("cancelled", "failed") else replay.last
