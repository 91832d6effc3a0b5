"""Server-sent events as bytes: https://html.spec.whatwg.org/multipage/server-sent-events.html. Pure."""

from __future__ import annotations

from typing import Final

from executor.ports import Recorded
from hub.messages import event_json

RETRY_MS: Final = 2000
"""When a client that lost its connection comes back."""

_TYPE: Final = b'{"type":"'
HEARTBEAT: Final = b":\n\n"
"""A comment, so that nobody in between takes the connection for dead."""


def opening(position: int) -> bytes:
    """What a stream begins with. The id makes a client that is cut off before its first event come back to here, and
    miss nothing; without data it is no event."""
    return b"retry: %d\nid: %d\n\n" % (RETRY_MS, position)


def closing(reason: str, retry_ms: int) -> bytes:
    return b": %s\nretry: %d\n\n" % (reason.encode(), retry_ms)


def server_sent(recorded: Recorded, replay_id: str | None = None) -> bytes:
    """The whole event; its id is its position. `replay_id` marks it."""
    return _event(recorded.position, recorded.type.encode(), event_json(recorded, replay_id))


def server_sent_message(position: int, text: bytes) -> bytes:
    """A message of a channel; its type, which is the first thing in it, is the event's."""
    return _event(position, text[len(_TYPE) : text.index(b'"', len(_TYPE))], text)


def _event(position: int, type: bytes, text: bytes) -> bytes:
    lines = text.splitlines()  # One, unless somebody brought its data in with line breaks.
    return b"id: %d\nevent: %s\n%s\n" % (position, type, b"".join(b"data: %s\n" % line for line in lines))
